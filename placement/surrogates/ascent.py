"""Eq. 12: from P_{t-1}, climb the predicted O^P.

Deliberate readings:

* The paper prints a descent (P - η ∇f) though O^P is to be maximised: this is gradient ASCENT.
* P stays a placement: each row is the softmax of logits over the devices that the container fits; the gradient is taken
  with respect to the logits.
* It ends after 100 steps or when P moved by less than 1e-3 (Frobenius norm).
"""

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from splitplace.records.view import Bools, Floats, Ints

STEPS, TOLERANCE = 100, 1e-3
PEAK = 0.5
"""Share of a start on the device it stands for; the rest is spread evenly, so that every device has a gradient."""


def start(device_C: Ints, fits_CD: Bools, peak: float = PEAK) -> Floats:
    """P_{t-1}, relaxed: most of each row on its device (which fits), the rest over all that fit; shape (C, D)."""
    p_CD: Floats = (1 - peak) * fits_CD / np.maximum(fits_CD.sum(axis=1, keepdims=True), 1)
    p_CD[np.arange(len(p_CD)), device_C] += peak
    return p_CD


def climb(
    gradient: Callable[[Floats], Floats],
    start_CD: Floats,
    eta: float,
    steps: int = STEPS,
    tolerance: float = TOLERANCE,
    mirror: bool = False,
) -> tuple[Floats, int]:
    """Where the ascent ends, and how many steps it took.

    Args:
        gradient: d f / d P at a placement, shape (C, D) both.
        start_CD: Rows that sum to 1; what is 0 stays 0.
        eta: Step on the logits.
        steps: At most.
        tolerance: Of ‖ΔP‖.
        mirror: Move the logits by the slope of P itself (exponentiated gradient, Kivinen & Warmuth 1997), not by that
            of the logits, which is P times as large and so hardly hears of a device with little of P.
    """
    with np.errstate(divide="ignore"):
        logits = np.log(start_CD)
    p_CD, change = start_CD, np.empty_like(start_CD)
    spare = [np.empty_like(start_CD), np.empty_like(start_CD)]  # many containers: fresh arrays would cost as much again
    for taken in range(1, steps + 1):
        slope = gradient(p_CD)
        np.subtract(slope, np.einsum("cd,cd->c", p_CD, slope)[:, None], out=change)
        change *= eta if mirror else np.multiply(eta, p_CD, out=spare[0])
        logits += change
        logits -= logits.max(axis=1, keepdims=True)
        moved = np.exp(logits, out=spare[0])
        moved /= moved.sum(axis=1, keepdims=True)
        np.subtract(moved, p_CD, out=change)
        p_CD, spare = moved, spare[::-1]
        if float(np.vdot(change, change)) < tolerance * tolerance:
            return p_CD, taken
    return p_CD, steps


def chosen_eta(scores: Mapping[float, Sequence[float]]) -> float:
    """The paper's step, unless others realise more on every tuning run; of those, the one with the best mean.

    Args:
        scores: O^P of each tuning run by η, the paper's first.
    """
    printed = next(iter(scores))
    better = [eta for eta in scores if all(a > b for a, b in zip(scores[eta], scores[printed], strict=True))]
    return max(better, key=lambda eta: float(np.mean(scores[eta])), default=printed)
