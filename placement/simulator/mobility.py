"""Devices on the move: what a trace of rtt and bandwidth does to their links."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from splitplace.errors import ContractError, NotFoundError
from splitplace.placement.simulator.demands import DATA
from splitplace.placement.simulator.engine import SimulationEngine
from splitplace.placement.simulator.traces import read_parquet
from splitplace.records.view import Floats

COLUMNS = ("time_s", "device", "rtt_s", "bytes_per_s")


@dataclass(frozen=True, eq=False)
class Mobility:
    """T steps of K moving devices: the first K of the fleet; the others stand still.

    The radio hop adds its rtt to the device's own, and caps its link each way. The trace starts over when it ends.
    """

    step_s: float
    rtt_s_TK: Floats
    bytes_per_s_TK: Floats

    def apply(self, engine: SimulationEngine) -> None:
        """Set the links to what the trace has for this instant."""
        row = round(engine.now / self.step_s) % len(self.rtt_s_TK)
        devices = engine.world.devices
        rates, rtts = self.bytes_per_s_TK[row].tolist(), self.rtt_s_TK[row].tolist()
        for k, (device, rate, rtt_s) in enumerate(zip(devices, rates, rtts, strict=False)):
            engine.rtt_s[k] = device.rtt_s + rtt_s
            engine.links.set_capacity(k, min(device.up_bytes_per_s, rate), engine.now)
            engine.links.set_capacity(engine.links.nodes + k, min(device.down_bytes_per_s, rate), engine.now)


def load_mobility(name: str) -> Mobility:
    """A shipped trace, or a Parquet file with the columns time_s, device, rtt_s and bytes_per_s.

    Raises:
        UsageError: No such file.
        SplitPlaceError: A value is missing, negative or not finite, or a device lacks a step that another has.
    """
    shipped = Path(str(DATA / f"mobility.{name}.parquet"))
    path = shipped if shipped.is_file() else Path(name)
    if not path.is_file():
        raise NotFoundError(
            f"no mobility trace {name!r}: expected a Parquet file (`splitplace simulate trace` makes one)"
        )
    columns = read_parquet(path, COLUMNS)
    try:
        time_s, rtt_s, rate = (np.array(columns[c], np.float64) for c in ("time_s", "rtt_s", "bytes_per_s"))
    except (TypeError, ValueError) as error:
        raise ContractError(f"{path}: not numbers: {error}") from error
    for values, column in ((time_s, "time_s"), (rtt_s, "rtt_s"), (rate, "bytes_per_s")):
        bad = np.flatnonzero(~((values >= 0) & np.isfinite(values)))
        if len(bad):
            raise ContractError(f"{path}: row {bad[0] + 1}: {column} is {values[bad[0]]}, expected 0 or more")
    names = list(dict.fromkeys(str(value) for value in columns["device"]))
    steps = np.unique(time_s)
    gaps = np.diff(steps)
    if len(steps) < 2 or steps[0] != 0 or not np.allclose(gaps, gaps[0]):
        raise ContractError(f"{path}: steps must start at 0 and be equally far apart, got {steps[:4].tolist()}, ...")
    table = np.full((2, len(steps), len(names)), np.nan)
    index = {device: k for k, device in enumerate(names)}
    device_row = np.array([index[str(value)] for value in columns["device"]])
    table[:, np.searchsorted(steps, time_s), device_row] = rtt_s, rate
    holes = np.argwhere(np.isnan(table[0]))
    if len(holes):
        step, k = holes[0]
        raise ContractError(f"{path}: device {names[k]} has no row at {steps[step]:g} s: fill the hole or leave it out")
    return Mobility(float(gaps[0]), table[0], table[1])
