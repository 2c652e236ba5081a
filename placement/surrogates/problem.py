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


Row = tuple[int, int, int, float]
"""Task row, fragment row, device or -1, share of the work still to do."""


def asked(view: View, requests: Sequence[PlacementRequest]) -> Problem:
    """Those that have a device, then every requested fragment in the order of the requests."""
    wanted = [(request.task, fragment, NONE, 1.0) for request in requests for fragment in request.fragments]
    return _problem(view, [*_running(view, {}), *wanted])


def carried_out(view: View, actions: Sequence[Action]) -> Problem:
    """The containers that have a device once a plan of this view is carried out; those that wait are in none."""
    row_of = {int(task): row for row, task in enumerate(view.tasks.id_T)}
    moved = {(row_of[a.task], a.fragment): a.device for a in actions if isinstance(a, Migrate)}
    new = [(row_of[a.task], a.fragment, a.device, 1.0) for a in actions if isinstance(a, Place)]
    return _problem(view, [*_running(view, moved), *new])


def _running(view: View, moved: dict[tuple[int, int], int]) -> list[Row]:
    c = view.containers
    rows = []
    for row in np.flatnonzero(c.device_C != NONE):
        key = int(c.task_C[row]), int(c.fragment_C[row])
        rows.append((*key, moved.get(key, int(c.device_C[row])), float(c.remaining_C[row])))
    return rows


def _problem(view: View, rows: Sequence[Row]) -> Problem:
    f = view.fragments
    task_C = np.array([row[0] for row in rows], np.int64)
    fragment_C = np.array([row[1] for row in rows], np.int64)
    remaining_C = np.array([row[3] for row in rows], np.float64)
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
        device_C=np.array([row[2] for row in rows], np.int64),
        demand_CK=np.stack(demand, axis=1),
    )
