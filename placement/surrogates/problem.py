"""The containers of one moment and what they ask for: the rows of the placement matrix P, and their demand."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from splitplace.placement.policy import PlacementRequest
from splitplace.records.action import Action, Migrate, Place
from splitplace.records.task import micro_batches
from splitplace.records.view import NONE, Bools, Floats, Ints, View

DEMANDS = 3
"""Seconds of work, bytes moved, bytes of memory."""


@dataclass(frozen=True, eq=False)
class Problem:
    """C containers: those that have a device, and those that ask for one."""

    task_C: Ints
    """Row of the view's tasks."""
    fragment_C: Ints
    semantic_C: Bools
    """The decision of eq. 12's D_t: semantic, or else a chain (layer; one of a single link if full or compressed)."""
    device_C: Ints
    """-1 where it has none yet."""
    demand_CK: Floats
    """On the mean device: seconds of work left on one core, bytes in and out, bytes of memory."""

    def __len__(self) -> int:
        return len(self.task_C)


def asked(view: View, requests: Sequence[PlacementRequest]) -> Problem:
    """Those that have a device, then every requested fragment in the order of the requests."""
    wanted = [(request.task, fragment, NONE) for request in requests for fragment in request.fragments]
    return _problem(view, view.containers.device_C, wanted)


def carried_out(view: View, actions: Sequence[Action]) -> Problem:
    """The containers that have a device once a plan of this view is carried out; those that wait are in none."""
    c, row_of = view.containers, {int(task): row for row, task in enumerate(view.tasks.id_T)}
    device_C = c.device_C
    if moves := [action for action in actions if isinstance(action, Migrate)]:
        device_C = device_C.copy()
        for move in moves:
            device_C[(c.task_C == row_of[move.task]) & (c.fragment_C == move.fragment)] = move.device
    new = [(row_of[a.task], a.fragment, a.device) for a in actions if isinstance(a, Place)]
    return _problem(view, device_C, new)


def _problem(view: View, device_C: Ints, new: Sequence[tuple[int, int, int]]) -> Problem:
    """The view's containers that have a device, on these; then new ones: task row, fragment row, device or -1."""
    f, c = view.fragments, view.containers
    running = np.flatnonzero(c.device_C != NONE)
    new_N3 = np.array(new, np.int64).reshape(-1, 3)
    task_C = np.concatenate([c.task_C[running], new_N3[:, 0]])
    fragment_C = np.concatenate([c.fragment_C[running], new_N3[:, 1]])
    remaining_C = np.concatenate([c.remaining_C[running], np.ones(len(new_N3))])
    n_C = view.tasks.n_T[task_C]
    semantic_S = np.array([name == "semantic" for name in view.splits.strategies], np.bool_)
    bytes_F = np.bincount(f.edge_dst_X, f.edge_bytes_X, len(f.split_F))
    inner = f.edge_src_X != NONE
    bytes_F += np.bincount(f.edge_src_X[inner], f.edge_bytes_X[inner], len(f.split_F))
    batches_C = micro_batches(n_C, f.micro_batch_F[fragment_C])
    demand = (
        remaining_C * batches_C * f.latency_s_FD.mean(axis=1)[fragment_C],
        remaining_C * n_C * bytes_F[fragment_C],
        f.memory_bytes_FD.mean(axis=1)[fragment_C],
    )
    return Problem(
        task_C=task_C,
        fragment_C=fragment_C,
        semantic_C=semantic_S[f.split_F[fragment_C]],
        device_C=np.concatenate([device_C[running], new_N3[:, 2]]),
        demand_CK=np.stack(demand, axis=1),
    )
