"""What x scenario x seed, cell by cell: policies of an experiment on the very same tasks.

A cell is one run and hangs on nothing but what it says it is, so that cells may be measured in any order, by many
processes (`grid_jobs.py`), and again later.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self

import numpy as np

from splitplace import provenance
from splitplace.benchmarks.cell_detail import CellDetail, detail_of, rounded, rounded_if_any
from splitplace.benchmarks.grid_row import GridRow
from splitplace.benchmarks.grid_scenario import GridScenario, shift_s
from splitplace.benchmarks.results_file import Measured
from splitplace.benchmarks.trained_states import trained_state
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


class CellTimings(Record):
    """Measured by the clock: never the same twice."""

    decision_p50_s: NonNegative
    decision_p95_s: NonNegative


class GridCell(Measured):
    """One run: a row's policy in a scenario at a load, on a seed."""

    row: str
    policy: str
    scenario: str
    load: Positive | None
    """Share of capacity; none for what the scenario states itself."""
    seed: Count
    reward: Fraction
    scored: Fraction
    """Share of the tasks that this and all that follows is of."""
    violation: Fraction
    accuracy: Fraction
    response_s: NonNegative | None
    """Mean, of those that finished; None where none did."""
    response_p95_s: NonNegative | None
    energy_kwh: NonNegative
    """Of the whole run."""
    trained: tuple[str, ...] = ()
    """Parts of the policy that started from a trained state."""
    timings: CellTimings
    detail: CellDetail | None = None
    """Where the experiment asks for it."""

    def figure(self, name: str) -> float:
        """A figure by name: of this, of its detail, of `FIGURE:APPLICATION`, seconds as `..._intervals`, a sum `A+B`.

        Raises:
            KeyError: There is none of that name, or nothing that it is of, or the cell has no detail.
        """
        if "+" in name:
            return sum(self.figure(part) for part in name.split("+"))
        name, _, application = name.partition(":")
        if name.endswith("_intervals"):
            seconds = self.figure(name.removesuffix("_intervals") + "_s" + f":{application}" * bool(application))
            return seconds / self.figure("interval_s")
        places: list[Record | None] = [self, self.timings, self.detail]
        if application:
            there = () if self.detail is None else self.detail.applications
            places = [one for one in there if one.application == application]
        for place in places:
            value = getattr(place, name, None)
            if isinstance(value, int | float):
                return float(value)
        raise KeyError(name)

    def has(self, name: str) -> bool:
        """Whether there is such a figure: of an application without a task there is none, nor a response of nobody."""
        try:
            self.figure(name)
        except KeyError:
            return False
        return True


class GridBound(Record):
    """What no policy can exceed on a seed's tasks (`placement/simulator/bound.py`)."""

    scenario: str
    load: Positive | None
    seed: Count
    reward: Fraction


@dataclass(frozen=True)
class GridTask:
    """What a cell, or a bound, is made of."""

    scenario: GridScenario
    load: float | None
    seed: int
    intervals: int
    row: GridRow | None = None
    """None for the bound."""
    policy: str = ""
    states: str | None = None
    """As of `Experiment`."""
    details: bool = False
    """Likewise."""
    folder: str | None = None
    """Of states trained for the scenario, in place of those that ship."""

    def moved(self, place: Callable[[str], str]) -> Self:
        """The same, its files where `place` has them."""
        folder = None if self.folder is None else place(self.folder)
        return replace(self, scenario=self.scenario.moved(place), folder=folder)


def at_load(scenario: Scenario, load: float | None) -> Scenario:
    """The scenario with its load stated as a share of capacity; as it states it itself for none."""
    if load is None:
        return scenario
    loads = {"load": load, "rate": None, "utilisation": None, "trace": None}
    return scenario.model_copy(update={"workload": scenario.workload.model_copy(update=loads)})


def measure_cell(task: GridTask) -> GridCell:
    """One run.

    Raises:
        SplitPlaceError: It cannot be run, the policy failed, or no task is scored; says in which cell.
    """
    assert task.row is not None
    row, (scenario, fleet, demand) = task.row, task.scenario.load()
    policy, trained = row.policy(task.policy, task.scenario.options), list[str]()

    def first(view: View) -> Any:
        if task.folder is None:
            state = _first_state(policy, (scenario.name, task.states), view, trained)
        else:
            state = trained_state(policy, Path(task.folder), view, trained)
        trained[:] = [name for name in trained if name not in row.untrained]
        return row.started(policy, state, view)

    at = "" if task.load is None else f" at a load of {task.load}"
    where = f"{task.scenario.name}{at}, {row.name} as {task.policy}, seed {task.seed}"
    try:
        run = simulate(
            at_load(scenario, task.load),
            fleet,
            demand,
            row.running(policy, shift_s(scenario)),
            task.intervals,
            task.seed,
            first,
            strict=True,
        )
    except SplitPlaceError as error:
        raise SplitPlaceError(f"{where}: {error}") from error
    from_s, got = task.scenario.from_interval * scenario.interval_s, run.metrics
    counted: GroupMetrics = got
    if from_s:
        counted = outcome(outcomes_of(run.tasks).where(run.tasks["arrival_s"].astype(np.float64) >= from_s))
    if counted.reward is None:
        raise SplitPlaceError(f"{where}: in {task.intervals} intervals no task is scored: give more intervals")
    detail = detail_of(run, counted, scenario.interval_s, task.intervals) if task.details else None
    return _cell(task, row.name, counted, got, tuple(trained), detail)


def _first_state(policy: Policy, scenarios: Iterable[str | None], view: View, trained: list[str]) -> Any:
    """What ships for the first of the scenarios that has something for it; else a new one."""
    for name in scenarios:
        if name is not None:
            state, found = store.shipped(policy, name, view)
            if found:
                trained.extend(found)
                return state
    return policy.init(view)


def _cell(
    task: GridTask,
    row: str,
    got: GroupMetrics,
    whole: Metrics,
    trained: tuple[str, ...],
    detail: CellDetail | None,
) -> GridCell:
    took = whole.timings.decision_s
    return GridCell(
        row=row,
        policy=task.policy,
        scenario=task.scenario.name,
        load=task.load,
        seed=task.seed,
        reward=rounded(got.reward or 0.0),
        scored=rounded(got.scored or 0.0),
        violation=rounded(got.sla_violation or 0.0),
        accuracy=rounded(got.accuracy or 0.0),
        response_s=rounded_if_any(got.response_s.mean),
        response_p95_s=rounded_if_any(got.response_s.p95),
        energy_kwh=rounded(whole.energy_kwh or 0.0),
        trained=trained,
        timings=CellTimings(decision_p50_s=rounded(took.p50 or 0.0), decision_p95_s=rounded(took.p95 or 0.0)),
        detail=detail,
        commit=provenance.commit(),
    )


def measure_bound(task: GridTask) -> GridBound:
    """The bound of one seed's tasks."""
    scenario, fleet, demand = task.scenario.load()
    limit = reward_bound(at_load(scenario, task.load), fleet, demand, task.intervals, task.seed)
    return GridBound(scenario=task.scenario.name, load=task.load, seed=task.seed, reward=rounded(limit))
