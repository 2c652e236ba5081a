"""What does not change in a run: the splits on offer, the devices as stated, and how tasks are run."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from splitplace.placement.broker.ledger import Ledger
from splitplace.placement.broker.state import DeviceState, FleetState
from splitplace.placement.broker.view import MeasuredUse, Statics, build_view
from splitplace.placement.protocol.fields import MAX_FRAME_BYTES, MAX_HEADER_BYTES, Precedence, Wire
from splitplace.records.demand import Demand, SplitDemand
from splitplace.records.device import Device
from splitplace.records.fragment import ITEM_BYTES
from splitplace.records.split import Split
from splitplace.records.view import Utilisation, View


@dataclass(frozen=True)
class Setup:
    """Of one broker.

    Args:
        demand: The splits on offer, with their costs.
        devices: Single devices; their order is that of the rows.
        precedence: Whether a task's fragments overlap.
        window: Micro-batches a sender may have under way on one stream.
        task_timeout_s: A task without an answer for so long fails.
        stated: What the devices stand for, where they are emulated: the same, as their fleet file states them.
        wire: How images travel.
    """

    demand: Demand
    devices: tuple[Device, ...]
    precedence: Precedence
    window: int
    task_timeout_s: float
    stated: tuple[Device, ...] | None = None
    wire: Wire = "raw"

    @cached_property
    def trained_for(self) -> View:
        """What a trained state is held against, and saved for: these splits, and the devices as stated.

        How fast an emulated device is here differs a little from start to start; what it stands for does not.
        """
        devices = self.devices if self.stated is None else self.stated
        return view_at_rest(self.demand, devices, self.task_timeout_s, self.wire)

    @cached_property
    def statics(self) -> Statics:
        """The tables that policies see."""
        return Statics.of(self.demand, self.devices, self.wire)

    def at_speeds(self, core_speeds: Sequence[float]) -> "Setup":
        """The same with devices as fast as they were measured to be."""
        devices = tuple(
            device.model_copy(update={"core_speed": speed})
            for device, speed in zip(self.devices, core_speeds, strict=True)
        )
        return replace(self, devices=devices)

    @cached_property
    def names(self) -> tuple[str, ...]:
        """Of the devices."""
        return tuple(device.name for device in self.devices)

    def entry(self, split: int) -> SplitDemand:
        """One of the splits on offer, by its row."""
        return self.demand.splits[split]

    def fragment(self, row: int) -> tuple[Split, str]:
        """The split of a fragment row, and the fragment's name."""
        split, name = self.statics.names_F[row]
        return self.demand.splits[split].split, name

    def digest(self, row: int) -> str:
        """Of the fragment's file."""
        split, name = self.fragment(row)
        return split.by_name[name].digest

    def row(self, split: int, name: str) -> int:
        """The fragment row of a split's fragment."""
        return self._rows[split, name]

    @cached_property
    def _rows(self) -> dict[tuple[int, str], int]:
        return {key: row for row, key in enumerate(self.statics.names_F)}

    def need_bytes(self, row: int, device: int) -> float:
        """What a fragment takes of a device's memory."""
        return float(self.statics.fragments.memory_bytes_FD[row, device])

    def latency_s(self, split: int, name: str, device: int) -> float:
        """Of one micro-batch of a fragment there, by its profile."""
        return float(self.statics.fragments.latency_s_FD[self.row(split, name), device])

    def held(self, rows: Iterable[int]) -> dict[str, int]:
        """The fragment row of each file among these rows; of several that are one file, the first."""
        return {self.digest(row): row for row in sorted(rows, reverse=True)}

    @cached_property
    def max_frame_bytes(self) -> int:
        """Of the largest tensor that may pass: whoever sends more is cut off before it is read."""
        most = 0
        for entry in self.demand.splits:
            for fragment in entry.split.fragments:
                for spec in (*fragment.inputs, *fragment.outputs):
                    sizes = [size for size in spec.shape[1:] if isinstance(size, int)]
                    if len(sizes) < len(spec.shape) - 1:
                        return MAX_FRAME_BYTES
                    most = max(most, entry.micro_batch * math.prod(sizes) * ITEM_BYTES[spec.dtype])
        return min(max(most, MAX_HEADER_BYTES), MAX_FRAME_BYTES)

    def first(self) -> FleetState:
        """The state before anything has happened."""
        return at_rest(self.demand, self.devices)


def at_rest(demand: Demand, devices: tuple[Device, ...]) -> FleetState:
    """The state of a fleet before anything has happened."""
    base = demand.runtime_base_bytes
    capacity = tuple(float(max(device.memory_bytes - base(device), 0)) for device in devices)
    return FleetState(Ledger(capacity), [DeviceState() for _ in devices])


def view_at_rest(demand: Demand, devices: tuple[Device, ...], longest_s: float, wire: Wire = "raw") -> View:
    """What a policy is shown of it."""
    state, statics, idle_D = at_rest(demand, devices), Statics.of(demand, devices, wire), np.zeros(len(devices))
    measured = MeasuredUse(idle_D, idle_D, idle_D, lambda: Utilisation.none(len(devices)))
    return build_view(statics, devices, state, [], measured, 0.0, 1.0, longest_s)
