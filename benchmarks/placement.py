"""What placers are worth: predicted and realised O^P (eq. 10) and the reward, on paired workloads.

Every placer meets the same tasks under the same bandit, seed by seed; differences are taken within a seed, with a 95 %
interval (Student's t) over seeds. `predicted` is what one and the same trained surrogate expects of each placer's
plans, whoever made them; `realised` is what came of them. Cells that are in the results file are kept, so that an
interrupted run goes on where it stopped.
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cache
from math import inf
from pathlib import Path
from typing import Any

import numpy as np

from splitplace import provenance
from splitplace.benchmarks import grid_jobs
from splitplace.benchmarks.experiment import load_experiment
from splitplace.benchmarks.grid_row import GridRow
from splitplace.benchmarks.grid_scenario import files_moved, merged
from splitplace.benchmarks.paired import Interval, interval
from splitplace.benchmarks.results_file import Measured, save
from splitplace.errors import NotFoundError, SplitPlaceError, UsageError, unknown
from splitplace.placement import states as store
from splitplace.placement.learning.score import Score
from splitplace.placement.placers.daso import Daso, DasoState
from splitplace.placement.policy import Composed, States
from splitplace.placement.registry import DECIDERS
from splitplace.placement.simulator.bound import reward_bound
from splitplace.placement.simulator.demands import DemandLike
from splitplace.placement.simulator.run import simulate
from splitplace.placement.simulator.scenario import Scenario
from splitplace.records.action import Action, Place
from splitplace.records.base import Count, Fraction, NonNegative, PositiveCount, Record
from splitplace.records.device import FleetSpec
from splitplace.records.provenance import Provenance
from splitplace.records.view import View


@cache
def rows() -> tuple[GridRow, ...]:
    """All that take part, as `experiments/placement.toml` has them; their decider is the setting's."""
    return load_experiment("placement").rows


class PlacerCell(Measured):
    """One placer on one seed."""

    row: str
    seed: Count
    realised: float
    predicted: float
    reward: float
    scored: Fraction | None = None
    """Share of the seed's tasks that the means are of; none in a file from before there was a cohort."""
    response_s: NonNegative
    energy_kwh: NonNegative
    decision_p50_s: NonNegative
    decision_p95_s: NonNegative


class Bound(Record):
    """What no policy can exceed on one seed (`placement/simulator/bound.py`)."""

    seed: Count
    reward: float


class PlacementResults(Record):
    """Every cell of one setting, and where it comes from."""

    scenario: str
    fleet: str
    demand: str
    intervals: PositiveCount
    decider: str = "mab"
    cells: tuple[PlacerCell, ...]
    reward_bounds: tuple[Bound, ...]
    """Of each seed's workload."""
    provenance: Provenance


@dataclass(frozen=True, eq=False)
class Setting:
    """What is run."""

    scenario: Scenario
    fleet: FleetSpec
    demand: DemandLike
    demand_name: str
    state: Path | None
    """Folder of trained states; none for those that ship."""
    intervals: int = 50
    seeds: tuple[int, ...] = (0, 1, 2, 3, 4)
    decider: str = "mab"
    only: tuple[str, ...] = ()
    """Some of the rows; none for all."""

    def moved(self, place: Callable[[str], str]) -> "Setting":
        """The same, its files where `place` has them."""
        document = merged(self.scenario.model_dump(mode="json"), files_moved(self.scenario, place))
        state = None if self.state is None else Path(place(str(self.state)))
        return replace(self, scenario=Scenario.parse(json.dumps(document), self.scenario.name), state=state)

    def __post_init__(self) -> None:
        possible = [row.name for row in self._possible]
        for label in self.only:
            if label not in possible:
                raise unknown("row", label, possible)

    @property
    def _possible(self) -> tuple[GridRow, ...]:
        """Those that can take the fleet."""
        devices = len(self.fleet.units())
        return tuple(row for row in rows() if row.devices is None or devices <= row.devices)

    @property
    def rows(self) -> tuple[GridRow, ...]:
        """What is measured, in the table's order."""
        return tuple(row for row in self._possible if row.name in self.only or not self.only)


class _Watch:
    """Scores a run, and asks the judge (a trained DASO that takes no part) what it expects of each placement."""

    def __init__(self, score: Score, judge: Daso, state: DasoState):
        self.score, self.judge, self.state = score, judge, state
        self.predicted: list[float] = []

    def __call__(self, view: View, actions: Sequence[Action]) -> None:
        self.score(view, actions)
        if any(isinstance(action, Place) for action in actions):
            self.predicted.append(self.judge.predict(self.state, view, list(actions)))


def _states(setting: Setting, policy: Composed, view: View) -> Any:
    if setting.state is None:
        states, found = store.shipped(policy, setting.scenario.name, view)
    else:
        states, found = store.from_folder(policy, setting.state, view)
    missing = [part for part in store.trainable(policy) if part not in found]
    if missing:
        raise NotFoundError(
            f"no trained state of {', '.join(missing)} for this scenario, fleet and demand: train one (policy train "
            "--out DIR) and hand it over (--state DIR)"
        )
    return states


def measure(setting: Setting, row: GridRow, seed: int) -> PlacerCell:
    """One run."""
    judge, decider = Daso(), DECIDERS.make(setting.decider)
    of_row = row.policy(row.policies[0])
    assert isinstance(of_row, Composed), "the experiment's rows are of a decider and a placer"
    policy = Composed(decider, of_row.placer)
    watch: list[_Watch] = []

    def first(view: View) -> Any:
        judged = _states(setting, Composed(decider, judge), view)
        score = Score(from_s=setting.scenario.startup_s, to_s=setting.intervals * setting.scenario.interval_s)
        watch.append(_Watch(score, judge, judged.placer))
        known = policy.placer.name not in row.untrained
        placer = _states(setting, policy, view).placer if known else policy.placer.init(view)
        return row.started(policy, States(judged.decider, placer), view)

    run = simulate(
        setting.scenario, setting.fleet, setting.demand, row.running(policy, inf), setting.intervals, seed, first,
        watch=lambda view, actions: watch[0](view, actions), strict=True,
    )  # fmt: skip
    m = run.metrics
    if not watch[0].score.intervals or not watch[0].predicted:
        raise SplitPlaceError(
            f"seed {seed}, {row.name}: in {setting.intervals} intervals no task left or was overdue long enough "
            "before the end, so there is no O^P to compare; give more --intervals, or a larger load"
        )
    return PlacerCell(
        row=row.name,
        seed=seed,
        realised=watch[0].score.mean,
        predicted=float(np.mean(watch[0].predicted)),
        reward=m.reward or 0.0,
        scored=m.scored,
        response_s=m.response_s.mean or 0.0,
        energy_kwh=m.energy_kwh or 0.0,
        decision_p50_s=m.timings.decision_s.p50 or 0.0,
        decision_p95_s=m.timings.decision_s.p95 or 0.0,
        commit=provenance.commit(),
    )


@dataclass(frozen=True, eq=False)
class PlacerTask:
    """A row on a seed; of no row, the seed's bound."""

    setting: Setting
    seed: int
    row: GridRow | None = None

    def moved(self, place: Callable[[str], str]) -> "PlacerTask":
        """The same, its files where `place` has them."""
        return replace(self, setting=self.setting.moved(place))


def measure_task(task: PlacerTask) -> PlacerCell | Bound:
    """It, in whichever process."""
    s = task.setting
    if task.row is not None:
        return measure(s, task.row, task.seed)
    return Bound(seed=task.seed, reward=reward_bound(s.scenario, s.fleet, s.demand, s.intervals, task.seed))


def run(path: Path, setting: Setting, say: Callable[[str], None], jobs: grid_jobs.Jobs = 1) -> PlacementResults:
    """Measure what the results file lacks, and write it after every cell."""
    done: dict[tuple[str, int], PlacerCell] = {}
    bounds: dict[int, Bound] = {}
    fleet = f"{setting.fleet.name}, {len(setting.fleet.units())} devices"
    if path.is_file():
        old = PlacementResults.parse(path.read_bytes(), str(path))
        same = (old.scenario, old.fleet, old.demand, old.intervals, old.decider)
        if same != (setting.scenario.name, fleet, setting.demand_name, setting.intervals, setting.decider):
            raise UsageError(f"{path} holds another setting {same}: give another --results, or --fresh")
        # Only whole seeds can be paired: what a longer run left of others stays out.
        done = {(cell.row, cell.seed): cell for cell in old.cells if cell.seed in setting.seeds}
        bounds = {bound.seed: bound for bound in old.reward_bounds if bound.seed in setting.seeds}

    def results() -> PlacementResults:
        order = {row.name: number for number, row in enumerate(rows())}
        cells = sorted(done.values(), key=lambda cell: (cell.seed, order.get(cell.row, len(order))))
        return PlacementResults(
            scenario=setting.scenario.name,
            fleet=fleet,
            demand=setting.demand_name,
            intervals=setting.intervals,
            decider=setting.decider,
            cells=tuple(cells),
            reward_bounds=tuple(bounds[seed] for seed in sorted(bounds)),
            provenance=provenance.collect(),
        )

    def keep(found: PlacerCell | Bound) -> None:
        if isinstance(found, Bound):
            bounds[found.seed] = found
        else:
            done[found.row, found.seed] = found
        save(path, results(), indent=2)

    missing = [(seed, row) for seed in setting.seeds for row in setting.rows if (row.name, seed) not in done]
    tasks = [PlacerTask(setting, seed) for seed in setting.seeds if seed not in bounds]
    tasks += [PlacerTask(setting, seed, row) for seed, row in missing]
    grid_jobs.measure(measure_task, tasks, jobs, keep, say, "placers")
    return results()


def column(results: PlacementResults, row: str, field: str) -> list[float]:
    """One figure of one row, by seed."""
    return [float(getattr(cell, field)) for cell in sorted(results.cells, key=lambda c: c.seed) if cell.row == row]


def advantage(results: PlacementResults, row: str, over: str, field: str = "realised") -> Interval:
    """The paired difference row - over."""
    pairs = zip(column(results, row, field), column(results, over, field), strict=True)
    return interval([a - b for a, b in pairs])


def verdict(results: PlacementResults, row: str = "daso") -> dict[str, str]:
    """One row against each other, in words: a difference counts only if its interval leaves out zero."""
    words, name = {}, "DASO" if row == "daso" else row
    measured = dict.fromkeys(cell.row for cell in results.cells)
    for other in measured:
        if other == row or row not in measured:
            continue
        d = advantage(results, row, other)
        says = "better than" if d.low > 0 else "worse than" if d.high < 0 else "not to be told from"
        words[other] = f"{name} is {says} {other}: realised O^P {d}"
    return words
