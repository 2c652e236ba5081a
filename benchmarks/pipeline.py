"""Claim: a chain of devices costs little more than its fragments. A hop by size, a chain's CPU, and its throughput.

No broker takes part: what is measured is the wire and the device runtime (`bare_devices.py`). MobileNetV2 at 32 px,
weights random (costs do not depend on them), in three fragments and whole.

Hop: between two processes, beside raw TCP and bare ZeroMQ in the same run (`hops.py`). CPU: of all three device
processes, network and all, over that of the whole model's runs alone, in turns. Throughput: of three devices at a
quarter of a core each, over the bound that the slowest of them sets: what it reaches alone, with the same fragment.
"""

import os
import statistics
from collections.abc import Callable, Sequence
from itertools import zip_longest
from pathlib import Path

import numpy as np

from splitplace import provenance
from splitplace.benchmarks import hops
from splitplace.benchmarks.bare_devices import bare_devices
from splitplace.benchmarks.results_file import Measured, save
from splitplace.errors import IntegrityError
from splitplace.export.catalog_writer import CatalogWriter
from splitplace.inference.executor import Array
from splitplace.records.base import NonNegative, Positive, PositiveCount, Record
from splitplace.records.provenance import Provenance
from splitplace.records.split import INPUT, Edge, Merge, Split

MODEL, FRAGMENTS = "mobilenetv2", 3
MICRO_BATCH = 128
SIZES = {2**12: "4 KiB", 2**16: "64 KiB", 2**20: "1 MiB", 2**22: "4 MiB"}
HOP_LIMITS_S = {hops.OURS_FAR: 1.5e-3, hops.OURS_NEAR: 0.8e-3}
"""Of a MiB."""
CPU_LIMIT = 1.1
SHARE = 0.25
OF_BOUND = 0.9
TOLERANCE = 1e-4
"""Between logits of chain and whole."""


class PipelineCell(Measured):
    """One figure: a median over repeats."""

    what: str
    unit: str
    median: NonNegative
    low: NonNegative
    high: NonNegative
    repeats: PositiveCount
    at_most: Positive | None = None
    at_least: Positive | None = None
    """What is claimed of the median; neither for what stands beside."""

    @property
    def holds(self) -> bool:
        """Whether the median is within what is claimed."""
        return (self.at_most is None or self.median <= self.at_most) and (
            self.at_least is None or self.median >= self.at_least
        )

    @property
    def bound(self) -> str:
        """What is claimed, in words; empty where nothing is."""
        if self.at_most is not None:
            return f"at most {self.at_most:g}"
        return f"at least {self.at_least:g}" if self.at_least is not None else ""


class PipelineResults(Record):
    """Everything measured."""

    load: NonNegative
    """The machine's load average before the run."""
    cells: tuple[PipelineCell, ...]
    provenance: Provenance


def run(path: Path, work: Path, repeats: int, batches: int, say: Callable[[str], None]) -> PipelineResults:
    """Measure everything, and write the results file.

    Args:
        path: The results file.
        work: Folder of the catalog.
        repeats: Of each figure.
        batches: Micro-batches a repeat, at least two.
        say: Told what is being measured.

    Raises:
        SplitPlaceError: A device failed, or the chain answers otherwise than the whole.
    """
    load, commit, cells = os.getloadavg()[0], provenance.commit(), list[PipelineCell]()

    def add(what: str, unit: str, values: Sequence[float], **claimed: float) -> None:
        cells.append(
            PipelineCell(
                what=what, unit=unit, median=statistics.median(values), low=min(values), high=max(values),
                repeats=len(values), commit=commit, machine=provenance.machine().words, **claimed,
            )
        )  # fmt: skip

    for size_bytes, size in SIZES.items():
        say(f"a hop of {size}")
        for way, seconds in hops.hops_s(size_bytes, repeats).items():
            limit = {"at_most": 1e3 * HOP_LIMITS_S[way]} if size_bytes == 2**20 and way in HOP_LIMITS_S else {}
            add(f"a hop of {size}, {way}", "ms", [1e3 * value for value in seconds], **limit)
    say("exporting the whole and a chain")
    catalog, whole, chain = _catalog(work)
    x = np.random.default_rng(0).integers(0, 256, (MICRO_BATCH, 3, 32, 32)).astype(np.uint8)
    inputs = [x] * batches
    say("CPU of the chain over the whole")
    ratios = _cpu_ratios(catalog, whole, chain, inputs, repeats)
    add(
        f"CPU of a chain of {FRAGMENTS} at micro-batch {MICRO_BATCH} over the whole's",
        "times",
        ratios,
        at_most=CPU_LIMIT,
    )
    say("throughput of the chain over its bound")
    parts = _parts_of_bound(catalog, chain, inputs, repeats)
    add(
        f"throughput of {FRAGMENTS} devices of {SHARE:g} CPU over the slowest one's alone", "times", parts,
        at_least=OF_BOUND,
    )  # fmt: skip
    results = PipelineResults(load=load, cells=tuple(cells), provenance=provenance.collect(0))
    save(path, results)
    return results


def verdict(results: PipelineResults) -> dict[str, bool]:
    """Each claim, and whether it held."""
    return {f"{cell.what}: {cell.bound} {cell.unit}": cell.holds for cell in results.cells if cell.bound}


def _catalog(work: Path) -> tuple[Path, Split, Split]:
    """The folder of a catalog with the whole model and a chain of it, and both."""
    from splitplace.benchmarks import artifacts  # needs torch; who reads a results file does not
    from splitplace.splitting.layerwise import cutting

    full = next(artifacts.splits(MODEL, seed=0))
    chain = cutting.split(
        full.models["full"], FRAGMENTS, application=artifacts.APPLICATION, model_name=MODEL, micro_batch=MICRO_BATCH
    )
    catalog = CatalogWriter(work)
    for artifact in (full, chain):
        catalog.write(artifact)
    return catalog.path, full.split, chain.split


def _cpu_ratios(catalog: Path, whole: Split, chain: Split, inputs: Sequence[Array], repeats: int) -> list[float]:
    """CPU seconds of the devices that ran the chain, over those of the whole's runs; one pair is not counted."""
    placed = {name: f"device-{name}" for name in chain.topological}
    (only,) = whole.topological
    with bare_devices(catalog, dict.fromkeys([*placed.values(), "whole"], 1.0)) as devices:
        devices.load(chain, placed)
        devices.load(whole, {only: "whole"})
        ratios = []
        for _ in range(repeats + 1):
            one, many = devices.run(whole, {only: "whole"}, inputs), devices.run(chain, placed, inputs)
            _same(one.answers, many.answers)
            ratios.append(many.cpu_s / one.run_cpu_s)
    return ratios[1:]


def _parts_of_bound(catalog: Path, chain: Split, inputs: Sequence[Array], repeats: int) -> list[float]:
    """Throughput of the chain, over that of its slowest fragment alone on its device, all at the same share.

    Alone means the mean of a run before and one after the chain's: the machine's own speed drifts.
    """
    placed = {name: f"device-{name}" for name in chain.topological}
    with bare_devices(catalog, dict.fromkeys(placed.values(), SHARE)) as devices:
        devices.load(chain, placed)
        parts = []
        for _ in range(repeats + 1):
            fed, alone_s = {chain.topological[0]: list(inputs)}, dict[str, float]()
            for name, after in zip_longest(chain.topological, chain.topological[1:]):
                ran = devices.run(_alone(chain, name), {name: placed[name]}, fed[name])
                alone_s[name], fed[after] = ran.steady_s, list(ran.answers)
            slowest = max(alone_s, key=alone_s.__getitem__)
            chain_s = devices.run(chain, placed, inputs).steady_s
            again = devices.run(_alone(chain, slowest), {slowest: placed[slowest]}, fed[slowest])
            parts.append((alone_s[slowest] + again.steady_s) / 2 / chain_s)
    return parts[1:]


def _alone(chain: Split, name: str) -> Split:
    """One fragment of a chain, as a split of its own that answers with the fragment's output."""
    (edge,) = [edge for edge in chain.edges if edge.dst == name]
    fragment = chain.by_name[name]
    return Split(
        application=chain.application,
        model=chain.model,
        strategy=chain.strategy,
        variant=f"{chain.variant}-{name}",
        fragments=(fragment,),
        edges=(Edge(src=INPUT, dst=name, tensor=edge.tensor, bytes_per_sample=edge.bytes_per_sample),),
        merge=Merge(kind="identity", class_order=fragment.classes),
    )


def _same(whole: Sequence[Array], chain: Sequence[Array]) -> None:
    worst = max(float(np.abs(one - other).max()) for one, other in zip(whole, chain, strict=True))
    if not worst <= TOLERANCE:
        raise IntegrityError(f"the chain's logits differ by {worst:g} from the whole's, expected {TOLERANCE:g}")
