"""Vehicles on a city's roads by SUMO, and the radio link each has to the nearest base station.

Roads: a grid of streets. Vehicles: SUMO's randomTrips, with enough intermediate stops on each trip that it stays on
the road. Radio, stated here because neither the paper nor its code states one: base stations on a square grid, a
log-distance path loss, Shannon's capacity; the rate is relative to that at 10 m, the round trip grows as it falls
(the same bits take more slots). Needs the extra `sim`.
"""

import csv
import importlib.util
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from splitplace.children import child_env, python_script
from splitplace.errors import SplitPlaceError
from splitplace.extras import needs
from splitplace.placement.simulator.traces import write_parquet
from splitplace.records.view import Floats

BLOCK_M, BLOCKS = 150.0, 6
STATION_GRID_M = 300.0
NEAR_M, NEAR_SNR_DB, PATH_LOSS = 10.0, 40.0, 3.0
PEAK_BYTES_PER_S, NEAR_RTT_S = 10e6, 0.002
SPARE = 1.3
"""More vehicles than asked for: one that SUMO takes off the road (a jam it resolves) is left out."""


def radio(distance_m: Floats) -> tuple[Floats, Floats]:
    """Bytes/s and rtt seconds at these distances from the base station, same shape."""
    loss_db = 10 * PATH_LOSS * np.log10(np.maximum(distance_m, NEAR_M) / NEAR_M)
    share = np.log2(1 + 10 ** ((NEAR_SNR_DB - loss_db) / 10)) / np.log2(1 + 10 ** (NEAR_SNR_DB / 10))
    return PEAK_BYTES_PER_S * share, NEAR_RTT_S / share


def write_trace(path: Path, vehicles: int, seconds: int, seed: int) -> int:
    """Simulate traffic and write a mobility trace, one row a vehicle and second; returns its rows.

    Raises:
        SplitPlaceError: SUMO is not installed, failed, or kept too few vehicles on the road.
    """
    position_TK2 = _drive(vehicles, seconds, seed)
    nearest = np.round(position_TK2 / STATION_GRID_M) * STATION_GRID_M
    rate_TK, rtt_TK = radio(np.hypot(*np.moveaxis(position_TK2 - nearest, -1, 0)))
    rows = seconds * vehicles
    times, names = np.arange(seconds), [f"vehicle-{k}" for k in range(vehicles)]
    columns: dict[str, Sequence[Any] | npt.NDArray[Any]] = {
        "time_s": np.repeat(times, vehicles).astype(np.float32),
        "device": names * seconds,
        "rtt_s": rtt_TK.ravel().round(5).astype(np.float32),
        "bytes_per_s": rate_TK.ravel().round(-3).astype(np.float32),
    }
    about = f"SUMO grid of {BLOCKS}x{BLOCKS}, {vehicles} vehicles, {seconds} s, seed {seed}; splitplace simulate trace"
    write_parquet(path, columns, about)
    return rows


def _drive(vehicles: int, seconds: int, seed: int) -> Floats:
    """Metres (x, y) of each vehicle at each second once all are on the road, shape (seconds, vehicles, 2)."""
    home = _sumo_home()
    asked = int(np.ceil(vehicles * SPARE))
    begin, end = asked + 60, asked + 60 + seconds  # they enter one a second, and then spread for a minute
    hops = max(seconds // 8, 20)  # a block takes over 10 s
    with tempfile.TemporaryDirectory() as folder:
        net, trips, positions = (Path(folder) / name for name in ("net.xml", "trips.xml", "positions.csv"))
        grid = ["--grid", "--grid.number", str(BLOCKS), "--grid.length", str(BLOCK_M), "--seed", str(seed)]
        _call(home, folder, [str(home / "bin" / "netgenerate"), *grid, "-o", str(net)])
        maker = python_script(home / "tools" / "randomTrips.py", "-n", str(net), "-o", str(trips))
        _call(
            home,
            folder,
            [*maker, "-b", "0", "-e", str(asked), "-p", "1", "--intermediate", str(hops), "--seed", str(seed)],
        )
        sumo = [str(home / "bin" / "sumo"), "-n", str(net), "-r", str(trips), "--seed", str(seed), "--end", str(end)]
        quiet = ["--no-step-log", "--no-warnings"]
        _call(home, folder, [*sumo, *quiet, "--fcd-output", str(positions), "--fcd-output.attributes", "x,y"])
        return _read(positions, begin, end, vehicles)


def _read(path: Path, begin: int, end: int, vehicles: int) -> Floats:
    tracks: dict[str, dict[int, tuple[float, float]]] = {}
    with path.open(encoding="utf-8", newline="") as lines:
        for row in csv.DictReader(lines, delimiter=";"):
            second = round(float(row["timestep_time"]))
            if begin <= second < end:
                track = tracks.setdefault(row["vehicle_id"], {})
                track[second] = (float(row["vehicle_x"]), float(row["vehicle_y"]))
    whole = [track for _, track in sorted(tracks.items(), key=lambda item: int(item[0])) if len(track) == end - begin]
    if len(whole) < vehicles:
        raise SplitPlaceError(
            f"only {len(whole)} of the vehicles stayed on the road for {end - begin} s, {vehicles} asked for: "
            "ask for fewer vehicles or seconds, or try another seed"
        )
    return np.array([[track[second] for track in whole[:vehicles]] for second in range(begin, end)])


def _sumo_home() -> Path:
    needs("vehicles on the road", "sim", packages=("eclipse-sumo",))
    found = importlib.util.find_spec("sumo")
    assert found is not None and found.submodule_search_locations, "looked for above"
    return Path(next(iter(found.submodule_search_locations)))


def _call(home: Path, folder: str, command: list[str]) -> None:
    environment = child_env(SUMO_HOME=str(home))
    # randomTrips leaves its routes in the current folder.
    done = subprocess.run(command, capture_output=True, text=True, timeout=600, env=environment, cwd=folder)
    if done.returncode != 0:
        said = (done.stderr or done.stdout).strip().splitlines() or ["nothing"]
        raise SplitPlaceError(f"{Path(command[0]).name} of SUMO failed: {said[-1]}")
