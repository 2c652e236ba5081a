"""Where a chain of fragments can be cut: the down-sets of a DAG of blocks.

What the first i fragments hold together is a down-set (with every block, all its ancestors), and two nested down-sets
bound a convex slice. So a plan is a path through the lattice of down-sets, from the empty one to the whole graph.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Flow:
    """Bytes that pass from one block to others; producer -1 is the task, consumer n (one past the last) the answer."""

    producer: int
    consumers: tuple[int, ...]
    size_bytes: float


@dataclass(frozen=True, eq=False)
class Work:
    """What planning needs to know of a network at one micro-batch: n blocks in topological order.

    Args:
        parents: The blocks that each block reads from.
        cost_s: Seconds of each block on a core of speed 1.0.
        weight_bytes: Of each block.
        inner_bytes: Live inside each block at its peak, over what it takes and gives.
        flows: What passes between blocks.
        copy_s_per_byte: What a boundary costs the fragments on its both sides, each, on a core of speed 1.0.
    """

    parents: tuple[frozenset[int], ...]
    cost_s: Floats
    weight_bytes: Floats
    inner_bytes: Floats
    flows: tuple[Flow, ...]
    copy_s_per_byte: float = 0.0

    @property
    def n(self) -> int:
        """Number of blocks."""
        return len(self.parents)


def down_sets(parents: Sequence[frozenset[int]], limit: int) -> list[int] | None:
    """Every down-set as a bit mask, smallest first; None if there are more than `limit`."""
    children: list[list[int]] = [[] for _ in parents]
    needs = [sum(1 << parent for parent in block) for block in parents]
    for block, above in enumerate(parents):
        for parent in above:
            children[parent].append(block)
    roots = [block for block, above in enumerate(parents) if not above]
    found = {0: frozenset(roots)}
    level = dict(found)
    while level:
        grown: dict[int, frozenset[int]] = {}
        for mask, available in level.items():
            for block in available:
                larger = mask | (1 << block)
                if larger not in grown:
                    opened = [c for c in children[block] if needs[c] & larger == needs[c]]
                    grown[larger] = (available - {block}) | frozenset(opened)
                    if len(found) + len(grown) > limit:
                        return None
        found |= grown
        level = grown
    return sorted(found, key=lambda mask: (mask.bit_count(), mask))


@dataclass(frozen=True, eq=False)
class Lattice:
    """The N places to cut at, in an order where every down-set stands before those that hold it.

    `inside_Nn[i, b]` says whether block b lies before place i. Place 0 is the empty set, place N - 1 the whole graph.
    """

    work: Work
    inside_Nn: Bools
    complete: bool
    """Whether these are all down-sets; else they are the prefixes of one topological order."""

    @property
    def size(self) -> int:
        """N."""
        return len(self.inside_Nn)

    @cached_property
    def cost_s_N(self) -> Floats:  # noqa: N802 - shape suffix
        """Seconds before each place, on a core of speed 1.0."""
        return _product(self.inside_Nn, self.work.cost_s)

    @cached_property
    def weight_bytes_N(self) -> Floats:  # noqa: N802 - shape suffix
        """Weight bytes before each place."""
        return _product(self.inside_Nn, self.work.weight_bytes)

    @cached_property
    def _made_NF(self) -> Bools:  # noqa: N802 - shape suffix
        padded = np.concatenate([self.inside_Nn, np.ones((self.size, 1), bool)], axis=1)  # column -1: the task
        return padded[:, [flow.producer for flow in self.work.flows]]

    @cached_property
    def _wanted_NF(self) -> Bools:  # noqa: N802 - shape suffix
        padded = np.concatenate([self.inside_Nn, np.zeros((self.size, 1), bool)], axis=1)  # column n: the answer
        columns = [~padded[:, list(flow.consumers)].all(axis=1) for flow in self.work.flows]
        return np.stack(columns, axis=1) if columns else np.zeros((self.size, 0), bool)

    @cached_property
    def boundary_bytes_N(self) -> Floats:  # noqa: N802 - shape suffix
        """Bytes that cross each place: made before it and wanted after it."""
        sizes = np.array([flow.size_bytes for flow in self.work.flows])
        return _product(self._made_NF & self._wanted_NF, sizes)

    @cached_property
    def before_NN(self) -> Bools:  # noqa: N802 - shape suffix
        """Whether place j properly holds place i: the slices there are."""
        if not self.complete:
            return np.triu(np.ones((self.size, self.size), bool), 1)
        lacking = self.inside_Nn.astype(np.float32) @ (~self.inside_Nn).astype(np.float32).T
        contained: Bools = lacking < 0.5
        np.fill_diagonal(contained, False)
        return contained

    @cached_property
    def memory_bytes_NN(self) -> Floats:  # noqa: N802 - shape suffix
        """Weights plus peak live activations of each slice (i, j); infinite where there is none.

        Blocks run in topological order. While block x runs after the slice has come to place a, there live: what
        crosses a, what x makes, its inner bytes, and the slice's inputs, which the caller holds to the end.
        """
        sizes = np.array([flow.size_bytes for flow in self.work.flows])
        # Tensors made before i and still wanted after a: inputs of the slice that are among what crosses a.
        shared_NN = (self._made_NF * sizes) @ self._wanted_NF.T.astype(np.float64)
        made_n = np.zeros(self.work.n)
        for flow in self.work.flows:
            if flow.producer >= 0:
                made_n[flow.producer] += flow.size_bytes
        running_n = made_n + self.work.inner_bytes
        held_NN = self.boundary_bytes_N[:, None] + self.boundary_bytes_N[None, :] - shared_NN
        peak_NN = np.zeros((self.size, self.size))
        if not self.complete:
            # Place a is followed by block a.
            step = np.triu(held_NN[:, :-1] + running_n[None, :])
            peak_NN[:, 1:] = np.maximum.accumulate(step, axis=1)
        else:
            self._fill_peaks(peak_NN, held_NN, running_n)
        total = peak_NN + self.weight_bytes_N[None, :] - self.weight_bytes_N[:, None]
        return np.where(self.before_NN, total, np.inf)

    def _fill_peaks(self, peak_NN: Floats, held_NN: Floats, running_n: Floats) -> None:
        """The block of a slice that runs last is the one with the highest index; without it, it is a smaller slice."""
        number = {row.tobytes(): i for i, row in enumerate(self.inside_Nn)}
        last_NN = np.zeros((self.size, self.size), np.int64)
        for j in range(1, self.size):
            highest = int(np.flatnonzero(self.inside_Nn[j])[-1])
            last_NN[:, j] = np.where(self.inside_Nn[:, highest], last_NN[:, number[self._without(j, highest)]], highest)
            slices = np.flatnonzero(self.before_NN[:, j])
            blocks, which = np.unique(last_NN[slices, j], return_inverse=True)
            former = np.array([number[self._without(j, block)] for block in blocks])[which]
            running = held_NN[slices, former] + running_n[blocks][which]
            peak_NN[slices, j] = np.maximum(peak_NN[slices, former], running)

    def _without(self, place: int, block: int) -> bytes:
        row = self.inside_Nn[place].copy()
        row[block] = False
        key: bytes = row.tobytes()
        return key


def _product(matrix: Bools, vector: Floats) -> Floats:
    result: Any = matrix.astype(np.float64) @ vector
    return np.asarray(result, np.float64)


def cheapest(values_N: Floats, allowed_NN: Bools, wanted_N: Bools | None = None) -> Floats:
    """For every place j, the smallest of `values_N` over the places i with `allowed_NN[i, j]`; infinite without one.

    Only for the places j that are wanted; infinite for all others.

    The cheapest places are looked at first, and for each j the first one allowed is the answer: most are found among
    few, so this is many times faster than a minimum over the whole matrix.
    """
    order = np.argsort(values_N, kind="stable")[: np.count_nonzero(np.isfinite(values_N))]
    found = np.full(len(values_N), np.inf)
    open_ = np.arange(len(values_N)) if wanted_N is None else np.flatnonzero(wanted_N)
    looked, chunk = 0, 16
    while looked < len(order) and len(open_):
        rows = order[looked : looked + chunk]
        looked, chunk = looked + chunk, 2 * chunk
        block = allowed_NN[rows[:, None], open_]
        first = block.argmax(axis=0)
        hit = block[first, np.arange(len(open_))]
        found[open_[hit]] = values_N[rows[first[hit]]]
        open_ = open_[~hit]
    return found


def lattice(work: Work, limit: int) -> Lattice:
    """All down-sets if there are at most `limit`, else the prefixes of the blocks' own order."""
    masks = down_sets(work.parents, limit)
    if masks is None:
        return Lattice(work, np.tril(np.ones((work.n + 1, work.n), bool), -1), complete=False)
    bits = [[bool(mask >> block & 1) for block in range(work.n)] for mask in masks]
    return Lattice(work, np.array(bits, bool).reshape(len(masks), work.n), complete=True)
