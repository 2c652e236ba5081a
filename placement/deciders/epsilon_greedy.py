"""Trains the bandit: feedback-based ε-greedy (§4.1.2, eq. 6-8), which decays ε as the reward passes a threshold ρ.

Deliberate readings, where the paper leaves a choice:

* k = 0.1 (§6.3); decay(ε) = (1 - k) ε, increment(ρ) = (1 + k) ρ, and ρ never exceeds 1, the largest reward there is.
* E_t of eq. 3, 4 are the tasks that left in one scheduling interval, however often it was planned: ε and ρ move once
  an interval. Q, R and N move with each plan, as they do at test time.
* {L, D} in the sum of O^MAB is a typo for {L, S}; cells that saw no task are left out of the mean.
* The arm of equal Q is layer, the first.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import ClassVar

import numpy as np

from splitplace.placement.deciders.mab import BanditState, Mab
from splitplace.placement.objective import ARMS, CONTEXTS, cell_means, cell_sums, mean_reward
from splitplace.placement.policy import Feedback, Leaving
from splitplace.records.action import Decide
from splitplace.records.fleet_status import PolicyEstimate
from splitplace.records.view import Floats, View


@dataclass(frozen=True, eq=False)
class TrainingState:
    """The bandit so far, and how it explores."""

    bandit: BanditState
    epsilon: float
    rho: float
    until_s: float
    """End of the interval whose leaving tasks are being summed."""
    total_cd: Floats
    count_cd: Floats


@dataclass(frozen=True)
class EpsilonGreedy:
    """The bandit of `Mab` while it is trained.

    Args:
        k: First ρ, and the step of ε and ρ.
        mab: What learns R and Q.
    """

    k: float = 0.1
    mab: Mab = field(default_factory=Mab)

    name: ClassVar[str] = "epsilon-greedy"

    def init(self, view: View) -> TrainingState:
        """Nothing known: ε = 1, ρ = k."""
        zero = np.zeros((2, 2))
        return TrainingState(self.mab.init(view), 1.0, self.k, view.now_s + view.interval_s, zero, zero)

    def decide(self, state: TrainingState, view: View, rng: np.random.Generator) -> list[Decide]:
        """Eq. 6 for each undecided task."""
        decisions = []
        for row in view.tasks.undecided:
            context = self.mab.context(state.bandit, view, row)
            if rng.random() < state.epsilon:
                arm = int(rng.integers(len(ARMS)))
            else:
                arm = int(np.argmax(np.nan_to_num(state.bandit.reward_cd[context], nan=1.0)))
            decisions.append(self.mab.played(view, row, arm, context))
        return decisions

    def estimates(self, state: TrainingState, applications: tuple[str, ...]) -> list[PolicyEstimate]:
        """The bandit's."""
        return self.mab.estimates(state.bandit, applications)

    def update(self, state: TrainingState, feedback: Feedback) -> TrainingState:
        """R, Q and N as `Mab` does; eq. 7 and 8 at the first plan after each interval's end."""
        state = replace(state, bandit=self.mab.update(state.bandit, feedback))
        if not isinstance(feedback, Leaving):
            return state
        view = feedback.view
        total_cd, count_cd = cell_sums(view, feedback.finished, self.mab.sla_weight)
        state = replace(state, total_cd=state.total_cd + total_cd, count_cd=state.count_cd + count_cd)
        if view.now_s < state.until_s:
            return state
        epsilon, rho = self.adapt(state, mean_reward(cell_means(state.total_cd, state.count_cd)))
        zero = np.zeros((2, 2))
        until_s = view.now_s + view.interval_s
        return replace(state, epsilon=epsilon, rho=rho, until_s=until_s, total_cd=zero, count_cd=zero)

    def adapt(self, state: TrainingState, o_mab: float) -> tuple[float, float]:
        """Eq. 7 and 8: both compare with the ρ from before; an interval without a task (NaN) changes nothing."""
        if o_mab > state.rho:
            return (1 - self.k) * state.epsilon, min((1 + self.k) * state.rho, 1.0)
        return state.epsilon, state.rho


class Witness:
    """A bandit in training, with a note of its state at the start of each interval (figure 6).

    Args:
        inner: Decides and learns.
    """

    name: ClassVar[str] = "epsilon-greedy"

    def __init__(self, inner: EpsilonGreedy):
        self._inner = inner
        self._notes: list[tuple[float, TrainingState]] = []

    def init(self, view: View) -> TrainingState:
        """As the inner."""
        return self._inner.init(view)

    def decide(self, state: TrainingState, view: View, rng: np.random.Generator) -> list[Decide]:
        """As the inner."""
        return self._inner.decide(state, view, rng)

    def update(self, state: TrainingState, feedback: Feedback) -> TrainingState:
        """As the inner, noted."""
        after = self._inner.update(state, feedback)
        if isinstance(feedback, Leaving):
            at_s, view = feedback.view.now_s, feedback.view
            if not self._notes or at_s // view.interval_s > self._notes[-1][0] // view.interval_s:
                self._notes.append((at_s, after))
        return after

    def curves(self, applications: Sequence[str]) -> Iterator[tuple[float, dict[str, float]]]:
        """R, ε, ρ, N and Q at each of those moments; NaN for what is not known yet."""
        for at_s, state in self._notes:
            values = {"epsilon": state.epsilon, "rho": state.rho}
            for row, application in enumerate(applications):
                values[f"R_seconds/{application}"] = float(state.bandit.layer_response_s_A[row])
            for c, context in enumerate(CONTEXTS):
                for d, arm in enumerate(ARMS):
                    values[f"N/{context}-{arm}"] = float(state.bandit.count_cd[c, d])
                    values[f"Q/{context}-{arm}"] = float(state.bandit.reward_cd[c, d])
            yield at_s, values
