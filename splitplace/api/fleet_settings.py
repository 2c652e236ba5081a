"""What a fleet may be asked to be, here or in a process of its own: its devices and splits, and how it runs them."""

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import TypeVar, get_args

from splitplace.api.asked import amount, number, one_of
from splitplace.api.demand import demand as gather
from splitplace.catalog import Catalog
from splitplace.errors import NotReadyError, UsageError
from splitplace.placement.broker.ring import Inputs
from splitplace.placement.protocol.fields import Precedence, Wire
from splitplace.placement.simulator.shipped import load_fleet
from splitplace.records.device import Device, FleetSpec

_log = logging.getLogger(__name__)

T = TypeVar("T")

LONGEST_S = 1e9
"""That a result may be asked to be kept."""


def check_settings(
    interval_s: float | None, retain_s: float | None, precedence: Precedence, inputs: Inputs, wire: Wire
) -> None:
    """Refuse an interval or a time for results that is none, and words that are none of those.

    Raises:
        UsageError: As said; by the name of the option.
    """
    if interval_s is not None:
        amount("--interval", interval_s, 0.1, 86_400, "seconds")
    if retain_s is not None and not 0 < number("--retain", retain_s) <= LONGEST_S:
        raise UsageError(f"--retain {retain_s}: expected seconds, above 0 and at most {LONGEST_S:g}")
    one_of("--precedence", precedence, get_args(Precedence))
    one_of("--inputs", inputs, get_args(Inputs))
    one_of("--wire", wire, get_args(Wire))


def load_devices(devices: str | Path | T) -> FleetSpec | T:
    """A fleet file as it is, whatever its name; else one that ships. What is given as devices stays so."""
    if isinstance(devices, str | Path):
        return FleetSpec.from_toml(Path(devices)) if Path(devices).is_file() else load_fleet(str(devices))
    return devices


def single_devices(devices: FleetSpec | Sequence[Device]) -> tuple[Device, ...]:
    """Of a fleet; or those that are given one by one.

    Raises:
        UsageError: They are neither.
    """
    if isinstance(devices, FleetSpec):
        return devices.units()
    if not isinstance(devices, Sequence) or not all(isinstance(device, Device) for device in devices):
        raise UsageError(f"devices {devices!r}: expected a fleet's file or name, a FleetSpec, or a list of Device")
    return tuple(devices)


def profiled_splits(catalog: Catalog) -> list[str]:
    """The splits whose costs are known; of each of the others a remark."""
    found = []
    for reference in catalog.references():
        try:
            gather(catalog, [reference])
            found.append(reference)
        except NotReadyError as error:
            _log.warning("left out: %s", error)
    return found
