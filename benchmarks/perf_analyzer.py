"""Claim: Triton's perf_analyzer runs against the front door unchanged, over HTTP and gRPC, all answers right.

It is a program of Triton's own, asked here for what it can do without shared memory; it holds each answer against the
one that it is given with the image, and the front door's access log says what became of each request.
"""

import csv
import json
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path

from splitplace import provenance
from splitplace.benchmarks import serve_models, serve_ways, work_folder
from splitplace.benchmarks.results_file import save
from splitplace.benchmarks.results_section import FileSection, seeds_of, words
from splitplace.errors import UsageError
from splitplace.records.base import Count, NonNegative, Record
from splitplace.records.provenance import Provenance

MODEL = "small"
WAYS: dict[str, tuple[str, ...]] = {
    "HTTP": ("-i", "http"),
    "HTTP, tensors as JSON": ("-i", "http", "--input-tensor-format", "json", "--output-tensor-format", "json"),
    "HTTP, eight at once": ("-i", "http", "--async", "--concurrency-range", "8"),
    "gRPC": ("-i", "grpc"),
    "gRPC, four at once": ("-i", "grpc", "--async", "--concurrency-range", "4"),
    "gRPC, streaming": ("-i", "grpc", "--async", "--streaming"),
    "gRPC, gzip": ("-i", "grpc", "--grpc-compression-algorithm", "gzip"),
}
"""Its options. What states ids (`--async`) states the same ones in every run."""
RETAIN_S = 1
"""For which an id stands for the request that had it: the next run waits for twice that."""
PATIENCE_S = 300.0
SAID = 2_000
"""Characters of what it said that an error repeats."""


class WayFigures(Record):
    """What it says of one way."""

    way: str
    options: tuple[str, ...]
    requests: Count
    """That it was to count."""
    median_s: NonNegative
    tail_s: NonNegative
    """The 99th percentile."""
    went_wrong: str
    """What it said where it ended with an error; empty where it did not."""


class PerfAnalyzerResults(Record):
    """Everything that it and the door's log said."""

    version: str
    load: NonNegative
    """The machine's load average before the run."""
    ways: tuple[WayFigures, ...]
    statuses: dict[str, Count]
    """Inference requests in the access log, by status."""
    provenance: Provenance


def run(
    path: Path, work: Path, program: Path, requests: int, seed: int, say: Callable[[str], None]
) -> PerfAnalyzerResults:
    """Have it ask a front door by every way, and write the results file.

    Args:
        path: The results file.
        work: Folder for the catalog and the fleet; what an earlier run left in it is removed.
        program: The executable.
        requests: Of each way, counted.
        seed: Of the images.
        say: Told what is going on.

    Raises:
        UsageError: The work folder holds something else, or the program is no perf_analyzer.
        NotReadyError: The front door did not come up.
    """
    load, version = serve_ways.load(), _version(program)
    folder = work_folder.fresh(work, "perf-analyzer")
    serve_models.write(folder, seed)
    images = folder / "images.json"
    images.write_text(json.dumps(with_answers(seed)), encoding="utf-8")
    say("starting the front door")
    with serve_ways.front_door(folder, "--retain", str(RETAIN_S)) as door:
        found = []
        for way, options in WAYS.items():
            say(way)
            time.sleep(2 * RETAIN_S)
            address = door.grpc if "grpc" in options else f"127.0.0.1:{door.port}"
            found.append(ask(program, way, options, address, images, folder / "figures.csv", requests))
    results = PerfAnalyzerResults(
        version=version,
        load=load,
        ways=tuple(found),
        statuses=statuses((folder / "serve.log").read_text(encoding="utf-8")),
        provenance=provenance.collect(seed),
    )
    save(path, results)
    return results


def with_answers(seed: int, count: int = 16) -> dict[str, object]:
    """Images and their right answers, as `--input-data` has them."""
    images = [serve_models.image(MODEL, seed + i) for i in range(count)]
    shape = list(serve_models.SHAPES[MODEL])
    return {
        "data": [{"image": {"content": image.ravel().tolist(), "shape": shape}} for image in images],
        "validation_data": [
            {"logits": {"content": serve_models.answer(image)[0].tolist(), "shape": [serve_models.QUARTERS]}}
            for image in images
        ],
    }


def ask(
    program: Path, way: str, options: tuple[str, ...], address: str, images: Path, figures: Path, requests: int
) -> WayFigures:
    """Run it once."""
    figures.unlink(missing_ok=True)
    command = [
        str(program), "-m", serve_models.application(MODEL), "-u", address, "--input-data", str(images),
        "--request-count", str(requests), "-f", str(figures), *options,
    ]  # fmt: skip
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE_S, check=False)
        wrong = "" if done.returncode == 0 else f"{done.returncode}: {(done.stdout + done.stderr).strip()[-SAID:]}"
    except subprocess.TimeoutExpired:
        wrong = f"did not end within {PATIENCE_S:g} s"
    row = {} if wrong else read(figures)
    return WayFigures(
        way=way,
        options=options,
        requests=requests,
        median_s=float(row.get("p50 latency", 0)) / 1e6,
        tail_s=float(row.get("p99 latency", 0)) / 1e6,
        went_wrong=wrong,
    )


def read(figures: Path) -> Mapping[str, str]:
    """The one row that it writes; latencies in microseconds."""
    with figures.open(newline="", encoding="utf-8") as file:
        (row,) = csv.DictReader(file)
    return row


def statuses(log: str) -> dict[str, int]:
    """Inference requests in an access log, by status."""
    lines = [json.loads(line) for line in log.splitlines() if line.startswith("{")]
    asked = [line for line in lines if "infer" in line["route"].rpartition("/")[2].lower()]
    return dict(Counter(str(line["status"]) for line in asked))


def _version(program: Path) -> str:
    try:
        done = subprocess.run([str(program), "--version"], capture_output=True, text=True, timeout=60, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise UsageError(f"{program}: expected Triton's perf_analyzer, but it does not run ({error})") from error
    said = (done.stdout + done.stderr).strip()  # its exit status says nothing here: 99 of some versions
    if not said.startswith("Perf Analyzer Version"):
        raise UsageError(f"{program}: expected Triton's perf_analyzer, got from --version: {said[-SAID:] or 'nothing'}")
    return said


def verdict(results: PerfAnalyzerResults) -> dict[str, bool]:
    """Each claim, and whether it held."""
    failed = results.statuses.keys() - {"200"}
    found = {f"{way.way}: it runs, and every answer is right": not way.went_wrong for way in results.ways}
    least = sum(way.requests for way in results.ways)
    found["every request was answered with 200"] = not failed and results.statuses.get("200", 0) >= least
    return found


def section(text: bytes, file: Path) -> FileSection:
    """A row a way."""
    found = PerfAnalyzerResults.parse(text, str(file))
    rows = [
        {
            "way": way.way,
            "options": " ".join(way.options),
            "requests": str(way.requests),
            "median, ms": f"{1e3 * way.median_s:.1f}",
            "99th percentile, ms": f"{1e3 * way.tail_s:.1f}",
        }
        for way in found.ways
    ]
    wrong = [f"{way.way}: {way.went_wrong}" for way in found.ways if way.went_wrong]
    asked = ", ".join(f"{status} {count} times" for status, count in found.statuses.items())
    remarks = [
        f"{found.version}. The front door answered {asked}. Load average before the run: {found.load:.1f}.",
        *wrong,
    ]
    return FileSection(found.provenance, [rows], words(verdict(found)), seeds_of(found.provenance), remarks=remarks)
