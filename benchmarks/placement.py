"""What placers are worth: predicted and realised O^P (eq. 10) and the reward, on paired workloads.

Every placer meets the same tasks under the same bandit, seed by seed; differences are taken within a seed, with a 95 %
interval (Student's t) over seeds. `predicted` is what one and the same trained surrogate expects of each placer's
plans, whoever made them; `realised` is what came of them. Cells that are in the results file are kept, so that an
interrupted run goes on where it stopped.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, cast

import numpy as np

from splitplace import provenance
from splitplace.benchmarks.copies import Until
from splitplace.benchmarks.paired import Interval, interval
from splitplace.benchmarks.results_file import Measured, save
from splitplace.errors import NotFoundError, SplitPlaceError, UsageError, unknown
from splitplace.placement import states as store
from splitplace.placement.learning.score import Score
from splitplace.placement.placers.daso import Daso, DasoState
from splitplace.placement.policy import Composed, Placer, States
from splitplace.placement.registry import DECIDERS, PLACERS
from splitplace.placement.simulator.bound import reward_bound
from splitplace.placement.simulator.demands import DemandLike
from splitplace.placement.simulator.run import simulate
from splitplace.placement.simulator.scenario import Scenario
from splitplace.records.action import Action, Place
from splitplace.records.base import Count, Fraction, NonNegative, PositiveCount, Record
from splitplace.records.device import FleetSpec
from splitplace.records.provenance import Provenance
from splitplace.records.view import View


@dataclass(frozen=True, kw_only=True)
class PlacerRow:
    """A placer as it takes part, and what the table calls it."""

    label: str
    placer: str
    """In the registry."""
    options: Mapping[str, Any] = field(default_factory=dict)
    """Fields of the placer that are not its own."""
    state: Mapping[str, Any] = field(default_factory=dict)
    """Fields of its state that are not as trained."""
    trained: bool = True
    """Whether it starts from a trained state, if it learns at all."""
    learns: bool = True
    """Whether its surrogate learns during the run; the bandit does."""
    devices: int | None = None
    """The largest fleet it can take."""


CLIMBING = {"eta": 100.0}
"""A step that leaves the start, for the rows that show what the climb itself does where tuning chose not to climb."""
ROWS = (
    PlacerRow(label="daso", placer="daso"),
    PlacerRow(label="daso, η as printed", placer="daso", state={"eta": 1e-3}),
    PlacerRow(label="daso, η = 100", placer="daso", state=CLIMBING),
    PlacerRow(label="daso, untrained, η = 100", placer="daso", state=CLIMBING, trained=False),
    PlacerRow(label="daso, frozen", placer="daso", learns=False),
    PlacerRow(label="daso-warm", placer="daso-warm"),
    PlacerRow(label="daso-slots", placer="daso-slots"),
    PlacerRow(label="daso-tasks", placer="daso-tasks"),
    PlacerRow(label="daso-tasks, no ascent", placer="daso-tasks", options={"steps": 0}),
    PlacerRow(label="gobi", placer="gobi"),
    PlacerRow(label="least-loaded", placer="least-loaded"),
    PlacerRow(label="best-fit", placer="best-fit"),
    PlacerRow(label="random", placer="random"),
    PlacerRow(label="exact", placer="exact", devices=10),
)
LABELS = tuple(row.label for row in ROWS)


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

    def __post_init__(self) -> None:
        possible = [row.label for row in self._possible]
        for label in self.only:
            if label not in possible:
                raise unknown("row", label, possible)

    @property
    def _possible(self) -> tuple[PlacerRow, ...]:
        """Those that can take the fleet."""
        devices = len(self.fleet.units())
        return tuple(row for row in ROWS if row.devices is None or devices <= row.devices)

    @property
    def rows(self) -> tuple[PlacerRow, ...]:
        """What is measured, in the table's order."""
        return tuple(row for row in self._possible if row.label in self.only or not self.only)


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


def measure(setting: Setting, row: PlacerRow, seed: int) -> PlacerCell:
    """One run."""
    judge, decider, placer = Daso(), DECIDERS.make(setting.decider), PLACERS.make(row.placer)
    placer = replace(placer, **row.options) if row.options else placer
    watch: list[_Watch] = []

    def first(view: View) -> States:
        judged = _states(setting, Composed(decider, judge), view)
        score = Score(from_s=setting.scenario.startup_s, to_s=setting.intervals * setting.scenario.interval_s)
        watch.append(_Watch(score, judge, judged.placer))
        state = _states(setting, Composed(decider, placer), view).placer if row.trained else placer.init(view)
        return States(judged.decider, replace(state, **row.state) if row.state else state)

    # The surrogate alone: a frozen bandit would be another policy on other tasks.
    still = Composed(decider, placer if row.learns else cast(Placer, Until(placer, 0.0)))
    run = simulate(
        setting.scenario, setting.fleet, setting.demand, still, setting.intervals, seed, first,
        watch=lambda view, actions: watch[0](view, actions), strict=True,
    )  # fmt: skip
    m = run.metrics
    if not watch[0].score.intervals or not watch[0].predicted:
        raise SplitPlaceError(
            f"seed {seed}, {row.label}: in {setting.intervals} intervals no task left or was overdue long enough "
            "before the end, so there is no O^P to compare; give more --intervals, or a larger load"
        )
    return PlacerCell(
        row=row.label,
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


def run(path: Path, setting: Setting, say: Callable[[str], None]) -> PlacementResults:
    """Measure what the results file lacks, and write it after every cell."""
    done: dict[tuple[str, int], PlacerCell] = {}
    bounds: dict[int, Bound] = {}
    results: PlacementResults | None = None
    fleet = f"{setting.fleet.name}, {len(setting.fleet.units())} devices"
    if path.is_file():
        old = PlacementResults.parse(path.read_bytes(), str(path))
        same = (old.scenario, old.fleet, old.demand, old.intervals, old.decider)
        if same != (setting.scenario.name, fleet, setting.demand_name, setting.intervals, setting.decider):
            raise UsageError(f"{path} holds another setting {same}: give another --results, or --fresh")
        # Only whole seeds can be paired: what a longer run left of others stays out.
        done = {(cell.row, cell.seed): cell for cell in old.cells if cell.seed in setting.seeds}
        bounds = {bound.seed: bound for bound in old.reward_bounds if bound.seed in setting.seeds}
        results = old.model_copy(update={"cells": tuple(done.values()), "reward_bounds": tuple(bounds.values())})
    for seed in setting.seeds:
        if seed not in bounds:
            limit = reward_bound(setting.scenario, setting.fleet, setting.demand, setting.intervals, seed)
            bounds[seed] = Bound(seed=seed, reward=limit)
        for row in setting.rows:
            if (row.label, seed) in done:
                continue
            say(f"seed {seed}, {row.label}")
            done[row.label, seed] = measure(setting, row, seed)
            results = PlacementResults(
                scenario=setting.scenario.name,
                fleet=fleet,
                demand=setting.demand_name,
                intervals=setting.intervals,
                decider=setting.decider,
                cells=tuple(done.values()),
                reward_bounds=tuple(bounds.values()),
                provenance=provenance.collect(),
            )
            save(path, results, indent=2)
    assert results is not None
    return results


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
