"""`mab-v`: UCB-V in place of eq. 9.

Audibert, Munos, Szepesvári, "Exploration-exploitation tradeoff using variance estimates in multi-armed bandits",
Theoretical Computer Science 410, 2009. The width is the empirical Bernstein bound's: an arm whose rewards hardly
vary is known soon. Its second term is of the rewards' range, b = 1. Contexts and arms are the paper's (`sampled.py`
says what differs).
"""

import math
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from splitplace.placement.deciders.sampled import Sampled
from splitplace.records.view import Floats, Ints


@dataclass(frozen=True)
class MabV(Sampled):
    """The paper's bandit by UCB-V; as `Mab` but for two settings.

    Args:
        zeta: ζ of the exploration function ζ log t; above 1.
        c: Factor of the range's term (theirs; 1 in their regret bound of ζ = 1.2).
    """

    zeta: float = 1.2
    c: float = 1.0

    name: ClassVar[str] = "mab-v"

    def index(self, mean_d: Floats, variance_d: Floats, count_d: Ints, t: int) -> Floats:
        """B = mean + sqrt(2 V ζ log t / s) + c 3 b ζ log t / s, with b = 1 (their B_{k,s,t})."""
        explore = self.zeta * math.log(t)
        bound: Floats = mean_d + np.sqrt(2 * variance_d * explore / count_d) + 3 * self.c * explore / count_d
        return bound
