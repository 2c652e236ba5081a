"""Figure 6: how the bandit's R, Q, N, ε and ρ come about in its training, over seeds.

An experiment with `curves` has one row, whose decider is watched; its curves stand in place of cells.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from splitplace import provenance
from splitplace.benchmarks import grid_jobs
from splitplace.benchmarks.experiment import Experiment
from splitplace.benchmarks.grid_cells import summary
from splitplace.benchmarks.grid_scenario import GridScenario
from splitplace.benchmarks.paired import interval
from splitplace.benchmarks.results_file import Measured, machines_of, save
from splitplace.benchmarks.results_section import FileSection, Row
from splitplace.errors import UsageError
from splitplace.placement.deciders.epsilon_greedy import EpsilonGreedy, Witness
from splitplace.placement.policy import Composed
from splitplace.placement.registry import parse_policy
from splitplace.placement.simulator.run import simulate
from splitplace.placement.simulator.setting import prepare
from splitplace.records.base import Count, Record
from splitplace.records.provenance import Provenance

DIGITS = 4
DRAWN = 20
"""Points of a curve in the picture."""
GAPS = {"high": ("Q/high-layer", "Q/high-semantic"), "low": ("Q/low-semantic", "Q/low-layer")}
"""The arm that the paper has above the other, where the deadline is at least R, and below it."""


class TrainingCurves(Measured):
    """One training: a number an interval, none while it is not known."""

    scenario: str
    seed: Count
    curves: dict[str, tuple[float | None, ...]]


class BanditTrainingResults(Record):
    """Every training, and where it comes from."""

    experiment: Experiment
    trainings: tuple[TrainingCurves, ...]
    provenance: Provenance


@dataclass(frozen=True)
class TrainingTask:
    """What is trained where."""

    policy: str
    scenario: GridScenario
    seed: int
    intervals: int

    def moved(self, place: Callable[[str], str]) -> "TrainingTask":
        """The same, its files where `place` has them."""
        return replace(self, scenario=self.scenario.moved(place))


def train_once(task: TrainingTask) -> TrainingCurves:
    """One training.

    Raises:
        UsageError: The policy's decider is not the bandit in training.
        SplitPlaceError: It cannot be run.
    """
    policy = parse_policy(task.policy)
    if not isinstance(policy, Composed) or not isinstance(policy.decider, EpsilonGreedy):
        raise UsageError(f"{task.policy}: expected epsilon-greedy and a placer: curves are of the bandit in training")
    witness = Witness(policy.decider)
    scenario, fleet, demand = task.scenario.load()
    simulate(scenario, fleet, demand, Composed(witness, policy.placer), task.intervals, task.seed, strict=True)
    _, costs = prepare(scenario, fleet, demand)
    points = [values for _, values in witness.curves(costs.applications)]
    return TrainingCurves(
        scenario=task.scenario.name,
        seed=task.seed,
        curves={name: tuple(_kept(point[name]) for point in points) for name in points[0]} if points else {},
        commit=provenance.commit(),
    )


def _kept(value: float) -> float | None:
    return None if math.isnan(value) else round(value, DIGITS)


def run(
    path: Path, experiment: Experiment, say: Callable[[str], None], part: Experiment, jobs: grid_jobs.Jobs, fresh: bool
) -> BanditTrainingResults:
    """Train what the results file lacks, and write it after every training; arguments as `experiment_run.run`."""
    found = dict[tuple[str, int], TrainingCurves]()
    names = {scenario.name for scenario in part.scenarios}
    if path.is_file():
        old = BanditTrainingResults.parse(path.read_bytes(), str(path))
        if old.experiment.model_copy(update={"about": ""}) != experiment.model_copy(update={"about": ""}):
            raise UsageError(f"{path} is of an experiment that says otherwise: give another --results, or remove it")
        found = {(one.scenario, one.seed): one for one in old.trainings if not (fresh and one.scenario in names)}

    def results() -> BanditTrainingResults:
        everything = tuple(found.values())
        return BanditTrainingResults(experiment=experiment, trainings=everything, provenance=provenance.collect())

    def keep(one: TrainingCurves) -> None:
        found[one.scenario, one.seed] = one
        save(path, results(), indent=None)

    policy = experiment.rows[0].policies[0]
    tasks = [
        TrainingTask(policy, scenario, seed, scenario.intervals or experiment.intervals)
        for seed in part.seeds
        for scenario in part.scenarios
        if (scenario.name, seed) not in found
    ]
    grid_jobs.measure(train_once, tasks, jobs, keep, say, "training")
    return results()


def last(results: BanditTrainingResults, scenario: str, name: str) -> dict[int, float]:
    """A curve's end by seed, of the seeds in which it has one."""
    mine = sorted((one for one in results.trainings if one.scenario == scenario), key=lambda one: one.seed)
    ends = {one.seed: one.curves[name][-1] for one in mine if one.curves.get(name)}
    return {seed: end for seed, end in ends.items() if end is not None}


def verdict(results: BanditTrainingResults) -> dict[str, str]:
    """What §6.3 says of the curves, by scenario."""
    claims = {
        "Where the deadline is below R, the Q of trees is above that of chains": ("low",),
        "Where it is not, the Q of chains is above that of trees": ("high",),
        "The two differ more where it is below": ("low", "high"),
    }
    said = dict[str, list[tuple[str, str]]]()
    for claim, contexts in claims.items():
        said[claim] = []
        for scenario in dict.fromkeys(one.scenario for one in results.trainings):
            gaps = [_gaps(results, scenario, context) for context in contexts]
            values = gaps[0] if len(gaps) == 1 else _differences(*({s: abs(v) for s, v in g.items()} for g in gaps))
            said[claim].append(_word(scenario, list(values.values())))
    return {claim: summary(found) for claim, found in said.items()}


def _gaps(results: BanditTrainingResults, scenario: str, context: str) -> dict[int, float]:
    """By seed, of those in which both arms were played."""
    return _differences(*(last(results, scenario, name) for name in GAPS[context]))


def _differences(a: Mapping[int, float], b: Mapping[int, float]) -> dict[int, float]:
    """Within the seeds that both have."""
    return {seed: a[seed] - b[seed] for seed in a if seed in b}


def _word(scenario: str, values: Sequence[float]) -> tuple[str, str]:
    if len(values) < 2:
        return f"{scenario} (an arm or a setting that was not met)", "cannot be told"
    found = interval(values)
    word = "holds" if found.low > 0 else "does not hold" if found.high <= 0 else "cannot be told"
    return f"{scenario} ({found})", word


def section(text: bytes, file: Path) -> FileSection:
    """What RESULTS.md and the command say: the end of every curve."""
    found = BanditTrainingResults.parse(text, str(file))
    rows: list[Row] = []
    scenarios = list(dict.fromkeys(one.scenario for one in found.trainings))
    for name in dict.fromkeys(name for one in found.trainings for name in one.curves):
        ends = {scenario: list(last(found, scenario, name).values()) for scenario in scenarios}
        rows.append({"at the end": name} | {scenario: _end(values) for scenario, values in ends.items()})
    return FileSection(
        found.provenance,
        [rows] if rows else [],
        verdict(found),
        sorted({one.seed for one in found.trainings}),
        [one.commit for one in found.trainings if one.commit],
        [found.experiment.about.strip()],
        machines_of(found.trainings),
    )


def _end(values: Sequence[float]) -> str:
    if not values:
        return ""
    found = interval(values)
    return f"{found.mean:.3f}" + (f" ± {found.high - found.mean:.3f}" if len(values) > 1 else "")


def draw(path: Path, results: BanditTrainingResults) -> Path | None:
    """Every curve, mean over the seeds, beside the results file; the picture's absolute path, None of no curve."""
    from splitplace.report.series import SeriesPanel, draw_series

    names = list(dict.fromkeys(name for one in results.trainings for name in one.curves))
    panels = []
    for group in dict.fromkeys(_group(name) for name in names):
        for scenario in dict.fromkeys(one.scenario for one in results.trainings):
            mine = [one.curves for one in results.trainings if one.scenario == scenario]
            lines = {name: _line([one[name] for one in mine if name in one]) for name in names if _group(name) == group}
            panels.append(SeriesPanel(scenario, group, {name: line for name, line in lines.items() if line}))
    if not panels:
        return None
    picture = path.with_suffix(".svg").absolute()
    draw_series(picture, panels, names)
    return picture


def _group(name: str) -> str:
    """Curves of one unit share a panel; Q and N have one for each setting, as in the paper."""
    kind, _, of = name.partition("/")
    return f"{kind}, {of.partition('-')[0]}" if kind in ("Q", "N") else kind if of else "ε, ρ"


def _line(curves: Sequence[Sequence[float | None]]) -> list[tuple[float, float, float]]:
    """Some of the points at which every seed knows a value."""
    length = min(map(len, curves), default=0)
    line = []
    for at in range(0, length, max(length // DRAWN, 1)):
        values = [value for curve in curves if (value := curve[at]) is not None]
        if len(values) == len(curves):
            line.append((float(at), float(np.mean(values)), 0.0))
    return line
