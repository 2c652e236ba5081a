"""What x scenario x seed, cell by cell: policies of an experiment on the very same tasks, over all cores.

A cell is one run and hangs on nothing but what it says it is, so that cells may be measured in any order, by many
processes, and again later. Differences are taken within a seed; intervals are of 95 % (Student's t), and where a row is
held against many, p-values are Holm's.
"""

import os
import signal
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing import get_context
from typing import Any, TypeVar

import numpy as np

from splitplace import provenance
from splitplace.benchmarks.experiment import GridRow, GridScenario, state_of
from splitplace.benchmarks.paired import Interval, holm, interval, p_value
from splitplace.benchmarks.results_file import Measured
from splitplace.children import end_with_parent, safe_spawn
from splitplace.errors import SplitPlaceError
from splitplace.placement import states as store
from splitplace.placement.metrics import outcome, outcomes_of
from splitplace.placement.policy import Policy
from splitplace.placement.simulator.bound import reward_bound
from splitplace.placement.simulator.run import simulate
from splitplace.placement.simulator.scenario import Scenario
from splitplace.records.base import Count, Fraction, NonNegative, Positive, Record
from splitplace.records.metrics import GroupMetrics, Metrics
from splitplace.records.view import View

Task = TypeVar("Task")
Result = TypeVar("Result")

THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
CLEAR = 0.05
"""A difference is told from none below this p-value."""
DIGITS = 6
"""Kept of a figure."""


class CellTimings(Record):
    """Measured by the clock: never the same twice."""

    decision_p50_s: NonNegative
    decision_p95_s: NonNegative


class GridCell(Measured):
    """One run: a row's policy in a scenario at a load, on a seed."""

    row: str
    policy: str
    scenario: str
    load: Positive
    seed: Count
    reward: Fraction
    scored: Fraction
    """Share of the tasks that this and all that follows is of."""
    violation: Fraction
    accuracy: Fraction
    response_s: NonNegative
    """Mean, of those that finished."""
    response_p95_s: NonNegative
    energy_kwh: NonNegative
    """Of the whole run."""
    trained: tuple[str, ...] = ()
    """Parts of the policy that started from a trained state."""
    timings: CellTimings


class GridBound(Record):
    """What no policy can exceed on a seed's tasks (`placement/simulator/bound.py`)."""

    scenario: str
    load: Positive
    seed: Count
    reward: Fraction


@dataclass(frozen=True)
class GridTask:
    """What a cell, or a bound, is made of."""

    scenario: GridScenario
    load: float
    seed: int
    intervals: int
    row: GridRow | None = None
    """None for the bound."""
    policy: str = ""
    states: str | None = None
    """As of `Experiment`."""


def at_load(scenario: Scenario, load: float) -> Scenario:
    """The scenario with its load stated as a share of capacity."""
    loads = {"load": load, "rate": None, "utilisation": None, "trace": None}
    return scenario.model_copy(update={"workload": scenario.workload.model_copy(update=loads)})


def measure_cell(task: GridTask) -> GridCell:
    """One run.

    Raises:
        SplitPlaceError: It cannot be run, the policy failed, or no task is scored; says in which cell.
    """
    assert task.row is not None
    row, (scenario, fleet, demand) = task.row, task.scenario.load()
    policy, trained = row.policy(task.policy), list[str]()

    def first(view: View) -> Any:
        state = _first_state(policy, (scenario.name, task.states), view, trained)
        return state_of(policy, state, row.state)

    where = f"{task.scenario.name} at a load of {task.load}, {row.name} as {task.policy}, seed {task.seed}"
    try:
        run = simulate(
            at_load(scenario, task.load), fleet, demand, policy, task.intervals, task.seed, first, strict=True
        )
    except SplitPlaceError as error:
        raise SplitPlaceError(f"{where}: {error}") from error
    from_s, got = task.scenario.from_interval * scenario.interval_s, run.metrics
    counted: GroupMetrics = got
    if from_s:
        counted = outcome(outcomes_of(run.tasks).where(run.tasks["arrival_s"].astype(np.float64) >= from_s))
    if counted.reward is None:
        raise SplitPlaceError(f"{where}: in {task.intervals} intervals no task is scored: give more intervals")
    return _cell(task, row.name, counted, got, tuple(trained))


def _first_state(policy: Policy, scenarios: Iterable[str | None], view: View, trained: list[str]) -> Any:
    """What ships for the first of the scenarios that has something for it; else a new one."""
    for name in scenarios:
        if name is not None:
            state, found = store.shipped(policy, name, view)
            if found:
                trained.extend(found)
                return state
    return policy.init(view)


def _cell(task: GridTask, row: str, got: GroupMetrics, whole: Metrics, trained: tuple[str, ...]) -> GridCell:
    took = whole.timings.decision_s

    def figure(value: float | None) -> float:
        return round(value or 0.0, DIGITS)

    return GridCell(
        row=row,
        policy=task.policy,
        scenario=task.scenario.name,
        load=task.load,
        seed=task.seed,
        reward=figure(got.reward),
        scored=figure(got.scored),
        violation=figure(got.sla_violation),
        accuracy=figure(got.accuracy),
        response_s=figure(got.response_s.mean),
        response_p95_s=figure(got.response_s.p95),
        energy_kwh=figure(whole.energy_kwh),
        trained=trained,
        timings=CellTimings(decision_p50_s=figure(took.p50), decision_p95_s=figure(took.p95)),
        commit=provenance.commit(),
    )


def measure_bound(task: GridTask) -> GridBound:
    """The bound of one seed's tasks."""
    scenario, fleet, demand = task.scenario.load()
    limit = reward_bound(at_load(scenario, task.load), fleet, demand, task.intervals, task.seed)
    return GridBound(scenario=task.scenario.name, load=task.load, seed=task.seed, reward=round(limit, DIGITS))


def measure(
    work: Callable[[Task], Result],
    tasks: Sequence[Task],
    jobs: int,
    keep: Callable[[Result], None],
    say: Callable[[str], None],
    what: str,
) -> None:
    """Do every task once; each result is kept as it comes, so that what is interrupted goes on where it stopped.

    Args:
        work: A function of a module: other processes call it.
        tasks: What it is called with; first things first.
        jobs: Processes of one thread each; 1 for this one.
        keep: Told of every result, in this process.
        say: Told how far it is, and how long the rest may take.
        what: Is measured, as it says then.

    Raises:
        SplitPlaceError: The first that a task raised, or a process died of something else.
    """
    began = time.monotonic()
    for done, result in enumerate(_results(work, tasks, jobs), start=1):
        keep(result)
        left_s = (time.monotonic() - began) / done * (len(tasks) - done)
        say(f"{what}: {done} of {len(tasks)}, about {_duration(left_s)} left")


def _results(work: Callable[[Task], Result], tasks: Sequence[Task], jobs: int) -> Iterator[Result]:
    if jobs == 1 or len(tasks) < 2:
        yield from map(work, tasks)
        return
    pool = ProcessPoolExecutor(min(jobs, len(tasks)), get_context("spawn"), _begin)
    try:
        with safe_spawn(), _one_thread():  # all its processes start with the first task
            asked = [pool.submit(work, task) for task in tasks]
        for future in as_completed(asked):
            yield future.result()
    except BrokenProcessPool as error:
        raise SplitPlaceError(
            "a process that measured ended by itself (as when memory runs out): go on with fewer --jobs"
        ) from error
    finally:
        pool.shutdown(wait=False, cancel_futures=True)


def _begin() -> None:
    """In each process: an interrupt, which the parent gets as well, ends it without a word, and so does the parent."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    end_with_parent()


@contextmanager
def _one_thread() -> Iterator[None]:
    """Within, processes start with one thread each: the cores are shared out already."""
    before = {name: os.environ.get(name) for name in THREADS}
    os.environ.update(dict.fromkeys(THREADS, "1"))
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def _duration(seconds: float) -> str:
    minutes = seconds / 60
    return f"{seconds:.0f} s" if seconds < 100 else f"{minutes:.0f} min" if minutes < 100 else f"{minutes / 60:.1f} h"


Case = tuple[str, float]
"""Scenario and load."""


@dataclass(frozen=True)
class RowDifference:
    """A row less another, paired by seed; `p` is Holm's over all the others."""

    difference: Interval
    p: float

    @property
    def word(self) -> str:
        """Whether it can be told from none."""
        if self.p >= CLEAR:
            return "level"
        return "above" if self.difference.mean > 0 else "below"


class GridCells:
    """Cells by case, row and seed.

    Args:
        cells: In any order.
    """

    def __init__(self, cells: Iterable[GridCell]):
        self._found: dict[Case, dict[str, dict[int, GridCell]]] = {}
        for cell in cells:
            self._found.setdefault((cell.scenario, cell.load), {}).setdefault(cell.row, {})[cell.seed] = cell

    @property
    def cases(self) -> list[Case]:
        """Those there are."""
        return list(self._found)

    def rows(self, case: Case) -> list[str]:
        """Those with a cell there."""
        return list(self._found.get(case, ()))

    def cells(self, case: Case, row: str) -> list[GridCell]:
        """Of one row, by seed, on the seeds that every row of the case has: only those can be paired."""
        found = self._found.get(case, {})
        seeds = set.intersection(*(set(of_row) for of_row in found.values())) if row in found else set()
        return [found[row][seed] for seed in sorted(seeds)]

    def column(self, case: Case, row: str, figure: str = "reward") -> list[float]:
        """One figure of one row, by seed."""
        return [float(getattr(cell, figure)) for cell in self.cells(case, row)]

    def compare(self, case: Case, row: str, figure: str = "reward") -> dict[str, RowDifference]:
        """A row against each other one."""
        mine = self.column(case, row, figure)
        differences = {
            other: [a - b for a, b in zip(mine, self.column(case, other, figure), strict=True)]
            for other in self.rows(case)
            if other != row
        }
        adjusted = holm({other: p_value(values) for other, values in differences.items()})
        return {other: RowDifference(interval(values), adjusted[other]) for other, values in differences.items()}

    def best(self, case: Case, rows: Iterable[str], figure: str = "reward") -> str:
        """The row of these with the highest mean, the first of equals."""
        return max(rows, key=lambda row: interval(self.column(case, row, figure)).mean)
