"""A device (worker) and a fleet: one record and one TOML schema for split, simulate and the live fleet."""

from typing import Annotated, ClassVar, Self

from pydantic import Field, model_validator

from splitplace.records.base import Amount, AmountOrZero, Name, Quantity, Record

MAX_COUNT = 100_000
"""Of a fleet's devices, ten times the largest that is simulated: every single one is made."""
MAX_CORES = 1_000_000
MAX_NAME = 128
"""Letters of a single device's name, its number among its kind included."""


class Device(Record):
    """One kind of device entry in a fleet; `count` of them exist.

    `core_speed` is relative to the reference core: 1.0 runs the probe as fast as it does. `power_w` is the draw at
    0, 10, ... 100 % CPU (SPECpower's eleven points).
    """

    name: Name
    kind: Name
    count: Annotated[int, Field(gt=0, le=MAX_COUNT)] = 1
    cores: Annotated[int, Field(gt=0, le=MAX_CORES)]
    core_speed: Amount
    memory_bytes: Quantity
    disk_bytes: Quantity
    disk_bytes_per_s: Amount
    up_bytes_per_s: Amount
    down_bytes_per_s: Amount
    rtt_s: AmountOrZero
    power_w: Annotated[tuple[AmountOrZero, ...], Field(min_length=11, max_length=11)]
    cost_usd_per_h: AmountOrZero = 0.0
    labels: dict[str, str] = Field(default_factory=dict)

    def units(self) -> tuple["Device", ...]:
        """The `count` single devices this entry stands for, named `name-0`, `name-1`, ... (or `name` if one)."""
        if self.count == 1:
            return (self,)
        return tuple(self.model_copy(update={"name": f"{self.name}-{i}", "count": 1}) for i in range(self.count))


class FleetSpec(Record):
    """Every device a broker or the simulator can place on; in TOML, one `[[devices]]` table per entry."""

    noun: ClassVar[str | None] = "fleet"

    name: Name
    devices: Annotated[tuple[Device, ...], Field(min_length=1)]

    @model_validator(mode="after")
    def _not_too_many(self) -> Self:
        if (count := sum(entry.count for entry in self.devices)) > MAX_COUNT:
            raise ValueError(f"{count} devices, expected at most {MAX_COUNT}")
        return self

    @model_validator(mode="after")
    def _names_differ(self) -> Self:
        names = [unit.name for unit in self.units()]
        if len(set(names)) != len(names):
            raise ValueError(f"device names must differ, got {sorted(names)}")
        if len(longest := max(names, key=len)) > MAX_NAME:
            raise ValueError(f"a device would be called {longest}: {len(longest)} letters, expected at most {MAX_NAME}")
        return self

    def units(self) -> tuple[Device, ...]:
        """Every single device, in file order."""
        return tuple(unit for entry in self.devices for unit in entry.units())
