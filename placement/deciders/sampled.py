"""No decider: the paper's contexts with mean and variance of the rewards of each cell, for indices that use both.

`mab_v.py` and `mab_tuned.py` differ in one formula. What is as in `mab.py`: R (eq. 2), contexts, arms. What is not:

* Q is the mean of all rewards of a context and arm, each task a sample; the paper's is a moving mean of means (eq. 5).
* s of an index is eq. 9's N, decisions: rewards come late, and an arm whose tasks are stuck would else be taken to be
  unknown for good. t is the sum of N over the context's arms.
* Before its first reward an arm is taken to be as good as can be and to vary as much as can be: mean 1, variance 1/4.
"""

from dataclasses import dataclass, fields, replace
from typing import ClassVar

import numpy as np

from splitplace.errors import ContractError
from splitplace.placement.deciders.mab import BanditState, Mab
from splitplace.placement.objective import by_cell, rewards
from splitplace.placement.policy import Leaving
from splitplace.placement.state_files import Packed
from splitplace.records.view import Floats, Ints, View


@dataclass(frozen=True, eq=False)
class SampledState(BanditState):
    """`BanditState`, Q a plain mean, and what variances need."""

    samples_cd: Ints
    """Rewards that came."""
    square_cd: Floats
    """Mean of their squares."""

    @property
    def variance_cd(self) -> Floats:
        """Of the rewards, over s and not s - 1; not below 0 by rounding."""
        variance: Floats = np.maximum(self.square_cd - np.nan_to_num(self.reward_cd) ** 2, 0.0)
        return variance


@dataclass(frozen=True)
class Sampled(Mab):
    """`Mab` with `index` in place of eq. 9's. Of `Mab`'s settings, gamma has no part."""

    name: ClassVar[str]

    def index(self, mean_d: Floats, variance_d: Floats, count_d: Ints, t: int) -> Floats:
        """What an arm is at best; shape as given.

        Args:
            mean_d: Of the rewards, in [0, 1].
            variance_d: Of the rewards.
            count_d: Decisions, at least one.
            t: Decisions of all arms.
        """
        raise NotImplementedError

    def init(self, view: View) -> SampledState:
        """Nothing known."""
        return _sampled(super().init(view), np.zeros((2, 2), np.int64), np.zeros((2, 2)))

    def upper_bounds(self, state: BanditState, context: int, count_d: Ints) -> Floats:
        """The index of both arms, shape (2,); infinite for an arm never played."""
        assert isinstance(state, SampledState), "init and unpack make no other"
        known_d = state.samples_cd[context] > 0
        mean_d = np.where(known_d, state.reward_cd[context], 1.0)
        variance_d = np.where(known_d, state.variance_cd[context], 0.25)
        index_d = self.index(mean_d, variance_d, np.maximum(count_d, 1), max(int(count_d.sum()), 1))
        bounds: Floats = np.where(count_d == 0, np.inf, index_d)
        return bounds

    def pack(self, state: BanditState) -> Packed:
        """As `Mab`, with the samples."""
        assert isinstance(state, SampledState), "init and unpack make no other"
        packed = super().pack(state)
        return replace(packed, arrays=packed.arrays | {"samples": state.samples_cd, "squares": state.square_cd})

    def unpack(self, packed: Packed, view: View) -> SampledState:
        """At the start of a phase.

        Raises:
            SplitPlaceError: Not of these applications, or samples that are none.
        """
        samples_cd, square_cd = packed.arrays["samples"], packed.arrays["squares"]
        bandit = super().unpack(packed, view)
        unknown = np.isnan(bandit.reward_cd)
        if (
            samples_cd.shape != (2, 2) or square_cd.shape != (2, 2) or not np.isfinite(square_cd).all()
            or ((samples_cd == 0) != unknown).any() or (samples_cd < 0).any()
        ):  # fmt: skip
            raise ContractError(f"the state of {self.name} has not the samples of its Q")
        return _sampled(bandit, samples_cd.astype(np.int64), square_cd.astype(np.float64))

    def _learn_rewards(self, state: BanditState, leaving: Leaving) -> SampledState:
        """Each task's reward, the summand of eq. 3 and 4, is a sample of its cell."""
        assert isinstance(state, SampledState), "init and unpack make no other"
        reward_E = rewards(leaving.view, leaving.finished, self.sla_weight)
        total_cd, new_cd = by_cell(leaving.view, leaving.finished, reward_E)
        squares_cd, _ = by_cell(leaving.view, leaving.finished, reward_E**2)
        samples_cd = state.samples_cd + new_cd.astype(np.int64)
        some_cd = np.maximum(samples_cd, 1)
        mean_cd = (np.nan_to_num(state.reward_cd) * state.samples_cd + total_cd) / some_cd
        square_cd = (state.square_cd * state.samples_cd + squares_cd) / some_cd
        reward_cd = np.where(samples_cd > 0, mean_cd, np.nan)
        return replace(state, reward_cd=reward_cd, samples_cd=samples_cd, square_cd=square_cd)


def _sampled(bandit: BanditState, samples_cd: Ints, square_cd: Floats) -> SampledState:
    known = {field.name: getattr(bandit, field.name) for field in fields(BanditState)}
    return SampledState(**known, samples_cd=samples_cd, square_cd=square_cd)
