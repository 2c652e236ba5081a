"""`mobility_trace`: vehicles on the road, and what their links are worth meanwhile."""

from pathlib import Path

from splitplace.api.asked import whole_number
from splitplace.errors import explained
from splitplace.extras import needs
from splitplace.files import check_file
from splitplace.progress import Progress, silent


@explained()
def mobility_trace(
    out: str | Path, *, vehicles: int = 10, seconds: int = 600, seed: int = 0, progress: Progress = silent
) -> int:
    """Let vehicles drive through a city (SUMO) and write rtt and bandwidth per vehicle and second.

    Args:
        out: Parquet file; name it as `mobility` in a scenario.
        vehicles: The first so many devices of a fleet move, 1 to 500.
        seconds: 2 to 86,400; a longer run starts the trace over.
        seed: Same seed, same traffic.
        progress: Told what is being done.

    Returns:
        The number of rows written.

    Raises:
        MissingExtraError: The extra `sim` is not installed.
        UsageError: Numbers out of range.
    """
    needs("driving through a city", "sim", packages=("eclipse-sumo", "pyarrow"))
    from splitplace.placement.simulator.roads import write_trace

    vehicles = whole_number("--vehicles", vehicles, 1, 500)
    seconds = whole_number("--seconds", seconds, 2, 86_400)
    seed = whole_number("--seed", seed, 0, 2**31 - 1)
    check_file(Path(out), "--out")
    progress("driving", 0.0)
    return write_trace(Path(out).absolute(), vehicles, seconds, seed)
