"""Claim: whatever comes in at the front door is answered or refused, in bounds, and nothing is left of it.

`splitplace serve` in a process of its own is asked generated requests (`requests_made.py`) over many connections
(`requests_asked.py`), and Schemathesis asks it others, by a description of its routes (`requests_described.py`).
Faults are counted afterwards, from what the clients wrote down and from the server's log (`requests_check.py`).
"""

import asyncio
import json
import os
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import TextIO

import psutil

from splitplace import provenance
from splitplace.benchmarks import requests_asked, requests_check, requests_parts, serve_models, serve_ways, work_folder
from splitplace.benchmarks.results_file import save
from splitplace.benchmarks.results_section import FileSection, words
from splitplace.children import child_env, python_child
from splitplace.errors import NotReadyError
from splitplace.records.base import Count, NonNegative, PositiveCount, Record
from splitplace.records.provenance import Provenance

GROWTH_BYTES = 64 * 2**20
SAMPLE_S = 1.0
NOT_RUN = "not run"


class RequestKindCell(Record):
    """Of one kind of requests, how many came to what."""

    kind: str
    outcomes: dict[str, PositiveCount]


class ProcessHeld(Record):
    """Of one process: resident bytes."""

    process: str
    first_bytes: Count
    """After the first few thousand requests."""
    last_bytes: Count
    peak_bytes: Count


class RequestsResults(Record):
    """Everything counted."""

    load: NonNegative
    """The machine's load average before the run."""
    load_after: NonNegative
    wall_s: NonNegative
    count: PositiveCount
    """Requests that were to be made."""
    connections: PositiveCount
    cells: tuple[RequestKindCell, ...]
    logged: dict[str, PositiveCount]
    """Lines of the access log, by status; 0: the client left before its answer."""
    remarks: dict[str, PositiveCount]
    """Of the log's other lines, the most frequent."""
    tracebacks: Count
    failures: Count
    """Answers of 5xx but 503."""
    hung: Count
    unanswered: Count
    """Whole requests whose connection ended, or could not be had."""
    garbled: Count
    wrong: Count
    memory: tuple[ProcessHeld, ...]
    growth_bytes: Count
    """Of all processes together, from after the first few thousand requests to the end: medians of a tenth of that."""
    lived: bool
    """Whether the server was the same process, and ready, at the end."""
    provenance: Provenance

    @property
    def described(self) -> int:
        """Requests that Schemathesis made."""
        return sum(sum(cell.outcomes.values()) for cell in self.cells if cell.kind == requests_check.DESCRIBED)

    @property
    def made(self) -> int:
        """All that were made."""
        return sum(sum(cell.outcomes.values()) for cell in self.cells)


def run(
    path: Path, work: Path, count: int, described: float, connections: int, seed: int, say: Callable[[str], None]
) -> RequestsResults:
    """Ask, check, and write the results file.

    Args:
        path: The results file.
        work: Folder for the catalog, the fleet and the histories; what an earlier run left in it is removed.
        count: Requests in all.
        described: The share of them that Schemathesis makes.
        connections: At once.
        seed: Of the requests.
        say: Told how far it is.

    Raises:
        UsageError: The work folder holds something else.
        NotReadyError: The server did not come up.
    """
    load, folder = os.getloadavg()[0], work_folder.fresh(work, "requests")
    serve_models.write(folder, seed)
    begun_s, by_schema = time.monotonic(), round(described * count)
    with ExitStack() as stack:
        say("starting the server")
        door = stack.enter_context(serve_ways.front_door(folder))
        child = stack.enter_context(_described(folder, door.port, by_schema, seed))
        asked = stack.enter_context((folder / "asked.jsonl").open("w", encoding="utf-8"))
        held = stack.enter_context((folder / "memory.jsonl").open("w", encoding="utf-8"))
        asyncio.run(_ask(door, asked, held, count - by_schema, connections, seed, child, say))
        lived = _is_ready(door)
    wall_s = time.monotonic() - begun_s
    say("counting")
    results = results_of(requests_check.check(folder), load, wall_s, count, connections, lived, seed)
    save(path, results)
    return results


def results_of(
    found: requests_check.RequestCounts,
    load: float,
    wall_s: float,
    count: int,
    connections: int,
    lived: bool,
    seed: int,
) -> RequestsResults:
    """What was counted, as it is kept."""
    outcomes = found.outcomes
    return RequestsResults(
        load=load,
        load_after=os.getloadavg()[0],
        wall_s=wall_s,
        count=count,
        connections=connections,
        cells=tuple(
            RequestKindCell(kind=kind, outcomes=dict(sorted(found.by_kind[kind].items())))
            for kind in sorted(found.by_kind)
        ),
        logged=dict(sorted(found.logged.items())),
        remarks=dict(found.remarks.most_common(10)),
        tracebacks=found.tracebacks,
        failures=found.failures,
        hung=outcomes[requests_asked.HUNG],
        unanswered=outcomes[requests_asked.UNANSWERED],
        garbled=outcomes[requests_asked.GARBLED],
        wrong=outcomes[requests_asked.WRONG],
        memory=tuple(_held(found)),
        growth_bytes=found.growth_bytes,
        lived=lived,
        provenance=provenance.collect(seed),
    )


def _held(found: requests_check.RequestCounts) -> Iterator[ProcessHeld]:
    warm = found.warm
    for process in dict.fromkeys(name for _, held in warm for name in held):
        sizes = [held[process] for _, held in warm if process in held]
        yield ProcessHeld(process=process, first_bytes=sizes[0], last_bytes=sizes[-1], peak_bytes=max(sizes))


def verdict(results: RequestsResults) -> dict[str, bool | str]:
    """Each promise, and whether it held."""
    return {
        f"requests made: {results.count}": results.made >= results.count,
        "tracebacks in the server's log: 0": results.tracebacks == 0,
        "answers of 5xx but 503: 0": results.failures == 0,
        "requests hanging: 0": results.hung == 0,
        "whole requests without an answer: 0": results.unanswered == 0,
        "answers that are no HTTP, or errors that are not one line of JSON: 0": results.garbled == 0,
        "valid requests answered otherwise than by the model: 0": results.wrong == 0,
        f"memory grows by at most {GROWTH_BYTES / 2**20:g} MiB": results.growth_bytes <= GROWTH_BYTES,
        "the same server is ready at the end": results.lived,
        "Schemathesis' requests among them": True if results.described else NOT_RUN,
    }


def section(text: bytes, file: Path) -> FileSection:
    """Each kind of requests with what it came to, and what each process held."""
    found = RequestsResults.parse(text, str(file))
    kinds = [
        {
            "kind": cell.kind,
            "requests": str(sum(cell.outcomes.values())),
            "came to": ", ".join(f"{outcome} {number}" for outcome, number in cell.outcomes.items()),
        }
        for cell in found.cells
    ]
    memory = [
        {
            "process": one.process,
            "MB at first": f"{one.first_bytes / 1e6:.1f}",
            "at last": f"{one.last_bytes / 1e6:.1f}",
            "at most": f"{one.peak_bytes / 1e6:.1f}",
        }
        for one in found.memory
    ]
    last = sum(one.last_bytes - one.first_bytes for one in found.memory)
    peak = sum(one.peak_bytes - one.first_bytes for one in found.memory)
    remarks = [
        f"{found.made} requests over {found.connections} connections in {found.wall_s / 60:.1f} min. All processes "
        f"together grew by {found.growth_bytes / 2**20:.1f} MiB, from the median of the first tenth of the time to "
        f"that of the last (of that is the bound); their last readings are {last / 2**20:.1f} MiB above their first "
        f"and their highest {peak / 2**20:.1f} MiB. Load average before the run: {found.load:.1f}, after it: "
        f"{found.load_after:.1f}."
    ]
    seeds = [] if found.provenance.seed is None else [found.provenance.seed]
    return FileSection(found.provenance, [kinds, memory], words(verdict(found)), seeds, remarks=remarks)


async def _ask(
    door: serve_ways.FrontDoorProcess,
    asked: TextIO,
    held: TextIO,
    count: int,
    connections: int,
    seed: int,
    child: "subprocess.Popen[bytes] | None",
    say: Callable[[str], None],
) -> None:
    asker = requests_asked.RequestAsker(door.port, door.grpc, seed, asked)
    asking = asyncio.create_task(asker.ask(iter(range(count)), connections))
    begun_s = time.monotonic()
    while not asking.done() or (child is not None and child.poll() is None):
        await asyncio.wait({asking}, timeout=SAMPLE_S) if not asking.done() else await asyncio.sleep(SAMPLE_S)
        held.write(json.dumps([asker.done, _resident(door.pid)]) + "\n")
        per_s = asker.done / (time.monotonic() - begun_s)
        say(f"{asker.done} of {count} requests, {per_s:.0f} a second")
    await asking


def _resident(pid: int) -> dict[str, int]:
    """Resident bytes of the server and of its devices; of what has ended there are none."""
    found = dict[str, int]()
    with suppress(psutil.NoSuchProcess):
        process = psutil.Process(pid)
        found["front door and broker"] = process.memory_info().rss
        for row, child in enumerate(sorted(process.children(recursive=True), key=lambda one: one.pid)):
            with suppress(psutil.NoSuchProcess):
                found[f"device {row}"] = child.memory_info().rss
    return found


@contextmanager
def _described(folder: Path, port: int, count: int, seed: int) -> "Iterator[subprocess.Popen[bytes] | None]":
    """Schemathesis in a process of its own, for its making of requests takes a core; None where it is to make none."""
    if not count:
        yield None
        return
    told = (str(port), str(count), str(seed), str((folder / "described.jsonl").absolute()))
    command = python_child("splitplace.benchmarks.requests_described", *told)
    with (folder / "described.log").open("wb") as log:
        process = subprocess.Popen(command, cwd=folder, env=child_env(), stdout=log, stderr=log)
        try:
            yield process
            if process.poll():
                raise NotReadyError(f"Schemathesis ended with {process.poll()}: see {folder / 'described.log'}")
        finally:
            process.kill()
            process.wait()


def _is_ready(door: serve_ways.FrontDoorProcess) -> bool:
    """Whether it is there, takes tasks, and answers a valid request right."""
    if not psutil.pid_exists(door.pid):
        return False
    try:
        with serve_ways.over_http(door.port, requests_parts.INFER, serve_ways.RAW) as ask:
            x = serve_models.image(requests_parts.MODEL, 0)
            return bool((ask(x) == serve_models.answer(x)).all())
    except (OSError, NotReadyError):
        return False
