"""The Resource Monitor of a simulated fleet: what devices, and the fragments on them, use at an instant."""

from collections.abc import Iterator

import numpy as np

from splitplace.placement.simulator.engine import SimulationEngine
from splitplace.records.view import NONE, Floats, Ints, Utilisation

Part = tuple[int, int, float]
"""A fragment, a device, and a share of something that the device has."""


class ResourceMonitor:
    """Of one engine; what never changes is looked up once."""

    def __init__(self, engine: SimulationEngine):
        self._engine = engine
        devices = engine.world.devices
        self._count = len(devices)
        self._memory_bytes_D = np.array([float(device.memory_bytes) for device in devices])
        self._disk_bytes_per_s_D = np.array([device.disk_bytes_per_s for device in devices])
        self._servers_D = np.array(engine.processors.servers)
        self._shared = engine.world.scenario.weights != "container"

    def look(self, rows: list[int]) -> Utilisation:
        """Shares of this instant.

        Args:
            rows: The containers of decided tasks that are not complete.
        """
        engine, count = self._engine, self._count
        placed = [c for c in rows if engine.containers.device[c] != NONE]
        busy_D = np.minimum(engine.processors.running, self._servers_D)
        link = engine.links.shares()
        up_D, down_D = link[:count], link[count + 1 : 2 * count + 1]
        used_D = engine.world.costs.runtime_base_bytes_D + np.array(engine.memory.used)
        parts = [list(self._cpu(placed)), self._memory(placed), *self._net(), list(self._disk(placed))]
        key_U, (cpu_U, memory_U, up_U, down_U, disk_U) = _by_pair(parts, count)
        return Utilisation(
            cpu_D=busy_D / self._servers_D,
            memory_D=used_D / self._memory_bytes_D,
            net_D=np.minimum(np.maximum(up_D, down_D), 1.0),
            disk_D=np.minimum(np.bincount(key_U % count, disk_U, count), 1.0),
            fragment_U=key_U // count,
            device_U=key_U % count,
            cpu_U=cpu_U,
            memory_U=memory_U,
            net_U=np.minimum(np.maximum(up_U, down_U), 1.0),
            disk_U=np.minimum(disk_U, 1.0),
        )

    def _cpu(self, placed: list[int]) -> Iterator[Part]:
        """Who runs has an equal part of the servers, and no more than one of them."""
        columns, processors = self._engine.containers, self._engine.processors
        for c in placed:
            device = columns.device[c]
            if processors.runs(c):
                yield columns.fragment[c], device, 1.0 / max(processors.servers[device], processors.running[device])

    def _memory(self, placed: list[int]) -> list[Part]:
        """What is claimed: once by all containers of a fragment, or by each; on both sides of a migration."""
        columns, memory_FD = self._engine.containers, self._engine.world.costs.fragments.memory_bytes_FD
        pairs = [(columns.fragment[c], columns.device[c]) for c in placed]
        if self._shared:
            fragment_U, device_U = np.nonzero(self._engine.memory.resident_FD)
            pairs = list(zip(fragment_U.tolist(), device_U.tolist(), strict=True))
        else:
            pairs += [(columns.fragment[c], columns.moving[c]) for c in placed if columns.moving[c] != NONE]
        return [(f, d, float(memory_FD[f, d]) / float(self._memory_bytes_D[d])) for f, d in pairs]

    def _net(self) -> tuple[list[Part], list[Part]]:
        """Transfers under way: out of whoever sends, into whoever receives."""
        engine, columns = self._engine, self._engine.containers
        up, down = list[Part](), list[Part]()
        for payload, source, target, rate in engine.links.moving():
            if payload < 0:  # a container that migrates
                sender = receiver = -1 - payload
            else:
                task = engine.edges.task[payload]
                src, dst, _ = engine.graph(task).edges[engine.edges.local[payload]]
                first = engine.tasks.first_c[task]
                sender, receiver = (NONE if end == NONE else first + end for end in (src, dst))
            if sender != NONE:
                up.append((columns.fragment[sender], source, rate / engine.links.capacity[source]))
            if receiver != NONE:
                link = engine.links.nodes + target
                down.append((columns.fragment[receiver], target, rate / engine.links.capacity[link]))
        return up, down

    def _disk(self, placed: list[int]) -> Iterator[Part]:
        """Weights that load, evenly over the time it takes: once for all containers of a fragment, or for each."""
        columns, costs = self._engine.containers, self._engine.world.costs
        seen = set[tuple[int, int]]()
        for c in placed:
            pair = fragment, device = columns.fragment[c], columns.device[c]
            if columns.loaded[c] or columns.moving[c] != NONE or (self._shared and pair in seen):
                continue
            seen.add(pair)
            bytes_per_s = float(costs.fragments.weight_bytes_F[fragment]) / float(costs.load_s_FD[pair])
            yield fragment, device, bytes_per_s / float(self._disk_bytes_per_s_D[device])


def _by_pair(kinds: list[list[Part]], devices: int) -> tuple[Ints, list[Floats]]:
    """The pairs that occur, as fragment * devices + device, and the sum of each kind of share for each of them."""
    keys = [np.array([f * devices + d for f, d, _ in parts], np.int64) for parts in kinds]
    key_U, row = np.unique(np.concatenate(keys), return_inverse=True)
    ends = np.cumsum([len(key) for key in keys])[:-1]
    sums = [
        np.bincount(rows, [share for *_, share in parts], len(key_U)).astype(np.float64)
        for rows, parts in zip(np.split(row, ends), kinds, strict=True)
    ]
    return key_U, sums
