"""Fully connected networks: forward, in numpy or in torch; and in numpy, backward to the weights and to the input.

At plan time everything is numpy: torch's time per call would be most of a plan's. Offline, torch differentiates the
same forward (`learning/fit.py`); backward to the weights is for what learns while it runs.

Hidden layers are softplus, log(1 + e^z): smooth, so that the gradient with respect to a placement never vanishes at
once, and linear far out, so that a load beyond any seen in training still costs more. The last layer is linear.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np

from splitplace.records.view import Floats

Weights = tuple[Floats, ...]
"""Weight (in, out) and bias (out,) of each layer, one after another."""


def init_weights(sizes: tuple[int, ...], rng: np.random.Generator) -> Weights:
    """Gaussian weights of variance 2 / fan-in (He et al. 2015), zero biases, for layers of these widths."""
    weights: list[Floats] = []
    for fan_in, fan_out in pairwise(sizes):
        weights += [rng.normal(0.0, np.sqrt(2.0 / fan_in), (fan_in, fan_out)), np.zeros(fan_out)]
    return tuple(weights)


def as_stored(weights: Weights) -> Weights:
    """The weights that a file gives back: a state that was saved and read again behaves the same."""
    return tuple(w.astype(np.float32).astype(np.float64) for w in weights)


def to_arrays(weights: Weights) -> dict[str, Any]:
    """For a file, by name."""
    return {f"w{i}": w.astype(np.float32) for i, w in enumerate(weights)}


def from_arrays(arrays: Mapping[str, Any], like: Weights) -> Weights | None:
    """The weights of a file; None if it has others than `like` by name or shape, or some that are not finite."""
    expected = {f"w{i}": w.shape for i, w in enumerate(like)}
    if {name: array.shape for name, array in arrays.items()} != expected:
        return None
    weights = tuple(arrays[name].astype(np.float64) for name in expected)
    return weights if all(np.isfinite(w).all() for w in weights) else None


@dataclass(frozen=True, eq=False)
class Pass:
    """What forward leaves for backward."""

    inputs: tuple[Floats, ...]
    """Of each layer; from the second on, softplus of what the layer before computed."""

    def through(self, layer: int, d_BO: Floats) -> Floats:
        """D loss / d z of a layer, from d loss / d output of it; the last layer is linear."""
        if layer == len(self.inputs) - 1:
            return d_BO
        slope: Floats = -np.expm1(-self.inputs[layer + 1])  # the logistic function of z, as 1 - e^-softplus(z)
        return d_BO * slope


def forward(weights: Weights, x_BI: Floats, xp: Any = np) -> tuple[Floats, Pass]:
    """The network's output, shape (B, O), for inputs of shape (B, I); `xp` is numpy or torch, as the arrays are."""
    inputs, nothing = list[Floats](), xp.zeros(())
    layers = len(weights) // 2
    for layer in range(layers):
        inputs.append(x_BI)
        z = x_BI @ weights[2 * layer] + weights[2 * layer + 1]
        if layer == layers - 1:
            return z, Pass(tuple(inputs))
        x_BI = xp.logaddexp(z, nothing)
    raise AssertionError("a network has at least one layer")


def backward_input(weights: Weights, done: Pass, d_BO: Floats) -> Floats:
    """D loss / d input, shape (B, I), from d loss / d output, shape (B, O)."""
    for layer in range(len(weights) // 2 - 1, -1, -1):
        d_BO = done.through(layer, d_BO) @ weights[2 * layer].T
    return d_BO


def backward_weights(weights: Weights, done: Pass, d_BO: Floats) -> tuple[Weights, Floats]:
    """D loss / d weights, each in its weight's shape, and d loss / d input."""
    gradients: list[Floats] = []
    for layer in range(len(weights) // 2 - 1, -1, -1):
        d_BO = done.through(layer, d_BO)
        gradients += [d_BO.sum(axis=0), done.inputs[layer].T @ d_BO]
        d_BO = d_BO @ weights[2 * layer].T
    return tuple(reversed(gradients)), d_BO
