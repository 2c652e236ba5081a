"""`splitplace bench` on the front door: what it costs, and what becomes of requests that nobody thought of."""

import os
from importlib.util import find_spec
from pathlib import Path

from splitplace.benchmarks.commands.measuring import measuring, show
from splitplace.benchmarks.commands.options import (
    RESULTS,
    FleetFolder,
    Json,
    Results,
    at_least_one,
    check_seed,
    numbers,
)
from splitplace.errors import MissingExtraError, UsageError

MOST_CLIENTS = 1_000
"""That a front door takes on at once."""
MOST_COUNT = 10**9
MOST_CONNECTIONS = 500
"""Of which each may have a request under way, and open one more."""


def serve(
    *,
    results: Results = RESULTS / "serve.json",
    work: FleetFolder = Path("runs/bench-serve"),
    rounds: int = 1000,
    clients: str = "1,2,4,8,16,32,64,128,256,512",
    seconds: float = 10.0,
    ray: Path | None = None,
    seed: int = 1,
    json: Json = False,
) -> None:
    """Measure the front door over a direct call, and under many clients; on a machine that does nothing else.

    Args:
        rounds: Of each size of body, every way once.
        clients: How many at once, comma-separated.
        seconds: Of each number of clients.
        ray: A Python interpreter that has ray[serve] and onnxruntime, which runs Ray Serve beside; without, "not run".
        seed: Of the images.
    """
    at_least_one(rounds=rounds)
    crowds = numbers("clients", clients)
    if max(crowds) > MOST_CLIENTS:
        raise UsageError(f"--clients {clients}: expected numbers up to {MOST_CLIENTS}")
    if not 0 < seconds < float("inf"):
        raise UsageError(f"--seconds {seconds}: expected more than 0")
    check_seed(seed)
    if ray is not None and not (ray.is_file() and os.access(ray, os.X_OK)):
        raise UsageError(f"--ray {ray}: expected a Python interpreter")
    with measuring("serve", results, "export", "serve", "grpc", work=work) as say:
        from splitplace.benchmarks import fleets_tables, serve

        found = serve.run(results, work, rounds, seconds, crowds, ray, seed, say)
    show(fleets_tables.serve, results, found, json, verdict=serve.verdict(found))


def perf_analyzer(
    program: Path,
    *,
    requests: int = 1000,
    seed: int = 1,
    results: Results = RESULTS / "perf-analyzer.json",
    work: FleetFolder = Path("runs/bench-perf-analyzer"),
    json: Json = False,
) -> None:
    """Have Triton's perf_analyzer ask a front door in every way that it knows, and check the answers.

    Args:
        program: Its executable, which other packages bring: docs/decisions/front-door.md.
        requests: Of each way.
        seed: Of the images.
    """
    at_least_one(requests=requests)
    check_seed(seed)
    if not (program.is_file() and os.access(program, os.X_OK)):
        raise UsageError(f"{program}: expected the executable perf_analyzer")
    with measuring("perf-analyzer", results, "export", "serve", "grpc", work=work) as say:
        from splitplace.benchmarks import perf_analyzer

        found = perf_analyzer.run(results, work, program, requests, seed, say)
    show(perf_analyzer.section, results, found, json, verdict=perf_analyzer.verdict(found))


def requests(
    *,
    count: int = 1_000_000,
    schemathesis: float = 0.05,
    connections: int = 64,
    seed: int = 1,
    results: Results = RESULTS / "requests.json",
    work: Path = Path("runs/bench-requests"),
    json: Json = False,
) -> None:
    """Ask a front door a million generated requests, whole and broken; then count faults in what clients and log say.

    Args:
        count: Requests in all.
        schemathesis: The share of them that Schemathesis makes by the description of the routes; 0 leaves it out.
        connections: At once.
        seed: Of the requests.
        work: Folder for the catalog, the fleet and the histories, half a kilobyte a request; those of an earlier run
            are removed.
    """
    at_least_one(count=count, connections=connections)
    if count > MOST_COUNT:
        raise UsageError(f"--count {count}: expected at most {MOST_COUNT}")
    if connections > MOST_CONNECTIONS:
        raise UsageError(f"--connections {connections}: expected at most {MOST_CONNECTIONS}")
    if not 0 <= schemathesis <= 1:
        raise UsageError(f"--schemathesis {schemathesis}: expected a share from 0 to 1")
    check_seed(seed)
    with measuring("requests", results, "export", "serve", "grpc", work=work) as say:
        if schemathesis and find_spec("schemathesis") is None:
            raise MissingExtraError(
                "splitplace bench requests needs schemathesis, not installed here: pip install 'schemathesis>=4.20,<5' "
                "or leave it out with --schemathesis 0"
            )
        from splitplace.benchmarks import requests

        found = requests.run(results, work, count, schemathesis, connections, seed, say)
    show(requests.section, results, found, json, verdict=requests.verdict(found))
