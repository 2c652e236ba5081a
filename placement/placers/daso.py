"""DASO (§4.2): decision-aware surrogate optimisation.

A surrogate f([S_t, P_t, D_t]; θ) learns what O^P (eq. 10) a
placement gets in the next interval (eq. 11); each plan climbs it from P_{t-1} (eq. 12) and projects the end to a
feasible placement; f goes on learning from what came of it (Algorithm 1, line 14).

Deliberate readings, besides those of ascent.py, projection.py and objective.py:

* A container without a P_{t-1} (it is new, or waited) starts at a device drawn uniformly from those it fits, from the
  passed generator. `DasoWarm` starts where the least-loaded placer
  would put it instead.
* η: 1e-3 as printed never leaves the start (the slopes of f are about 1e-3 and less); `eta` is the tuned value.
* With `migrate`, containers that have a device are in P as variables too, and move if another device wins; without (the
  default: a move costs time that f cannot see before it has learned it), they are constants.
* Fine-tuning is `fine_tune` AdamW steps an interval, on batches from a replay of the last `replay` pairs.
"""

import math
from dataclasses import dataclass, replace
from typing import ClassVar, Literal

import numpy as np

from splitplace.errors import ContractError, InfeasibleError
from splitplace.placement.learner import Taught, Traces
from splitplace.placement.placers import daso_train
from splitplace.placement.placers.least_loaded import least_loaded_devices
from splitplace.placement.policy import Feedback, Leaving, Placed, PlacementRequest
from splitplace.placement.room import Room
from splitplace.placement.state_files import LoadedPart, Packed, summary
from splitplace.placement.surrogates import ascent, surrogate
from splitplace.placement.surrogates.adamw import Moments
from splitplace.placement.surrogates.experience import Experience
from splitplace.placement.surrogates.features import Encoding, FeatureLayout, Pooled, Slots
from splitplace.placement.surrogates.network import from_arrays, to_arrays
from splitplace.placement.surrogates.problem import Problem, asked, carried_out
from splitplace.placement.surrogates.projection import project
from splitplace.placement.surrogates.surrogate import Surrogate
from splitplace.records.action import Action
from splitplace.records.view import NONE, Bools, Floats, Ints, View
from splitplace.seeds import generator

FLAT_DEVICES = 128
"""Up to so many devices the FCN is the paper's, on the flattened table; beyond, weights are shared between devices."""


@dataclass(frozen=True, eq=False)
class DasoState:
    """The surrogate, and what it learns from."""

    surrogate: Surrogate
    moments: Moments
    time_s: float
    """The largest deadline, as features are scaled by it."""
    devices: int
    experience: Experience
    tuned_s: float
    """When it was last fine-tuned."""
    trained: bool
    """Whether it comes from `policy train`; if not, it starts from random weights."""
    eta: float
    """Step of the ascent: tuned where it was trained, else the placer's own."""
    overflow: int = 0
    """Containers that found no slot (layout `slots`)."""


@dataclass(frozen=True)
class Daso:
    """The paper's placer.

    Args:
        eta: Step of the ascent on the logits (eq. 12), for a state that was not trained.
        layout: `pooled`, or the literal `slots`.
        decisions: Whether f sees D_t; without, this is GOBI.
        start: Where a container without a P_{t-1} starts.
        migrate: Whether containers that have a device may move.
        alpha: Weight of energy in O^P (eq. 10).
        beta: Weight of response time in O^P.
        lr: AdamW's step in training.
        tune_lr: AdamW's step while running.
        weight_decay: AdamW's.
        fine_tune: AdamW steps an interval while running.
        batch: Pairs a step.
        replay: Pairs remembered.
    """

    eta: float = 1e3
    layout: Literal["pooled", "slots"] = "pooled"
    decisions: bool = True
    start: Literal["random", "least-loaded"] = "random"
    migrate: bool = False
    alpha: float = 0.5
    beta: float = 0.5
    lr: float = 3e-4
    tune_lr: float = 1e-4
    weight_decay: float = 1e-4
    fine_tune: int = 4
    batch: int = 32
    replay: int = 512

    name: ClassVar[str] = "daso"

    def features(self, devices: int) -> FeatureLayout:
        """The layout of x for a fleet of this size.

        Raises:
            SplitPlaceError: `slots` on a fleet too large for it.
        """
        if self.layout == "slots":
            if devices > FLAT_DEVICES:
                raise InfeasibleError(
                    f"{self.name}: the slots layout has a row per device and takes up to {FLAT_DEVICES} devices, "
                    f"got {devices}; choose daso, whose weights are shared between devices beyond that"
                )
            return Slots(self.decisions)
        return Pooled(self.decisions, devices <= FLAT_DEVICES)

    def init(self, view: View) -> DasoState:
        """Untrained: random weights, the same for every run."""
        devices = len(view.devices.names)
        form: surrogate.Form = "flat" if devices <= FLAT_DEVICES else "shared"
        untrained = surrogate.init(form, self.features(devices).width(devices), generator(0, "surrogate", self.name))
        return self.state(untrained, view.longest_s, devices, self.eta, trained=False)

    def state(self, net: Surrogate, time_s: float, devices: int, eta: float, trained: bool) -> DasoState:
        """A state with nothing but a surrogate."""
        moments, experience = Moments.zero(net.weights), Experience(self.replay)
        return DasoState(net, moments, time_s, devices, experience, -math.inf, trained, eta)

    def update(self, state: DasoState, feedback: Feedback) -> DasoState:
        """Algorithm 1, line 14: close the intervals that are over, fine-tune; and begin one with what was placed."""
        if isinstance(feedback, Leaving):
            return self._tune(state, feedback.view)
        if isinstance(feedback, Placed) and state.experience.due(feedback.view):
            problem = carried_out(feedback.view, feedback.actions)
            over = max(len(problem) - Slots.slots, 0) if self.layout == "slots" else 0
            x = self.input(state, feedback.view, problem)
            begun = state.experience.begin(feedback.view, x)
            return replace(state, experience=begun, overflow=state.overflow + over)
        return state

    def input(self, state: DasoState, view: View, problem: Problem) -> Floats:
        """X of a placement without choice: every container on its device."""
        p_CD = np.zeros((len(problem), len(view.devices.names)))
        p_CD[np.arange(len(problem)), problem.device_C] = 1.0
        return self.features(p_CD.shape[1]).encode(view, problem, state.time_s).x(p_CD)

    def place(
        self, state: DasoState, view: View, requests: list[PlacementRequest], rng: np.random.Generator
    ) -> list[Action]:
        """Eq. 12, then the projection; `predict` tells what O^P the answer is expected to get."""
        if len(view.devices.names) != state.devices and state.surrogate.form == "flat":
            raise ContractError(f"{self.name} was trained for {state.devices} devices, got {len(view.devices.names)}")
        problem = asked(view, requests)
        free_C = np.flatnonzero(problem.device_C == NONE)
        if self.migrate:
            free_C = np.flatnonzero((problem.device_C == NONE) | view.devices.up_D[problem.device_C])
        if len(free_C) == 0:
            return []
        fits_CD = self._fits(view, problem, free_C)
        possible = fits_CD.any(axis=1)
        climbing_C, fits_CD = free_C[possible], fits_CD[possible]
        climbed_CD = ascent.start(self._start(view, requests, problem, climbing_C, fits_CD, rng), fits_CD)
        p_CD = np.zeros((len(problem), state.devices if state.surrogate.form == "flat" else len(view.devices.names)))
        placed = problem.device_C != NONE
        p_CD[placed, problem.device_C[placed]] = 1.0
        p_CD[climbing_C] = climbed_CD
        # Of one that fits one device only, all is there, and stays.
        moving = np.flatnonzero(fits_CD.sum(axis=1) > 1)
        if len(moving):
            encoding = self.features(p_CD.shape[1]).encode(view, problem, state.time_s).given(p_CD, climbing_C[moving])
            climbed_CD[moving] = _climbed(state, encoding, climbed_CD[moving])
        free_p_CD = np.zeros((len(free_C), p_CD.shape[1]))
        free_p_CD[possible] = climbed_CD
        return project(view, problem, free_C, free_p_CD)

    def predict(self, state: DasoState, view: View, actions: list[Action]) -> float:
        """O^P that the surrogate expects of a plan."""
        x = self.input(state, view, carried_out(view, actions))
        return float(surrogate.predict(state.surrogate, x[None])[0])

    def train(self, traces: Traces) -> Taught:
        """Eq. 11 on the pairs of the training workload; then η, by what it realises under the trained bandit."""
        return daso_train.train(self, traces)

    def describe(self, loaded: LoadedPart) -> list[str]:
        """How much there is of it."""
        return summary(loaded)

    def pack(self, state: DasoState) -> Packed:
        """Weights, and what features are scaled by."""
        return Packed(
            to_arrays(state.surrogate.weights), {"form": state.surrogate.form, "time_s": state.time_s, "eta": state.eta}
        )

    def unpack(self, packed: Packed, view: View) -> DasoState:
        """A trained state with an empty replay.

        Raises:
            SplitPlaceError: The arrays are not those of this fleet's surrogate.
        """
        fresh = self.init(view)
        weights = from_arrays(packed.arrays, fresh.surrogate.weights)
        if weights is None:
            raise ContractError(f"the state of {self.name} has not the weights of a surrogate for this fleet")
        net = Surrogate(fresh.surrogate.form, weights)
        time_s, eta = float(packed.facts["time_s"]), float(packed.facts["eta"])
        return self.state(net, time_s, fresh.devices, eta, trained=True)

    @property
    def of_one_fleet(self) -> bool:
        """The surrogate knows each device by its place."""
        return True

    @staticmethod
    def _fits(view: View, problem: Problem, free_C: Ints) -> Bools:
        """Where each container could go now; where it is counts as fitting. Shape (C, D)."""
        fits_CD = Room(view).table(problem.fragment_C[free_C])
        here = problem.device_C[free_C]
        fits_CD[here != NONE, here[here != NONE]] = True
        return fits_CD

    def _start(
        self,
        view: View,
        requests: list[PlacementRequest],
        problem: Problem,
        climbing_C: Ints,
        fits_CD: Bools,
        rng: np.random.Generator,
    ) -> Ints:
        """The device each container starts at."""
        draws = rng.random(fits_CD.shape)
        device_C: Ints = np.argmax(np.where(fits_CD, draws, -1.0), axis=1)
        if self.start == "least-loaded":
            greedy = least_loaded_devices(view, requests)
            for i, row in enumerate(climbing_C):
                key = int(view.tasks.id_T[problem.task_C[row]]), int(problem.fragment_C[row])
                device_C[i] = greedy.get(key, device_C[i])
        here = problem.device_C[climbing_C]
        return np.where(here == NONE, device_C, here)

    def _tune(self, state: DasoState, view: View) -> DasoState:
        experience = state.experience.look(view, self.alpha, self.beta)
        state = replace(state, experience=experience)
        if len(experience.pairs) < self.batch or view.now_s - state.tuned_s < view.interval_s:
            return state
        net, moments = state.surrogate, state.moments
        rng = generator(experience.closed, "replay", self.name)
        for _ in range(self.fine_tune):
            chosen = [experience.pairs[i] for i in rng.integers(len(experience.pairs), size=self.batch)]
            x_BN, y_B = np.stack([x for x, _ in chosen]), np.array([y for _, y in chosen])
            net, moments = surrogate.learn(net, moments, x_BN, y_B, self.tune_lr, self.weight_decay)
        return replace(state, surrogate=net, moments=moments, tuned_s=view.now_s)


def _climbed(state: DasoState, encoding: Encoding, begin_CD: Floats) -> Floats:
    """Where eq. 12 leads from a placement of the rows that the encoding is given."""
    net = state.surrogate
    if net.form == "shared":

        def of_all(p_CD: Floats) -> Floats:
            return encoding.pull(surrogate.input_gradient(net, encoding.x(p_CD))[1])

        return ascent.climb(of_all, begin_CD, state.eta)[0]
    # A device that none of them fits has no part in it.
    devices_A, end_CD = np.flatnonzero(begin_CD.any(axis=0)), np.zeros_like(begin_CD)
    there = encoding.among(devices_A)
    narrow = surrogate.narrow(net, encoding.x(begin_CD), there.varying())

    def of_some(p_CA: Floats) -> Floats:
        return there.pull_moving(surrogate.input_gradient(narrow, there.moving(p_CA))[1])

    end_CD[:, devices_A], _ = ascent.climb(of_some, begin_CD[:, devices_A], state.eta)
    return end_CD
