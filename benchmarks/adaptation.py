"""What learning during a run is worth: the same policy, from the same states, and copies frozen when something shifts.

Half-way through each scenario `shift-*` the rate, the mix or the network changes. Until then all copies are one and
the same policy, so that they meet the shift with the same states; from then on they differ only in what still learns.
Beside them stand the two arms alone: what the bandit could have had. Everything is paired by seed.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from splitplace import provenance
from splitplace.benchmarks import grid_jobs
from splitplace.benchmarks.copies import Foretold
from splitplace.benchmarks.experiment import load_experiment
from splitplace.benchmarks.grid_row import GridRow
from splitplace.benchmarks.grid_scenario import shift_s
from splitplace.benchmarks.paired import Interval, interval
from splitplace.benchmarks.results_file import Measured, save
from splitplace.errors import UsageError, unknown
from splitplace.placement import states as store
from splitplace.placement.learning.score import Score
from splitplace.placement.learning.traces import LearningSettings
from splitplace.placement.learning.train import train as train_parts
from splitplace.placement.metrics import outcome, outcomes_of
from splitplace.placement.placers.daso import Daso
from splitplace.placement.placers.daso_warm import DasoWarm
from splitplace.placement.policy import Composed
from splitplace.placement.simulator.demands import DemandLike
from splitplace.placement.simulator.results import SimulationRun
from splitplace.placement.simulator.run import simulate
from splitplace.placement.simulator.scenario import Scenario
from splitplace.placement.simulator.shipped import load_fleet, load_scenario
from splitplace.records.base import Count, PositiveCount, Record
from splitplace.records.provenance import Provenance
from splitplace.records.view import View

SHIFTS = ("rate", "mix", "network")
PLACERS: dict[str, Daso] = {"daso": Daso(), "daso-warm": DasoWarm()}


@cache
def rows() -> dict[str, GridRow]:
    """Who takes part, as `experiments/adaptation.toml` has it; daso there is whichever placer is asked for."""
    return {row.name: row for row in load_experiment("adaptation").rows}


def arms() -> list[str]:
    """What the bandit could have had: the rows whose decider learns nothing."""
    return [name for name, row in rows().items() if not hasattr(_composed(row).decider, "train")]


BIN = 5
"""Intervals that are averaged into one point."""
BEFORE, AFTER = (20, 50), (70, 95)
"""Windows, in intervals: settled before the shift; and after it, with twenty intervals to learn in. The last intervals'
tasks have no outcome yet."""
TRAINING_RUNS, TRAINING_INTERVALS = 8, 100


class AdaptationCell(Measured):
    """One run, a number a bin."""

    shift: str
    placer: str
    row: str
    seed: Count
    reward: tuple[float, ...]
    """Of the tasks that arrived in the bin."""
    scored: tuple[float, ...] = ()
    """Share of them that it is of: those due within the run; none in a file from before there was a cohort."""
    objective: tuple[float, ...]
    """O^P (eq. 10) of its intervals."""
    error: tuple[float, ...]
    """Of the policy's own surrogate: mean of |predicted - realised| O^P."""


class AdaptationResults(Record):
    """Every cell, and where it comes from."""

    demand: str
    intervals: PositiveCount
    cells: tuple[AdaptationCell, ...]
    provenance: Provenance


def scenario_of(shift: str) -> Scenario:
    """The shipped scenario of a shift."""
    return load_scenario(f"shift-{shift}")


def calm() -> Scenario:
    """What all of them are before their shift: the scenario of the training."""
    scenarios = []
    for scenario in map(scenario_of, SHIFTS):
        workload = scenario.workload.model_copy(update={"phases": ()})
        still = {"name": "shift-none", "about": "", "network": (), "workload": workload}
        scenarios.append(scenario.model_copy(update=still))
    assert all(scenario == scenarios[0] for scenario in scenarios), "the shifts start from different scenarios"
    return scenarios[0]


def train(folder: Path, demand: DemandLike, demand_name: str, say: Callable[[str], None]) -> None:
    """States for the time before the shift, as `policy train` makes them, unless the folder has them."""
    if not (folder / "mab.safetensors").is_file() or not (folder / "daso.safetensors").is_file():
        scenario = calm()
        settings = LearningSettings(
            scenario,
            load_fleet(scenario.fleet),
            demand,
            demand_name,
            TRAINING_RUNS,
            TRAINING_INTERVALS,
            parts=("mab", "daso"),
        )
        train_parts(settings, folder, lambda what, share: say(f"{what} {share:.0%}"))


def measure(
    folder: Path, demand: DemandLike, shift: str, placer: str, row: GridRow, seed: int, intervals: int
) -> AdaptationCell:
    """One run."""
    scenario, inner = scenario_of(shift), PLACERS[placer]
    policy = Composed(_composed(row).decider, inner)
    stops = tuple(inner.name if name == "daso" else name for name in row.stops)
    copy = row.model_copy(update={"stops": stops}).running(policy, shift_s(scenario))
    assert isinstance(copy, Composed)
    watched = Foretold(copy.placer, inner, {})

    def first(view: View) -> Any:
        return store.from_folder(policy, folder, view)[0]

    score = Score(from_s=scenario.startup_s, to_s=intervals * scenario.interval_s)
    watching = Composed(copy.decider, watched)  # type: ignore[arg-type]  # its name is a property
    run = simulate(scenario, load_fleet(scenario.fleet), demand, watching, intervals, seed, first, score, strict=True)
    return _cell(run, score, watched.notes, scenario.interval_s, intervals, (shift, placer, row.name, seed))


def _composed(row: GridRow) -> Composed:
    policy = row.policy(row.policies[0])
    assert isinstance(policy, Composed), "the experiment's rows are of a decider and a placer"
    return policy


def _cell(
    run: SimulationRun,
    score: Score,
    notes: dict[float, float],
    interval_s: float,
    intervals: int,
    key: tuple[str, str, str, int],
) -> AdaptationCell:
    outcomes = outcomes_of(run.tasks)
    bins = range(-(-intervals // BIN))
    bin_N = np.asarray(run.tasks["arrival_s"], np.float64) // (BIN * interval_s)
    bin_I = np.array(score.from_s) // (BIN * interval_s)
    realised = np.array(score.intervals)
    error = np.abs(realised - np.array([notes[at_s] for at_s in score.from_s]))
    shift, placer, row, seed = key
    got = [outcome(outcomes.where(bin_N == b)) for b in bins]
    return AdaptationCell(
        shift=shift,
        placer=placer,
        row=row,
        seed=seed,
        reward=tuple(round(each.reward or 0.0, 4) for each in got),
        scored=tuple(round(each.scored or 0.0, 4) for each in got),
        objective=tuple(_mean(realised[bin_I == b]) for b in bins),
        error=tuple(_mean(error[bin_I == b]) for b in bins),
        commit=provenance.commit(),
    )


def _mean(values: Any) -> float:
    return round(float(np.mean(values)), 4) if len(values) else 0.0


@dataclass(frozen=True, eq=False)
class AdaptationTask:
    """One run, for whichever process."""

    folder: Path
    demand: DemandLike
    shift: str
    placer: str
    row: str
    seed: int
    intervals: int

    def moved(self, place: Callable[[str], str]) -> "AdaptationTask":
        """The same, its folder where `place` has it."""
        return replace(self, folder=Path(place(str(self.folder))))


def measure_task(task: AdaptationTask) -> AdaptationCell:
    """It."""
    row = rows()[task.row]
    return measure(task.folder, task.demand, task.shift, task.placer, row, task.seed, task.intervals)


def run(
    path: Path,
    folder: Path,
    demand: DemandLike,
    demand_name: str,
    placers: Sequence[str],
    seeds: int,
    say: Callable[[str], None],
    jobs: grid_jobs.Jobs = 1,
) -> AdaptationResults:
    """Measure what the results file lacks, and write it after every cell.

    Raises:
        UsageError: A placer that does not learn, or a file of another setting.
    """
    for placer in placers:
        if placer not in PLACERS:
            raise unknown("placer", placer, PLACERS)
    intervals = scenario_of(SHIFTS[0]).intervals
    done: dict[tuple[str, str, str, int], AdaptationCell] = {}
    if path.is_file():
        old = AdaptationResults.parse(path.read_bytes(), str(path))
        if (old.demand, old.intervals) != (demand_name, intervals):
            raise UsageError(f"{path} holds another setting: give another --results, or --fresh")
        done = {(c.shift, c.placer, c.row, c.seed): c for c in old.cells if c.placer in placers and c.seed < seeds}
    keys = [
        (shift, placer, name, seed)
        for seed in range(seeds)
        for shift in SHIFTS
        for placer in placers
        for name in rows()
    ]
    missing = [key for key in keys if key not in done]
    if missing:
        train(folder, demand, demand_name, say)

    def results() -> AdaptationResults:
        cells = tuple(done[key] for key in keys if key in done)
        return AdaptationResults(demand=demand_name, intervals=intervals, cells=cells, provenance=provenance.collect())

    def keep(cell: AdaptationCell) -> None:
        done[cell.shift, cell.placer, cell.row, cell.seed] = cell
        save(path, results(), indent=None)

    tasks = [AdaptationTask(folder.absolute(), demand, *key, intervals) for key in missing]
    grid_jobs.measure(measure_task, tasks, jobs, keep, say, "copies")
    return AdaptationResults.parse(path.read_bytes(), str(path)) if not missing else results()


def window(results: AdaptationResults, key: tuple[str, str, str], field: str, span: tuple[int, int]) -> list[float]:
    """Mean of a figure over a window of intervals, by seed; `key` is shift, placer and row."""
    cells = sorted((c for c in results.cells if (c.shift, c.placer, c.row) == key), key=lambda c: c.seed)
    return [float(np.mean(getattr(cell, field)[span[0] // BIN : span[1] // BIN])) for cell in cells]


def gain(results: AdaptationResults, shift: str, placer: str, row: str, over: str, field: str = "reward") -> Interval:
    """The paired difference row - over after the shift."""
    pairs = zip(
        *(window(results, (shift, placer, name), field, AFTER) for name in (row, over)),
        strict=True,
    )
    return interval([a - b for a, b in pairs])


def verdict(results: AdaptationResults) -> dict[str, str]:
    """For each shift and placer, whether the online policy recovers where its frozen copy does not."""
    words = {}
    for shift, placer in dict.fromkeys((c.shift, c.placer) for c in results.cells):
        better = max(arms(), key=lambda arm: np.mean(window(results, (shift, placer, arm), "reward", AFTER)))
        won, owed = (gain(results, shift, placer, row, "frozen") for row in ("online", better))
        if won.low > 0:
            says = "the online policy recovers, its frozen copy does not"
        elif won.high < 0:
            says = "the online policy does worse than its frozen copy"
        elif owed.low <= 0:
            says = "no recovery to be seen: the better arm alone is not to be told from the frozen copy either"
        else:
            says = "the online policy does not recover"
        live, still = (
            gain(results, shift, placer, *pair, "error")
            for pair in (("online", "frozen surrogate"), ("frozen bandit", "frozen"))
        )
        words[f"{shift}, mab+{placer}"] = (
            f"{says}; reward online - frozen {won}, {better} alone - frozen {owed}; the surrogate {_follows(live)} "
            f"under the online bandit, error online - frozen {live}, and {_follows(still)} "
            f"under the frozen one, {still}"
        )
    return words


def _follows(error: Interval) -> str:
    return "follows" if error.high < 0 else "is worse" if error.low > 0 else "is not to be told from its copy"


def shift_interval() -> float:
    """The interval in which all of them shift."""
    (at,) = {shift_s(s) / s.interval_s for s in map(scenario_of, SHIFTS)}
    return at


def draw(path: Path, found: AdaptationResults) -> Path:
    """Reward and error over time, beside the results file; the picture's absolute path."""
    from splitplace.report.adaptation import draw_adaptation

    picture = path.with_suffix(".svg").absolute()
    draw_adaptation(picture, lines(found), BIN, shift_interval())
    return picture


def lines(results: AdaptationResults) -> dict[str, dict[str, tuple[list[float], list[float]]]]:
    """Reward and error over time, means over seeds: by shift and placer, then by policy."""
    found: dict[str, dict[str, tuple[list[float], list[float]]]] = {}
    for shift, placer, row in dict.fromkeys((c.shift, c.placer, c.row) for c in results.cells):
        mine = [c for c in results.cells if (c.shift, c.placer, c.row) == (shift, placer, row)]
        reward, error = (
            np.mean([getattr(cell, field) for cell in mine], axis=0).tolist() for field in ("reward", "error")
        )
        found.setdefault(f"{shift}, {placer}", {})[row] = (reward, error)
    return dict(sorted(found.items(), key=lambda entry: entry[0].partition(", ")[2]))
