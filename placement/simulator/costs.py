"""What every split costs on every device, as the engine's tables."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import numpy.typing as npt

from splitplace.errors import InfeasibleError
from splitplace.placement import tables
from splitplace.records.dag import topological
from splitplace.records.demand import Demand
from splitplace.records.device import Device
from splitplace.records.view import NONE, Floats, Fragments, Ints, Splits


@dataclass(frozen=True, eq=False)
class Costs:
    """The static half of every view, and what only the simulator asks for."""

    applications: tuple[str, ...]
    splits: Splits
    fragments: Fragments
    load_s_FD: Floats
    """Seconds to load a fragment's weights."""
    output_bytes_F: Ints
    """Bytes a sample that a sink returns to the broker; 0 for fragments that are no sinks."""
    runtime_base_bytes_D: Floats

    @cached_property
    def graphs(self) -> tuple["SplitGraph", ...]:
        """The graph of each split, S of them."""
        return tuple(self._graph(split) for split in range(len(self.splits.references)))

    def _graph(self, split: int) -> "SplitGraph":
        rows = self.splits.fragments(split)
        f = self.fragments
        mine = (f.edge_dst_X >= rows.start) & (f.edge_dst_X < rows.stop)
        sizes: dict[tuple[int, int], float] = {}
        for src, dst, size in zip(f.edge_src_X[mine], f.edge_dst_X[mine], f.edge_bytes_X[mine], strict=True):
            key = (NONE if src == NONE else int(src) - rows.start, int(dst) - rows.start)
            sizes[key] = sizes.get(key, 0.0) + float(size)  # tensors between the same two travel together
        parents = {src for src, _ in sizes}
        for local, row in enumerate(rows):
            if local not in parents:
                sizes[local, NONE] = float(self.output_bytes_F[row])
        return SplitGraph(len(rows), tuple((src, dst, size) for (src, dst), size in sizes.items()))


@dataclass(frozen=True)
class SplitGraph:
    """A split's edges by local fragment number: (source or -1 for the input, target or -1 for the result, bytes)."""

    count: int
    edges: tuple[tuple[int, int, float], ...]

    @cached_property
    def inbound(self) -> tuple[tuple[int, ...], ...]:
        """For each fragment, the edges that feed it."""
        return tuple(tuple(e for e, edge in enumerate(self.edges) if edge[1] == f) for f in range(self.count))

    @cached_property
    def outbound(self) -> tuple[tuple[int, ...], ...]:
        """For each fragment, the edges it feeds."""
        return tuple(tuple(e for e, edge in enumerate(self.edges) if edge[0] == f) for f in range(self.count))

    @cached_property
    def parents(self) -> tuple[tuple[int, ...], ...]:
        """For each fragment, those that feed it."""
        return tuple(tuple(src for src, dst, _ in self.edges if dst == f and src != NONE) for f in range(self.count))

    @cached_property
    def topological(self) -> tuple[int, ...]:
        """The fragments, parents first."""
        return topological(dict(enumerate(self.parents)))

    @cached_property
    def roots(self) -> tuple[int, ...]:
        """The edges that carry the task's input, in fragment order: the ring of `inputs = "ring"`."""
        return tuple(
            sorted((e for e, edge in enumerate(self.edges) if edge[0] == NONE), key=lambda e: self.edges[e][1])
        )

    @cached_property
    def results(self) -> int:
        """How many sinks must answer before a task is finished."""
        return sum(1 for edge in self.edges if edge[1] == NONE)


def from_demand(demand: Demand, devices: tuple[Device, ...], threads_D: Sequence[int]) -> Costs:
    """The tables of a measured demand, one column a device, so many cores of which compute a fragment."""
    pairs = [(entry, fragment) for entry in demand.splits for fragment in entry.split.fragments]

    def load_s(row: int, device: Device) -> float:
        profile = pairs[row][0].profile(pairs[row][1].name, device)
        return profile.load_s * profile.core_speed / device.core_speed

    outputs = [
        fragment.outputs[0].bytes_per_sample if fragment.name in entry.split.sinks else 0 for entry, fragment in pairs
    ]
    return Costs(
        applications=tables.applications(demand),
        splits=tables.splits_table(demand),
        fragments=tables.fragments_table(demand, devices, threads_D),
        load_s_FD=np.array([[load_s(row, device) for device in devices] for row in range(len(pairs))]),
        output_bytes_F=np.array(outputs, np.int64),
        runtime_base_bytes_D=np.array([demand.runtime_base_bytes(device) for device in devices], np.float64),
    )


def feasible(costs: Costs, devices: Sequence[Device]) -> Costs:
    """Leave out splits with a fragment that fits no device: that unsplit models do not fit is why one splits.

    Raises:
        SplitPlaceError: An application is left with no split.
    """
    memory_FD = costs.fragments.memory_bytes_FD
    room_D = np.array([float(device.memory_bytes) for device in devices]) - costs.runtime_base_bytes_D
    fits_F = (memory_FD <= room_D).any(axis=1)
    keep_S = np.logical_and.reduceat(fits_F, costs.splits.first_S)
    for row, application in enumerate(costs.applications):
        mine = costs.splits.application_S == row
        if not keep_S[mine].any():
            fragment = int(np.flatnonzero(~fits_F & mine[costs.fragments.split_F])[0])
            best = int(np.argmax(room_D - memory_FD[fragment]))
            reference = costs.splits.references[int(costs.fragments.split_F[fragment])]
            if np.isinf(memory_FD[fragment, best]):
                disk = max(devices, key=lambda device: device.disk_bytes)
                raise InfeasibleError(
                    f"no disk holds the images of any split of {application}: with those before it, {reference} needs "
                    f"{int(costs.fragments.weight_bytes_F[: fragment + 1].sum())} bytes, {disk.name} comes closest "
                    f"with {disk.disk_bytes}; give a fleet with larger disks or a demand of fewer splits"
                )
            raise InfeasibleError(
                f"no device can hold every fragment of any split of {application}: {reference} needs "
                f"{int(memory_FD[fragment, best])} bytes, {devices[best].name} comes closest with "
                f"{max(int(room_D[best]), 0)} beside the runtime; "
                "give a fleet with more memory or split into more fragments"
            )
    return costs if keep_S.all() else _select(costs, keep_S)


def _select(costs: Costs, keep_S: npt.NDArray[np.bool_]) -> Costs:
    f, s = costs.fragments, costs.splits
    keep_F, keep_X = keep_S[f.split_F], keep_S[f.split_F[f.edge_dst_X]]
    row_F, row_S = np.cumsum(keep_F) - 1, np.cumsum(keep_S) - 1
    counts = s.count_S[keep_S]
    src = f.edge_src_X[keep_X]
    return replace(
        costs,
        splits=Splits(
            references=tuple(name for name, keep in zip(s.references, keep_S, strict=True) if keep),
            application_S=s.application_S[keep_S],
            strategies=tuple(name for name, keep in zip(s.strategies, keep_S, strict=True) if keep),
            first_S=np.concatenate([[0], np.cumsum(counts)[:-1]]).astype(np.int64),
            count_S=counts,
            top1_S=s.top1_S[keep_S],
        ),
        fragments=Fragments(
            split_F=row_S[f.split_F[keep_F]],
            micro_batch_F=f.micro_batch_F[keep_F],
            latency_s_FD=f.latency_s_FD[keep_F],
            memory_bytes_FD=f.memory_bytes_FD[keep_F],
            weight_bytes_F=f.weight_bytes_F[keep_F],
            edge_src_X=np.where(src == NONE, NONE, row_F[src]),
            edge_dst_X=row_F[f.edge_dst_X[keep_X]],
            edge_bytes_X=f.edge_bytes_X[keep_X],
        ),
        load_s_FD=costs.load_s_FD[keep_F],
        output_bytes_F=costs.output_bytes_F[keep_F],
    )
