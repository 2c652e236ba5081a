"""`mab-tuned`: UCB1-Tuned in place of eq. 9.

Auer, Cesa-Bianchi, Fischer, "Finite-time analysis of the multiarmed bandit problem", Machine Learning 47, 2002, section
4. The width is that of UCB1 with an upper bound of the arm's variance in place of the largest that rewards in [0, 1]
can have; without a proof of its regret, and mostly better than those that have one. Contexts and arms are the paper's
(`sampled.py` says what differs).
"""

import math
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from splitplace.placement.deciders.sampled import Sampled
from splitplace.records.view import Floats, Ints


@dataclass(frozen=True)
class MabTuned(Sampled):
    """The paper's bandit by UCB1-Tuned; as `Mab` but for one setting.

    Args:
        c: Factor of the width; theirs is 1.
    """

    c: float = 1.0

    name: ClassVar[str] = "mab-tuned"

    def index(self, mean_d: Floats, variance_d: Floats, count_d: Ints, t: int) -> Floats:
        """Mean + c sqrt(log t / s min(1/4, V + sqrt(2 log t / s)))."""
        explore_d = math.log(t) / count_d
        bound: Floats = mean_d + self.c * np.sqrt(explore_d * np.minimum(0.25, variance_d + np.sqrt(2 * explore_d)))
        return bound
