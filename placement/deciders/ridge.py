"""No decider: ridge regression that grows by one sample at a time, and how unsure it is of the next.

    A = λ I + Σ x xᵀ,  b = Σ r x,  θ = A⁻¹ b,  width(x) = sqrt(xᵀ A⁻¹ x)

(Li et al., WWW 2010). A and b are kept as sums and solved once a plan, so that nothing drifts; within a plan A⁻¹
follows each decision by Sherman-Morrison. A decision whose reward has not come yet counts in widths and not in θ
(Desautels et al., "Parallelizing exploration-exploitation tradeoffs", JMLR 2014): else all tasks of a plan, and all
until the first answer, would be decided alike.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from splitplace.records.view import Floats


@dataclass(frozen=True, eq=False)
class Ridge:
    """The sums; features F."""

    gram_FF: Floats
    target_F: Floats
    samples: int

    @staticmethod
    def none(features: int, ridge: float) -> "Ridge":
        """No sample; θ is 0."""
        return Ridge(ridge * np.eye(features), np.zeros(features), 0)

    def seen(self, x_F: Floats, y: float) -> "Ridge":
        """One sample more."""
        return Ridge(self.gram_FF + np.outer(x_F, x_F), self.target_F + y * x_F, self.samples + 1)

    @property
    def theta_F(self) -> Floats:  # noqa: N802 - shape suffix
        """The coefficients."""
        return np.linalg.solve(self.gram_FF, self.target_F).astype(np.float64)

    def doubt(self, under_way: Iterable[Floats]) -> "RidgeDoubt":
        """How unsure, counting samples whose answer is still to come, as features."""
        gram_FF = self.gram_FF.copy()
        for x_F in under_way:
            gram_FF += np.outer(x_F, x_F)
        return RidgeDoubt(np.linalg.inv(gram_FF).astype(np.float64))


@dataclass(frozen=True, eq=False)
class RidgeDoubt:
    """A⁻¹."""

    inverse_FF: Floats

    def width(self, x_F: Floats) -> float:
        """Standard deviations of the noise that θᵀx may be off."""
        return math.sqrt(max(float(x_F @ self.inverse_FF @ x_F), 0.0))

    def asked(self, x_F: Floats) -> "RidgeDoubt":
        """With one more sample on its way (Sherman & Morrison 1950)."""
        toward_F = self.inverse_FF @ x_F
        return RidgeDoubt(self.inverse_FF - np.outer(toward_F, toward_F) / (1.0 + x_F @ toward_F))


def is_ridge(gram_FF: Floats, target_F: Floats, features: int) -> bool:
    """Whether arrays of a file are such sums: of these shapes, finite, and A symmetric and positive definite."""
    if gram_FF.shape != (features, features) or target_F.shape != (features,):
        return False
    if not (np.isfinite(gram_FF).all() and np.isfinite(target_F).all() and np.allclose(gram_FF, gram_FF.T)):
        return False
    return bool(np.linalg.eigvalsh(gram_FF)[0] > 0)
