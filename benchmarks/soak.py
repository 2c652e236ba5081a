"""Claim: a fleet under load for a long time holds on to nothing, and no device that only stalls is taken for dead.

Tasks come at a share of what the fleet was just seen to do, at random times; now and then a device is stopped for two
seconds. What each process holds is read from the system; whether a device died, from handles on its process.
"""

import os
import select
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import psutil

from splitplace import provenance
from splitplace.api.start_fleet import start_fleet
from splitplace.benchmarks import chaos_splits, work_folder
from splitplace.benchmarks.chaos_faults import Handle, send_signal
from splitplace.benchmarks.results_file import save
from splitplace.benchmarks.soak_load import CAPACITY_S, DEADLINE_S, WARM_S, SoakLoad, mean_images
from splitplace.placement.serve.client import Client
from splitplace.records.base import Count, NonNegative, Positive, Record
from splitplace.records.device import FleetSpec
from splitplace.records.provenance import Provenance

DEVICES, POLICY = 3, "random+least-loaded"
STALL_S, STALL_EVERY_S = 2.0, 60.0
SAMPLE_S = 5.0
SETTLED = 0.25
"""Of the time, after which what a process holds is expected to stay."""
SLOPE_BYTES_PER_MIN = 1e6
LIMIT_BYTES = 2**30
"""Of the data folder: results that are kept, inputs that wait, journal and history."""


class ProcessMemory(Record):
    """Of one process, over the settled part of the run."""

    process: str
    first_bytes: Count
    last_bytes: Count
    peak_bytes: Count
    slope_bytes_per_min: float
    """Theil-Sen: the median of the slopes between all pairs of samples."""


class SoakResults(Record):
    """Everything counted."""

    load: NonNegative
    """The machine's load average before the run."""
    load_after: NonNegative
    minutes: Positive
    share: Positive
    """Of a core, each device."""
    utilisation: Positive
    """Images that came, over the capacity."""
    capacity_images_per_s: Positive
    tasks: Count
    images: Count
    answered: Count
    failed: Count
    refused: Count
    hung: Count
    stalls: Count
    deaths: Count
    """Devices and brokers that ended before they were asked to."""
    memory: tuple[ProcessMemory, ...]
    data_bytes: dict[str, Count]
    """What is in the data folder at the end, by kind of file."""
    data_peak_bytes: Count
    provenance: Provenance


def run(
    path: Path, work: Path, minutes: float, utilisation: float, share: float, seed: int, say: Callable[[str], None]
) -> SoakResults:
    """Keep a fleet busy for so long, and write the results file.

    Args:
        path: The results file.
        work: Folder for catalog and fleet; what an earlier run left in it is removed.
        minutes: Under load.
        utilisation: Of the capacity.
        share: Of a core, each device.
        seed: Of tasks, times and weights.
        say: Told what is being done.

    Raises:
        UsageError: The work folder holds something else.
        SplitPlaceError: The fleet did not start, or ended.
    """
    load, folder = os.getloadavg()[0], work_folder.fresh(work, "soak")
    chaos_splits.write(folder / "catalog", folder / "wholes", seed)
    say("starting the fleet")
    client = start_fleet(
        _fleet(share), folder / "catalog", policy=POLICY, data=folder / "data", seed=seed,
        micro_batch=chaos_splits.MICRO_BATCH,
    )  # fmt: skip
    try:
        say(f"measuring the capacity for {WARM_S + CAPACITY_S:.0f} s")
        tasks = SoakLoad(client, seed)
        capacity = tasks.capacity()
        found = _Soak(client, folder / "data", tasks, seed)
        found.run(60 * minutes, utilisation * capacity, say)
    finally:
        client.stop()
    results = SoakResults(
        load=load,
        load_after=os.getloadavg()[0],
        minutes=minutes,
        share=share,
        utilisation=utilisation,
        capacity_images_per_s=capacity,
        tasks=tasks.sent,
        images=tasks.images,
        answered=tasks.answered,
        failed=tasks.failed,
        refused=tasks.refused,
        hung=len(tasks.waiting),
        stalls=found.stalls,
        deaths=found.deaths,
        memory=tuple(memory_of(name, found.samples[name]) for name in found.samples),
        data_bytes=found.data_bytes,
        data_peak_bytes=found.data_peak_bytes,
        provenance=provenance.collect(seed),
    )
    save(path, results)
    return results


def verdict(results: SoakResults) -> dict[str, bool]:
    """Each promise, and whether it held."""
    steepest = max((memory.slope_bytes_per_min for memory in results.memory), default=0.0)
    return {
        f"what a process holds grows by less than {SLOPE_BYTES_PER_MIN / 1e6:g} MB a minute": steepest
        < SLOPE_BYTES_PER_MIN,
        "devices taken for dead that were stopped for 2 s: 0": results.deaths == 0,
        "tasks failed, refused or hanging: 0": results.failed + results.refused + results.hung == 0,
        f"the data folder stays below {LIMIT_BYTES / 2**30:g} GiB": results.data_peak_bytes < LIMIT_BYTES,
    }


def memory_of(process: str, samples: list[tuple[float, int]]) -> ProcessMemory:
    """What a process held, from (seconds, bytes); the start is left out."""
    from scipy.stats import theilslopes

    settled = samples[int(SETTLED * len(samples)) :]
    seconds, held = zip(*settled, strict=True)
    slope = float(theilslopes(held, np.array(seconds) / 60).slope) if len(settled) > 1 else 0.0
    return ProcessMemory(
        process=process, first_bytes=held[0], last_bytes=held[-1], peak_bytes=max(held), slope_bytes_per_min=slope
    )


def _fleet(share: float) -> FleetSpec:
    (device,) = chaos_splits.fleet(DEVICES).devices
    changes = {"core_speed": share, "labels": {"cpu_share": str(share)}}
    return FleetSpec(name="soak", devices=(device.model_copy(update=changes),))


class _Soak:
    """One run under load, and what is seen of it from outside."""

    def __init__(self, client: Client, data: Path, tasks: SoakLoad, seed: int):
        self.client, self.data, self.tasks = client, data, tasks
        self.stalls = self.deaths = self.data_peak_bytes = 0
        self.data_bytes: dict[str, int] = {}
        self.samples: dict[str, list[tuple[float, int]]] = {}
        self._rng = np.random.default_rng([seed, 3])

    def run(self, seconds: float, images_per_s: float, say: Callable[[str], None]) -> None:
        """So many seconds of tasks, stalls and samples."""
        devices = {device.name: device.pid for device in self.client.status().devices if device.pid is not None}
        processes = {"broker": self.client.pid, **devices}
        counted = {name: psutil.Process(pid) for name, pid in (processes | {"client": os.getpid()}).items()}
        with ExitStack() as held:
            handles = {name: held.enter_context(Handle(pid)) for name, pid in processes.items()}
            try:
                self._load(seconds, images_per_s, {name: handles[name] for name in devices}, counted, say)
            finally:
                for name in devices:
                    send_signal(handles[name], signal.SIGCONT)
            say("waiting for the last tasks")
            self.tasks.finish(2 * DEADLINE_S)
            self.deaths = sum(bool(select.select([handle], [], [], 0)[0]) for handle in handles.values())

    def _load(
        self,
        seconds: float,
        images_per_s: float,
        devices: dict[str, int],
        counted: dict[str, psutil.Process],
        say: Callable[[str], None],
    ) -> None:
        begun_s = next_s = sample_s = time.monotonic()
        stall_s, stalled = begun_s + STALL_EVERY_S, ""
        mean = mean_images()
        while (now_s := time.monotonic()) < begun_s + seconds:
            while next_s <= now_s:
                self.tasks.hand_in()
                next_s += self._rng.exponential(mean / images_per_s)
            if sample_s <= now_s:
                say(f"{(now_s - begun_s) / 60:.1f} of {seconds / 60:g} min, {self.tasks.answered} answered")
                self._sample(now_s - begun_s, counted)
                sample_s += SAMPLE_S
            if stall_s <= now_s:
                if stalled:
                    send_signal(devices[stalled], signal.SIGCONT)
                    stalled, stall_s = "", stall_s + STALL_EVERY_S - STALL_S
                else:
                    stalled, stall_s = str(self._rng.choice(list(devices))), stall_s + STALL_S
                    send_signal(devices[stalled], signal.SIGSTOP)
                    self.stalls += 1
            self.tasks.collect()
            time.sleep(max(min(next_s, sample_s, stall_s, now_s + 0.1) - time.monotonic(), 0.0))

    def _sample(self, at_s: float, counted: dict[str, psutil.Process]) -> None:
        for name, process in counted.items():
            try:
                held = process.memory_info().rss  # of one that has just died there is none
                self.samples.setdefault(name, []).append((at_s, held))
            except psutil.NoSuchProcess:
                continue  # its handle tells that it died
        self.data_bytes = {}
        for kind, size in _files(self.data):
            self.data_bytes[kind] = self.data_bytes.get(kind, 0) + size
        self.data_peak_bytes = max(self.data_peak_bytes, sum(self.data_bytes.values()))


def _files(folder: Path) -> Iterator[tuple[str, int]]:
    """The files below a data folder: what of, and their bytes on disk."""
    for root, _, names in os.walk(folder):
        for name in names:
            kind = Path(root).relative_to(folder).parts[0] if Path(root) != folder else name.split(".")[0]
            try:
                yield kind, (Path(root) / name).lstat().st_blocks * 512
            except FileNotFoundError:
                continue
