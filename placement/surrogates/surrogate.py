"""The surrogate f(x; θ) of §4.2: what O^P a placement is expected to get, in two forms with one set of functions.

`flat`: the FCN of the paper on a flattened table, for the fleet it was trained for. `shared`: one small FCN for every
device, its outputs averaged over the devices, and one layer on the average: any number of devices, same weights.
"""

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from splitplace.placement.surrogates.adamw import Moments, step
from splitplace.placement.surrogates.network import Weights, backward_input, backward_weights, forward, init_weights
from splitplace.records.view import Floats, Ints

Form = Literal["flat", "shared"]
HIDDEN = {"flat": (64, 32), "shared": (32, 16)}


@dataclass(frozen=True, eq=False)
class Surrogate:
    """Weights and form; a value, never changed in place."""

    form: Form
    weights: Weights
    """Of the whole FCN; if shared, of the device's FCN and then of the layer on the average."""


def init(form: Form, width: int, rng: np.random.Generator) -> Surrogate:
    """An untrained surrogate.

    Args:
        form: See the module.
        width: Length of the input; if shared, of one device's row.
        rng: Of the weights.
    """
    hidden = HIDDEN[form]
    if form == "flat":
        weights = init_weights((width, *hidden, 1), rng)
    else:
        weights = (*init_weights((width, *hidden), rng), *init_weights((hidden[-1], 1), rng))
    # A tenth in the last layer: it starts near its bias, and training near the mean of what it is shown.
    return Surrogate(form, (*weights[:-2], 0.1 * weights[-2], weights[-1]))


def predict(surrogate: Surrogate, x_BN: Floats, xp: Any = np) -> Floats:
    """Predicted O^P of B inputs, shape B; an input has shape (N,) if flat, (D, F) if shared. `xp`: numpy or torch."""
    if surrogate.form == "flat":
        return forward(surrogate.weights, x_BN, xp)[0][:, 0]
    inner, outer = _halves(surrogate)
    batch, devices, features = x_BN.shape
    each, _ = forward(inner, x_BN.reshape(-1, features), xp)
    return forward(outer, each.reshape(batch, devices, -1).mean(axis=1), xp)[0][:, 0]


def input_gradient(surrogate: Surrogate, x_N: Floats) -> tuple[float, Floats]:
    """Predicted O^P of one input, and its gradient in the input's shape."""
    if surrogate.form == "flat":  # vectors, not batches of one: this is the inner loop of every plan
        y, done = forward(surrogate.weights, x_N)
        return float(y[0]), backward_input(surrogate.weights, done, np.ones(1))
    one = np.ones((1, 1))
    inner, outer = _halves(surrogate)
    each, done = forward(inner, x_N)
    y, done_outer = forward(outer, each.mean(axis=0)[None])
    d_mean = backward_input(outer, done_outer, one) / len(x_N)
    return float(y[0, 0]), backward_input(inner, done, np.repeat(d_mean, len(x_N), axis=0))


def narrow(surrogate: Surrogate, x_N: Floats, columns_M: Ints) -> Surrogate:
    """The flat surrogate as a function of some inputs, the others as they are in `x_N`: folded into the first bias.

    The ascent changes what P changes, half of the input or less, and asks a hundred times a plan.
    """
    first, bias, *rest = surrogate.weights
    kept = first[columns_M]
    return Surrogate(surrogate.form, (kept, bias + x_N @ first - x_N[columns_M] @ kept, *rest))


def mse_gradient(surrogate: Surrogate, x_BN: Floats, y_B: Floats) -> Weights:
    """Gradient of eq. 11 with respect to the weights."""
    if surrogate.form == "flat":
        y, done = forward(surrogate.weights, x_BN)
        return backward_weights(surrogate.weights, done, 2 * (y - y_B[:, None]) / len(y_B))[0]
    inner, outer = _halves(surrogate)
    batch, devices, features = x_BN.shape
    each, done = forward(inner, x_BN.reshape(-1, features))
    y, done_outer = forward(outer, each.reshape(batch, devices, -1).mean(axis=1))
    outer_gradient, d_mean = backward_weights(outer, done_outer, 2 * (y - y_B[:, None]) / len(y_B))
    inner_gradient, _ = backward_weights(inner, done, np.repeat(d_mean / devices, devices, axis=0))
    return (*inner_gradient, *outer_gradient)


def learn(
    surrogate: Surrogate, moments: Moments, x_BN: Floats, y_B: Floats, lr: float, weight_decay: float
) -> tuple[Surrogate, Moments]:
    """One AdamW step on eq. 11: what a plan has time for; offline training is torch's (`learning/fit.py`)."""
    gradients = mse_gradient(surrogate, x_BN, y_B)
    weights, moments = step(surrogate.weights, gradients, moments, lr, weight_decay)
    return Surrogate(surrogate.form, weights), moments


def _halves(surrogate: Surrogate) -> tuple[Weights, Weights]:
    return surrogate.weights[:-2], surrogate.weights[-2:]
