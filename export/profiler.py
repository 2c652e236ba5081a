"""Measures what each fragment of a split costs on this device, each in a process of its own; the catalog keeps it."""

import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import onnxruntime as ort
from rich.console import Console
from rich.progress import Progress

from splitplace import provenance
from splitplace.errors import SplitPlaceError, UsageError
from splitplace.export.catalog import CatalogWriter
from splitplace.export.profile_worker import Base, Cell, WorkOrder
from splitplace.placement.runtime.cpu_share import sweep
from splitplace.records.fragment import Fragment
from splitplace.records.profile import DeviceFingerprint, Latency, MemoryIncrement, Profile


@dataclass(frozen=True)
class Effort:
    """How long to measure: at every batch size at least `min_runs` runs, and at least `budget_s` seconds."""

    batch_sizes: tuple[int, ...]
    min_runs: int
    budget_s: float


FULL = Effort(tuple(2**i for i in range(9)), min_runs=10, budget_s=1.0)
QUICK = Effort((1, 8, 32, 64), min_runs=5, budget_s=0.25)


def fingerprint(kind: str | None = None, threads: int = 1, cpu_share: float = 1.0) -> DeviceFingerprint:
    """This device as a profile names it; `kind` defaults to a short form of the CPU's name.

    Args:
        kind: The kind's name.
        threads: onnxruntime threads.
        cpu_share: Below 1, profiles are taken under a CPU quota of this share of the threads' cores.
    """
    if threads < 1 or not 0 < cpu_share <= 1:
        raise UsageError(f"{threads} threads at a CPU share of {cpu_share}: expected at least 1, and above 0 to 1")
    machine = provenance.machine()
    short = re.sub(r"[^A-Za-z0-9]+", "-", machine.cpu).strip("-").lower()[:64]
    return DeviceFingerprint(
        kind=kind or (short or machine.architecture) + ("" if cpu_share == 1 else f"-{cpu_share:g}cpu"),
        cpu=machine.cpu,
        architecture=machine.architecture,
        cores=machine.cores,
        onnxruntime=ort.__version__,
        threads=threads,
        cpu_share=cpu_share,
        cpu_share_method="none" if cpu_share == 1 else "cgroup",
    )


def profile_split(
    catalog: CatalogWriter,
    reference: str,
    effort: Effort = FULL,
    device: DeviceFingerprint | None = None,
    again: bool = False,
    progress: Progress | None = None,
) -> tuple[Profile, ...]:
    """Profile every fragment of a split on this device; each profile is attached as soon as it is measured.

    Fragments that already have a profile of this very device with all batch sizes wanted are left as they are, so a
    run that was interrupted goes on where it stopped.

    Args:
        catalog: Where the split lies and the profiles go.
        reference: The split.
        effort: Batch sizes and time.
        device: The fingerprint to file under; this device with one thread by default.
        again: Measure even what is measured.
        progress: A bar to add to; one of its own on stderr by default.

    Returns:
        One profile a fragment, in split order.

    Raises:
        UsageError: No such split.
        SplitPlaceError: A measuring process died, for lack of memory for example.
    """
    device = device or fingerprint()
    split = catalog.split(reference)
    known = {} if again else _known(catalog, reference, device, effort)
    profiles = []
    with _bar(progress) as bar:
        task = bar.add_task(f"profile {reference}", total=len(split.fragments) * (1 + len(effort.batch_sizes)))
        for fragment in split.fragments:
            if fragment.name in known:
                profiles.append(known[fragment.name])
                bar.advance(task, 1 + len(effort.batch_sizes))
                continue
            base, cells = None, []
            for result in measure(fragment, catalog.load(split, fragment.name), effort, device, reference):
                if isinstance(result, Base):
                    base = result
                else:
                    cells.append(result)
                bar.advance(task)
            assert base is not None
            profiles.append(_profile(fragment, device, base, cells))
            catalog.attach(reference, profiles[-1])
    return tuple(profiles)


def _known(catalog: CatalogWriter, reference: str, device: DeviceFingerprint, effort: Effort) -> dict[str, Profile]:
    return {
        profile.fragment: profile
        for profile in catalog.profiles(reference)
        if profile.device == device and set(effort.batch_sizes) <= {row.batch_size for row in profile.latency}
    }


@contextmanager
def _bar(progress: Progress | None) -> Iterator[Progress]:
    if progress is not None:
        yield progress
        return
    with Progress(console=Console(stderr=True)) as own:
        yield own


def measure(
    fragment: Fragment, model: bytes, effort: Effort, device: DeviceFingerprint, reference: str
) -> Iterator[Base | Cell]:
    """The worker's results as they come."""
    order = WorkOrder(
        fragment=fragment,
        model_bytes=len(model),
        batch_sizes=effort.batch_sizes,
        threads=device.threads,
        min_runs=effort.min_runs,
        budget_s=effort.budget_s,
        cpu_share=device.cpu_share,
    )
    command = [sys.executable, "-m", "splitplace.export.profile_worker"]
    # One arena: threads of onnxruntime or numpy would otherwise get heaps of their own, more or fewer by chance.
    environment = os.environ | {"MALLOC_ARENA_MAX": "1", "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    with (
        tempfile.TemporaryFile() as complaints,
        subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=complaints, env=environment
        ) as worker,
    ):
        assert worker.stdin is not None and worker.stdout is not None
        try:
            try:
                worker.stdin.write(order.model_dump_json().encode() + b"\n" + model)
                worker.stdin.close()
            except BrokenPipeError:
                pass  # it died early: said below, with its own words
            for number, line in enumerate(worker.stdout):
                kind = Base if number == 0 else Cell
                yield kind.parse(line, f"the profile of {reference}/{fragment.name}")
            status = worker.wait()
        finally:
            worker.kill()
            worker.wait()
            sweep()  # a killed worker cannot remove its own CPU quota
        if status != 0:
            complaints.seek(0)
            last = complaints.read()[-2000:].decode(errors="replace").strip().splitlines()[-1:]
            why = " ".join(last) if status > 0 else f"signal {-status} (9 is often a lack of memory)"
            raise SplitPlaceError(
                f"profiling {reference}/{fragment.name} failed: {why}; what was measured before is kept"
            )


def _profile(fragment: Fragment, device: DeviceFingerprint, base: Base, cells: list[Cell]) -> Profile:
    return Profile(
        fragment=fragment.name,
        digest=fragment.digest,
        device=device,
        core_speed=base.core_speed,
        load_s=sorted(cell.load_s for cell in cells)[len(cells) // 2],
        runtime_base_bytes=base.runtime_base_bytes,
        memory=tuple(
            MemoryIncrement(micro_batch=cell.batch_size, fragment_bytes=cell.fragment_bytes) for cell in cells
        ),
        latency=tuple(
            Latency(
                batch_size=cell.batch_size,
                median_s=cell.median_s,
                p10_s=cell.p10_s,
                p90_s=cell.p90_s,
                runs=cell.runs,
            )
            for cell in cells
        ),
        input_bytes_per_sample=sum(spec.bytes_per_sample for spec in fragment.inputs),
        output_bytes_per_sample=sum(spec.bytes_per_sample for spec in fragment.outputs),
        provenance=provenance.collect(),
    )
