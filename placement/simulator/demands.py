"""Demands by name or file, and their costs on a fleet."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from importlib.resources import files
from pathlib import Path

import numpy as np

from splitplace.errors import ContractError, NotFoundError
from splitplace.placement import tables
from splitplace.placement.simulator.constants import Constants, from_constants
from splitplace.placement.simulator.costs import Costs, feasible, from_demand
from splitplace.records.demand import Demand, EncodedInput
from splitplace.records.device import Device
from splitplace.records.view import Floats

DATA = files("splitplace.placement") / "data"
"""Fleets, scenarios, demands and traces that ship with the package, as `KIND.NAME.SUFFIX`."""

DemandLike = Demand | Constants
SHIPPED_DEMANDS = ("measured", "upstream")


def load_demand(name: str) -> DemandLike:
    """`measured`, `upstream`, a demand file (.json) or a table of constants (.toml).

    Raises:
        UsageError: No such file.
        SplitPlaceError: Not what it should be.
    """
    if name == "upstream":
        return Constants.parse_toml((DATA / "demand.upstream.toml").read_bytes(), "demand upstream")
    if name == "measured":
        shipped = DATA / "demand.measured.json"
        if not shipped.is_file():
            raise NotFoundError(
                "demand 'measured': this build ships no measured demand; give a demand file (--demand FILE.json) or "
                "--demand upstream"
            )
        return Demand.parse(shipped.read_text(encoding="utf-8"), "demand measured")
    path = Path(name)
    if not path.is_file():
        raise NotFoundError(
            f"no demand {name!r}: expected measured, upstream, a file (.json or .toml), or a catalog's folder"
        )
    text = path.read_bytes()
    return Constants.parse_toml(text, name) if path.suffix == ".toml" else Demand.parse(text, name)


def build(
    demand: DemandLike,
    devices: Sequence[Device],
    claim_bytes: int | None = None,
    swap_fraction: float = 0.0,
    encoded: Mapping[str, EncodedInput] | None = None,
    threads: Callable[[Device], int] = lambda device: device.cores,
) -> Costs:
    """The tables of a demand on these devices, without the splits that fit on none of them.

    Images of all fragments are distributed to all devices at the start (§3.1). A disk that is too small for all holds
    the first ones, in the order of the demand; a fragment whose image is not there needs infinite memory there, so no
    placer can place it.

    Args:
        demand: Measured or constant.
        devices: Single devices, D of them.
        claim_bytes: What every container claims, in place of its own demand (upstream's 5000 MB).
        swap_fraction: Swap space over memory; it takes disk from the images.
        encoded: How inputs travel, by application, in place of what the demand has; raw if not given.
        threads: How many cores of a device compute a fragment.

    Raises:
        SplitPlaceError: An application is left with no split, or nobody says what its encoded inputs take.
    """
    # Costs depend on the kind, the speed and the cores alone: 10,000 devices of four kinds need four columns.
    keys = [(device.kind, device.core_speed, device.cores) for device in devices]
    kinds = dict(zip(keys, devices, strict=True))
    column = {key: i for i, key in enumerate(kinds)}
    column_D = np.array([column[key] for key in keys])
    disk_D = np.array([device.disk_bytes_per_s for device in devices])
    few = tuple(kinds.values())
    many = [threads(device) for device in few]
    costs = from_demand(demand, few, many) if isinstance(demand, Demand) else from_constants(demand, few, many)
    if encoded is not None:
        known = demand.encoded if isinstance(demand, Demand) else {}
        costs = _decoding(costs, {**known, **encoded}, np.array([device.core_speed for device in few]))
    memory_FD = costs.fragments.memory_bytes_FD[:, column_D]
    if claim_bytes is not None:
        memory_FD = np.full_like(memory_FD, float(claim_bytes))
    weights_F1 = costs.fragments.weight_bytes_F[:, None]
    disk_bytes_D = np.array([device.disk_bytes - swap_fraction * device.memory_bytes for device in devices])
    memory_FD = np.where(np.cumsum(weights_F1, axis=0) <= disk_bytes_D, memory_FD, np.inf)
    costs = replace(
        costs,
        fragments=replace(
            costs.fragments, latency_s_FD=costs.fragments.latency_s_FD[:, column_D], memory_bytes_FD=memory_FD
        ),
        load_s_FD=np.maximum(costs.load_s_FD[:, column_D], weights_F1 / disk_D),
        runtime_base_bytes_D=costs.runtime_base_bytes_D[column_D],
    )
    return feasible(costs, devices)


def _decoding(costs: Costs, encoded: Mapping[str, EncodedInput], speed_D: Floats) -> Costs:
    """The same where inputs travel encoded, and everybody says what that takes."""
    for application in costs.applications:
        if application not in encoded:
            raise ContractError(
                f"wire = 'encoded': nobody says what an encoded input of {application} takes: state it in the "
                f"scenario ([encoded.{application}]) or in the demand, or let inputs travel raw"
            )
    fragments = tables.with_encoded_inputs(costs.fragments, costs.splits, costs.applications, encoded, speed_D)
    return replace(costs, fragments=fragments)


def references(demand: DemandLike) -> tuple[str, ...]:
    """The name of every split of a demand."""
    if isinstance(demand, Constants):
        return tuple(split.reference for split in demand.splits)
    return tuple(entry.split.reference for entry in demand.splits)
