"""The demand of the cells that are complete, as one file for the simulator, and what a split comes to in it."""

from collections.abc import Callable, Sequence
from pathlib import Path

from splitplace import provenance
from splitplace.benchmarks.demand_cells import COMPRESSED, CellFolder, DemandCell, DemandSettings, steps_of
from splitplace.benchmarks.demand_plan import status
from splitplace.catalog import Catalog
from splitplace.catalog.demand import demand as gather
from splitplace.export.measure.encoding import png_input
from splitplace.records.base import Count, Fraction, Positive, PositiveCount, Record
from splitplace.records.demand import Demand
from splitplace.records.profile import Profile
from splitplace.records.split import INPUT
from splitplace.training.data.dataset import Dataset
from splitplace.training.preset import CompressedRecipe
from splitplace.training.recipes.compressed import pick
from splitplace.training.run import Run

_PROFILED_BY = ("python", "numpy", "onnxruntime")


def collect(
    work: Path, cells: Sequence[DemandCell], fetch: Callable[[str], Dataset], settings: DemandSettings
) -> Demand | None:
    """The demand of all cells that are complete; None if none is.

    A decider's `layer`, `semantic` and `compressed` mean the first of each: four fragments in a chain, four branches
    that each read the images, as in the paper's published code, and the compressed model that validation images pick.

    Args:
        work: Folder of all that was made.
        cells: In the order of the file.
        fetch: Gives an application's images, for what they take on the wire.
        settings: How the cells were made.
    """
    splits, encoded = [], {}
    for cell in cells:
        if status(work, cell, settings).complete:
            folder = CellFolder(work, cell)
            whats = [step.what for step in steps_of(cell, settings) if step.kind == "profile"]
            whats = sorted(whats, key=lambda what: _rank(what, _picked(folder), settings))
            references = dict.fromkeys(folder.reference(what) for what in whats)
            gathered = gather(Catalog(folder.catalog), tuple(references), settings.micro_batch).splits
            splits += [entry.model_copy(update={"profiles": tuple(map(compact, entry.profiles))}) for entry in gathered]
            if cell.application not in encoded:
                data = fetch(cell.application)
                encoded[cell.application] = png_input(data.x_test_NCHW, data.source)
    if not splits:
        return None
    return Demand(splits=tuple(splits), encoded=encoded, provenance=provenance.collect(settings.seed))


def compact(profile: Profile) -> Profile:
    """A profile for a file of hundreds: seconds to six digits, and the versions of what was measured alone."""

    def rounded(seconds: float) -> float:
        return float(f"{seconds:.6g}")

    latency = tuple(
        row.model_copy(update={name: rounded(getattr(row, name)) for name in ("median_s", "p10_s", "p90_s")})
        for row in profile.latency
    )
    versions = {name: version for name, version in profile.provenance.versions.items() if name in _PROFILED_BY}
    return profile.model_copy(
        update={
            "core_speed": rounded(profile.core_speed),
            "load_s": rounded(profile.load_s),
            "latency": latency,
            "provenance": profile.provenance.model_copy(update={"versions": versions}),
        }
    )


def _rank(what: str, picked: str, settings: DemandSettings) -> int:
    """Layer splits, trees that read the images, other trees, compressed models, the picked one first, the whole."""
    first = ("layer", "semantic-4-roots", "semantic", picked, "compressed", "full")
    return next(i for i, prefix in enumerate(first) if what.startswith(prefix))


def _picked(folder: CellFolder) -> str:
    """The compressed model whose ratio validation images pick, by the recipe's rule."""
    before = Run.open(folder.run("full")).metrics.validation_accuracy or 0.0
    names = {folder.percent(name): f"compressed-{name}" for name in COMPRESSED}
    tried = [Run.open(folder.run(names[percent])) for percent in sorted(names)]
    recipe = tried[0].config.request.recipe
    assert isinstance(recipe, CompressedRecipe)
    ratio = pick(tried, before - recipe.accuracy_loss).config.request.ratio
    assert ratio is not None
    return names[round(100 * ratio)]


class Row(Record):
    """What a split comes to, all fragments together, on the device it was profiled on."""

    reference: str
    top1: Fraction
    fragments: PositiveCount
    weight_bytes: Count
    seconds_a_sample: Positive
    memory_bytes: Count
    bytes_between: Count
    """Bytes a sample over all edges between fragments."""

    def cells(self) -> tuple[str, ...]:
        """For people."""
        return (
            self.reference,
            f"{self.top1:.4f}",
            str(self.fragments),
            f"{self.weight_bytes / 1e6:.2f} MB",
            f"{1e3 * self.seconds_a_sample:.3f}",
            f"{self.memory_bytes / 1e6:.0f} MB",
            f"{self.bytes_between / 1e3:.1f} kB",
        )


def table(value: Demand) -> tuple[Row, ...]:
    """One row a split."""
    rows = []
    for entry in value.splits:
        split, first = entry.split, {profile.digest: profile for profile in reversed(entry.profiles)}
        profiles = [first[fragment.digest] for fragment in split.fragments]
        assert entry.evaluation is not None
        rows.append(
            Row(
                reference=split.reference,
                top1=entry.evaluation.top1,
                fragments=len(profiles),
                weight_bytes=sum(fragment.weight_bytes for fragment in split.fragments),
                seconds_a_sample=sum(p.latency_s(entry.micro_batch) for p in profiles) / entry.micro_batch,
                memory_bytes=sum(p.fragment_bytes(entry.micro_batch) for p in profiles),
                bytes_between=sum(edge.bytes_per_sample for edge in split.edges if edge.src != INPUT),
            )
        )
    return tuple(rows)
