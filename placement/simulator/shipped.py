"""Scenarios and fleets by the names under which they ship, or from files; and the devices that both together make."""

import math
from pathlib import Path

from splitplace.errors import ContractError, NotFoundError, UsageError
from splitplace.placement.simulator.demands import DATA
from splitplace.placement.simulator.scenario import Scenario
from splitplace.records.device import MAX_CORES, MAX_COUNT, Device, FleetSpec


def load_scenario(name: str | Path) -> Scenario:
    """A shipped scenario by name, or a file.

    Args:
        name: Of one that ships, as paper-50, or the path of a TOML file.

    Returns:
        Everything a run depends on but the policy and the seed: times in seconds, sizes in bytes.

    Raises:
        UsageError: No such name or file.
        SplitPlaceError: Not a scenario.
    """
    return Scenario.parse_toml(_shipped("scenario", str(name)), f"scenario {name}")


def load_fleet(name: str | Path) -> FleetSpec:
    """A shipped fleet by name, `NAME:N` for N devices in its proportions, or a file.

    Args:
        name: Of one that ships, as azure50 or azure50:10000, or the path of a TOML file.

    Returns:
        Its devices: memory in bytes, links in bytes and seconds, power in watts, cost in USD an hour.

    Raises:
        UsageError: No such name or file, or an N that is no number.
        SplitPlaceError: Not a fleet.
    """
    text = str(name)
    base, colon, size = text.rpartition(":")
    if not colon or Path(text).is_file():  # a folder's name may have a colon
        base, size = text, ""
    elif not (size.isdecimal() and 0 < int(size) <= MAX_COUNT):
        raise UsageError(f"fleet {text!r}: expected NAME:N with N from 1 to {MAX_COUNT}, got {size!r}")
    fleet = FleetSpec.parse_toml(_shipped("fleet", base), f"fleet {base}")
    return scale(fleet, int(size)) if size else fleet


def scale(fleet: FleetSpec, size: int) -> FleetSpec:
    """`size` devices in the fleet's proportions: largest remainders, ties to the first entries."""
    counts = [entry.count for entry in fleet.devices]
    exact = [size * count / sum(counts) for count in counts]
    whole = [math.floor(x) for x in exact]
    by_remainder = sorted(range(len(exact)), key=lambda i: whole[i] - exact[i])
    for i in by_remainder[: size - sum(whole)]:
        whole[i] += 1
    devices = tuple(e.model_copy(update={"count": n}) for e, n in zip(fleet.devices, whole, strict=True) if n)
    return FleetSpec(name=f"{fleet.name}-{size}", devices=devices)


def units(scenario: Scenario, fleet: FleetSpec) -> tuple[Device, ...]:
    """The fleet's single devices, as the scenario constrains them.

    Raises:
        SplitPlaceError: A device is left with a part of a core, or labelled with MIPS that are no number.
    """
    entries = tuple(_constrained(entry, scenario) for entry in fleet.devices)
    return FleetSpec(name=fleet.name, devices=entries).units()


def _constrained(entry: Device, scenario: Scenario) -> Device:
    by = scenario.constrain
    cores = entry.cores * by.cores
    if cores != round(cores) or not 1 <= cores <= MAX_CORES:
        raise ContractError(
            f"{entry.name}: {entry.cores} cores x {by.cores} is no whole number of cores from 1 to {MAX_CORES}"
        )
    speed = entry.core_speed
    if scenario.reference_mips and "mips" in entry.labels:
        try:
            # Table 3 states the MIPS of the whole host.
            speed = float(entry.labels["mips"]) / entry.cores / scenario.reference_mips
        except ValueError as error:
            raise ContractError(f"{entry.name}: label mips {entry.labels['mips']!r} is no number") from error
    return entry.model_copy(
        update={
            "cores": round(cores),
            "core_speed": speed,
            "up_bytes_per_s": entry.up_bytes_per_s * by.network,
            "down_bytes_per_s": entry.down_bytes_per_s * by.network,
            "memory_bytes": int(entry.memory_bytes * by.memory),
        }
    )


def names(kind: str) -> list[str]:
    """What ships of this kind."""
    found = (entry.name.split(".") for entry in DATA.iterdir() if entry.name.count(".") == 2)
    return sorted(name for prefix, name, _ in found if prefix == kind)


def _shipped(kind: str, name: str) -> bytes:
    if name in names(kind):
        return (DATA / f"{kind}.{name}.toml").read_bytes()
    path = Path(name)
    if not path.is_file():
        if path.suffix == ".toml" or path.name != name:
            raise NotFoundError(f"no {kind} {name!r}: there is no file {path.absolute()}")
        raise NotFoundError(f"no {kind} {name!r}: expected one of {', '.join(names(kind))}, or a TOML file")
    return path.read_bytes()
