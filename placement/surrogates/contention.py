"""What a relaxed placement P makes containers wait for, and the way back: the input of `completion.py`.

The pooled features of DASO are affine in P and so can say how much stands on a device, but not who is in whose way, nor
that neighbours of a chain on one device send each other nothing. Both are bilinear in P: containers i and j share a
device with probability (P P^T)_ij. Under processor sharing, a job is held up by another for the shorter of the two, so
a row has, for work and for bytes, Σ_j (P diag(1/capacity) P^T)_ij min(own_i, own_j), apart for j of the same task and,
of other tasks, for j just placed, under way, and waiting for what comes before it (`sharing.py`: no table of pairs).

All times in scheduling intervals. Readings: a container that has begun to compute has all its bytes; one that has not
has none (the view does not say how far a transfer is, so rows have the task's age); results to the broker count as
nothing. Nothing here knows how many devices there are.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from splitplace.placement.surrogates.problem import Problem
from splitplace.placement.surrogates.sharing import Sharing, Sizes, Standing, TaskPairs, repeated
from splitplace.records.task import micro_batches
from splitplace.records.view import NONE, Bools, Floats, Ints, View

COLUMNS = (
    "work", "bytes in", "bytes out", "1/servers", "semantic", "has parents", "age",
    "work of siblings", "work of new", "work under way", "work waiting",
    "bytes of siblings", "bytes of new", "bytes under way", "bytes waiting",
)  # fmt: skip
"""Of a container's row: the first three alone on its device, the last eight as held up by others there."""
WORK, BYTES = 7, 11
NEW, UNDER_WAY, WAITING = range(3)
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

    standing: Standing
    into_C: Floats
    """Bytes that come from other devices."""
    out_C: Floats
    per_byte_C: Floats
    servers: Sharing
    links: Sharing


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
    inner: "InnerEdges"
    """What they send is nothing if they share a device."""
    per_server_D: Floats
    per_byte_D: Floats
    fixed_CF: Floats
    """Columns that P does not change: semantic, has parents, age."""
    work: Sizes
    """On the mean device; groups are new, under way, and waiting."""

    def x(self, p_CD: Floats) -> Floats:
        """The rows, shape (C, COLUMNS)."""
        return self.shared(p_CD)[0]

    def shared(self, p_CD: Floats) -> tuple[Floats, "Shared"]:
        """The rows, and what `pull` needs to know of P."""
        count, standing, (src_X, dst_X, bytes_X) = len(p_CD), Standing.of(p_CD), self.inner
        apart_X = bytes_X * (1.0 - standing.together(src_X, dst_X, np.ones(p_CD.shape[1])))
        into_C = self.outside_C + np.bincount(dst_X, apart_X, count)
        out_C: Floats = np.bincount(src_X, apart_X, count).astype(np.float64)
        per_byte_C = p_CD @ self.per_byte_D
        own = (np.einsum("cd,cd->c", p_CD, self.work_CD), into_C * per_byte_C, out_C * per_byte_C)
        servers = Sharing(self.work, standing, self.per_server_D)
        links = Sharing(Sizes(into_C + out_C, self.work.pairs), standing, self.per_byte_D)
        columns = np.stack([*own, p_CD @ self.per_server_D], axis=1), self.fixed_CF, servers.held(), links.held()
        return np.concatenate(columns, axis=1), Shared(standing, into_C, out_C, per_byte_C, servers, links)

    def pull(self, at: "Shared", dx_CF: Floats, free_C: Ints) -> Floats:
        """D f / d P of the rows `free_C`, ascending, from d f / d x; shape (free, D)."""
        p_CD, d_work_C4, d_bytes_C4 = at.standing.p_CD, dx_CF[:, WORK:BYTES], dx_CF[:, BYTES:]
        d_moved_C = at.links.size_slope(d_bytes_C4)
        d_into_C, d_out_C = dx_CF[:, 1] * at.per_byte_C + d_moved_C, dx_CF[:, 2] * at.per_byte_C + d_moved_C
        per_byte_F1 = (dx_CF[:, 1] * at.into_C + dx_CF[:, 2] * at.out_C)[free_C, None]
        result: Floats = dx_CF[free_C, :1] * self.work_CD[free_C] + dx_CF[free_C, 3:4] * self.per_server_D
        result += per_byte_F1 * self.per_byte_D
        src_X, dst_X, bytes_X = self.inner
        d_apart_X = bytes_X * (d_into_C[dst_X] + d_out_C[src_X])
        row_C = np.full(len(p_CD), NONE)
        row_C[free_C] = np.arange(len(free_C))
        for mine_X, other_X in ((src_X, dst_X), (dst_X, src_X)):
            free_X = np.flatnonzero(row_C[mine_X] != NONE)
            np.subtract.at(result, row_C[mine_X[free_X]], d_apart_X[free_X, None] * p_CD[other_X[free_X]])
        return result + at.servers.slope(d_work_C4, free_C) + at.links.slope(d_bytes_C4, free_C)


def contention(view: View, problem: Problem) -> Contention:
    """Of the containers that have a device and those that ask for one, as `problem.asked` orders them."""
    count, unit_s = len(problem), view.interval_s
    running = int((view.containers.device_C != NONE).sum())  # the problem's first rows
    left_C = np.ones(count)
    left_C[:running] = view.containers.remaining_C[view.containers.device_C != NONE]
    n_C = view.tasks.n_T[problem.task_C]
    batches_C = micro_batches(n_C, view.fragments.micro_batch_F[problem.fragment_C])
    work_CD = (left_C * batches_C)[:, None] * view.fragments.latency_s_FD[problem.fragment_C] / unit_s
    outside_C, inner, parents_CK = edges_between(view, problem, left_C, n_C / unit_s)
    tasks_T, task_of_C = np.unique(problem.task_C, return_inverse=True)
    has_C, old_C = parents_CK[:, 0] < count, np.arange(count) < running
    age_C = old_C * np.minimum(view.tasks.age_s_T[problem.task_C] / unit_s, OLDEST)
    group_C = np.where(has_C, WAITING, np.where(old_C, UNDER_WAY, NEW))
    bandwidth_D = np.minimum(view.links.up_bytes_per_s_D, view.links.down_bytes_per_s_D)
    return Contention(
        paths=paths_of(parents_CK, task_of_C, len(tasks_T)),
        tasks_T=tasks_T,
        work_CD=work_CD,
        outside_C=outside_C,
        inner=inner,
        per_server_D=1.0 / view.devices.servers_D,
        per_byte_D=1.0 / np.maximum(bandwidth_D, 1.0),
        fixed_CF=np.stack([problem.semantic_C.astype(np.float64), has_C.astype(np.float64), age_C], axis=1),
        work=Sizes(work_CD.mean(axis=1), TaskPairs.of(task_of_C, group_C, 3)),
    )


class InnerEdges(NamedTuple):
    """Edges between containers that are still to be sent."""

    src_X: Ints
    dst_X: Ints
    bytes_X: Floats


def edges_between(view: View, problem: Problem, left_C: Floats, n_C: Floats) -> tuple[Floats, InnerEdges, Ints]:
    """Bytes from outside, edges between containers, and each container's parents, ascending; index C for none."""
    f, count = view.fragments, len(problem)
    by_dst, fragments = np.argsort(f.edge_dst_X, kind="stable"), len(f.split_F)
    edges_F = np.bincount(f.edge_dst_X, minlength=fragments)
    first_F = np.cumsum(edges_F) - edges_F
    row_E, at_E = repeated(edges_F[problem.fragment_C])
    edge_E = by_dst[first_F[problem.fragment_C[row_E]] + at_E]
    # Containers by task and fragment, to find who sends.
    key_C = problem.task_C * fragments + problem.fragment_C
    by_key = np.argsort(key_C)
    wanted_E = problem.task_C[row_E] * fragments + f.edge_src_X[edge_E]
    found_E = by_key[np.minimum(np.searchsorted(key_C[by_key], wanted_E), count - 1)] if count else row_E
    inner_E = (f.edge_src_X[edge_E] != NONE) & (key_C[found_E] == wanted_E)
    size_E, unsent_E = f.edge_bytes_X[edge_E] * n_C[row_E], left_C[row_E] >= 1.0
    from_outside, between = np.flatnonzero(unsent_E & ~inner_E), np.flatnonzero(unsent_E & inner_E)
    outside_C: Floats = np.bincount(row_E[from_outside], size_E[from_outside], count).astype(np.float64)
    inner = InnerEdges(found_E[between], row_E[between], size_E[between])
    pairs = np.unique(row_E[inner_E] * max(count, 1) + found_E[inner_E])
    return outside_C, inner, _padded(pairs // max(count, 1), pairs % max(count, 1), count, count)


def paths_of(parents_CK: Ints, task_of_C: Ints, tasks: int) -> Paths:
    """From each container's parents and task."""
    count = len(parents_CK)
    has_parents_CK: Bools = parents_CK < count
    depth = np.zeros(count + 1, np.int64)
    for _ in range(count):
        deeper_C = np.where(has_parents_CK, depth[parents_CK] + 1, 0).max(axis=1)
        if np.array_equal(deeper_C, depth[:count]):
            break
        depth[:count] = deeper_C
    levels = [np.flatnonzero(depth[:count] == level) for level in range(1, int(depth.max()) + 1)]
    by_task = np.argsort(task_of_C, kind="stable")
    return Paths(parents_CK, tuple(levels), _padded(task_of_C[by_task], by_task, tasks, count))


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


def _padded(row_E: Ints, entry_E: Ints, rows: int, nobody: int) -> Ints:
    """Each row's entries, of rows ascending, and nobody behind them."""
    count_R = np.bincount(row_E, minlength=rows)
    table = np.full((rows, max(int(count_R.max(initial=0)), 1)), nobody, np.int64)
    table[row_E, repeated(count_R)[1]] = entry_E
    return table
