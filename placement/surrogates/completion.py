"""A surrogate of tasks: how long each still takes under a placement, and the O^P (eq. 10) that follows from it.

An FCN, the same for every container, says how long a container takes from when its parents are done; a task takes the
longest path through its fragments. So the network has to learn contention only: that branches run side by side and
links of a chain one after another, it is told by the decision's graph. Every task of every plan is an example, where
eq. 11 has one number for a whole interval, most of which was settled by what was placed before.

Trained on log(1 + t), so that errors count in shares of the time.
"""

from dataclasses import dataclass

import numpy as np

from splitplace.placement.surrogates.contention import COLUMNS, Paths
from splitplace.placement.surrogates.network import Pass, Weights, backward_input, forward, init_weights
from splitplace.records.view import Floats, Ints

HIDDEN = (16, 16)


@dataclass(frozen=True, eq=False)
class Timing:
    """What `times` leaves for the way back."""

    done: Pass
    slope_C: Floats
    chosen: tuple[Ints, ...]
    """The parent that each container of a level waits for longest."""
    last_T: Ints
    """The container that ends last."""


def init(rng: np.random.Generator) -> Weights:
    """Untrained weights."""
    return init_weights((len(COLUMNS), *HIDDEN, 1), rng)


def times(weights: Weights, x_CF: Floats, paths: Paths) -> tuple[Floats, Timing]:
    """Intervals until each task is done, shape T."""
    z, done = forward(weights, x_CF)
    own_C = np.logaddexp(z[:, 0], 0.0)
    end_C = np.append(own_C, 0.0)  # nobody ends at once
    chosen = []
    for rows in paths.levels:
        parents = paths.parents_CK[rows]
        best = np.take_along_axis(parents, end_C[parents].argmax(axis=1)[:, None], axis=1)[:, 0]
        end_C[rows] += end_C[best]
        chosen.append(best)
    last_T = np.take_along_axis(paths.members_TK, end_C[paths.members_TK].argmax(axis=1)[:, None], axis=1)[:, 0]
    return end_C[last_T], Timing(done, -np.expm1(-own_C), tuple(chosen), last_T)


def back(timing: Timing, paths: Paths, d_T: Floats) -> Floats:
    """Down the critical paths to the FCN's output, shape (C, 1)."""
    d_C = np.zeros(len(timing.slope_C) + 1)
    np.add.at(d_C, timing.last_T, d_T)
    for rows, best in zip(reversed(paths.levels), reversed(timing.chosen), strict=True):
        np.add.at(d_C, best, d_C[rows])
    result: Floats = (d_C[:-1] * timing.slope_C)[:, None]
    return result


def input_gradient(weights: Weights, timing: Timing, paths: Paths, d_T: Floats) -> Floats:
    """D f / d x, shape (C, COLUMNS), from d f / d times."""
    return backward_input(weights, timing.done, back(timing, paths, d_T))


def objective(
    left_T: Floats, age_T: Floats, deadline_T: Floats, longest: float, softness: float, beta: float
) -> Floats:
    """What each task adds to O^P (eq. 3, 4, 10) as far as placement can change it: 1/2 P(in time) - β response.

    Energy is left out: on the shipped scenarios it differs between placers by less than 1 %.

    Args:
        left_T: Intervals it still takes.
        age_T: Intervals since it arrived.
        deadline_T: In intervals, from its arrival.
        longest: The largest deadline, in intervals.
        softness: Width of the step at the deadline on the scale of log(1 + t): being early is worth something yet.
        beta: Weight of response time in O^P.
    """
    result: Floats = 0.5 * _in_time(left_T, age_T, deadline_T, softness) - beta * (age_T + left_T) / longest
    return result


def objective_slope(
    left_T: Floats, age_T: Floats, deadline_T: Floats, longest: float, softness: float, beta: float
) -> Floats:
    """D objective / d left."""
    p_T = _in_time(left_T, age_T, deadline_T, softness)
    result: Floats = -0.5 * p_T * (1 - p_T) / (softness * (1 + left_T)) - beta / longest
    return result


def _in_time(left_T: Floats, age_T: Floats, deadline_T: Floats, softness: float) -> Floats:
    slack_T = np.maximum(deadline_T - age_T, -0.9)
    u_T = (np.log1p(slack_T) - np.log1p(left_T)) / softness
    result: Floats = 0.5 * (1 + np.tanh(u_T / 2))  # the logistic function, without overflow
    return result
