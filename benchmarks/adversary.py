"""Where is each policy at its worst? Simulated annealing over scenarios, as PISA has it (Coleman and Krishnamachari).

A point is a value of every knob. For one row after another, steps from the point where it was furthest behind the best
other row; a step that brings it further behind is taken, one that does not with a probability that falls. Every point
is measured with all rows, so that what is found on the way to one row's worst serves the others. What was found is
judged on seeds that the search did not see, against the row that was best there.
"""

import json
import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from splitplace import provenance
from splitplace.benchmarks import grid_jobs
from splitplace.benchmarks.experiment import Experiment
from splitplace.benchmarks.experiment_run import taking_part
from splitplace.benchmarks.grid import GridTask, measure_cell
from splitplace.benchmarks.grid_row import GridRow
from splitplace.benchmarks.grid_scenario import GridScenario
from splitplace.benchmarks.knobs import Point
from splitplace.benchmarks.paired import Interval, interval
from splitplace.benchmarks.results_file import Measured, machines_of, save
from splitplace.benchmarks.results_section import FileSection, Row
from splitplace.errors import SplitPlaceError, UsageError
from splitplace.records.base import Count, Fraction, Record
from splitplace.records.provenance import Provenance
from splitplace.seeds import generator

WARMTH = 0.05
"""Of reward: so much less far behind is taken with probability 1/e at the first step, and never at the last."""


class Reward(Measured):
    """What a row got at a point on a seed."""

    point: Point
    row: str
    seed: Count
    reward: Fraction | None
    """None where it cannot be run there, or no task is scored."""


class AdversaryResults(Record):
    """Every reward, and where it comes from."""

    experiment: Experiment
    steps: Count
    rewards: tuple[Reward, ...]
    provenance: Provenance


@dataclass(frozen=True)
class Worst:
    """Of one row."""

    row: str
    point: Point
    best: str
    """The row that was best there when it was found."""
    reward: float
    behind: Interval
    """The best one's reward less its own, on the judged seeds."""


@dataclass(frozen=True)
class PointTask:
    """A row at a point on a seed."""

    scenario: GridScenario
    """The point's."""
    point_text: str
    row: GridRow
    seed: int
    intervals: int
    states: str | None

    def moved(self, place: Callable[[str], str]) -> "PointTask":
        """The same, its files where `place` has them."""
        return replace(self, scenario=self.scenario.moved(place))


def measure_point(task: PointTask) -> Reward:
    """One run; a point where it cannot be has no reward, for the search goes through such points."""
    point: Point = json.loads(task.point_text)
    reward = None
    try:
        if taking_part([task.row], task.scenario):
            policy = task.row.policies[0]
            cell = GridTask(task.scenario, None, task.seed, task.intervals, task.row, policy, task.states)
            reward = measure_cell(cell).reward
    except SplitPlaceError:
        reward = None
    return Reward(point=point, row=task.row.name, seed=task.seed, reward=reward, commit=provenance.commit())


class Adversary:
    """A search under way; what the results file has is not measured again.

    Args:
        path: The results file.
        experiment: With a `search`.
        steps: For each row.
        jobs: Who measures.
        say: Told how far it is.

    Raises:
        UsageError: The experiment has no search, or the file is of another one.
    """

    def __init__(
        self, path: Path, experiment: Experiment, steps: int, jobs: grid_jobs.Jobs, say: Callable[[str], None]
    ):
        if experiment.search is None:
            raise UsageError(f"experiment {experiment.name} has no table [search]: it says not where to look")
        self.path, self.experiment, self.search = path, experiment, experiment.search
        self.steps, self.jobs, self.say = steps, jobs, say
        self.rewards = dict[tuple[str, str, int], Reward]()
        self.looked = dict[str, None]()
        """Points in the order in which this search came by, whether or not they were in the file."""
        if path.is_file():
            old = AdversaryResults.parse(path.read_bytes(), str(path))
            if (old.experiment.search, old.experiment.rows) != (experiment.search, experiment.rows):
                raise UsageError(f"{path} is of another search: give another --results, or remove it")
            self.rewards = {(_key(one.point), one.row, one.seed): one for one in old.rewards}

    def run(self) -> AdversaryResults:
        """The whole search, and what was found on the judged seeds."""
        for row in self.experiment.rows:
            self._anneal(row.name)
        for row in self.experiment.rows:
            if (found := self._worst(row.name, self._points)) is not None:
                point, best = found
                self._measure(point, [row.name, best], self.search.judged)
        return self._save()

    def _anneal(self, row: str) -> None:
        """Steps of one row; the same draws each time, so that an interrupted search goes on as it would have."""
        rng = generator(0, "adversary", row)
        start = self._worst(row, self.looked)
        here = start[0] if start else {knob.path: knob.drawn(rng) for knob in self.search.knobs}
        behind = self._behind(here, row)
        for step in range(self.steps):
            self.say(f"the worst of {row}: step {step + 1} of {self.steps}, {behind:.3f} behind so far")
            there = {knob.path: knob.near(here[knob.path], rng) for knob in self.search.knobs}
            further = self._behind(there, row)
            warmth = WARMTH * (1 - (step + 1) / self.steps)
            if further >= behind or (warmth > 0 and rng.random() < math.exp((further - behind) / warmth)):
                here, behind = there, further

    def _behind(self, point: Point, row: str) -> float:
        """How far the row is behind the best other; -1 where it has no reward, or no other has."""
        self.looked[_key(point)] = None
        got = self._measure(point, [each.name for each in self.experiment.rows], self.search.seeds)
        others = [reward for name, reward in got.items() if name != row]
        return max(others) - got[row] if row in got and others else -1.0

    @property
    def _points(self) -> list[str]:
        """All that were ever looked at."""
        return list(dict.fromkeys(key[0] for key in self.rewards))

    def _worst(self, row: str, points: Iterable[str]) -> tuple[Point, str] | None:
        """Of these points: where it is furthest behind, and who is best there."""
        found: tuple[float, str, str] | None = None
        for text in points:
            got = self._means(text, self.search.seeds)
            others = {name: reward for name, reward in got.items() if name != row}
            if row in got and others:
                best = max(others, key=others.__getitem__)
                if found is None or others[best] - got[row] > found[0]:
                    found = others[best] - got[row], text, best
        return (json.loads(found[1]), found[2]) if found else None

    def _measure(self, point: Point, rows: list[str], seeds: tuple[int, ...]) -> Mapping[str, float]:
        text = _key(point)
        named, scenario = {row.name: row for row in self.experiment.rows}, self.search.scenario(point)
        tasks = [
            PointTask(scenario, text, named[row], seed, self.search.intervals, self.experiment.states)
            for seed in seeds
            for row in rows
            if (text, row, seed) not in self.rewards
        ]

        def keep(one: Reward) -> None:
            self.rewards[_key(one.point), one.row, one.seed] = one

        if tasks:
            grid_jobs.measure(measure_point, tasks, self.jobs, keep, lambda line: None, "points")
            self._save()
        return self._means(text, seeds)

    def _means(self, text: str, seeds: tuple[int, ...]) -> dict[str, float]:
        """By row that has a reward on each of the seeds."""
        found = dict[str, float]()
        for row in self.experiment.rows:
            values = [one.reward for seed in seeds if (one := self.rewards.get((text, row.name, seed)))]
            known = [value for value in values if value is not None]
            if len(known) == len(seeds):
                found[row.name] = float(np.mean(known))
        return found

    def _save(self) -> AdversaryResults:
        found = AdversaryResults(
            experiment=self.experiment,
            steps=self.steps,
            rewards=tuple(self.rewards.values()),
            provenance=provenance.collect(),
        )
        save(self.path, found, indent=None)
        return found

    def worst(self) -> list[Worst]:
        """Every row at its worst, as judged."""
        found = []
        for row in self.experiment.rows:
            if (at := self._worst(row.name, self._points)) is None:
                continue
            point, best = at
            sides = [self._judged(point, name) for name in (row.name, best)]
            seeds = sorted(sides[0].keys() & sides[1].keys())
            if seeds:
                behind = interval([sides[1][seed] - sides[0][seed] for seed in seeds])
                found.append(Worst(row.name, point, best, float(np.mean([sides[0][s] for s in seeds])), behind))
        return found

    def _judged(self, point: Point, row: str) -> dict[int, float]:
        ones = [self.rewards.get((_key(point), row, seed)) for seed in self.search.judged]
        return {one.seed: one.reward for one in ones if one is not None and one.reward is not None}


def _key(point: Point) -> str:
    return json.dumps(point, sort_keys=True)


def section(text: bytes, file: Path) -> FileSection:
    """What RESULTS.md and the command say of a results file."""
    found = AdversaryResults.parse(text, str(file))
    search = Adversary(Path(), found.experiment, found.steps, 1, lambda line: None)
    search.rewards = {(_key(one.point), one.row, one.seed): one for one in found.rewards}
    rows: list[Row] = [
        {
            "row": worst.row,
            "at its worst": ", ".join(f"{path.rpartition('.')[2]} {value}" for path, value in worst.point.items()),
            "reward": f"{worst.reward:.4f}",
            "the best there": worst.best,
            "behind it": str(worst.behind),
        }
        for worst in search.worst()
    ]
    points = len({_key(one.point) for one in found.rewards})
    return FileSection(
        found.provenance,
        [rows] if rows else [],
        {},
        sorted({one.seed for one in found.rewards}),
        [one.commit for one in found.rewards if one.commit],
        [
            f"{points} scenarios were looked at, {found.steps} steps for each row; rows by the first of their "
            "policies, learners from nothing at every point: no state was trained for these fleets."
        ],
        machines_of(found.rewards),
    )
