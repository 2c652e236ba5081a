"""What views show of containers, task by task, kept for as long as nothing happens to a task.

A fleet that drowns has thousands of containers and is looked at a thousand times; between two looks, little happens to
most. Only how far computations and transfers are that are under way has to be worked out each time.
"""

from dataclasses import dataclass, field

import numpy as np

from splitplace.placement.simulator.engine import SimulationEngine
from splitplace.records.view import NONE, Bools, Floats, Ints


@dataclass
class TaskRows:
    """The containers of a task that are not complete, as they are between events."""

    rows: list[int] = field(default_factory=list)
    fragment: list[int] = field(default_factory=list)
    device: list[int] = field(default_factory=list)
    remaining: list[float] = field(default_factory=list)
    """Without what was done of the chunk that is computed."""
    coming: list[float] = field(default_factory=list)
    """With all of the chunk that is transferred."""
    ready: list[bool] = field(default_factory=list)
    computing: list[int] = field(default_factory=list)
    """Which of them are on their device's cores, or queue for them, with a chunk."""
    receiving: list[int] = field(default_factory=list)
    """Which of them are sent something: once a transfer,"""
    flows: list[int] = field(default_factory=list)
    """by which,"""
    sizes: list[float] = field(default_factory=list)
    """and how large it is."""


@dataclass
class ShownRows:
    """Those of all tasks of a view, one after another."""

    rows: list[int]
    """As the engine numbers them."""
    count_T: Ints
    """How many each task has."""
    fragment_C: Ints
    device_C: Ints
    remaining_C: Floats
    coming_bytes_C: Floats
    ready_C: Bools


class ShownContainers:
    """Of one engine."""

    def __init__(self, engine: SimulationEngine):
        self._engine = engine
        self._kept: dict[int, TaskRows] = {}

    def look(self, tasks: list[int]) -> ShownRows:
        """Of these tasks, at this instant; the others are forgotten."""
        engine, kept, graphs = self._engine, self._kept, self._engine.tasks.graph
        found: dict[int, TaskRows] = {}
        counts, every = list[int](), TaskRows()
        computing, receiving, coming = every.computing, every.receiving, every.coming
        for task in tasks:
            if graphs[task] is None:
                counts.append(0)
                continue
            mine = None if task in engine.changed else kept.get(task)
            mine = found[task] = self._of(task) if mine is None else mine
            first = len(every.rows)
            every.rows += mine.rows
            every.fragment += mine.fragment
            every.device += mine.device
            every.remaining += mine.remaining
            coming += mine.coming
            every.ready += mine.ready
            if mine.computing:
                computing += [first + at for at in mine.computing]
            if mine.receiving:
                receiving += [first + at for at in mine.receiving]
                every.flows += mine.flows
                every.sizes += mine.sizes
            counts.append(len(mine.rows))
        self._kept = found
        engine.changed.clear()
        device_C, remaining_C = np.array(every.device, np.int64), np.array(every.remaining, np.float64)
        if computing:
            at_N = np.array(computing)
            remaining_C[at_N] -= self._computed([every.rows[at] for at in computing], device_C[at_N])
        left_bytes = engine.links.left_bytes(every.flows, engine.now)
        for at, size, left in zip(receiving, every.sizes, left_bytes, strict=True):
            coming[at] -= size - left
        return ShownRows(
            every.rows, np.array(counts, np.int64), np.array(every.fragment, np.int64), device_C,
            np.maximum(remaining_C, 0.0), np.array(coming, np.float64), np.array(every.ready, np.bool_),
        )  # fmt: skip

    def _of(self, task: int) -> TaskRows:
        engine, t, c, edges = self._engine, self._engine.tasks, self._engine.containers, self._engine.edges
        graph, found, chunks = engine.graph(task), TaskRows(), t.chunks[task]
        first, first_e = t.first_c[task], t.first_e[task]
        for local, at in enumerate(engine.rows(task)):
            if c.complete[at]:
                continue
            place, device, coming = len(found.rows), c.device[at], 0.0
            found.rows.append(at)
            found.fragment.append(c.fragment[at])
            found.device.append(device)
            found.remaining.append(1.0 - c.done[at] / chunks)
            found.ready.append(all(c.complete[first + parent] for parent in graph.parents[local]))
            if c.running[at] and c.done[at] < chunks:
                found.computing.append(place)
            for edge in graph.inbound[local] if device != NONE else ():
                e, (src, _, size) = first_e + edge, graph.edges[edge]
                if edges.sent[e] == chunks or (src != NONE and c.device[first + src] == device):
                    continue
                coming += size * (int(engine.world.n_N[task]) - edges.sent[e] * t.chunk_n[task])
                if edges.flow[e] != NONE:
                    found.receiving.append(place)
                    found.flows.append(edges.flow[e])
                    found.sizes.append(size * engine.streams.chunk(task, edges.sent[e]))
            found.coming.append(coming)
        return found

    def _computed(self, rows: list[int], device_N: Ints) -> Floats:
        """Which shares of containers' work were done of the chunks that they compute."""
        engine, takes_s, task, chunks = (
            self._engine, self._engine.containers.takes_s, self._engine.containers.task, self._engine.tasks.chunks,
        )  # fmt: skip
        takes_s_N = np.array([takes_s[c] for c in rows])
        left_s_N = engine.processors.left_s(device_N, rows, engine.now)
        done_N = np.maximum(1.0 - np.where(np.isnan(left_s_N), takes_s_N, left_s_N) / takes_s_N, 0.0)
        result: Floats = done_N / np.array([chunks[task[c]] for c in rows])
        return result
