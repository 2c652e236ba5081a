"""AdamW (Loshchilov & Hutter 2019, algorithm 2): Adam with weight decay apart from the gradient."""

from dataclasses import dataclass

import numpy as np

from splitplace.placement.surrogates.network import Weights

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
    stepped, first, second = [], [], []
    for w, g, m, v in zip(weights, gradients, moments.first, moments.second, strict=True):
        m, v, change = BETA1 * m, BETA2 * v, g * g
        # In place from here on: a large layer is bound by memory, and this is in the time of a plan.
        change *= 1 - BETA2
        v += change
        np.multiply(g, 1 - BETA1, out=change)
        m += change
        np.sqrt(v, out=change)
        change /= np.sqrt(1 - BETA2**steps)
        change += EPSILON
        np.divide(m, change, out=change)
        change *= lr / (1 - BETA1**steps)
        w = w * (1 - lr * weight_decay)
        w -= change
        stepped.append(w)
        first.append(m)
        second.append(v)
    return tuple(stepped), Moments(tuple(first), tuple(second), steps)
