"""What a split is to whoever decides: its fragments in order, who feeds whom, what it is when gathered on a device."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property, reduce
from weakref import WeakKeyDictionary

import numpy as np

from splitplace.records.dag import Seconds, path_ends, topological
from splitplace.records.task import micro_batches
from splitplace.records.view import NONE, Floats, Fragments, Ints, Splits


@dataclass(frozen=True, eq=False)
class Shape:
    """One split."""

    split: int
    fragments: tuple[int, ...]
    """Parents first."""
    inputs: dict[int, float]
    """Bytes a sample of the task's input, by the fragment that takes it."""
    feeds: dict[int, tuple[tuple[int, float], ...]]
    """By fragment, those that feed it and the bytes a sample."""
    micro_batch: int
    """Of all of its fragments; 0 where they differ."""
    latency_FD: Mapping[int, Floats]
    """By fragment, seconds of a micro-batch on each device."""

    @cached_property
    def input_bytes(self) -> float:
        """A sample's, of all fragments that take it."""
        return sum(self.inputs.values())

    @cached_property
    def chain(self) -> bool:
        """Whether each of its fragments feeds no more than one, and is fed by no more than one."""
        parents = [parent for feeds in self.feeds.values() for parent, _ in feeds]
        return len(parents) == len(set(parents)) == len(self.fragments) - 1

    @cached_property
    def path_D(self) -> Floats:  # noqa: N802 - shape suffix
        """Seconds until a micro-batch has run through all of it on one device with servers enough."""
        return self.path_s(self.latency_FD)

    @cached_property
    def total_D(self) -> Floats:  # noqa: N802 - shape suffix
        """Server-seconds of a micro-batch of all its fragments."""
        result: Floats = np.sum(list(self.latency_FD.values()), axis=0)
        return result

    def takes_s(self, fragments: Fragments, n: int, devices_A: Ints) -> tuple[Floats, Floats]:
        """Server-seconds of n samples on one device, and what of it is the longest path, both of shape A."""
        if self.micro_batch:
            batches = micro_batches(n, self.micro_batch)
            return batches * self.total_D[devices_A], batches * self.path_D[devices_A]
        service_s = {row: fragments.service_s(row, n)[devices_A] for row in self.fragments}
        total_A: Floats = np.sum(list(service_s.values()), axis=0)
        return total_A, self.path_s(service_s)

    def quickest_s(self, service_s: Mapping[int, float]) -> float:
        """As `path_s`, of single numbers."""
        ends_s: dict[int, float] = {}
        for row in self.fragments:
            if row in service_s:
                ends_s[row] = service_s[row] + max(
                    (ends_s.get(parent, 0.0) for parent, _ in self.feeds[row]), default=0.0
                )
        return max(ends_s.values())

    def path_s(self, service_s: Mapping[int, Seconds]) -> Seconds:
        """The longest path through those of its fragments that are given, at least one, with what each takes."""

        def starts_s(row: int, ends_s: Mapping[int, Seconds]) -> list[Seconds]:
            at_once = [service_s[row] * 0.0]
            return at_once + [ends_s[parent] for parent, _ in self.feeds[row] if parent in ends_s]

        given = [row for row in self.fragments if row in service_s]
        return reduce(np.maximum, path_ends(given, starts_s, service_s.__getitem__).values())


_SHAPES: WeakKeyDictionary[Fragments, tuple[Shape, ...]] = WeakKeyDictionary()


def shapes(fragments: Fragments, splits: Splits) -> tuple[Shape, ...]:
    """Of every split on offer; worked out once for a table of fragments."""
    found = _SHAPES.get(fragments)
    if found is None:
        found = _SHAPES[fragments] = tuple(_shape(fragments, splits, split) for split in range(len(splits.references)))
    return found


def _shape(f: Fragments, splits: Splits, split: int) -> Shape:
    rows = splits.fragments(split)
    mine = (f.edge_dst_X >= rows.start) & (f.edge_dst_X < rows.stop)
    inputs: dict[int, float] = {}
    feeds: dict[int, dict[int, float]] = {row: {} for row in rows}
    edges = zip(f.edge_src_X[mine].tolist(), f.edge_dst_X[mine].tolist(), f.edge_bytes_X[mine].tolist(), strict=True)
    for src, dst, size in edges:
        if src == NONE:
            inputs[dst] = inputs.get(dst, 0.0) + size
        else:
            feeds[dst][src] = feeds[dst].get(src, 0.0) + size
    order = topological({row: tuple(feeds[row]) for row in rows})
    of_batches = {int(f.micro_batch_F[row]) for row in rows}
    return Shape(
        split, order, inputs, {row: tuple(feeds[row].items()) for row in rows},
        of_batches.pop() if len(of_batches) == 1 else 0, {row: f.latency_s_FD[row] for row in order},
    )  # fmt: skip
