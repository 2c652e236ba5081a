"""Bytes that a device must have for each split: what decides whether a whole model may run there at all."""

import numpy as np

from splitplace.placement.simulator.constants import from_constants
from splitplace.placement.simulator.costs import from_demand
from splitplace.placement.simulator.demands import DemandLike
from splitplace.records.base import Count, Record
from splitplace.records.demand import Demand
from splitplace.records.device import Device
from splitplace.records.split import Strategy


class SplitMemory(Record):
    """What a device needs to take part in a split."""

    split: str
    strategy: Strategy
    fragments: Count
    bytes: Count
    """The runtime's base and the largest fragment at the micro-batch: a device with less holds not every fragment."""


class MemoryLimit(Record):
    """Of one application."""

    application: str
    whole_bytes: Count | None
    """A device with less holds no whole model: splitting is the only way. None where no whole model is on offer."""
    least_bytes: Count
    """A device with less cannot hold every fragment of any split."""
    splits: tuple[SplitMemory, ...]


def memory_limits(demand: DemandLike, devices: tuple[Device, ...]) -> tuple[MemoryLimit, ...]:
    """The limits of each application, on the kind of device that needs least.

    Args:
        demand: Of the splits on offer, at the micro-batch of the requests.
        devices: Single devices, at least one.
    """
    few = tuple({(device.kind, device.core_speed): device for device in devices}.values())
    cores = [device.cores for device in few]
    costs = from_demand(demand, few, cores) if isinstance(demand, Demand) else from_constants(demand, few, cores)
    need_F = (costs.fragments.memory_bytes_FD + costs.runtime_base_bytes_D).min(axis=1)
    splits = costs.splits
    need_S = np.maximum.reduceat(need_F, splits.first_S)
    rows = [
        SplitMemory(split=name, strategy=strategy, fragments=count, bytes=int(need))
        for name, strategy, count, need in zip(
            splits.references, splits.strategies, splits.count_S.tolist(), need_S.tolist(), strict=True
        )
    ]
    limits = []
    for a, application in enumerate(costs.applications):
        mine = tuple(row for row, of in zip(rows, splits.application_S.tolist(), strict=True) if of == a)
        whole = [row.bytes for row in mine if row.fragments == 1]
        least = min(row.bytes for row in mine)
        limits.append(
            MemoryLimit(application=application, whole_bytes=min(whole, default=None), least_bytes=least, splits=mine)
        )
    return tuple(limits)
