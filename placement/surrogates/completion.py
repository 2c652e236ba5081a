"""A surrogate of tasks: how long each still takes under a placement, and the O^P (eq. 10) that follows from it.

An FCN, the same for every container, says how long a container takes from when its parents are done; a task takes the
longest path through its fragments. So the network has to learn contention only: that branches run side by side and
links of a chain one after another, it is told by the decision's graph. Every task of every plan is an example, where
eq. 11 has one number for a whole interval, most of which was settled by what was placed before.

Trained on log(1 + t), so that errors count in shares of the time.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from splitplace.placement.surrogates.contention import COLUMNS, Paths, contention, side_by_side
from splitplace.placement.surrogates.network import Pass, Weights, backward_input, forward, init_weights
from splitplace.placement.surrogates.problem import carried_out
from splitplace.records.action import Action
from splitplace.records.view import Floats, Ints, View

HIDDEN = (16, 16)


@dataclass(frozen=True, eq=False)
class Timing:
    """What `times` leaves for the way back."""

    done: Pass
    own_C: Floats
    """What each container takes by itself."""
    chosen: tuple[Ints, ...]
    """The parent that each container of a level waits for longest."""
    last_T: Ints
    """The container that ends last."""


def init(rng: np.random.Generator) -> Weights:
    """Untrained weights."""
    return init_weights((len(COLUMNS), *HIDDEN, 1), rng)


def times(weights: Weights, x_CF: Floats, paths: Paths, xp: Any = np) -> tuple[Floats, Timing]:
    """Intervals until each task is done, shape T; `xp` is numpy or torch, as weights and rows are."""
    z, done = forward(weights, x_CF, xp)
    own_C = xp.logaddexp(z[:, 0], xp.zeros(()))
    end_C, chosen = path_ends(own_C, paths, xp)
    last_T = _latest(end_C, paths.members_TK, xp)
    return end_C[last_T], Timing(done, own_C, tuple(chosen), last_T)


def path_ends(own_C: Floats, paths: Paths, xp: Any = np) -> tuple[Floats, list[Ints]]:
    """When each container ends, that of nobody (0) last, and the parent that each of a level waits for longest."""
    end_C = xp.concatenate([own_C, xp.zeros(1)])  # nobody ends at once
    chosen = []
    for rows in paths.levels:
        best = _latest(end_C, paths.parents_CK[rows], xp)
        end_C[rows] += end_C[best]
        chosen.append(best)
    return end_C, chosen


def _latest(end_C: Floats, among_NK: Ints, xp: Any) -> Ints:
    """The container of each row that ends last, the first of equals."""
    result: Ints = among_NK[np.arange(len(among_NK)), np.asarray(xp.argmax(end_C[among_NK], axis=1))]
    return result


def _back(timing: Timing, paths: Paths, d_T: Floats) -> Floats:
    """Down the critical paths to the FCN's output, shape (C, 1)."""
    d_C = np.zeros(len(timing.own_C) + 1)
    np.add.at(d_C, timing.last_T, d_T)
    for rows, best in zip(reversed(paths.levels), reversed(timing.chosen), strict=True):
        np.add.at(d_C, best, d_C[rows])
    slope_C = -np.expm1(-timing.own_C)
    result: Floats = (d_C[:-1] * slope_C)[:, None]
    return result


def input_gradient(weights: Weights, timing: Timing, paths: Paths, d_T: Floats) -> Floats:
    """D f / d x, shape (C, COLUMNS), from d f / d times."""
    return backward_input(weights, timing.done, _back(timing, paths, d_T))


@dataclass(frozen=True, eq=False)
class Plans:
    """Plans that were carried out, and how long each of their tasks took from then on: what `times` is trained on."""

    x: Sequence[Floats]
    """Rows of each plan's containers, shape (C, COLUMNS)."""
    paths: Sequence[Paths]
    left: Sequence[Floats]
    """Intervals each task took, shape T; NaN if it never left."""

    def __len__(self) -> int:
        return len(self.x)

    def __getitem__(self, rows: Ints) -> "Plans":
        """Some of the plans."""
        return Plans(*([column[i] for i in rows] for column in (self.x, self.paths, self.left)))

    @property
    def y(self) -> Floats:
        """True log(1 + t) of every task that left."""
        left_T = np.concatenate([np.zeros(0), *self.left])
        result: Floats = np.log1p(left_T[np.isfinite(left_T)])
        return result


def joined(parts: Sequence[Plans]) -> Plans:
    """The plans of several runs."""
    return Plans(*([entry for plans in parts for entry in getattr(plans, name)] for name in ("x", "paths", "left")))


def predict(weights: Weights, plans: Plans, xp: Any = np) -> Floats:
    """Predicted log(1 + t) of every task that left, as `plans.y`; all plans at once, as one that nobody shares."""
    known = np.flatnonzero(np.isfinite(np.concatenate(plans.left)))
    left_T, _ = times(weights, xp.asarray(np.concatenate(plans.x)), side_by_side(plans.paths), xp)
    result: Floats = xp.log1p(left_T[known])
    return result


class PlanRecorder:
    """Watches a run: the rows of every plan, and the tasks' responses as they come."""

    def __init__(self) -> None:
        self._plans: list[tuple[Floats, Paths, Ints, Floats, float]] = []
        self._response_s: dict[int, float] = {}

    def __call__(self, view: View, actions: Sequence[Action]) -> None:
        """A plan was made."""
        self._response_s.update(zip(view.finished.id_E.tolist(), view.finished.response_s_E.tolist(), strict=True))
        problem = carried_out(view, actions)
        if len(problem) == 0:
            return
        around = contention(view, problem)
        x_CF = around.x(np.eye(len(view.devices.names))[problem.device_C])
        rows = around.tasks_T
        self._plans.append((x_CF, around.paths, view.tasks.id_T[rows], view.tasks.age_s_T[rows], view.interval_s))

    def plans(self) -> Plans:
        """After the run."""
        left = []
        for _, _, id_T, age_s_T, interval_s in self._plans:
            response_s_T = np.array([self._response_s.get(task, np.nan) for task in id_T.tolist()])
            left.append(np.maximum(response_s_T - age_s_T, 0.0) / interval_s)
        return Plans([x_CF for x_CF, *_ in self._plans], [paths for _, paths, *_ in self._plans], left)


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
