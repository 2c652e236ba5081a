"""Claim: a task takes on devices that Ray's nodes run at most a twentieth longer than on devices of this machine.

Three fleets side by side, of equal devices and the same chain: one of the engine `local`; one of the engine `ray` over
a head and nodes that are `ray start` processes here; and one of the engine `joined`, whose agents run without Ray. The
same tasks go to all in turns. No tensor passes through Ray. What differs between `joined` and `local` is that machines
which join speak over TCP, encrypted, where processes of one machine have socket files; between `ray` and `joined` it is
Ray, and nothing else.
"""

import os
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path

import numpy as np

from splitplace import provenance
from splitplace.api.start_fleet import start_fleet
from splitplace.benchmarks import chaos_splits
from splitplace.benchmarks.chaos import run_folder
from splitplace.benchmarks.chaos_check import TOLERANCE
from splitplace.benchmarks.paired import Ratio, paired_ratios
from splitplace.benchmarks.ray_cluster import ray_cluster
from splitplace.benchmarks.results_file import save
from splitplace.benchmarks.results_section import FileSection, Row, ratio, words
from splitplace.children import child_env, python_code
from splitplace.errors import ContractError, NotReadyError
from splitplace.placement.serve.client import Client
from splitplace.records.base import NonNegative, Positive, PositiveCount, Record
from splitplace.records.provenance import Provenance

APPLICATION, POLICY = "chain", "layer+least-loaded"
CASES = ((1, 1, 10), (256, 1, 8), (4096, 1, 1), (256, 8, 2))
"""Images of a task, how many such tasks at once, and how many times as many rounds as of the longest."""
AGENT = """
import sys
from splitplace import join_fleet
join_fleet(sys.stdin.readline().strip(), data=sys.argv[1])
"""
LEAVE_S = 60.0
LIMIT = 1.05
PATIENT_S = 3600.0
UP_S, LOOK_S = 180.0, 0.1


class OverheadCase(Record):
    """Some tasks, handed in at once, until all are answered."""

    images: PositiveCount
    tasks: PositiveCount
    local_s: Positive
    """Median."""
    ray: Ratio
    """Over local, in the same round."""
    joined: Ratio
    """Over local, likewise: what is not Ray's."""
    ray_itself: Ratio
    """Ray over joined, in rounds of their own."""
    same: Ratio
    """Local over itself, likewise."""

    @property
    def words(self) -> str:
        """What it is of."""
        images = f"{self.images} image{'s' * (self.images > 1)}"
        return f"a task of {images}" if self.tasks == 1 else f"{self.tasks} tasks of {images} at once"


class RayOverheadResults(Record):
    """Every case."""

    nodes: PositiveCount
    load: NonNegative
    """The machine's load average before the run."""
    load_after: NonNegative
    cases: tuple[OverheadCase, ...]
    provenance: Provenance


def run(path: Path, work: Path, nodes: int, pairs: int, seed: int, say: Callable[[str], None]) -> RayOverheadResults:
    """Measure, and write the results file.

    Args:
        path: The results file.
        work: Folder for catalog and fleets; what an earlier run left in it is removed.
        nodes: Of the cluster, beside its head, each a device; as many devices has the local fleet.
        pairs: Rounds of the longest case.
        seed: Of images and weights.
        say: Told what is being done.

    Raises:
        UsageError: The work folder holds something else.
        NotReadyError: A fleet did not come up.
        ContractError: The two answer other things.
    """
    load, folder = os.getloadavg()[0], run_folder(work)
    chaos_splits.write(folder / "catalog", folder / "wholes", seed, (APPLICATION,))
    with ExitStack() as inside:
        say("starting the cluster")
        cluster = inside.enter_context(ray_cluster(folder / "devices"))
        cluster.start_head()
        for unit in chaos_splits.fleet(nodes).units():
            cluster.start_node(unit.name)
        say("starting the fleets")
        fleets = {
            engine: inside.enter_context(_fleet(folder, engine, nodes, seed)) for engine in ("local", "ray", "joined")
        }
        cases = tuple(_case(fleets, images, tasks, times * pairs, seed, say) for images, tasks, times in CASES)
    results = RayOverheadResults(
        nodes=nodes, load=load, load_after=os.getloadavg()[0], cases=cases, provenance=provenance.collect(seed)
    )
    save(path, results)
    return results


@contextmanager
def _fleet(folder: Path, engine: str, devices: int, seed: int) -> Iterator[Client]:
    """All of its devices are up."""
    client = start_fleet(
        chaos_splits.fleet(devices), folder / "catalog", policy=POLICY, data=folder / engine, seed=seed,
        micro_batch=chaos_splits.MICRO_BATCH, engine=engine,
    )  # fmt: skip
    with ExitStack() as inside:
        inside.callback(client.stop)
        if engine == "joined":
            inside.enter_context(_machines(client, folder, devices))
        end_s = time.monotonic() + UP_S
        while sum(device.up for device in client.status().devices) < devices:
            if time.monotonic() > end_s:
                raise NotReadyError(f"not all devices of the engine {engine} are up within {UP_S:.0f} s")
            time.sleep(LOOK_S)
        yield client


@contextmanager
def _machines(client: Client, folder: Path, devices: int) -> Iterator[None]:
    """Each joins as one of the fleet's devices."""
    started: list[subprocess.Popen[str]] = []
    try:
        for unit in chaos_splits.fleet(devices).units():
            command = python_code(AGENT, str(folder / "machines" / unit.name))
            process = subprocess.Popen(command, env=child_env(), stdin=subprocess.PIPE, text=True)
            started.append(process)
            assert process.stdin is not None
            process.stdin.write(client.invite(unit.name) + "\n")
            process.stdin.close()
        yield
    finally:
        for process in started:
            process.terminate()
        for process in started:
            process.wait(LEAVE_S)


def _case(
    fleets: Mapping[str, Client], images: int, tasks: int, rounds: int, seed: int, say: Callable[[str], None]
) -> OverheadCase:
    given = [chaos_splits.images([seed, row], images) for row in range(tasks)]
    expected = _answers(fleets["local"], given)[1]
    runs = {engine: partial(_seconds, client, given) for engine, client in fleets.items()}
    local = runs.pop("local")
    for engine in runs:
        for ours, theirs in zip(_answers(fleets[engine], given)[1], expected, strict=True):
            if not float(np.abs(ours - theirs).max()) <= TOLERANCE:
                raise ContractError(f"answers of {engine} and local are further apart than {TOLERANCE:g}")
    say(f"{tasks} x {images} images, {rounds} rounds")
    local_s, ratios = paired_ratios(local, runs, rounds, seed)
    itself = paired_ratios(runs["joined"], {"ray": runs["ray"]}, rounds, seed)[1]["ray"]
    return OverheadCase(
        images=images, tasks=tasks, local_s=local_s,
        ray=ratios["ray"], joined=ratios["joined"], ray_itself=itself, same=ratios["A/A"],
    )  # fmt: skip


def _seconds(client: Client, given: list[chaos_splits.Array]) -> float:
    return _answers(client, given)[0]


def _answers(client: Client, given: list[chaos_splits.Array]) -> tuple[float, list[chaos_splits.Array]]:
    """Seconds from the first task's being handed in until all are answered, and the answers."""
    begun_s = time.perf_counter()
    futures = [client.submit(APPLICATION, x, PATIENT_S, np.arange(len(x)) % chaos_splits.CLASSES) for x in given]
    results = [future.result(PATIENT_S) for future in futures]
    took_s, logits = time.perf_counter() - begun_s, [result.logits for result in results]
    if any(each is None for each in logits):
        raise NotReadyError(f"a task was not answered: {results[0].outcome}")
    return took_s, [each for each in logits if each is not None]


def verdict(results: RayOverheadResults) -> dict[str, bool | str]:
    """By case whether the whole interval is under the bound, or over it; nothing where local differs from itself so."""
    return {
        f"{case.words}: at most {LIMIT - 1:.0%} longer than on local devices": _verdict(case) for case in results.cases
    }


def _verdict(case: OverheadCase) -> bool | str:
    if case.same.high > LIMIT or case.same.low < 1 / LIMIT:
        return f"not known, A/A {ratio(case.same)}: repeat on a quiet machine"
    if case.ray.low <= LIMIT < case.ray.high:
        return "cannot be told, the interval holds the bound"
    return case.ray.high <= LIMIT


def section(text: bytes, file: Path) -> FileSection:
    """What RESULTS.md and the command say of a results file."""
    found = RayOverheadResults.parse(text, str(file))
    rows: list[Row] = [
        {
            "what": case.words,
            "local ms": f"{1e3 * case.local_s:.1f}",
            "ray / local": ratio(case.ray),
            "joined / local": ratio(case.joined),
            "ray / joined": ratio(case.ray_itself),
            "A/A": ratio(case.same),
            "rounds": str(case.ray.pairs),
        }
        for case in found.cases
    ]
    remark = (
        f"{found.nodes} devices each, a chain of three fragments, one machine for all. "
        f"Load average before the run: {found.load:.1f}, after it: {found.load_after:.1f}."
    )
    seeds = [] if found.provenance.seed is None else [found.provenance.seed]
    return FileSection(found.provenance, [rows], words(verdict(found)), seeds, remarks=[remark])
