"""Containers that share what a device has, pair by pair, without a table of pairs.

Who shares a device with whom is (P P^T)_ij, and how long i is held up by j the lesser of their two sizes. Of the j in
the order of their sizes, those that are no larger than i count with their own, the others with that of i: two running
sums of the rows of P tell Σ_j p_j min(s_i, s_j) of any i. So what all hold up all for takes O(C D) for C containers on
D devices, where a table of pairs takes O(C^2 D). Pairs within a task are told apart, and of these there is a list.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np

from splitplace.records.view import Bools, Floats, Ints


@dataclass(frozen=True, eq=False)
class Standing:
    """A placement P: containers on one device, spread over several, or nowhere."""

    p_CD: Floats
    on_C: Ints
    """The device with most of each."""
    alone_C: Bools
    """Whether all of it is there."""

    @staticmethod
    def of(p_CD: Floats) -> "Standing":
        """Of rows that sum to 1, or are 0."""
        on_C = p_CD.argmax(axis=1)
        return Standing(p_CD, on_C, p_CD[np.arange(len(p_CD)), on_C] == 1.0)

    @cached_property
    def one_R(self) -> Ints:  # noqa: N802 - shape suffix
        """Those on one device."""
        return np.flatnonzero(self.alone_C)

    @cached_property
    def spread_S(self) -> Ints:  # noqa: N802 - shape suffix
        """Those on several."""
        return np.flatnonzero(~self.alone_C & self.p_CD.any(axis=1))

    def together(self, i_Q: Ints, j_Q: Ints, scale_D: Floats) -> Floats:
        """Σ_d scale_d p_id p_jd of pairs."""
        on_Q = self.on_C[i_Q]
        result: Floats = np.where(on_Q == self.on_C[j_Q], scale_D[on_Q], 0.0)
        rest = np.flatnonzero(~(self.alone_C[i_Q] & self.alone_C[j_Q]))
        result[rest] = np.einsum("qd,qd->q", self.p_CD[i_Q[rest]] * scale_D, self.p_CD[j_Q[rest]])
        return result


@dataclass(frozen=True, eq=False)
class TaskPairs:
    """Containers i and j of one task, in both orders and i with itself, by i; and the group of each container."""

    i_Q: Ints
    j_Q: Ints
    group_C: Ints
    groups: int

    @staticmethod
    def of(task_C: Ints, group_C: Ints, groups: int) -> "TaskPairs":
        """From each container's task, 0 and up."""
        by_task = np.argsort(task_C, kind="stable")
        count_T = np.bincount(task_C)
        first_T = np.cumsum(count_T) - count_T
        i_Q, at_Q = repeated(count_T[task_C])
        return TaskPairs(i_Q, by_task[first_T[task_C[i_Q]] + at_Q], group_C, groups)


def repeated(count_C: Ints) -> tuple[Ints, Ints]:
    """Each row as often as it counts; and a number from 0 within each row."""
    row_Q = np.repeat(np.arange(len(count_C)), count_C)
    return row_Q, np.arange(len(row_Q)) - np.repeat(np.cumsum(count_C) - count_C, count_C)


@dataclass(frozen=True, eq=False)
class SizeOrder:
    """C sizes in order, apart by group; running sums have a row before the first of each group."""

    by_C: Ints
    """Their rows, group after group."""
    bounds: tuple[tuple[int, int], ...]
    """Where each group begins and ends in that order."""
    smaller_CG: Ints
    """Where running sums tell, of each size, those of a group that are smaller,"""
    no_larger_CG: Ints
    """those that are no larger,"""
    all_G: Ints
    """and all."""

    @staticmethod
    def of(size_C: Floats, group_C: Ints, groups: int) -> "SizeOrder":
        """Of groups 0 and up."""
        by_C = np.lexsort((size_C, group_C))
        ends: list[int] = np.searchsorted(group_C[by_C], np.arange(groups), side="right").tolist()
        bounds = tuple(zip([0, *ends[:-1]], ends, strict=True))
        sorted_C, begins_G = size_C[by_C], [first + group for group, (first, _) in enumerate(bounds)]

        def told(side: Literal["left", "right"]) -> Ints:
            each = [np.searchsorted(sorted_C[first:last], size_C, side) for first, last in bounds]
            return np.stack(each, axis=1) + begins_G

        return SizeOrder(by_C, bounds, told("left"), told("right"), np.arange(groups) + ends)

    def running(self, q: Floats) -> Floats:
        """Running sums over the first axis, of length C, group by group; of length C + G."""
        ordered, sums = q[self.by_C], np.zeros((len(q) + len(self.bounds), *q.shape[1:]))
        for group, (first, last) in enumerate(self.bounds):
            np.cumsum(ordered[first:last], axis=0, out=sums[first + group + 1 : last + group + 1])
        return sums


@dataclass(frozen=True, eq=False)
class Sizes:
    """How long each container uses something, alone."""

    size_C: Floats
    pairs: TaskPairs

    @cached_property
    def by_group(self) -> SizeOrder:
        """In order, group by group."""
        return SizeOrder.of(self.size_C, self.pairs.group_C, self.pairs.groups)

    @cached_property
    def by_size(self) -> SizeOrder:
        """In order, all together."""
        return SizeOrder.of(self.size_C, np.zeros(len(self.size_C), np.int64), 1)

    @cached_property
    def lesser_Q(self) -> Floats:  # noqa: N802 - shape suffix
        """Of each pair within a task."""
        return np.minimum(self.size_C[self.pairs.i_Q], self.size_C[self.pairs.j_Q])


class Sharing:
    """What all containers hold up all for under a placement, of one thing that each device has so much of.

    Columns are 1 + G: those of the same task, and of others, group by group.
    """

    def __init__(self, sizes: Sizes, standing: Standing, scale_D: Floats):
        """`scale_D`: how long a unit takes, or its share where several are served at once."""
        self._sizes, self._standing, self._scale_D = sizes, standing, scale_D
        order, p_CD = sizes.by_group, standing.p_CD
        self._sized, self._plain = order.running(sizes.size_C[:, None] * p_CD), order.running(p_CD)
        self._together_Q = standing.together(sizes.pairs.i_Q, sizes.pairs.j_Q, scale_D)

    def held(self) -> Floats:
        """Shape (C, 1 + G)."""
        order, size_C, pairs, count = self._sizes.by_group, self._sizes.size_C, self._sizes.pairs, len(self._scaled)
        held_C4 = np.zeros((count, 1 + pairs.groups))
        one_R, spread_S = self._standing.one_R, self._standing.spread_S
        on_R1, k_RG = self._standing.on_C[one_R, None], order.no_larger_CG[one_R]
        above_RG = self._plain[order.all_G, on_R1] - self._plain[k_RG, on_R1]
        held_C4[one_R, 1:] = (self._sized[k_RG, on_R1] + size_C[one_R, None] * above_RG) * self._scale_D[on_R1]
        held_C4[spread_S, 1:] = np.einsum("sgd,sd->sg", self._lesser(spread_S), self._scaled[spread_S])
        # Of the same task: no others.
        own_Q, apart_Q = self._together_Q * self._sizes.lesser_Q, pairs.i_Q != pairs.j_Q
        held_C4[:, 1:] -= self._by_group(own_Q)
        held_C4[:, 0] = np.bincount(pairs.i_Q, own_Q * apart_Q, count)
        return held_C4

    def slope(self, d_C4: Floats, free_C: Ints) -> Floats:
        """D f / d P of some rows, ascending, from d f / d held; sizes as they are. Shape (free, D)."""
        pairs, size_C, p_CD = self._sizes.pairs, self._sizes.size_C, self._standing.p_CD
        order, group_C = self._sizes.by_size, pairs.group_C
        result: Floats = np.einsum("fg,fgd->fd", d_C4[free_C, 1:], self._lesser(free_C))
        plain = self._weighted(d_C4)
        sized = order.running(size_C[:, None, None] * self._weights(d_C4))
        k_F, g_F = order.no_larger_CG[free_C, 0], group_C[free_C]
        result += sized[k_F, g_F] + size_C[free_C, None] * (plain[order.all_G[0], g_F] - plain[k_F, g_F])
        mine = np.zeros(len(size_C), np.bool_)
        mine[free_C] = True
        own = np.flatnonzero(mine[pairs.i_Q])
        i_Q, j_Q = pairs.i_Q[own], pairs.j_Q[own]
        slope_Q = (d_C4[i_Q, 0] + d_C4[j_Q, 0]) * (i_Q != j_Q)
        slope_Q -= d_C4[i_Q, 1 + group_C[j_Q]] + d_C4[j_Q, 1 + group_C[i_Q]]
        slope_Q *= self._sizes.lesser_Q[own]
        begins = np.searchsorted(i_Q, free_C)  # each is there with itself
        result += np.add.reduceat(slope_Q[:, None] * p_CD[j_Q], begins, axis=0)
        result *= self._scale_D
        return result

    def size_slope(self, d_C4: Floats) -> Floats:
        """D f / d size: of the lesser of two, whose it is takes it, and of equals the one that is held up. Shape C."""
        pairs, order, all_order = self._sizes.pairs, self._sizes.by_group, self._sizes.by_size
        group_C, one_R, spread_S = pairs.group_C, self._standing.one_R, self._standing.spread_S
        on_R, weighted = self._standing.on_C[one_R], self._weighted(d_C4)
        result = np.zeros(len(d_C4))

        larger_RG = self._plain[order.all_G, on_R[:, None]] - self._plain[order.smaller_CG[one_R], on_R[:, None]]
        result[one_R] = np.einsum("rg,rg->r", d_C4[one_R, 1:], larger_RG) * self._scale_D[on_R]
        larger_SGD = self._plain[order.all_G] - self._plain[order.smaller_CG[spread_S]]
        result[spread_S] = np.einsum("sg,sgd,sd->s", d_C4[spread_S, 1:], larger_SGD, self._scaled[spread_S])

        last, k_C = all_order.all_G[0], all_order.no_larger_CG[:, 0]
        k_R, g_R, k_S, g_S = k_C[one_R], group_C[one_R], k_C[spread_S], group_C[spread_S]
        result[one_R] += (weighted[last, g_R, on_R] - weighted[k_R, g_R, on_R]) * self._scale_D[on_R]
        larger_SD = weighted[last, g_S] - weighted[k_S, g_S]
        result[spread_S] += np.einsum("sd,sd->s", larger_SD, self._scaled[spread_S])

        i_Q, j_Q, size_C = pairs.i_Q, pairs.j_Q, self._sizes.size_C
        slope_Q = (d_C4[i_Q, 0] * (i_Q != j_Q) - d_C4[i_Q, 1 + group_C[j_Q]]) * self._together_Q
        of_i = size_C[i_Q] <= size_C[j_Q]
        result += np.bincount(i_Q, slope_Q * of_i, len(result)) + np.bincount(j_Q, slope_Q * ~of_i, len(result))
        return result

    @cached_property
    def _scaled(self) -> Floats:
        scaled: Floats = self._standing.p_CD * self._scale_D
        return scaled

    def _lesser(self, rows_R: Ints) -> Floats:
        """Σ_j p_j min(s_i, s_j) over the j of each group, shape (R, G, D)."""
        order = self._sizes.by_group
        k_RG, size_R11 = order.no_larger_CG[rows_R], self._sizes.size_C[rows_R, None, None]
        result: Floats = self._sized[k_RG] + size_R11 * (self._plain[order.all_G] - self._plain[k_RG])
        return result

    def _by_group(self, value_Q: Floats) -> Floats:
        """Σ over the pairs of i, by the group of j; shape (C, G)."""
        pairs, count = self._sizes.pairs, len(self._sizes.size_C)
        cell_Q = pairs.i_Q * pairs.groups + pairs.group_C[pairs.j_Q]
        sums = np.bincount(cell_Q, value_Q, count * pairs.groups).astype(np.float64)
        return sums.reshape(count, pairs.groups)

    def _weights(self, d_C4: Floats) -> Floats:
        """What each container's slopes, by group, lay on its row of P; shape (C, G, D)."""
        weights: Floats = d_C4[:, 1:, None] * self._standing.p_CD[:, None, :]
        return weights

    def _weighted(self, d_C4: Floats) -> Floats:
        return self._sizes.by_size.running(self._weights(d_C4))
