"""Examples for `completion.py`: plans that were carried out, and how long each task took from then on.

The first runs place around what is good: as the least-loaded placer does, with some tasks gathered on one device and
some fragments elsewhere. Then the placer itself places, with several η, and what comes is learned too: a surrogate must
be right where its own ascent leads (Ross, Gordon & Bagnell 2011, data aggregation).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from splitplace.placement.deciders.epsilon_greedy import EpsilonGreedy
from splitplace.placement.learning.collect import SEED_BASE
from splitplace.placement.learning.fit_completion import Sample
from splitplace.placement.placers.least_loaded import least_loaded_devices
from splitplace.placement.policy import Composed, Feedback, PlacementRequest, Placer, States
from splitplace.placement.room import Room
from splitplace.placement.simulator.demands import DemandLike
from splitplace.placement.simulator.run import simulate
from splitplace.placement.simulator.scenario import Scenario
from splitplace.placement.surrogates.contention import Paths, contention
from splitplace.placement.surrogates.problem import carried_out
from splitplace.records.action import Action, Place, Wait
from splitplace.records.device import Fleet
from splitplace.records.view import Floats, Ints, View

AROUND_SEED, OWN_SEED = 400_000, 500_000
"""Beside those of the other training runs, and of tuning."""


@dataclass(frozen=True)
class Around:
    """Least-loaded, changed: each interval, of its own draw, gathers some tasks and moves some fragments."""

    gathered: ClassVar[tuple[float, ...]] = (0.0, 0.3, 0.7, 1.0)
    """Share of tasks put where their first fragment would go."""
    moved: ClassVar[tuple[float, ...]] = (0.0, 0.0, 0.1, 0.4)
    """Share of fragments put on any device."""
    name: ClassVar[str] = "around"

    def init(self, view: View) -> None:
        """Remembers nothing."""

    def update(self, state: None, feedback: Feedback) -> None:
        """Learns nothing."""

    def place(
        self, state: None, view: View, requests: list[PlacementRequest], rng: np.random.Generator
    ) -> list[Action]:
        """A task that would wait waits; so does one whose change leaves no room for it."""
        gathered, moved = rng.choice(self.gathered), rng.choice(self.moved)
        greedy = least_loaded_devices(view, requests)
        room, actions = Room(view), list[Action]()
        for request in requests:
            task, together = int(view.tasks.id_T[request.task]), rng.random() < gathered
            first = greedy.get((task, request.fragments[0]))
            tried, placed = room.copy(), list[Action]()
            for fragment in request.fragments:
                device = first if together else greedy.get((task, fragment))
                if rng.random() < moved:
                    device = int(rng.integers(len(view.devices.names)))
                if device is None or not tried.fits_on(fragment, device):
                    actions += [Wait(task, waiting) for waiting in request.fragments]
                    break
                placed += [*tried.take(fragment, device), Place(task, fragment, device)]
            else:
                room = tried
                actions += placed
        return actions


class Recorder:
    """A `watch`: the rows of every plan, and the tasks' responses as they come."""

    def __init__(self) -> None:
        self._plans: list[tuple[Floats, Paths, Ints, Floats, float]] = []
        self._response_s: dict[int, float] = {}

    def __call__(self, view: View, actions: Sequence[Action]) -> None:
        """A plan was made."""
        self._response_s.update(zip(view.finished.id_E.tolist(), view.finished.response_s_E.tolist(), strict=True))
        problem = carried_out(view, actions)
        if len(problem) == 0:
            return
        around = contention(view, problem)
        x_CF = around.x(np.eye(len(view.devices.names))[problem.device_C])
        rows = around.tasks_T
        self._plans.append((x_CF, around.paths, view.tasks.id_T[rows], view.tasks.age_s_T[rows], view.interval_s))

    def samples(self) -> list[Sample]:
        """After the run."""
        found = []
        for x_CF, paths, id_T, age_s_T, interval_s in self._plans:
            response_s_T = np.array([self._response_s.get(task, np.nan) for task in id_T.tolist()])
            found.append(Sample(x_CF, paths, np.maximum(response_s_T - age_s_T, 0.0) / interval_s))
        return found


def collect(
    scenario: Scenario,
    fleet: Fleet,
    demand: DemandLike,
    placers: Sequence[tuple[Placer, Callable[[View], object]]],
    intervals: int,
    first_seed: int,
    progress: Callable[[int, int], None] = lambda run, interval: None,
) -> list[list[Sample]]:
    """One run a placer under ε-greedy decisions; the samples of each run.

    Args:
        scenario: Of the training.
        fleet: Its devices.
        demand: What the splits cost.
        placers: Each with the maker of its state.
        intervals: Of each run.
        first_seed: Of the first run; the others follow.
        progress: Told run and interval.
    """
    runs = []
    for run, (placer, make) in enumerate(placers):
        recorder, decider = Recorder(), EpsilonGreedy()
        simulate(
            scenario, fleet, demand, Composed(decider, placer), intervals, SEED_BASE + first_seed + run,
            lambda view, decider=decider, make=make: States(decider.init(view), make(view)),  # type: ignore[misc]
            watch=recorder,
            progress=lambda interval, run=run: progress(run, interval),  # type: ignore[misc]
            strict=True,
        )  # fmt: skip
        runs.append(recorder.samples())
    return runs
