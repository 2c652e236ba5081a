"""What a relaxed placement P makes containers wait for, and the way back: the input of `completion.py`.

The pooled features of DASO are affine in P and so can say how much stands on a device, but not who is in whose way, nor
that neighbours of a chain on one device send each other nothing. Both are bilinear in P: containers i and j share a
device with probability (P P^T)_ij. Under processor sharing, a job is held up by another for the shorter of the two, so
a row has, for work and for bytes, Σ_j (P diag(1/capacity) P^T)_ij min(own_i, own_j), apart for j of the same task and,
of other tasks, for j just placed, under way, and waiting for what comes before it.

All times in scheduling intervals. Readings: a container that has begun to compute has all its bytes; one that has not
has none (the view does not say how far a transfer is, so rows have the task's age); results to the broker count as
nothing. Nothing here knows how many devices there are.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from splitplace.placement.surrogates.problem import Problem
from splitplace.records.task import micro_batches
from splitplace.records.view import NONE, Floats, Ints, View

COLUMNS = (
    "work", "bytes in", "bytes out", "1/servers", "semantic", "has parents", "age",
    "work of siblings", "work of new", "work under way", "work waiting",
    "bytes of siblings", "bytes of new", "bytes under way", "bytes waiting",
)  # fmt: skip
"""Of a container's row: the first three alone on its device, the last eight as held up by others there."""
WORK, BYTES = 7, 11
OLDEST = 4.0
"""Age is told up to so many intervals."""


@dataclass(frozen=True, eq=False)
class Paths:
    """Who comes after whom within the tasks of one moment; index C stands for nobody."""

    parents_CK: Ints
    levels: tuple[Ints, ...]
    """Containers with parents, by depth."""
    members_TK: Ints
    """The containers of each task."""


@dataclass(frozen=True, eq=False)
class Shared:
    """What the rows at one P leave for the way back."""

    p_CD: Floats
    into_C: Floats
    """Bytes that come from other devices."""
    out_C: Floats
    per_byte_C: Floats
    byte_CC: Floats
    """Of sharing a link, over its bandwidth."""
    lesser_CC: Floats
    """The lesser bytes of two."""


@dataclass(frozen=True, eq=False)
class Contention:
    """Everything of the rows but P."""

    paths: Paths
    tasks_T: Ints
    """Rows of the view's tasks, as `paths.members_TK` counts them."""
    work_CD: Floats
    """Alone on one server."""
    outside_C: Floats
    """Bytes from outside the view: the task's input, or what a fragment that is done sends."""
    src_X: Ints
    dst_X: Ints
    bytes_X: Floats
    """Bytes between two containers, nothing if they share a device."""
    per_server_D: Floats
    per_byte_D: Floats
    fixed_CF: Floats
    """Columns that P does not change: semantic, has parents, age."""
    shorter_CC: Floats
    """The shorter work of two."""
    same_CC: Floats
    """1 for another container of the same task."""
    other_CC: Floats
    group_CG: Floats
    """New, under way, or waiting."""

    def x(self, p_CD: Floats) -> Floats:
        """The rows, shape (C, COLUMNS)."""
        return self.shared(p_CD)[0]

    def shared(self, p_CD: Floats) -> tuple[Floats, "Shared"]:
        """The rows, and what `pull` needs to know of P."""
        count, scaled_CD = len(p_CD), p_CD * self.per_byte_D
        server_CC, byte_CC = (p_CD * self.per_server_D) @ p_CD.T, scaled_CD @ p_CD.T
        apart_X = self.bytes_X * (1.0 - np.einsum("xd,xd->x", p_CD[self.src_X], p_CD[self.dst_X]))
        into_C = self.outside_C + np.bincount(self.dst_X, apart_X, count)
        out_C: Floats = np.bincount(self.src_X, apart_X, count).astype(np.float64)
        per_byte_C, moved_C = p_CD @ self.per_byte_D, into_C + out_C
        lesser_CC = np.minimum(moved_C[:, None], moved_C)
        own = (np.einsum("cd,cd->c", p_CD, self.work_CD), into_C * per_byte_C, out_C * per_byte_C)
        columns = (
            np.stack([*own, p_CD @ self.per_server_D], axis=1),
            self.fixed_CF,
            self._gather(server_CC * self.shorter_CC),
            self._gather(byte_CC * lesser_CC),
        )
        return np.concatenate(columns, axis=1), Shared(p_CD, into_C, out_C, per_byte_C, byte_CC, lesser_CC)

    def pull(self, at: "Shared", dx_CF: Floats, free_C: Ints) -> Floats:
        """D f / d P of the rows `free_C`, from d f / d x; shape (free, D)."""
        p_CD, moved_C = at.p_CD, at.into_C + at.out_C
        d_core = self._spread(dx_CF[:, WORK:BYTES])
        d_core *= self.shorter_CC
        d_pair = self._spread(dx_CF[:, BYTES:])
        d_byte = d_pair * at.lesser_CC
        # The shorter of two transfers: whose it is takes the slope.
        d_pair *= at.byte_CC
        mine = np.where(moved_C[:, None] <= moved_C, d_pair, 0.0)
        d_moved_C = mine.sum(axis=1) + (d_pair - mine).sum(axis=0)
        d_into_C, d_out_C = dx_CF[:, 1] * at.per_byte_C + d_moved_C, dx_CF[:, 2] * at.per_byte_C + d_moved_C
        d_apart_X = (self.bytes_X * (d_into_C[self.dst_X] + d_out_C[self.src_X]))[:, None]
        dp_CD = dx_CF[:, :1] * self.work_CD + dx_CF[:, 3:4] * self.per_server_D
        dp_CD += (dx_CF[:, 1] * at.into_C + dx_CF[:, 2] * at.out_C)[:, None] * self.per_byte_D
        np.subtract.at(dp_CD, self.src_X, d_apart_X * p_CD[self.dst_X])
        np.subtract.at(dp_CD, self.dst_X, d_apart_X * p_CD[self.src_X])
        result: Floats = dp_CD[free_C]
        result += ((d_core[free_C] + d_core[:, free_C].T) @ p_CD) * self.per_server_D
        result += ((d_byte[free_C] + d_byte[:, free_C].T) @ p_CD) * self.per_byte_D
        return result

    def _gather(self, pairs_CC: Floats) -> Floats:
        siblings = np.einsum("ij,ij->i", pairs_CC, self.same_CC)[:, None]
        return np.concatenate([siblings, (pairs_CC * self.other_CC) @ self.group_CG], axis=1)

    def _spread(self, d_CG: Floats) -> Floats:
        result: Floats = d_CG[:, :1] * self.same_CC + (d_CG[:, 1:] @ self.group_CG.T) * self.other_CC
        return result


def contention(view: View, problem: Problem) -> Contention:
    """Of the containers that have a device and those that ask for one, as `problem.asked` orders them."""
    count, unit_s = len(problem), view.interval_s
    running = int((view.containers.device_C != NONE).sum())  # the problem's first rows
    left_C = np.ones(count)
    left_C[:running] = view.containers.remaining_C[view.containers.device_C != NONE]
    n_C = view.tasks.n_T[problem.task_C]
    batches_C = micro_batches(n_C, view.fragments.micro_batch_F[problem.fragment_C])
    work_CD = (left_C * batches_C)[:, None] * view.fragments.latency_s_FD[problem.fragment_C] / unit_s
    outside_C, inner, parents = edges_between(view, problem, left_C, n_C / unit_s)
    tasks_T, task_of_C = np.unique(problem.task_C, return_inverse=True)
    same_CC = (task_of_C[:, None] == task_of_C).astype(np.float64)
    other_CC = 1.0 - same_CC
    np.fill_diagonal(same_CC, 0.0)
    has_C = np.array([bool(p) for p in parents], np.float64)
    old_C = (np.arange(count) < running).astype(np.float64)
    age_C = old_C * np.minimum(view.tasks.age_s_T[problem.task_C] / unit_s, OLDEST)
    group = ((1 - has_C) * (1 - old_C), (1 - has_C) * old_C, has_C)
    work_C = work_CD.mean(axis=1)
    bandwidth_D = np.minimum(view.links.up_bytes_per_s_D, view.links.down_bytes_per_s_D)
    return Contention(
        paths=paths_of(parents, task_of_C, len(tasks_T)),
        tasks_T=tasks_T,
        work_CD=work_CD,
        outside_C=outside_C,
        src_X=np.array([src for src, _, _ in inner], np.int64),
        dst_X=np.array([dst for _, dst, _ in inner], np.int64),
        bytes_X=np.array([size for _, _, size in inner], np.float64),
        per_server_D=1.0 / view.devices.servers_D,
        per_byte_D=1.0 / np.maximum(bandwidth_D, 1.0),
        fixed_CF=np.stack([problem.semantic_C.astype(np.float64), has_C, age_C], axis=1),
        shorter_CC=np.minimum(work_C[:, None], work_C),
        same_CC=same_CC,
        other_CC=other_CC,
        group_CG=np.stack(group, axis=1),
    )


def edges_between(
    view: View, problem: Problem, left_C: Floats, n_C: Floats
) -> tuple[Floats, list[tuple[int, int, float]], list[list[int]]]:
    """Bytes from outside, edges between containers (those still to be sent), and each container's parents."""
    f = view.fragments
    into: dict[int, list[tuple[int, float]]] = {}
    for src, dst, size in zip(f.edge_src_X.tolist(), f.edge_dst_X.tolist(), f.edge_bytes_X.tolist(), strict=True):
        into.setdefault(dst, []).append((src, size))
    rows = list(zip(problem.task_C.tolist(), problem.fragment_C.tolist(), strict=True))
    row_of = {key: row for row, key in enumerate(rows)}
    outside_C, inner, parents = np.zeros(len(rows)), list[tuple[int, int, float]](), list[list[int]]()
    for row, (task, fragment) in enumerate(rows):
        mine = set[int]()
        for src, size in into.get(fragment, ()):
            parent = row_of.get((task, src), NONE) if src != NONE else NONE
            if parent != NONE:
                mine.add(parent)
            if left_C[row] < 1.0:
                continue
            if parent == NONE:
                outside_C[row] += size * n_C[row]
            else:
                inner.append((parent, row, size * float(n_C[row])))
        parents.append(sorted(mine))
    return outside_C, inner, parents


def paths_of(parents: list[list[int]], task_of_C: Ints, tasks: int) -> Paths:
    """From each container's parents and task."""
    count = len(parents)
    parents_CK = _padded(parents, count)
    has_parents_CK = parents_CK < count
    depth = np.zeros(count + 1, np.int64)
    for _ in range(count):
        deeper_C = np.where(has_parents_CK, depth[parents_CK] + 1, 0).max(axis=1)
        if np.array_equal(deeper_C, depth[:count]):
            break
        depth[:count] = deeper_C
    levels = [np.flatnonzero(depth[:count] == level) for level in range(1, int(depth.max()) + 1)]
    members: list[list[int]] = [[] for _ in range(tasks)]
    for row, task in enumerate(task_of_C.tolist()):
        members[task].append(row)
    return Paths(parents_CK, tuple(levels), _padded(members, count))


def side_by_side(moments: Sequence[Paths]) -> Paths:
    """Several moments as one: their containers one after another, in each other's way nowhere."""
    counts = [len(paths.parents_CK) for paths in moments]
    first, nobody = np.cumsum([0, *counts[:-1]]), sum(counts)

    def joined(tables: Sequence[Ints]) -> Ints:
        width = max(table.shape[1] for table in tables)
        rows = np.full((sum(map(len, tables)), width), nobody, np.int64)
        at = 0
        for table, start, count in zip(tables, first, counts, strict=True):
            rows[at : at + len(table), : table.shape[1]] = np.where(table == count, nobody, table + start)
            at += len(table)
        return rows

    depth = max(len(paths.levels) for paths in moments)
    levels = [
        np.concatenate([p.levels[d] + start for p, start in zip(moments, first, strict=True) if d < len(p.levels)])
        for d in range(depth)
    ]
    parents, members = [p.parents_CK for p in moments], [p.members_TK for p in moments]
    return Paths(joined(parents), tuple(levels), joined(members))


def _padded(rows: list[list[int]], nobody: int) -> Ints:
    table = np.full((len(rows), max(map(len, rows), default=0) or 1), nobody, np.int64)
    for row, entries in enumerate(rows):
        table[row, : len(entries)] = entries
    return table
