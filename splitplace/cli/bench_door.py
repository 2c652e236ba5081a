"""`splitplace bench` on the front door: what it costs, and what becomes of requests that nobody thought of."""

import os
from importlib.util import find_spec
from pathlib import Path

from splitplace.cli.bench import at_least_one, measuring, numbers, show
from splitplace.errors import MissingExtraError, UsageError

RESULTS = Path("benchmarks/results")
MOST_CLIENTS = 1_000
"""That a front door takes on at once."""
MOST_COUNT = 10**9
MOST_CONNECTIONS = 500
"""Of which each may have a request under way, and open one more."""


def serve(
    *,
    results: Path = RESULTS / "serve.json",
    work: Path = Path("runs/bench-serve"),
    rounds: int = 1000,
    clients: str = "1,2,4,8,16,32,64,128,256,512",
    seconds: float = 10.0,
    ray: Path | None = None,
    seed: int = 1,
    json: bool = False,
) -> None:
    """Measure the front door over a direct call, and under many clients; on a machine that does nothing else.

    Args:
        results: The results file.
        work: Folder for the catalog and the fleet; those of an earlier run are removed.
        rounds: Of each size of body, every way once.
        clients: How many at once, comma-separated.
        seconds: Of each number of clients.
        ray: A Python interpreter that has ray[serve] and onnxruntime, which runs Ray Serve beside; without, "not run".
        seed: Of the images.
        json: Print one JSON document.
    """
    at_least_one(rounds=rounds)
    crowds = numbers("clients", clients)
    if max(crowds) > MOST_CLIENTS:
        raise UsageError(f"--clients {clients}: expected numbers up to {MOST_CLIENTS}")
    if not 0 < seconds < float("inf"):
        raise UsageError(f"--seconds {seconds}: expected more than 0")
    if seed < 0:
        raise UsageError(f"--seed {seed}: expected 0 or more")
    if ray is not None and not (ray.is_file() and os.access(ray, os.X_OK)):
        raise UsageError(f"--ray {ray}: expected a Python interpreter")
    with measuring("serve", results, "export", "serve", "grpc", work=work) as say:
        from splitplace.benchmarks import fleets_tables
        from splitplace.benchmarks import serve as bench

        found = bench.run(results, work, rounds, seconds, crowds, ray, seed, say)
    show(fleets_tables.serve, results, found, json, verdict=bench.verdict(found))


def perf_analyzer(
    program: Path,
    *,
    requests: int = 1000,
    seed: int = 1,
    results: Path = RESULTS / "perf-analyzer.json",
    work: Path = Path("runs/bench-perf-analyzer"),
    json: bool = False,
) -> None:
    """Have Triton's perf_analyzer ask a front door in every way that it knows, and check the answers.

    Args:
        program: Its executable, which other packages bring: docs/decisions/front-door.md.
        requests: Of each way.
        seed: Of the images.
        results: The results file.
        work: Folder for the catalog and the fleet; those of an earlier run are removed.
        json: Print one JSON document.
    """
    at_least_one(requests=requests)
    if seed < 0:
        raise UsageError(f"--seed {seed}: expected 0 or more")
    if not (program.is_file() and os.access(program, os.X_OK)):
        raise UsageError(f"{program}: expected the executable perf_analyzer")
    with measuring("perf-analyzer", results, "export", "serve", "grpc", work=work) as say:
        from splitplace.benchmarks import perf_analyzer as bench

        found = bench.run(results, work, program, requests, seed, say)
    show(bench.section, results, found, json, verdict=bench.verdict(found))


def requests(
    *,
    count: int = 1_000_000,
    schemathesis: float = 0.05,
    connections: int = 64,
    seed: int = 1,
    results: Path = RESULTS / "requests.json",
    work: Path = Path("runs/bench-requests"),
    json: bool = False,
) -> None:
    """Ask a front door a million generated requests, whole and broken; then count faults in what clients and log say.

    Args:
        count: Requests in all.
        schemathesis: The share of them that Schemathesis makes by the description of the routes; 0 leaves it out.
        connections: At once.
        seed: Of the requests.
        results: The results file.
        work: Folder for the catalog, the fleet and the histories, half a kilobyte a request; those of an earlier run
            are removed.
        json: Print one JSON document.
    """
    at_least_one(count=count, connections=connections)
    if count > MOST_COUNT:
        raise UsageError(f"--count {count}: expected at most {MOST_COUNT}")
    if connections > MOST_CONNECTIONS:
        raise UsageError(f"--connections {connections}: expected at most {MOST_CONNECTIONS}")
    if not 0 <= schemathesis <= 1:
        raise UsageError(f"--schemathesis {schemathesis}: expected a share from 0 to 1")
    if seed < 0:
        raise UsageError(f"--seed {seed}: expected 0 or more")
    with measuring("requests", results, "export", "serve", "grpc", work=work) as say:
        if schemathesis and find_spec("schemathesis") is None:
            raise MissingExtraError(
                "splitplace bench requests needs schemathesis, not installed here: pip install 'schemathesis>=4.20,<5' "
                "or leave it out with --schemathesis 0"
            )
        from splitplace.benchmarks import requests as bench

        found = bench.run(results, work, count, schemathesis, connections, seed, say)
    show(bench.section, results, found, json, verdict=bench.verdict(found))
