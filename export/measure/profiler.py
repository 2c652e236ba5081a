"""Measures what each fragment of a split costs on this device, each in a process of its own; the catalog keeps it."""

import re
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from statistics import median
from typing import Literal

import onnxruntime as ort

from splitplace import provenance
from splitplace.children import child_env, python_child
from splitplace.errors import ContractError, SplitPlaceError, UsageError
from splitplace.export.catalog_writer import CatalogWriter
from splitplace.export.measure.profile_worker import FragmentLoad, Timed, WorkOrder
from splitplace.inference.cpu_share import sweep
from splitplace.inference.executor import MAX_THREADS, Array, boundary_values
from splitplace.inference.inputs import named_inputs
from splitplace.inference.trial import packed
from splitplace.progress import Progress, silent
from splitplace.records.encoded_input import EncodedInput
from splitplace.records.fragment import Fragment
from splitplace.records.profile import DeviceFingerprint, MemoryIncrement, Profile


@dataclass(frozen=True)
class Effort:
    """How long to measure: in so many rounds, `budget_s` seconds of runs at every batch size, but at least 3 runs."""

    batch_sizes: tuple[int, ...]
    rounds: int
    budget_s: float


EXAMPLES = 64
"""Rows of real inputs that a measurement repeats."""

NONE: Mapping[str, Array] = {}

FULL = Effort(tuple(2**i for i in range(9)), rounds=10, budget_s=1.0)
QUICK = Effort((1, 8, 32, 64), rounds=5, budget_s=0.25)


def fingerprint(kind: str | None = None, threads: int = 1, cpu_share: float = 1.0) -> DeviceFingerprint:
    """This device as a profile names it; `kind` defaults to a short form of the CPU's name.

    Args:
        kind: The kind's name.
        threads: onnxruntime threads.
        cpu_share: Below 1, profiles are taken under a CPU quota of this share of the threads' cores.
    """
    if not 1 <= threads <= MAX_THREADS or not 0 < cpu_share <= 1:
        raise UsageError(
            f"{threads} threads at a CPU share of {cpu_share}: expected at least 1 and at most {MAX_THREADS}, and "
            "above 0 to 1"
        )
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
    progress: Progress = silent,
    examples: Array | Mapping[str, Array] | None = None,
    encoded: EncodedInput | None = None,
) -> tuple[Profile, ...]:
    """Profile every fragment of a split on this device; each profile is attached as soon as it is measured.

    Fragments that already have a profile of this very device with all batch sizes wanted are left as they are, so a
    run that was interrupted goes on where it stopped. With `examples` all are measured: a profile does not say what it
    was taken on, and one on made-up inputs is no answer.

    Args:
        catalog: Where the split lies and the profiles go.
        reference: The split.
        effort: Batch sizes and time.
        device: The fingerprint to file under; this device with one thread by default.
        again: Measure even what is measured.
        progress: Told what is being measured and how far it is.
        examples: Real inputs of the split, (n, ...), by name where it takes several: each fragment is measured on what
            it is fed when the split runs on them. Made-up ones by default.
        encoded: What the split's images take as PNG, if that was measured: kept with each fragment that reads them, of
            those that are left as they are, too.

    Returns:
        One profile a fragment, in split order.

    Raises:
        UsageError: No such split.
        SplitPlaceError: The catalog cannot be written to; a measuring process died, for lack of memory for example.
    """
    device = device or fingerprint()
    split = catalog.split(reference)
    known = {} if again or examples is not None else _known(catalog, reference, device, effort)
    if len(known) < len(split.fragments):
        catalog.check_writable()
    fed: dict[str, dict[str, Array]] = {}
    if examples is not None:
        few = {name: value[:EXAMPLES] for name, value in named_inputs(split.inputs, examples, reference).items()}
        if not all(map(len, few.values())):
            raise ContractError(f"{reference}: no example inputs to measure on: expected one row at least")
        fed = boundary_values(split, lambda name: catalog.load(split, name), few, EXAMPLES)
    profiles = []
    steps = len(split.fragments) * (len(effort.batch_sizes) + effort.rounds + 1)
    done = 0

    def advance() -> None:
        nonlocal done
        done += 1
        progress(f"profile {reference}", done / steps)

    for fragment in split.fragments:
        of_input = encoded if fragment.name in split.roots else None
        if fragment.name not in known:
            model = catalog.load(split, fragment.name)
            feed = fed.get(fragment.name, {})
            profile = measure(fragment, model, effort, device, reference, advance, feed)
            profile = profile.model_copy(update={"encoded": of_input})
            catalog.attach(reference, profile)
        else:
            profile = known[fragment.name]
            if of_input is not None and profile.encoded is None:
                profile = profile.model_copy(update={"encoded": of_input})
                catalog.attach(reference, profile)
        profiles.append(profile)
        done = steps * len(profiles) // len(split.fragments)
        progress(f"profile {reference}", done / steps)
    return tuple(profiles)


def _known(catalog: CatalogWriter, reference: str, device: DeviceFingerprint, effort: Effort) -> dict[str, Profile]:
    return {
        profile.fragment: profile
        for profile in catalog.profiles(reference)
        if profile.device == device and set(effort.batch_sizes) <= {row.batch_size for row in profile.latency}
    }


def measure(
    fragment: Fragment,
    model: bytes,
    effort: Effort,
    device: DeviceFingerprint,
    reference: str,
    advance: Callable[[], None] = lambda: None,
    examples: Mapping[str, Array] = NONE,
) -> Profile:
    """One fragment's profile: memory by a process for each batch size, latency by one for all.

    Args:
        fragment: Its contract.
        model: Its ONNX file.
        effort: Batch sizes and time.
        device: The fingerprint to file under, and whose threads and CPU share to measure with.
        reference: The split, for messages.
        advance: Called after each batch size and each round.
        examples: Real inputs of the fragment by name, each (n, ...); made-up ones where there are none.

    Raises:
        SplitPlaceError: A measuring process died, for lack of memory for example.
    """
    where = f"{reference}/{fragment.name}"
    loaded = []
    for size in effort.batch_sizes:
        loaded.append(measure_memory(fragment, model, size, device, where, examples))
        advance()
    order = _order("latency", fragment, model, effort, device, examples)
    line = b""
    for line in _work(order, (packed(examples) if examples else b"") + model, where):  # noqa: B007 - the last one is the result
        advance()
    timed = Timed.parse(line, where)
    return Profile(
        fragment=fragment.name,
        digest=fragment.digest,
        device=device,
        core_speed=timed.core_speed,
        load_s=float(median(cell.load_s for cell in loaded)),
        runtime_base_bytes=round(median(cell.runtime_base_bytes for cell in loaded)),
        memory=tuple(
            MemoryIncrement(micro_batch=cell.batch_size, fragment_bytes=cell.fragment_bytes) for cell in loaded
        ),
        latency=timed.latency,
        input_bytes_per_sample=sum(spec.bytes_per_sample for spec in fragment.inputs),
        output_bytes_per_sample=sum(spec.bytes_per_sample for spec in fragment.outputs),
        provenance=provenance.collect(),
    )


def measure_memory(
    fragment: Fragment,
    model: bytes,
    batch_size: int,
    device: DeviceFingerprint,
    where: str,
    examples: Mapping[str, Array] = NONE,
) -> FragmentLoad:
    """What a fragment adds to a process at one batch size; arguments as `measure`'s, `where` for messages."""
    order = _order("memory", fragment, model, replace(QUICK, batch_sizes=(batch_size,)), device, examples)
    (line,) = _work(order, (packed(examples) if examples else b"") + model, where)
    return FragmentLoad.parse(line, where)


def _order(
    what: Literal["memory", "latency"],
    fragment: Fragment,
    model: bytes,
    effort: Effort,
    device: DeviceFingerprint,
    examples: Mapping[str, Array],
) -> WorkOrder:
    return WorkOrder(
        what=what,
        fragment=fragment,
        model_bytes=len(model),
        example_bytes=len(packed(examples)) if examples else 0,
        batch_sizes=effort.batch_sizes,
        rounds=effort.rounds,
        budget_s=effort.budget_s,
        threads=device.threads,
        cpu_share=device.cpu_share,
    )


def _work(order: WorkOrder, model: bytes, where: str) -> Iterator[bytes]:
    """The lines of one worker as they come."""
    command = python_child("splitplace.export.measure.profile_worker")
    # One arena: threads of onnxruntime or numpy would otherwise get heaps of their own, more or fewer by chance.
    environment = child_env(MALLOC_ARENA_MAX="1", OMP_NUM_THREADS="1", OPENBLAS_NUM_THREADS="1")
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
            yield from worker.stdout
            status = worker.wait()
        finally:
            worker.kill()
            worker.wait()
            sweep()  # a killed worker cannot remove its own CPU quota
        if status != 0:
            complaints.seek(0)
            last = complaints.read()[-2000:].decode(errors="replace").strip().splitlines()[-1:]
            why = " ".join(last) if status > 0 else f"signal {-status} (9 is often a lack of memory)"
            raise SplitPlaceError(f"profiling {where} failed: {why}; what was measured before is kept")
