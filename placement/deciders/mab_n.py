"""`mab-n`: the paper's bandit with R an image, and the splits' evaluations as the prior of Q (ours).

The paper's R_a is a moving mean of responses, whatever the tasks' sizes; where n varies fourfold, a small task with a
deadline that its layer split cannot meet counts as one with time to spare. Here R_a is the response over n, and a
context is deadline >= n R_a. Eq. 2-5 and 9 are as in `mab.py`; the prior counts as one decision in eq. 9, so that no
arm need be played to be known.
"""

from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np

from splitplace.placement.deciders.mab import LOW, BanditState, Mab
from splitplace.placement.objective import ARMS
from splitplace.records.action import Decide
from splitplace.records.view import Finished, Floats, Ints, View


@dataclass(frozen=True)
class MabN(Mab):
    """As `Mab`."""

    name: ClassVar[str] = "mab-n"
    r_unit: ClassVar[str] = "s an image"

    def init(self, view: View) -> BanditState:
        """Q by the evaluations, N = 0.

        An arm's accuracy is the mean over the applications, 1 where there is no evaluation; deadlines are met, except
        by layer splits in the low context, which says that they are not.

        Raises:
            SplitPlaceError: An application is not offered as both a layer and a semantic split.
        """
        fresh = super().init(view)
        applications = range(len(view.applications))
        top1_d = [
            float(np.nan_to_num(view.splits.top1_S[[view.offers[a, arm] for a in applications]], nan=1.0).mean())
            for arm in ARMS
        ]
        met_cd = np.ones((2, 2))
        met_cd[LOW, ARMS.index("layer")] = 0.0
        prior_cd: Floats = self.sla_weight * met_cd + (1 - self.sla_weight) * np.array(top1_d)
        return replace(fresh, reward_cd=prior_cd)

    def upper_bounds(self, state: BanditState, context: int, count_d: Ints) -> Floats:
        """Eq. 9, the prior being one decision: finite also for an arm never played."""
        return super().upper_bounds(state, context, count_d + 1)

    def played(self, view: View, row: int, arm: int, context: int) -> Decide:
        """The decision carries n, for R."""
        return replace(super().played(view, row, arm, context), tag=int(view.tasks.n_T[row]))

    def per(self, n: int) -> int:
        """R_a is of an image."""
        return int(n)

    def measured(self, left: Finished) -> Floats:
        """Seconds an image."""
        seconds_E: Floats = left.response_s_E / np.maximum(left.tag_E, 1)
        return seconds_E
