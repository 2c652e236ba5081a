"""`daso-tasks`: a placer by gradient ascent through a learned surrogate, as DASO (§4.2), with another surrogate.

DASO's surrogate sees sums per device and learns one number per interval; ascending it leads to placements that it takes
for good and that are not. Here the surrogate (`completion.py`) learns how long each task takes, from who shares a
device with whom (`contention.py`, bilinear in P: neighbours of a chain on one device move no bytes); O^P follows.

Deliberate choices, made on training seeds:

* A task starts where the least-loaded placer would put its fragments, or with all of them where that one would put the
  first: whichever f expects more of. The ascent, a local search, takes long to gather what starts apart.
* The ascent is eq. 12's on P, by mirror ascent (exponentiated gradient, Kivinen & Warmuth 1997): the logits move by
  η times the slope of P itself, so that a device with little of P still is heard.
* Start and end are compared by f, as placements; the better is the answer. f is exact about whole placements only.
* Weights are learned by `policy train` and then stay; they are the same for every container and device, so a state
  serves any fleet that runs the same splits over such links.
* What the surrogate leads to is held against the rules' plans (least-loaded, tasks gathered or apart) by an estimate
  from physics alone (`fluid.py`), and the best is the answer.
* Untrained, the better of the rules is; so it is where very many containers are there.
"""

from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np

from splitplace.errors import ContractError, SplitPlaceError
from splitplace.placement.learner import Fit, Recipe, Taught, Traces, held_out
from splitplace.placement.placers.around import Around
from splitplace.placement.placers.least_loaded import gathered_least_loaded, least_loaded, least_loaded_devices
from splitplace.placement.policy import Composed, Feedback, PlacementRequest, Placer, States
from splitplace.placement.room import Room
from splitplace.placement.state_files import LoadedPart, Packed, summary
from splitplace.placement.surrogates import ascent, completion, fluid
from splitplace.placement.surrogates.completion import PlanRecorder, Plans, joined
from splitplace.placement.surrogates.contention import Contention, contention
from splitplace.placement.surrogates.network import Weights, from_arrays, to_arrays
from splitplace.placement.surrogates.problem import Problem, asked, carried_out
from splitplace.placement.surrogates.projection import project
from splitplace.records.action import Action
from splitplace.records.view import NONE, Bools, Floats, Ints, View
from splitplace.seeds import generator

MOST_CONTAINERS = 2_000
"""Where more are there, the better rule decides: so it was when plans made tables of all pairs, and in every figure."""
LEAST_STEPS = 4
"""However many containers there are."""
ETAS, PEAKS = (10.0, 30.0, 100.0, 300.0), (0.9, 0.5)
"""Steps of the ascent that training tries; its own runs take turns with them, and with the start's share."""
OWN_SHARE = 2
"""One training run in so many is of its own placements."""
AROUND, OWN = 400_000, 500_000
"""Numbers of the runs of the two rounds."""


@dataclass(frozen=True, eq=False)
class TasksState:
    """The surrogate."""

    weights: Weights
    eta: float
    """Step of the ascent: tuned where it was trained, else the placer's own."""
    trained: bool
    """If not, the weights are random, and nobody asks them."""


@dataclass(frozen=True)
class DasoTasks:
    """Gradient ascent through predicted completion times.

    Args:
        eta: Step of the ascent on the logits, for a state that was not trained.
        steps: Of the ascent, at most.
        pairs: Over the square of how many containers there are, the steps of an ascent, within these bounds: so that a
            plan for 50 devices stayed within 20 ms when every step looked at all pairs. Every figure hangs on it.
        peak: Share of a container's start on the device it stands for; the rest is spread over all that fit.
        softness: Width of the step at a deadline (see `completion.objective`).
        beta: Weight of response time in O^P (eq. 10).
        lr: AdamW's step in training.
        weight_decay: AdamW's.
    """

    eta: float = 100.0
    steps: int = 20
    pairs: int = 80_000
    peak: float = 0.9
    softness: float = 0.5
    beta: float = 0.5
    lr: float = 5e-3
    weight_decay: float = 1e-4

    name: ClassVar[str] = "daso-tasks"

    def init(self, view: View) -> TasksState:
        """Untrained: random weights, the same for every run."""
        return TasksState(completion.init(generator(0, "surrogate", self.name)), self.eta, trained=False)

    def update(self, state: TasksState, feedback: Feedback) -> TasksState:
        """Learns nothing while it runs."""
        return state

    def place(
        self, state: TasksState, view: View, requests: list[PlacementRequest], rng: np.random.Generator
    ) -> list[Action]:
        """What the surrogate leads to, or a rule: see above. Draws nothing."""
        problem = asked(view, requests)
        plans = [gathered_least_loaded(view, requests), least_loaded(view, requests)]
        if state.trained and len(problem) <= MOST_CONTAINERS:
            plans.insert(0, self._ascend(state, view, requests, problem))
        return self._better(view, plans)

    def _better(self, view: View, plans: list[list[Action]]) -> list[Action]:
        """The best by physics, the first of equals."""
        return max(plans, key=lambda actions: fluid.worth(view, actions, self.softness, self.beta))

    def _ascend(
        self, state: TasksState, view: View, requests: list[PlacementRequest], problem: Problem
    ) -> list[Action]:
        """Start, ascent, the better of the two, and the projection to what fits."""
        free_C = np.flatnonzero(problem.device_C == NONE)
        if len(free_C) == 0:
            return []
        fits_CD = Room(view).table(problem.fragment_C[free_C])
        possible = fits_CD.any(axis=1)
        free_p_CD = np.zeros(fits_CD.shape)
        if possible.any():
            moment = _Moment(self, state, view, contention(view, problem), problem.device_C, free_C[possible])
            apart = _least_loaded(
                view, requests, problem.task_C, problem.fragment_C, free_C[possible], fits_CD[possible]
            )
            device_C = moment.climb(moment.start(apart, problem.task_C, fits_CD[possible]), fits_CD[possible])
            free_p_CD[np.flatnonzero(possible), device_C] = 1.0
        # What the projection finds full goes to any other that fits, the device with least work first.
        spare_D = 1e-6 / (1 + np.argsort(np.argsort(view.devices.backlog_s_D / view.devices.servers_D, kind="stable")))
        return project(view, problem, free_C, free_p_CD + np.where(fits_CD, spare_D, 0.0))

    def predict(self, state: TasksState, view: View, actions: list[Action]) -> tuple[Ints, Floats]:
        """Rows of the tasks that have devices after a plan, and the seconds that each is expected to take from now."""
        problem = carried_out(view, actions)
        around = contention(view, problem)
        if len(problem) == 0:
            return around.tasks_T, np.zeros(0)
        x_CF = around.x(np.eye(len(view.devices.names))[problem.device_C])
        return around.tasks_T, view.interval_s * completion.times(state.weights, x_CF, around.paths)[0]

    def train(self, traces: Traces) -> Taught:
        """Two rounds of runs and fits: around good placements, then where its own ascent leads, with several η.

        A surrogate must be right where it is asked (Ross, Gordon & Bagnell 2011, data aggregation). Then η, by what it
        realises under the trained bandit.
        """
        rng, decider = generator(traces.seed, "fit", self.name), traces.part("epsilon-greedy")

        def played(placer: Placer, at: int, state: TasksState | None = None) -> Plans:
            policy, seen = Composed(decider, placer), PlanRecorder()
            traces.play(policy, at, lambda view: States(decider.init(view), state), seen)
            return seen.plans()

        def learn(rounds: list[list[Plans]]) -> Fit:
            """On the runs of all rounds but those that are held out of each."""
            kept = [runs[: -held_out(len(runs))] for runs in rounds]
            late = [runs[-held_out(len(runs)) :] for runs in rounds]
            train, unseen = (joined([plans for runs in part for plans in runs]) for part in (kept, late))
            if not (len(train.y) and len(unseen.y)):
                raise SplitPlaceError(
                    f"nothing to learn from: no task left in {traces.intervals} intervals of "
                    f"{traces.view.interval_s:g} s; train for more intervals, or with a larger load"
                )
            start = completion.init(generator(0, "surrogate", self.name))
            return traces.fit(self.name, completion.predict, start, train, unseen, self.recipe, rng)

        around = [played(Around(), AROUND + run) for run in range(traces.runs)]
        first = learn([around])
        own = [
            played(replace(self, peak=PEAKS[run % 2]), OWN + run, TasksState(first.weights, ETAS[run % 4], True))
            for run in range(max(traces.runs // OWN_SHARE, 2))
        ]
        result, late = learn([around, own]), joined(own[-held_out(len(own)) :])
        (mab, bandit), scores = traces.trained("mab"), dict[float, float]()
        for eta in ETAS:
            states = States(bandit, TasksState(result.weights, eta, trained=True))
            scores[eta] = float(np.mean([worth.objective for worth in traces.tune(Composed(mab, self), states)]))
        best = max(scores, key=lambda eta: scores[eta])
        errors = {
            f"own_mse_{when}": float(np.mean((completion.predict(weights, late) - late.y) ** 2)) if len(late.y) else 0.0
            for when, weights in (("before", first.weights), ("after", result.weights))
        }
        realised = {f"objective_at_eta_{eta:g}": score for eta, score in scores.items()}
        about = {"plans": sum(map(len, [*around, *own])), **result.figures(), **errors, "eta": best, **realised}
        return Taught(TasksState(result.weights, best, trained=True), about)

    @property
    def recipe(self) -> Recipe:
        """How its surrogate is fitted."""
        return Recipe(self.lr, self.weight_decay, batch=16, epochs=25, patience=25, falling=True)

    def describe(self, loaded: LoadedPart) -> list[str]:
        """How much there is of it."""
        return summary(loaded)

    def pack(self, state: TasksState) -> Packed:
        """Weights and η; and where a broker saves what was not trained, that it is so."""
        untrained = {} if state.trained else {"trained": False}
        return Packed(to_arrays(state.weights), {"eta": state.eta, **untrained})

    def unpack(self, packed: Packed, view: View) -> TasksState:
        """A state for any fleet.

        Raises:
            SplitPlaceError: The arrays are not those of this surrogate.
        """
        fresh = self.init(view)
        weights = from_arrays(packed.arrays, fresh.weights)
        if weights is None:
            shapes = [w.shape for w in fresh.weights]
            raise ContractError(f"the state of {self.name} has not the weights of its surrogate: expected {shapes}")
        facts = packed.facts
        return TasksState(weights, float(facts["eta"]), bool(facts.get("trained", True)))

    @property
    def of_any_fleet(self) -> bool:
        """What ships for one fleet is used on others."""
        return True


@dataclass(frozen=True, eq=False)
class _Moment:
    """One plan's f as a function of the containers that may be placed."""

    placer: DasoTasks
    state: TasksState
    view: View
    around: Contention
    device_C: Ints
    free_C: Ints

    def p(self, free_p_CD: Floats) -> Floats:
        """P of all containers; nowhere for those that fit nowhere."""
        p_CD = np.zeros((len(self.device_C), free_p_CD.shape[1]))
        placed = self.device_C != NONE
        p_CD[placed, self.device_C[placed]] = 1.0
        p_CD[self.free_C] = free_p_CD
        return p_CD

    def value(self, device_C: Ints) -> Floats:
        """What f expects of each task under a whole placement."""
        one_hot = np.zeros((len(device_C), len(self.view.devices.names)))
        one_hot[np.arange(len(device_C)), device_C] = 1.0
        x_CF = self.around.x(self.p(one_hot))
        return completion.objective(completion.times(self.state.weights, x_CF, self.around.paths)[0], *self._terms())

    def gradient(self, free_p_CD: Floats) -> Floats:
        """Of the sum over tasks."""
        x_CF, shared = self.around.shared(self.p(free_p_CD))
        left_T, timing = completion.times(self.state.weights, x_CF, self.around.paths)
        slope_T = completion.objective_slope(left_T, *self._terms())
        dx_CF = completion.input_gradient(self.state.weights, timing, self.around.paths, slope_T)
        return self.around.pull(shared, dx_CF, self.free_C)

    def start(self, apart_C: Ints, task_C: Ints, fits_CD: Bools) -> Ints:
        """Each task apart or together, whichever f expects more of."""
        tasks, first, of_task = np.unique(task_C[self.free_C], return_index=True, return_inverse=True)
        together_C = apart_C[first][of_task]
        together_C = np.where(fits_CD[np.arange(len(apart_C)), together_C], together_C, apart_C)
        gain_T = self.value(together_C) - self.value(apart_C)
        gather = gain_T[np.searchsorted(self.around.tasks_T, tasks)] > 0
        result: Ints = np.where(gather[of_task], together_C, apart_C)
        return result

    def climb(self, start_C: Ints, fits_CD: Bools) -> Ints:
        """The better of the start and of where the ascent from it ends."""
        p_CD = ascent.start(start_C, fits_CD, self.placer.peak)
        steps = min(self.placer.steps, max(self.placer.pairs // len(self.device_C) ** 2, LEAST_STEPS))
        end_CD, _ = ascent.climb(self.gradient, p_CD, self.state.eta, steps, mirror=True)
        end_C: Ints = end_CD.argmax(axis=1)
        return end_C if self.value(end_C).sum() > self.value(start_C).sum() else start_C

    def _terms(self) -> tuple[Floats, Floats, float, float, float]:
        tasks, unit_s = self.view.tasks, self.view.interval_s
        rows = self.around.tasks_T
        return (
            tasks.age_s_T[rows] / unit_s, tasks.deadline_s_T[rows] / unit_s, self.view.longest_s / unit_s,
            self.placer.softness, self.placer.beta,
        )  # fmt: skip


def _least_loaded(
    view: View, requests: list[PlacementRequest], task_C: Ints, fragment_C: Ints, free_C: Ints, fits_CD: Bools
) -> Ints:
    """Where the least-loaded placer puts each container; the first device that fits where it lets the task wait."""
    greedy = least_loaded_devices(view, requests)
    keys = [(int(view.tasks.id_T[task_C[row]]), int(fragment_C[row])) for row in free_C]
    return np.array([greedy.get(key, int(np.argmax(fits_CD[i]))) for i, key in enumerate(keys)], np.int64)
