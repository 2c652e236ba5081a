"""The paper's bandit (§4.1): layer or semantic by context, with upper confidence bounds (eq. 2-5 and 9).

Deliberate readings, where the paper leaves a choice:

* R_a starts at the profiles' estimate for the first task of the application (the paper pre-trains it).
* The context is fixed when the decision is taken and travels with the task (R_a moves while the task runs).
* A cell of eq. 3, 4 that saw no task is not updated (0/0); before its first sample, Q is optimistic, 1.
* The first sample becomes Q as it is; eq. 5 holds from the second.
* N counts decisions, one after another also within one plan; an arm never played is played first (eq. 9 with N = 0).
"""

import math
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np

from splitplace.errors import ContractError, SplitPlaceError
from splitplace.placement.deciders.estimate import unloaded_response_s
from splitplace.placement.learner import Taught, Traces
from splitplace.placement.objective import ARMS, cell_means, cell_sums
from splitplace.placement.policy import Feedback, Leaving, Taken
from splitplace.placement.state_files import LoadedPart, Packed
from splitplace.records.action import Decide
from splitplace.records.fleet_status import PolicyEstimate
from splitplace.records.view import Finished, Floats, Ints, View

HIGH, LOW = 0, 1
"""Contexts: the deadline is at least R_a, or below it."""
SETTINGS = ("deadline >= R", "deadline < R")
"""Their names."""


@dataclass(frozen=True, eq=False)
class BanditState:
    """What the bandit has learned; c is a context (HIGH, LOW), d an arm (layer, semantic), A an application."""

    layer_response_s_A: Floats
    """R_a; NaN before the first task of the application that could be sent anywhere."""
    reward_cd: Floats
    """Q; NaN before the first sample."""
    count_cd: Ints
    """N: decisions taken."""
    t: int
    """Plans so far."""


@dataclass(frozen=True)
class Mab:
    """UCB over {layer, semantic} in the two contexts of §4.1.2, at test time (eq. 9).

    Args:
        phi: Weight of the newest response in R_a (eq. 2).
        gamma: Step of Q (eq. 5).
        c: Exploration factor (eq. 9).
        sla_weight: Weight of the deadline against accuracy in the reward (eq. 3, 4); the paper's is one half.
    """

    phi: float = 0.9
    gamma: float = 0.1
    c: float = 0.5
    sla_weight: float = 0.5

    name: ClassVar[str] = "mab"
    r_unit: ClassVar[str] = "s"

    def init(self, view: View) -> BanditState:
        """Nothing known.

        Raises:
            SplitPlaceError: An application is not offered as both a layer and a semantic split.
        """
        for index, application in enumerate(view.applications):
            missing = [arm for arm in ARMS if (index, arm) not in view.offers]
            if missing:
                raise SplitPlaceError(
                    f"{self.name} chooses between layer and semantic, but {application} has no "
                    f"{' and no '.join(missing)} split"
                )
        return BanditState(
            layer_response_s_A=np.full(len(view.applications), np.nan),
            reward_cd=np.full((2, 2), np.nan),
            count_cd=np.zeros((2, 2), np.int64),
            t=0,
        )

    def decide(self, state: BanditState, view: View, rng: np.random.Generator) -> list[Decide]:
        """Eq. 9 for each undecided task; deterministic."""
        count_cd = state.count_cd.copy()
        decisions = []
        for row in view.tasks.undecided:
            context = self.context(state, view, row)
            arm = int(np.argmax(self.upper_bounds(state, context, count_cd[context])))
            count_cd[context, arm] += 1
            decisions.append(self.played(view, row, arm, context))
        return decisions

    def context(self, state: BanditState, view: View, row: int) -> int:
        """HIGH if the deadline of the view's task is at least R_a, else LOW (§4.1.2); LOW also while R_a is unknown."""
        r_s = state.layer_response_s_A[view.tasks.application_T[row]] * self.per(view.tasks.n_T[row])
        return HIGH if view.tasks.deadline_s_T[row] >= r_s else LOW

    def played(self, view: View, row: int, arm: int, context: int) -> Decide:
        """The decision that an arm is for the view's task."""
        split = view.offers[int(view.tasks.application_T[row]), ARMS[arm]]
        return Decide(int(view.tasks.id_T[row]), split, context=context)

    def per(self, n: int) -> int:
        """What R_a is a response of: a task, however many images it has."""
        return 1

    def upper_bounds(self, state: BanditState, context: int, count_d: Ints) -> Floats:
        """Q + c sqrt(log t / N) of both arms (eq. 9), shape (2,); infinite for an arm never played."""
        reward = np.where(np.isnan(state.reward_cd[context]), 1.0, state.reward_cd[context])
        bonus = self.c * np.sqrt(math.log(max(state.t, 1)) / np.maximum(count_d, 1))
        bounds: Floats = np.where(count_d == 0, np.inf, reward + bonus)
        return bounds

    def update(self, state: BanditState, feedback: Feedback) -> BanditState:
        """Algorithm 1: eq. 2-5 when tasks leave (lines 3-5), N when decisions are taken (line 6)."""
        if isinstance(feedback, Leaving):
            learned = self._learn_rewards(self._learn_responses(state, feedback), feedback)
            return replace(self._with_priors(learned, feedback.view), t=state.t + 1)
        if isinstance(feedback, Taken):
            count_cd = state.count_cd.copy()
            for decision in feedback.decisions:
                count_cd[decision.context, ARMS.index(feedback.view.splits.strategies[decision.split])] += 1
            return replace(state, count_cd=count_cd)
        return state

    def train(self, traces: Traces) -> Taught:
        """R, Q and N at the end of the workload's first run, under ε-greedy decisions (§6.3); and figure 6 of it."""
        from splitplace.placement.deciders.epsilon_greedy import EpsilonGreedy, Witness  # which has this one inside

        witness = Witness(EpsilonGreedy(mab=self))
        trained = traces.replay(0, decider=witness).states.decider
        traces.curves(self.name, witness.curves(traces.view.applications))
        return Taught(replace(trained.bandit, t=0), {"epsilon": trained.epsilon, "rho": trained.rho})

    def describe(self, loaded: LoadedPart) -> list[str]:
        """R by application, Q and N by context and arm."""
        r, q, n = (loaded.arrays[name] for name in ("r", "q", "n"))
        names = loaded.saved.trained_for.applications
        responses = (f"{name} {_told(value, '.4g')} {self.r_unit}" for name, value in zip(names, r, strict=True))
        lines = [f"R (layer response): {', '.join(responses)}"]
        for c, context in enumerate(SETTINGS):
            lines += [f"{context}, {arm}: Q {_told(q[c, d], '.3f')}, N {int(n[c, d])}" for d, arm in enumerate(ARMS)]
        return lines

    def estimates(self, state: BanditState, applications: tuple[str, ...]) -> list[PolicyEstimate]:
        """Q and N by context and arm, then R by application."""
        found = [
            PolicyEstimate(
                name=f"{arm}, {context}",
                unit="reward",
                value=_known(state.reward_cd[c, d]),
                count=int(state.count_cd[c, d]),
            )
            for c, context in enumerate(SETTINGS)
            for d, arm in enumerate(ARMS)
        ]
        for name, response_s in zip(applications, state.layer_response_s_A, strict=True):
            found.append(PolicyEstimate(name=f"R, {name}", unit=self.r_unit, value=_known(response_s)))
        return found

    def pack(self, state: BanditState) -> Packed:
        """R, Q and N."""
        arrays = {"r": state.layer_response_s_A, "q": state.reward_cd, "n": state.count_cd}
        return Packed(arrays, {})

    def unpack(self, packed: Packed, view: View) -> BanditState:
        """At the start of a phase: t counts the plans of this one (eq. 9)."""
        fresh = self.init(view)
        r, q, n = (packed.arrays[name] for name in ("r", "q", "n"))
        if r.shape != fresh.layer_response_s_A.shape or q.shape != (2, 2) or n.shape != (2, 2) or (n < 0).any():
            raise ContractError(f"the state of {self.name} has not the R, Q and N of these applications")
        return BanditState(r.astype(np.float64), q.astype(np.float64), n.astype(np.int64), t=0)

    def _learn_responses(self, state: BanditState, leaving: Leaving) -> BanditState:
        """Eq. 2, task by task in the order they left."""
        response_s_A = state.layer_response_s_A.copy()
        left = leaving.finished
        response_s_E = self.measured(left)
        for application, split, response_s in zip(left.application_E, left.split_E, response_s_E, strict=True):
            if leaving.view.splits.strategies[split] == "layer":
                before = response_s_A[application]
                response_s_A[application] = (
                    response_s if math.isnan(before) else self.phi * response_s + (1 - self.phi) * before
                )
        return replace(state, layer_response_s_A=response_s_A)

    def _learn_rewards(self, state: BanditState, leaving: Leaving) -> BanditState:
        """Eq. 3 and 4, then 5, for the cells that saw a task."""
        observed_cd = cell_means(*cell_sums(leaving.view, leaving.finished, self.sla_weight))
        before_cd = state.reward_cd
        first_cd = np.isnan(before_cd)
        moved_cd = np.where(first_cd, observed_cd, before_cd + self.gamma * (observed_cd - before_cd))
        return replace(state, reward_cd=np.where(np.isnan(observed_cd), before_cd, moved_cd))

    def measured(self, left: Finished) -> Floats:
        """The responses that eq. 2 averages, shape E."""
        return left.response_s_E

    def _with_priors(self, state: BanditState, view: View) -> BanditState:
        """R_a of applications not met before, from profiles; not known while most devices' links carry nothing."""
        response_s_A = state.layer_response_s_A.copy()
        for row in view.tasks.undecided:
            application = int(view.tasks.application_T[row])
            if math.isnan(response_s_A[application]):
                split = view.offers[application, "layer"]
                n = int(view.tasks.n_T[row])
                alone_s = unloaded_response_s(view.splits, view.fragments, view.links, split, n)
                if math.isfinite(alone_s):  # else no mean would ever get it out of R_a again: links may come back
                    response_s_A[application] = alone_s / self.per(n)
        return replace(state, layer_response_s_A=response_s_A)


def _known(value: float) -> float | None:
    return None if math.isnan(value) else float(value)


def _told(value: float, form: str) -> str:
    """What nothing was learned of yet is no number."""
    return "-" if math.isnan(value) else format(value, form)
