"""What a split is to whoever decides: its fragments in order, who feeds whom, what it is when gathered on a device."""

from dataclasses import dataclass
from functools import cached_property
from weakref import WeakKeyDictionary

import numpy as np

from splitplace.records.dag import topological
from splitplace.records.view import NONE, Floats, Fragments, View


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

    @cached_property
    def input_bytes(self) -> float:
        """A sample's, of all fragments that take it."""
        return sum(self.inputs.values())

    def gathered_s(self, fragments: Fragments, n: int) -> Floats:
        """Seconds of one core until the whole split has run on one device, shape D, before cores are counted."""
        ends: dict[int, Floats] = {}
        for row in self.fragments:
            start = np.zeros(fragments.latency_s_FD.shape[1])
            for parent, _ in self.feeds[row]:
                start = np.maximum(start, ends[parent])
            ends[row] = start + fragments.service_s(row, n)
        result: Floats = np.max(list(ends.values()), axis=0)
        return result

    def total_s(self, fragments: Fragments, n: int) -> Floats:
        """Core-seconds of all its fragments, shape D."""
        result: Floats = np.sum([fragments.service_s(row, n) for row in self.fragments], axis=0)
        return result


_SHAPES: WeakKeyDictionary[Fragments, tuple[Shape, ...]] = WeakKeyDictionary()


def shapes(view: View) -> tuple[Shape, ...]:
    """Of every split on offer; worked out once for a table of fragments."""
    found = _SHAPES.get(view.fragments)
    if found is None:
        found = _SHAPES[view.fragments] = tuple(_shape(view, split) for split in range(len(view.splits.references)))
    return found


def _shape(view: View, split: int) -> Shape:
    f, rows = view.fragments, view.splits.fragments(split)
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
    return Shape(split, order, inputs, {row: tuple(feeds[row].items()) for row in rows})
