"""AdamW (Loshchilov & Hutter 2019, algorithm 2): Adam with weight decay apart from the gradient."""

from dataclasses import dataclass

import numpy as np

from splitplace.placement.learning.network import Weights

BETA1, BETA2, EPSILON = 0.9, 0.999, 1e-8


@dataclass(frozen=True, eq=False)
class Moments:
    """First and second moments of the gradients, in the weights' shapes."""

    first: Weights
    second: Weights
    steps: int

    @staticmethod
    def zero(weights: Weights) -> "Moments":
        """Before any step."""
        zeros = tuple(np.zeros_like(w) for w in weights)
        return Moments(zeros, zeros, 0)


def step(
    weights: Weights, gradients: Weights, moments: Moments, lr: float, weight_decay: float
) -> tuple[Weights, Moments]:
    """One step downhill; new weights and moments."""
    steps = moments.steps + 1
    first = tuple(BETA1 * m + (1 - BETA1) * g for m, g in zip(moments.first, gradients, strict=True))
    second = tuple(BETA2 * v + (1 - BETA2) * g * g for v, g in zip(moments.second, gradients, strict=True))
    scale1, scale2 = 1 - BETA1**steps, 1 - BETA2**steps
    stepped = tuple(
        w * (1 - lr * weight_decay) - lr * (m / scale1) / (np.sqrt(v / scale2) + EPSILON)
        for w, m, v in zip(weights, first, second, strict=True)
    )
    return stepped, Moments(first, second, steps)
