"""Claim: every acknowledged task ends once, and right, whatever dies.

A fleet of device processes with a data folder, started as users start it, under a stream of tasks from clients with
keys, while faults drawn from a seed are brought about (`chaos_faults.py`). When all is over, a checker reads what the
clients wrote down and the run's history (`chaos_check.py`); nothing is asked of the broker's own counters.
"""

import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from splitplace import provenance
from splitplace.api.start_fleet import start_fleet
from splitplace.benchmarks import chaos_check, chaos_faults, chaos_splits, work_folder
from splitplace.benchmarks.chaos_clients import StreamClient
from splitplace.benchmarks.chaos_history import KeptHistory
from splitplace.benchmarks.chaos_links import SocketLinks, network
from splitplace.benchmarks.results_file import save
from splitplace.errors import NotReadyError, SplitPlaceError, UsageError
from splitplace.placement.broker.ring import Inputs
from splitplace.placement.serve.client import Client
from splitplace.records.base import Count, NonNegative, Record
from splitplace.records.provenance import Provenance

DEVICES, CLIENTS = 4, 8
POLICY = "random+least-loaded"
DISK_BYTES, DISK_BYTES_A_FAULT = 2**28, 2**20
"""Of the disk that the data folder has to itself, where the user may have one: more than the fleet will have kept (its
history, journal and results), so that what the bench takes of it is all that is ever missing."""
END_S = 180.0
"""After the last fault, until which all must have ended."""
START_TRIES = 5
RECOVERY_S = {"median": 0.2, "p99": 1.0}


class Spread(Record):
    """Of seconds; absent where there is none."""

    n: Count
    median: NonNegative | None = None
    p99: NonNegative | None = None

    @classmethod
    def of(cls, values: list[float]) -> "Spread":
        """Over these."""
        if not values:
            return cls(n=0)
        return cls(n=len(values), median=float(np.median(values)), p99=float(np.quantile(values, 0.99)))


class ChaosResults(Record):
    """Everything counted."""

    inputs: Inputs = "broadcast"
    every_s: NonNegative | None = None
    """Between two faults; absent for the usual, which overlap."""
    load: NonNegative
    """The machine's load average before the run."""
    load_after: NonNegative
    wall_s: NonNegative
    """From the first task to the end of the last."""
    faults: dict[str, Count]
    not_run: dict[str, str]
    """Kinds that were not brought about, and why."""
    sent: Count
    acknowledged: Count
    images: Count
    answered: Count
    failed: Count
    failed_by_reason: dict[str, Count]
    refused: Count
    """Times that a task was not taken, and tried again."""
    compared: Count
    """Outputs held against the whole model's."""
    largest_error: NonNegative
    lost: Count
    twice: Count
    wrong: Count
    hung: Count
    recovery_s: Spread
    """From a device's kill to an affected task's first micro-batch elsewhere, where its fragment is loaded."""
    detection_s: Spread
    rerun_s: Spread
    recovery_alone_s: Spread
    """The same, of kills with no other fault under way."""
    recovery_unloaded_s: Spread
    """Of those whose fragment had to be loaded first."""
    provenance: Provenance


def kinds(text: str) -> tuple[chaos_faults.Kind, ...]:
    """The kinds of faults that a comma-separated text names; all of them where it is empty.

    Raises:
        UsageError: It names something else.
    """
    named = {part.strip() for part in text.split(",")} - {""}
    if unknown := sorted(named - set(chaos_faults.KINDS)):
        raise UsageError(f"--only {','.join(unknown)}: expected some of {', '.join(chaos_faults.KINDS)}")
    return tuple(kind for kind in chaos_faults.KINDS if kind in named) or chaos_faults.KINDS


def run_folder(work: Path) -> Path:
    """Where a run's histories go, emptied of an earlier run's.

    Raises:
        UsageError: It holds something else.
    """
    folder = work_folder.fresh(work, "faults.jsonl")
    (folder / "clients").mkdir()
    return folder


def run(
    path: Path,
    work: Path,
    faults: int,
    seed: int,
    say: Callable[[str], None],
    inputs: Inputs = "broadcast",
    kinds: Sequence[chaos_faults.Kind] = chaos_faults.KINDS,
    every_s: float | None = None,
) -> ChaosResults:
    """Bring the faults about, check, and write the results file.

    Args:
        path: The results file.
        work: Folder for catalog, fleet and histories; what an earlier run left in it is removed.
        faults: How many.
        seed: Of the faults, the tasks and the weights.
        say: Told what is being done.
        inputs: How a task's input comes to the devices; `ring` serves a split for which that is something.
        kinds: Of faults; what cannot be brought about here is left out.
        every_s: Between two faults; if not stated they follow so fast that those that last overlap.

    Raises:
        UsageError: The work folder holds something else, or none of these faults can be brought about here.
        SplitPlaceError: The fleet did not start (again).
    """
    load, folder = os.getloadavg()[0], run_folder(work)
    chaos_splits.write(folder / "catalog", folder / "wholes", seed, chaos_splits.SERVED[inputs])
    begun_s = time.monotonic()
    disk_bytes = DISK_BYTES + faults * DISK_BYTES_A_FAULT
    with chaos_faults.small_disk(folder / "disk", disk_bytes) as disk, network() as links:
        could = [kind for kind in chaos_faults.KINDS if kind in kinds and (disk or kind != "disk_full")]
        if not could:
            raise UsageError(f"nothing to bring about: {chaos_faults.NO_DISK}")
        gap_s = chaos_faults.GAP_S if every_s is None else (every_s, every_s)
        with KeptHistory(folder / "disk" / "data", folder / "data"):
            _stream(folder, links, chaos_faults.schedule(faults, seed, could, gap_s), seed, inputs, say)
    wall_s, load_after = time.monotonic() - begun_s, os.getloadavg()[0]
    say("checking every output")
    found = chaos_check.check(folder)
    loaded = [recovery for recovery in found.recoveries if recovery.loaded]
    not_run = {} if disk or "disk_full" not in kinds else {"disk_full": chaos_faults.NO_DISK}
    results = ChaosResults(
        inputs=inputs,
        every_s=every_s,
        load=load,
        load_after=load_after,
        wall_s=wall_s,
        faults=dict(sorted(found.faults.items())),
        not_run=not_run,
        sent=found.sent,
        acknowledged=found.acknowledged,
        images=found.images,
        answered=found.answered,
        failed=found.failed.total(),
        failed_by_reason=dict(found.failed.most_common()),
        refused=found.refused,
        compared=found.compared,
        largest_error=found.largest_error,
        lost=len(found.lost),
        twice=len(found.twice),
        wrong=len(found.wrong),
        hung=len(found.hung),
        recovery_s=Spread.of([recovery.seconds for recovery in loaded]),
        detection_s=Spread.of([recovery.detection_s for recovery in loaded]),
        rerun_s=Spread.of([recovery.rerun_s for recovery in loaded]),
        recovery_alone_s=Spread.of([recovery.seconds for recovery in loaded if recovery.alone]),
        recovery_unloaded_s=Spread.of([recovery.seconds for recovery in found.recoveries if not recovery.loaded]),
        provenance=provenance.collect(seed),
    )
    save(path, results)
    return results


def verdict(results: ChaosResults) -> dict[str, bool]:
    """Each promise, and whether it held; recovery where a kill was seen at all."""
    kept = {
        "acknowledged tasks lost: 0": results.lost == 0,
        "tasks ended twice: 0": results.twice == 0,
        f"outputs further than {chaos_check.TOLERANCE:g} from the whole model's: 0": results.wrong == 0,
        "tasks hanging: 0": results.hung == 0,
    }
    for name, limit_s in RECOVERY_S.items():
        measured = getattr(results.recovery_s, name)
        if measured is not None:
            kept[f"a killed device's micro-batches run elsewhere, {name}: at most {limit_s:g} s"] = measured <= limit_s
    return kept


def _stream(
    folder: Path,
    links: SocketLinks,
    faults: Sequence[chaos_faults.Fault],
    seed: int,
    inputs: Inputs,
    say: Callable[[str], None],
) -> None:
    """Tasks and faults, until all has ended; the fleet is stopped in the end."""
    data = folder / "disk" / "data"

    def start() -> Client:
        for left in reversed(range(START_TRIES)):
            try:
                return start_fleet(
                    chaos_splits.fleet(DEVICES),
                    folder / "catalog",
                    policy=POLICY,
                    data=data,
                    seed=seed,
                    inputs=inputs,
                    micro_batch=chaos_splits.MICRO_BATCH,
                )
            except SplitPlaceError as error:  # of a full disk, say: its users try again, too
                if not left:
                    raise
                say(f"starting the fleet again: {error}")
                time.sleep(2.0)
        raise AssertionError

    say("starting the fleet")
    client = start()
    served = chaos_splits.SERVED[inputs]
    clients = [StreamClient(number, seed, served, data, folder / "clients") for number in range(CLIENTS)]
    for one in clients:
        one.start()
    injector = chaos_faults.Injector(folder / "disk", links, folder / "faults.jsonl", client, start)
    patience_s = 0.0
    try:
        for row, fault in enumerate(faults):
            say(f"fault {row + 1} of {len(faults)}: {fault.kind}")
            time.sleep(fault.gap_s)
            injector.inject(fault)
        patience_s = END_S
    finally:
        client = injector.finish()
        say("waiting for the last tasks")
        for one in clients:
            one.until_s = time.monotonic() + patience_s
            one.enough.set()
        for one in clients:
            one.join()
        client.stop()
    for one in clients:
        if one.failure is not None:
            raise NotReadyError(f"client {one.number} failed: {one.failure!r}") from one.failure
