"""How long tasks take under a placement by physics alone, nothing learned: what a learned plan is held against.

Devices and links are shared equally, so of jobs that are there at once one of w seconds is held up by another of v for
min(w, v): a container computes for Σ_j min(w, w_j) / cores, j over what is on its device, and no less than for w. Its
input takes Σ_j min(b, b_j) / bandwidth likewise, of its device's downlink and of its parents' uplinks, whichever is
longer; neighbours on one device send each other nothing. Fragments that come before or after one another within a task
are never there at once. A task takes the longest path through its fragments.

Unlike `contention.py` it looks at whole placements only, and so at no pairs but those within a task: O(C log C).
"""

from collections.abc import Sequence

import numpy as np

from splitplace.placement.surrogates import completion
from splitplace.placement.surrogates.contention import edges_between, paths_of
from splitplace.placement.surrogates.problem import Problem, carried_out
from splitplace.records.action import Action
from splitplace.records.task import micro_batches
from splitplace.records.view import NONE, Floats, Ints, View


def worth(view: View, actions: Sequence[Action], softness: float, beta: float) -> float:
    """What the view's tasks add to O^P (`completion.objective`) under a plan; one that waits takes the longest time."""
    tasks, unit_s, longest = view.tasks, view.interval_s, view.longest_s / view.interval_s
    rows_T, left_s_T = expected_s(view, carried_out(view, actions))
    left_T = np.full(len(tasks.id_T), longest)
    left_T[rows_T] = left_s_T / unit_s
    added_T = completion.objective(left_T, tasks.age_s_T / unit_s, tasks.deadline_s_T / unit_s, longest, softness, beta)
    return float(added_T.sum())


def expected_s(view: View, problem: Problem) -> tuple[Ints, Floats]:
    """Rows of the tasks of a problem whose containers all have a device, and the seconds that each still takes."""
    tasks_T, task_of_C = np.unique(problem.task_C, return_inverse=True)
    if len(problem) == 0:
        return tasks_T, np.zeros(0)
    running, device_C = view.containers.device_C != NONE, problem.device_C
    left_C = np.ones(len(problem))
    left_C[: int(running.sum())] = view.containers.remaining_C[running]
    n_C = view.tasks.n_T[problem.task_C]
    batches_C = micro_batches(n_C, view.fragments.micro_batch_F[problem.fragment_C])
    work_C = left_C * batches_C * view.fragments.latency_s_FD[problem.fragment_C, device_C]
    into_C, inner, parents_CK = edges_between(view, problem, left_C, n_C.astype(np.float64))
    apart = np.flatnonzero(device_C[inner.src_X] != device_C[inner.dst_X])
    src_X, dst_X, bytes_X = inner.src_X[apart], inner.dst_X[apart], inner.bytes_X[apart]
    np.add.at(into_C, dst_X, bytes_X)
    out_C: Floats = np.bincount(src_X, bytes_X, len(problem)).astype(np.float64)
    links, paths = view.links, paths_of(parents_CK, task_of_C, len(tasks_T))
    compute_s_C = _held_up(work_C, device_C) - _in_turn(work_C, device_C, parents_CK)
    compute_s_C = np.maximum(compute_s_C / view.devices.servers_D[device_C], work_C)
    in_s_C, out_s_C = (
        _held_up(bytes_C, device_C) / np.maximum(rate_D[device_C], 1.0)
        for bytes_C, rate_D in ((into_C, links.down_bytes_per_s_D), (out_C, links.up_bytes_per_s_D))
    )
    in_s_C = in_s_C + np.where(into_C > 0, links.rtt_s_D[device_C] / 2, 0.0)
    hop_s_X = (links.rtt_s_D[device_C[src_X]] + links.rtt_s_D[device_C[dst_X]]) / 2
    np.maximum.at(in_s_C, dst_X, out_s_C[src_X] + hop_s_X)
    end_C, _ = completion.path_ends(in_s_C + compute_s_C, paths)
    result: Floats = end_C[paths.members_TK].max(axis=1)
    return tasks_T, result


def _held_up(size_C: Floats, device_C: Ints) -> Floats:
    """Σ_j min(size_i, size_j) over the j on the device of i, itself among them; shape C."""
    order = np.lexsort((size_C, device_C))
    sizes, devices = size_C[order], device_C[order]
    first = np.searchsorted(devices, devices, side="left")
    beyond = np.searchsorted(devices, devices, side="right")
    sums, at = np.concatenate([[0.0], np.cumsum(sizes)]), np.arange(len(order))
    result = np.empty(len(order))
    result[order] = sums[at + 1] - sums[first] + (beyond - at - 1) * sizes
    return result


def _in_turn(size_C: Floats, device_C: Ints, parents_CK: Ints) -> Floats:
    """The part of it that comes before or after i within its task: they take turns."""
    count = len(size_C)
    found, row_Q, before_Q = list[Ints](), np.arange(count), np.arange(count)
    while len(row_Q):  # parents, then their parents
        at_Q, column_Q = np.nonzero(parents_CK[before_Q] < count)
        row_Q, before_Q = row_Q[at_Q], parents_CK[before_Q[at_Q], column_Q]
        found.append(row_Q * count + before_Q)
    pairs = np.unique(np.concatenate(found))
    row_Q, before_Q = pairs // count, pairs % count
    shorter_Q = np.minimum(size_C[row_Q], size_C[before_Q]) * (device_C[row_Q] == device_C[before_Q])
    behind_C, ahead_C = (np.bincount(each, shorter_Q, count).astype(np.float64) for each in (row_Q, before_Q))
    result: Floats = behind_C + ahead_C
    return result
