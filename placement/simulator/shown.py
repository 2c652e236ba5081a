"""What views show of containers, kept for as long as nothing happens to them.

A fleet that drowns has thousands of containers and is looked at a thousand times; between two looks, little happens to
most. So they are kept in blocks of tasks, and a block is built anew when something happened to one of its tasks. Only
how far computations and transfers are that are under way is worked out in every look.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from splitplace.placement.simulator.engine import SimulationEngine
from splitplace.records.view import NONE, Bools, Floats, Ints

BLOCK = 32
"""Tasks, by number."""


@dataclass(frozen=True, eq=False)
class ShownRows:
    """Containers of several tasks that are not complete, task after task."""

    rows_C: Ints
    """As the engine numbers them."""
    count_T: Ints
    """How many each task has."""
    fragment_C: Ints
    device_C: Ints
    remaining_C: Floats
    coming_bytes_C: Floats
    ready_C: Bools


@dataclass(frozen=True, eq=False)
class TaskBlock:
    """What there is of a block of tasks between events."""

    shown: ShownRows
    """Without what was done of chunks that are computed, and with all of those that are transferred."""
    computing_N: Ints
    """Which of them are on their device's cores with a chunk; and of each,"""
    tag_s_N: Floats
    """its mark there (`Processors.tag_s`),"""
    takes_s_N: Floats
    """what the chunk takes, in seconds of a server,"""
    chunks_N: Ints
    """and how many the task has."""
    receiving_M: Ints
    """Which are sent something: once a transfer; and of each,"""
    end_bytes_M: Floats
    """its mark on its route (`SharedLinks.mark`),"""
    route_M: Ints
    """that route,"""
    size_M: Floats
    """and how large it is."""
    routes: tuple[int, ...]
    """Each once."""
    queueing: bool
    """Whether some wait for their device's cores: when they get them, nothing happens to their task."""


@dataclass
class _Lists:
    """A block being built."""

    shown: tuple[list[int], list[int], list[int], list[int], list[float], list[float], list[bool]] = field(
        default_factory=lambda: ([], [], [], [], [], [], [])
    )
    computing: list[tuple[int, float, float, int]] = field(default_factory=list)
    receiving: list[tuple[int, float, int, float]] = field(default_factory=list)


class ShownContainers:
    """Of one engine."""

    def __init__(self, engine: SimulationEngine):
        self._engine = engine
        self._kept: dict[int, TaskBlock] = {}

    def look(self, ids_T: Ints) -> ShownRows:
        """Of these tasks, in the order of their numbers, at this instant; the others are forgotten."""
        engine, now, block_T = self._engine, self._engine.now, ids_T // BLOCK
        if not len(ids_T):
            return _shown(_Lists())
        first_B = np.flatnonzero(np.diff(block_T, prepend=-1))
        dirty = {task // BLOCK for task in engine.changed}
        found: dict[int, TaskBlock] = {}
        for block, tasks in zip(block_T[first_B].tolist(), np.split(ids_T, first_B[1:]), strict=True):
            kept = None if block in dirty else self._kept.get(block)
            found[block] = self._block(tasks.tolist()) if kept is None or kept.queueing else kept
        self._kept = found
        engine.changed.clear()
        blocks = list(found.values())
        shown = ShownRows(*(_joined([vars(one.shown)[name] for one in blocks]) for name in vars(blocks[0].shown)))
        first_B = np.cumsum([0, *(len(one.shown.rows_C) for one in blocks[:-1])])

        computing_N = _joined([one.computing_N + first for one, first in zip(blocks, first_B, strict=True)])
        takes_s_N = _joined([one.takes_s_N for one in blocks])
        tag_s_N, device_N = _joined([one.tag_s_N for one in blocks]), shown.device_C[computing_N]
        done_N = np.maximum(1.0 - engine.processors.left_s(device_N, tag_s_N, now) / takes_s_N, 0.0)
        shown.remaining_C[computing_N] -= done_N / _joined([one.chunks_N for one in blocks])
        np.maximum(shown.remaining_C, 0.0, out=shown.remaining_C)

        receiving_M = _joined([one.receiving_M + first for one, first in zip(blocks, first_B, strict=True)])
        end_bytes_M, route_M = (_joined([vars(one)[name] for one in blocks]) for name in ("end_bytes_M", "route_M"))
        routes = dict.fromkeys(route for one in blocks for route in one.routes)
        left_M = engine.links.left_bytes(routes, route_M, end_bytes_M, now)
        np.subtract.at(shown.coming_bytes_C, receiving_M, _joined([one.size_M for one in blocks]) - left_M)
        return shown

    def _block(self, tasks: list[int]) -> TaskBlock:
        lists = _Lists()
        queueing = [self._add(task, lists) for task in tasks]
        at_N, tag_s_N, takes_s_N, chunks_N = _columns(lists.computing)
        at_M, end_bytes_M, route_M, size_M = _columns(lists.receiving)
        return TaskBlock(
            _shown(lists),
            np.array(at_N, np.int64), np.array(tag_s_N), np.array(takes_s_N), np.array(chunks_N, np.int64),
            np.array(at_M, np.int64), np.array(end_bytes_M), np.array(route_M, np.int64), np.array(size_M),
            tuple(dict.fromkeys(route_M)), any(queueing),
        )  # fmt: skip

    def _add(self, task: int, lists: _Lists) -> bool:
        """The containers of one task; whether one of them waits for its device's cores."""
        engine, t, c, edges = self._engine, self._engine.tasks, self._engine.containers, self._engine.edges
        rows, counts, fragments, devices, remaining, coming, ready = lists.shown
        before, queueing, chunks = len(rows), False, t.chunks[task]
        if (graph := t.graph[task]) is None:
            counts.append(0)
            return False
        first, first_e = t.first_c[task], t.first_e[task]
        for local, at in enumerate(engine.rows(task)):
            if c.complete[at]:
                continue
            place, device, all_bytes = len(rows), c.device[at], 0.0
            if c.running[at] and c.done[at] < chunks:
                if (tag_s := engine.processors.tag_s(at)) is None:
                    queueing = True
                else:
                    lists.computing.append((place, tag_s, c.takes_s[at], chunks))
            for edge in graph.inbound[local] if device != NONE else ():
                e, (src, _, size) = first_e + edge, graph.edges[edge]
                if edges.sent[e] == chunks or (src != NONE and c.device[first + src] == device):
                    continue
                all_bytes += size * (int(engine.world.n_N[task]) - edges.sent[e] * t.chunk_n[task])
                if edges.flow[e] != NONE:
                    moving = size * engine.streams.chunk(task, edges.sent[e])
                    lists.receiving.append((place, *engine.links.mark(edges.flow[e]), moving))
            rows.append(at)
            fragments.append(c.fragment[at])
            devices.append(device)
            remaining.append(1.0 - c.done[at] / chunks)
            coming.append(all_bytes)
            ready.append(all(c.complete[first + parent] for parent in graph.parents[local]))
        counts.append(len(rows) - before)
        return queueing


def _shown(lists: _Lists) -> ShownRows:
    rows, counts, fragments, devices, remaining, coming, ready = lists.shown
    return ShownRows(
        np.array(rows, np.int64), np.array(counts, np.int64), np.array(fragments, np.int64),
        np.array(devices, np.int64), np.array(remaining, np.float64), np.array(coming, np.float64),
        np.array(ready, np.bool_),
    )  # fmt: skip


def _columns(rows: list[Any]) -> list[list[Any]]:
    return [list(column) for column in zip(*rows, strict=True)] or [[], [], [], []]


def _joined(parts: Sequence[Any]) -> Any:
    return np.concatenate(parts)
