"""Claim: the simulator tells what a fleet does. One task at a time on an idle fleet, and the same tasks simulated.

A chain and a tree of MobileNetV2 (random weights: costs do not depend on them) run on device processes of this machine,
each at a share of a core, under `layer+least-loaded` and `semantic+least-loaded`. The simulator gets profiles taken at
these very shares just before and just after, the link that two processes here have, what a device and a broker take
beside the runs (of other, tiny splits: `overheads`), and no figure of the fleet. Expected: the same actions, and every
response within 25 % of the simulated one.
"""

import os
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from itertools import islice
from pathlib import Path
from statistics import median

import numpy as np

from splitplace import provenance
from splitplace.benchmarks import chaos_splits
from splitplace.benchmarks.bare_devices import bare_devices
from splitplace.benchmarks.live_and_simulated import Overheads, measured, simulated
from splitplace.benchmarks.results_file import Measured, save
from splitplace.benchmarks.timings import hops_s
from splitplace.catalog.demand import demand as gather
from splitplace.catalog.reader import Catalog
from splitplace.export.catalog_writer import CatalogWriter
from splitplace.export.measure.profiler import QUICK, Effort, fingerprint, profile_split
from splitplace.inference.probe import core_speed
from splitplace.placement.engines.local import LocalEngine
from splitplace.placement.protocol.fields import Precedence
from splitplace.placement.registry import parse_policy
from splitplace.records.base import NonNegative, Positive, PositiveCount, Record
from splitplace.records.demand import Demand
from splitplace.records.device import Device
from splitplace.records.provenance import Provenance
from splitplace.records.split import INPUT

POLICIES = ("layer+least-loaded", "semantic+least-loaded")
PRECEDENCES: tuple[Precedence, ...] = ("pipelined", "strict")
SIZES = (32, 256, 1024)
"""Images a task."""
MICRO_BATCH = 32
BOUND = 0.25
LINK_SIZES = 2**18, 2**20
HANDED_OVER = {chaos_splits.MICRO_BATCH: 300, 16 * chaos_splits.MICRO_BATCH: 60}
"""By images of a micro-batch, how many a hand-over's cost is the mean of: what is fixed and what goes by bytes."""
SMALL_TASKS = 20


class TestbedCell(Measured):
    """Tasks of one size under one policy."""

    __test__ = False  # no test, whatever its name begins with

    policy: str
    precedence: Precedence
    images: PositiveCount
    simulated_s: Positive
    """With what the fragments took before and after: the mean of both, since a machine that others share drifts."""
    drift: Positive
    """What is simulated with the profiles taken after, over that with those before."""
    measured_s: tuple[Positive, ...]
    """The response of each task."""
    same_actions: bool
    """Whether the fleet's plans were the simulator's."""

    @property
    def errors(self) -> list[float]:
        """Measured over simulated, less 1, of each task."""
        return [seconds / self.simulated_s - 1 for seconds in self.measured_s]

    @property
    def worst(self) -> float:
        """The error that is largest either way."""
        return max(self.errors, key=abs)


class TestbedResults(Record):
    """Everything measured."""

    __test__ = False

    shares: tuple[Positive, ...]
    """Of a core, by device."""
    hop_s: Positive
    """Of a tensor of 256 KiB between two processes, from which the simulator's link is."""
    handover_s: NonNegative
    broker_s: NonNegative
    """See `Overheads`."""
    handover_s_per_byte: NonNegative = 0.0
    load: NonNegative
    """Processes that wanted to run in the minute before, without ours: a quiet machine has under 0.1 a core."""
    cells: tuple[TestbedCell, ...]
    provenance: Provenance


def link(encrypted: bool = False) -> tuple[float, float, float]:
    """Seconds of a hop of 256 KiB here, and the rtt and bytes/s of a link that takes as long at both sizes.

    Args:
        encrypted: Over TCP, as between machines, or over a socket file.
    """
    small_s, large_s = (median(hops_s(size_bytes, 50, encrypted)) for size_bytes in LINK_SIZES)
    bytes_per_s = (LINK_SIZES[1] - LINK_SIZES[0]) / max(large_s - small_s, 1e-6)
    return small_s, max(small_s - LINK_SIZES[0] / bytes_per_s, 0.0), bytes_per_s


def overheads(engine: Callable[[], LocalEngine] = LocalEngine) -> Overheads:
    """Of this machine, now.

    Args:
        engine: Makes what launches the devices, which says how they meet.
    """
    with tempfile.TemporaryDirectory() as folder:
        catalog = Path(folder) / "catalog"
        chaos_splits.write(catalog, Path(folder) / "wholes", seed=0)
        reader = Catalog(catalog)
        split = next(found for found in map(reader.split, reader.references()) if found.strategy == "layer")
        placed = {fragment.name: f"device-{row}" for row, fragment in enumerate(split.fragments)}
        with bare_devices(catalog, dict.fromkeys(placed.values(), 1.0), engine()) as devices:
            devices.load(split, placed)
            each_s = {}
            for rows, count in HANDED_OVER.items():
                inputs = [chaos_splits.images((rows, row), rows) for row in range(count)]
                devices.run(split, placed, inputs)  # the first run warms up
                runs = [devices.run(split, placed, inputs) for _ in range(3)]
                each_s[rows] = median((run.cpu_s - run.run_cpu_s) / (count * len(placed)) for run in runs)
            inputs = [chaos_splits.images((0, row), chaos_splits.MICRO_BATCH) for row in range(2)]
            bare_s = [_seconds(lambda: devices.run(split, placed, inputs)) for _ in range(SMALL_TASKS)]
        task = (split.application, np.concatenate(inputs))
        stated = tuple(chaos_splits.fleet(len(placed)).units())
        demand = gather(reader, [split.reference], chaos_splits.MICRO_BATCH)
        policy = parse_policy("layer+least-loaded")
        sent = [task] * (SMALL_TASKS + 1)
        _, (_, *small_s) = measured(stated, demand, catalog, policy, "pipelined", sent, engine=engine())
    bytes_an_image = sum(edge.bytes_per_sample * (1 if edge.src == INPUT else 2) for edge in split.edges)
    (few, few_s), (many, many_s) = each_s.items()
    image_s = max(many_s - few_s, 0.0) / (many - few)
    speed, waits_s = core_speed(), median(small_s) - median(bare_s)
    return Overheads(
        max(few_s - few * image_s, 0.0) * speed, image_s * len(placed) / bytes_an_image * speed, max(waits_s, 0.0)
    )


def _seconds(work: Callable[[], object]) -> float:
    start_s = time.perf_counter()
    work()
    return time.perf_counter() - start_s


def fleet(
    shares: Sequence[float], core_speeds: Mapping[float, float], rtt_s: float, bytes_per_s: float, cores: int = 1
) -> tuple[Device, ...]:
    """A device for each share of so many cores of this machine, of a kind by both, with memory for everything."""
    return tuple(
        Device(
            name=f"share-{share:g}-{row}",
            kind=kind(share, cores),
            cores=cores,
            core_speed=core_speeds[share],
            memory_bytes=10**9,
            disk_bytes=10**10,
            disk_bytes_per_s=1e9,
            up_bytes_per_s=bytes_per_s,
            down_bytes_per_s=bytes_per_s,
            rtt_s=rtt_s,
            power_w=(0.0,) * 10 + (1.0,),  # nobody asks
        )
        for row, share in enumerate(shares)
    )


def kind(share: float, cores: int) -> str:
    """What to call devices that have this share of so many cores here."""
    return f"share-{share:g}" + ("" if cores == 1 else f"-of-{cores}")


def run(
    path: Path,
    work: Path,
    shares: Sequence[float],
    repeats: int,
    say: Callable[[str], None],
    sizes: Sequence[int] = SIZES,
    effort: Effort = QUICK,
) -> TestbedResults:
    """Measure, and write the results file.

    Args:
        path: The results file.
        work: Folder of the catalog; profiles in it are of this machine and taken anew.
        shares: Of a core, a device each; below 1 by a CPU quota.
        repeats: Tasks of each size, after one that loads the fragments and is not counted.
        say: Told what is being measured.
        sizes: Images a task.
        effort: Of the profiles.
    """
    from splitplace.benchmarks import artifacts  # needs torch; who compares plans alone does not

    load, seed = os.getloadavg()[0], 0
    catalog, references = CatalogWriter(work), list[str]()
    say("exporting a chain and a tree")
    for artifact in islice(artifacts.splits("mobilenetv2", seed), 1, 3):
        catalog.write(artifact)
        references.append(artifact.split.reference)
    say("the link")
    hop_s, rtt_s, bytes_per_s = link()
    say("what profiles do not have")
    more = overheads()

    def profiled(reference: str) -> tuple[tuple[Device, ...], Demand]:
        """The devices, and what the split costs on them now."""
        speeds = dict[float, float]()
        for share in shares:
            say(f"profiling {reference} at {share:g} of a core")
            device = fingerprint(kind=kind(share, 1), cpu_share=share)
            found = profile_split(catalog, reference, effort, device, again=True)
            speeds[share] = median(profile.core_speed for profile in found)
        # The speed that the profiles were taken at: what they say is then taken as it is.
        return fleet(shares, speeds, rtt_s, bytes_per_s), gather(catalog, [reference], MICRO_BATCH)

    rng, cells = np.random.default_rng(seed), list[TestbedCell]()
    order = [max(sizes), *(size for _ in range(repeats) for size in sizes)]
    images = {size: artifacts.images(size, rng) for size in sizes}
    tasks = [(artifacts.APPLICATION, size) for size in order]
    sent = [(application, images[size]) for application, size in tasks]
    for name, reference in zip(POLICIES, references, strict=True):
        before = profiled(reference)
        for precedence in PRECEDENCES:
            say(f"{name}, {precedence}")
            devices, demand = before
            names = {device.name: share for device, share in zip(devices, shares, strict=True)}
            done, took_s = measured(devices, demand, catalog.path, parse_policy(name), precedence, sent, names)
            after = profiled(reference)
            plans, first_s = simulated(*before, parse_policy(name), precedence, tasks, more)
            plans_after, last_s = simulated(*after, parse_policy(name), precedence, tasks, more)
            if plans_after != plans:  # devices of nearly one speed may change places: then it is another question
                last_s = first_s
            before = after
            for size in sizes:
                rows = [row for row, n in enumerate(order) if n == size and row > 0]
                cell = TestbedCell(
                    policy=name, precedence=precedence, images=size,
                    simulated_s=(first_s[rows[0]] + last_s[rows[0]]) / 2, drift=last_s[rows[0]] / first_s[rows[0]],
                    measured_s=tuple(took_s[row] for row in rows), same_actions=plans == done,
                    commit=provenance.commit(),
                )  # fmt: skip
                cells.append(cell)
    results = TestbedResults(
        shares=tuple(shares), hop_s=hop_s, handover_s=more.handover_s, broker_s=more.broker_s, load=load,
        handover_s_per_byte=more.handover_s_per_byte,
        cells=tuple(cells), provenance=provenance.collect(seed),
    )  # fmt: skip
    save(path, results)
    return results


def verdict(results: TestbedResults) -> dict[str, bool]:
    """Each claim, and whether it held."""
    return {
        "the fleet's actions are the simulator's": all(cell.same_actions for cell in results.cells),
        f"every response within {BOUND:.0%} of the simulated one": all(
            abs(cell.worst) <= BOUND for cell in results.cells
        ),
    }
