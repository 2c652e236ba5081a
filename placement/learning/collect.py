"""Executes the training workload (§6.3): ε-greedy decisions and placements of every quality, and writes down what came.

A surrogate that saw only good placements could not tell a bad one, so each interval is placed by one of three rules,
drawn at random: least-loaded, any device, or any of a few devices. How often each is drawn differs from run to run, for
a fleet that is placed badly for long is jammed, and one that is jammed tells nothing of one that is not.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np

from splitplace.errors import SplitPlaceError
from splitplace.placement.deciders.epsilon_greedy import EpsilonGreedy, TrainingState
from splitplace.placement.learning.fit import Traces
from splitplace.placement.placers.daso import Daso, DasoState
from splitplace.placement.placers.least_loaded import LeastLoaded
from splitplace.placement.placers.random import RandomPlacer
from splitplace.placement.policy import Composed, Feedback, Leaving, PlacementRequest, Placer
from splitplace.placement.simulator.demands import DemandLike
from splitplace.placement.simulator.run import simulate
from splitplace.placement.simulator.scenario import Scenario
from splitplace.placement.surrogates.experience import Experience
from splitplace.placement.surrogates.problem import carried_out
from splitplace.records.action import Action, Decide
from splitplace.records.device import Fleet
from splitplace.records.view import View
from splitplace.seeds import generator

SEED_BASE = 1_000_000
"""Training never meets the workload of an evaluation: its seeds start here."""
UNLIMITED = 10**9


class Few:
    """At random, each interval on a few devices of its own: load piles up, as where an ascent goes astray."""

    name: ClassVar[str] = "few"
    share: ClassVar[float] = 0.16

    def init(self, view: View) -> None:
        """Remembers nothing."""

    def update(self, state: None, feedback: Feedback) -> None:
        """Learns nothing."""

    def place(
        self, state: None, view: View, requests: list[PlacementRequest], rng: np.random.Generator
    ) -> list[Action]:
        """As `random` on a fleet of which the others are down; what does not fit there waits for another interval."""
        few_D = view.devices.up_D & (rng.random(len(view.devices.names)) < self.share)
        return RandomPlacer().place(None, replace(view, devices=replace(view.devices, up_D=few_D)), requests, rng)


@dataclass(frozen=True)
class Explorer:
    """A rule per interval, so that each interval's O^P belongs to one kind of placement."""

    shares: tuple[float, float, float]
    """How often each rule is drawn."""
    run: int = 0
    """Which run of the training it is: each has its own draws."""
    name: ClassVar[str] = "explorer"
    rules: ClassVar[tuple[Placer, ...]] = (LeastLoaded(), RandomPlacer(), Few())

    def init(self, view: View) -> None:
        """Remembers nothing."""

    def update(self, state: None, feedback: Feedback) -> None:
        """Learns nothing."""

    def place(
        self, state: None, view: View, requests: list[PlacementRequest], rng: np.random.Generator
    ) -> list[Action]:
        """By the rule of the interval."""
        interval = int(view.now_s // view.interval_s)
        rule = self.rules[int(generator(self.run, "explorer", interval).choice(len(self.rules), p=self.shares))]
        return rule.place(None, view, requests, rng)


MIXES = ((0.9, 0.05, 0.05), (0.5, 0.4, 0.1), (0.1, 0.8, 0.1))
"""Shares of the rules in one run after another."""


@dataclass(eq=False)
class Witness:
    """The bandit in training, with a note of its state at the start of each interval (figure 6)."""

    inner: EpsilonGreedy
    notes: list[tuple[float, TrainingState]]
    name: ClassVar[str] = "epsilon-greedy"

    def init(self, view: View) -> TrainingState:
        """As the inner."""
        return self.inner.init(view)

    def decide(self, state: TrainingState, view: View, rng: np.random.Generator) -> list[Decide]:
        """As the inner."""
        return self.inner.decide(state, view, rng)

    def update(self, state: TrainingState, feedback: Feedback) -> TrainingState:
        """As the inner, noted."""
        after = self.inner.update(state, feedback)
        if isinstance(feedback, Leaving):
            at_s, view = feedback.view.now_s, feedback.view
            if not self.notes or at_s // view.interval_s > self.notes[-1][0] // view.interval_s:
                self.notes.append((at_s, after))
        return after


@dataclass(frozen=True, eq=False)
class Collected:
    """What the training runs left."""

    traces: dict[str, Traces]
    """By placer."""
    bandit: TrainingState
    """Of the first run."""
    notes: list[tuple[float, TrainingState]]
    """Of the first run."""
    view: View
    """The first, for its tables."""


class _Recorder:
    """A `watch`: begins and closes the pairs of each placer's own features."""

    def __init__(self, placers: Sequence[Daso]):
        self.placers = placers
        self.states: list[DasoState] = []
        self.experience = [Experience(UNLIMITED) for _ in placers]
        self.first: View | None = None

    def __call__(self, view: View, actions: Sequence[Action]) -> None:
        if self.first is None:
            self.first = view
            self.states = [placer.init(view) for placer in self.placers]
        problem = carried_out(view, actions)
        for i, (placer, state) in enumerate(zip(self.placers, self.states, strict=True)):
            experience = self.experience[i].look(view, placer.alpha, placer.beta)
            if experience.due(view):
                experience = experience.begin(view, placer.input(state, view, problem))
            self.experience[i] = experience


def collect(
    scenario: Scenario,
    fleet: Fleet,
    demand: DemandLike,
    placers: Sequence[Daso],
    runs: int,
    intervals: int,
    seed: int,
    progress: Callable[[int, int], None],
) -> Collected:
    """Run the training workload `runs` times with seeds of its own.

    Args:
        scenario: Of the training.
        fleet: Its devices.
        demand: What the splits cost.
        placers: Whose features to write down.
        runs: How many; the bandit is that of the first.
        intervals: Of each run; the paper trains for 200.
        seed: Of all of it.
        progress: Told run and interval.

    Raises:
        SplitPlaceError: A run was too short for any task to leave.
    """
    columns: dict[str, list[tuple[Any, float, int]]] = {placer.name: [] for placer in placers}
    bandit, first_notes, first_view = None, list[tuple[float, TrainingState]](), None
    for run in range(runs):
        recorder, witness = _Recorder(placers), Witness(EpsilonGreedy(), [])
        result = simulate(
            scenario,
            fleet,
            demand,
            Composed(witness, Explorer(MIXES[run % len(MIXES)], run)),
            intervals,
            SEED_BASE + 1000 * seed + run,
            watch=recorder,
            progress=lambda interval, run=run: progress(run, interval),  # type: ignore[misc]
            strict=True,
        )
        for placer, experience in zip(placers, recorder.experience, strict=True):
            columns[placer.name] += [(x, y, run) for x, y in experience.pairs]
        if run == 0:
            bandit, first_notes, first_view = result.states.decider, witness.notes, recorder.first
    assert bandit is not None and first_view is not None
    for run in range(runs):
        if not all(any(row[2] == run for row in rows) for rows in columns.values()):
            raise SplitPlaceError(
                f"nothing to learn from: in {intervals} intervals of {scenario.interval_s:g} s of run {run}, no "
                "task left or was overdue; train for more intervals, or with a larger load"
            )
    return Collected({name: _traces(rows) for name, rows in columns.items()}, bandit, first_notes, first_view)


def _traces(rows: list[tuple[Any, float, int]]) -> Traces:
    return Traces(
        np.stack([x for x, _, _ in rows]),
        np.array([y for _, y, _ in rows]),
        np.array([run for _, _, run in rows], np.float64),
    )
