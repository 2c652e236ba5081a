"""Claim: the front door costs little over a direct call of the same session, and holds under many clients.

One image at a time by every way in turns, then 1 to 512 clients at once; Ray Serve beside it where there is one.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from importlib.metadata import version
from pathlib import Path

import numpy as np

from splitplace import provenance
from splitplace.benchmarks import serve_crowd, serve_models, serve_ways, work_folder
from splitplace.benchmarks.results_file import save
from splitplace.records.base import Count, NonNegative, Positive, PositiveCount, Record
from splitplace.records.provenance import Provenance

HTTP, GRPC, RAY, AGAIN = "HTTP", "gRPC", "Ray Serve", "direct, again"
MEDIAN_LIMITS_S = {"small": 1e-3, "1 MB": 2e-3, "10 MB": 6e-3}
"""Over a direct call."""
TAIL_LIMIT_S = 2e-3
"""Of the 99th percentile, for a small body."""
EXPLAINED = 1.3
CROWDED = "small"
SERVERS = ("uvicorn", "starlette", "httptools", "grpcio")
WARM = 20
NOT_RUN = "not run"


class WayCell(Record):
    """One way and size: seconds over the direct call of the same round."""

    way: str
    size: str
    body_bytes: PositiveCount
    direct_s: Positive
    """Median of the direct call."""
    median_s: float
    tail_s: float
    """The 99th percentile."""
    rounds: PositiveCount


class CrowdCell(Record):
    """One number of clients."""

    way: str
    clients: PositiveCount
    median_s: NonNegative
    tail_s: NonNegative
    per_s: NonNegative
    """Answers."""
    lost: Count
    """Requests without a right answer."""


class ServeResults(Record):
    """Everything measured."""

    load: NonNegative
    """The machine's load average before the run."""
    load_after: NonNegative
    seconds: Positive
    """Of each number of clients."""
    cells: tuple[WayCell, ...]
    crowds: tuple[CrowdCell, ...]
    servers: dict[str, str]
    """Versions."""
    ray: dict[str, str]
    """Its versions; empty where it was not run."""
    provenance: Provenance


def run(
    path: Path,
    work: Path,
    rounds: int,
    seconds: float,
    clients: Sequence[int],
    ray: Path | None,
    seed: int,
    say: Callable[[str], None],
) -> ServeResults:
    """Measure everything, and write the results file.

    Args:
        path: The results file.
        work: Folder for the catalog and the fleet; what an earlier run left in it is removed.
        rounds: Of each size, every way once.
        seconds: Of each number of clients.
        clients: How many at once, one number after the other.
        ray: An interpreter that has ray[serve] and onnxruntime; none: it is not run.
        seed: Of the images.
        say: Told what is being measured.

    Raises:
        UsageError: The work folder holds something else.
        NotReadyError: A server did not come up, or answers otherwise than the model.
    """
    load, folder = serve_ways.load(), work_folder.fresh(work, "serve")
    serve_models.write(folder, seed)
    cells, crowds, versions = list[WayCell](), list[CrowdCell](), dict[str, str]()
    with ExitStack() as stack:
        say("starting the servers")
        door = stack.enter_context(serve_ways.front_door(folder))
        doors = {HTTP: (door.port, serve_ways.path, serve_ways.RAW)}
        if ray is not None:
            ray_port, versions = stack.enter_context(serve_ways.ray_serve(ray, folder))
            doors[RAY] = (ray_port, lambda size: f"/{serve_models.application(size)}", {})
        for size in serve_models.SHAPES:
            say(f"one image of {size}, {rounds} rounds")
            x = serve_models.image(size, seed)
            with ExitStack() as asking:
                session = asking.enter_context(serve_ways.direct(size))
                ways = {"": session, AGAIN: session, GRPC: asking.enter_context(serve_ways.over_grpc(door.grpc, size))}
                for way, (at, where, headers) in doors.items():
                    ways[way] = asking.enter_context(serve_ways.over_http(at, where(size), headers))
                cells += cells_of(serve_ways.interleaved(ways, x, rounds, WARM), size, x.nbytes)
        x = serve_models.image(CROWDED, seed)
        for count in clients:
            for way, (at, where, headers) in doors.items():
                say(f"{count} clients, {way}")
                found = asyncio.run(serve_crowd.crowd(at, where(CROWDED), headers, x, count, seconds))
                crowds.append(crowd_of(way, count, found))
    results = ServeResults(
        load=load,
        load_after=serve_ways.load(),
        seconds=seconds,
        cells=tuple(cells),
        crowds=tuple(crowds),
        servers={name: version(name) for name in SERVERS},
        ray=versions,
        provenance=provenance.collect(seed),
    )
    save(path, results)
    return results


def cells_of(seconds: Mapping[str, Sequence[float]], size: str, body_bytes: int) -> list[WayCell]:
    """Of each way, what it took over the direct call of the same round; that one is under the empty name."""
    base = np.array(seconds[""])
    cells = []
    for way, taken in seconds.items():
        if way:
            median, tail = np.quantile(np.array(taken) - base, (0.5, 0.99))
            cells.append(
                WayCell(
                    way=way, size=size, body_bytes=body_bytes, direct_s=float(np.median(base)), median_s=float(median),
                    tail_s=float(tail), rounds=len(base),
                )
            )  # fmt: skip
    return cells


def crowd_of(way: str, clients: int, found: serve_crowd.CrowdRun) -> CrowdCell:
    """What came of one number of clients; where nobody was answered, the whole time is what it took."""
    median, tail = np.quantile(found.seconds, (0.5, 0.99)) if found.seconds else (found.counted_s, found.counted_s)
    return CrowdCell(
        way=way, clients=clients, median_s=float(median), tail_s=float(tail), lost=found.lost,
        per_s=len(found.seconds) / found.counted_s,
    )  # fmt: skip


def explained_s(crowds: Sequence[CrowdCell], way: str) -> dict[int, float]:
    """What queueing explains of a way's response time, by its number of clients.

    The asymptotic bound of a closed system without think time (Denning and Buzen, "The Operational Analysis of Queueing
    Network Models", ACM Computing Surveys 10(3), 1978): no less than one client alone waits, and no less than the
    clients over the highest rate of answers that was seen.
    """
    mine = [cell for cell in crowds if cell.way == way]
    most = max((cell.per_s for cell in mine), default=0.0)
    alone_s = min(mine, key=lambda cell: cell.clients).median_s if mine else 0.0
    return {cell.clients: max(alone_s, cell.clients / most if most else 0.0) for cell in mine}


def verdict(results: ServeResults) -> dict[str, bool | str]:
    """Each claim, and whether it held, or that it was not run."""
    by_place = {(cell.way, cell.size): cell for cell in results.cells}
    found: dict[str, bool | str] = {}
    for way in (HTTP, GRPC):
        for size, limit_s in MEDIAN_LIMITS_S.items():
            claim = f"{way}, {size}: at most {1e3 * limit_s:g} ms over a direct call (median)"
            found[claim] = by_place[way, size].median_s <= limit_s
        tail = f"{way}, small: at most {1e3 * TAIL_LIMIT_S:g} ms over a direct call (99th percentile)"
        found[tail] = by_place[way, "small"].tail_s <= TAIL_LIMIT_S
    for size in MEDIAN_LIMITS_S:
        theirs = by_place.get((RAY, size))
        claim = f"HTTP, {size}: no slower than Ray Serve in the same run (median)"
        found[claim] = NOT_RUN if theirs is None else by_place[HTTP, size].median_s <= theirs.median_s
    bounds, ours = explained_s(results.crowds, HTTP), [cell for cell in results.crowds if cell.way == HTTP]
    claim = f"{min(bounds)} to {max(bounds)} clients: at most {EXPLAINED:g} times what queueing explains (median)"
    found[claim] = all(cell.median_s <= EXPLAINED * bounds[cell.clients] for cell in ours)
    found["requests without a right answer: 0"] = not any(cell.lost for cell in ours)
    return found
