"""Cells that are complete: into the results file, and of that as one demand; what a split comes to in it."""

from collections.abc import Callable, Sequence
from pathlib import Path

from splitplace import provenance
from splitplace.benchmarks.demand_cells import (
    COMPRESSED,
    CellFolder,
    DemandCell,
    DemandSettings,
    StepDone,
    steps_of,
)
from splitplace.benchmarks.demand_kept import MEASURED, DemandResults, KeptCell, find_kept, load
from splitplace.benchmarks.demand_plan import status
from splitplace.benchmarks.results_file import save
from splitplace.catalog import Catalog
from splitplace.catalog.demand import demand as gather
from splitplace.catalog.demand import without_classes
from splitplace.export.measure.encoding import png_input
from splitplace.records.base import Count, Fraction, Positive, PositiveCount, Record
from splitplace.records.demand import Demand, SplitDemand
from splitplace.records.encoded_input import EncodedInput
from splitplace.records.profile import Profile
from splitplace.records.split import INPUT
from splitplace.training.data.dataset import Dataset
from splitplace.training.preset import CompressedRecipe
from splitplace.training.recipes.compressed import pick
from splitplace.training.run import Run

_PROFILED_BY = ("python", "numpy", "onnxruntime")


def keep(
    path: Path, work: Path, cells: Sequence[DemandCell], fetch: Callable[[str], Dataset], settings: DemandSettings
) -> tuple[KeptCell, ...]:
    """Write into the results file what the work folder has of these cells, of each that lacks nothing.

    Args:
        path: The results file; what else it keeps stays.
        work: Folder of all that was made.
        cells: Which.
        fetch: Gives an application's images, for what they take on the wire.
        settings: How the cells were made.

    Returns:
        All that the file keeps now.
    """
    before = found = load(path)
    for cell in cells:
        if settings.until in MEASURED and status(work, cell, settings).complete:
            steps = _notes(CellFolder(work, cell), settings)
            there = find_kept(found, cell, settings)
            if there is None or any(step not in there.steps for step in steps):
                new = _kept(CellFolder(work, cell), steps, fetch, settings)
                mine = (new.cell, new.seed, new.share)
                found = (*(one for one in found if (one.cell, one.seed, one.share) != mine), new)
    found = tuple(sorted(found, key=lambda one: (one.seed, one.share, one.cell)))
    if found != before:
        save(path, DemandResults(cells=found, provenance=provenance.collect(settings.seed)), indent=None)
    return found


def _notes(folder: CellFolder, settings: DemandSettings) -> tuple[StepDone, ...]:
    notes = (folder.note(step.kind, step.what) for step in steps_of(folder.cell, settings))
    return tuple(note for note in notes if note is not None)


def _kept(
    folder: CellFolder, steps: tuple[StepDone, ...], fetch: Callable[[str], Dataset], settings: DemandSettings
) -> KeptCell:
    whats = [step.what for step in steps_of(folder.cell, settings) if step.kind == "evaluate"]
    whats = sorted(whats, key=lambda what: _rank(what, _picked(folder), settings))
    references = tuple(dict.fromkeys(folder.reference(what) for what in whats))
    catalog, splits, encoded = Catalog(folder.catalog), list[SplitDemand](), None
    evaluations = {reference: without_classes(catalog.evaluation(reference)) for reference in references}
    if settings.until == "profile":
        gathered = gather(catalog, references, settings.micro_batch).splits
        splits += [entry.model_copy(update={"profiles": tuple(map(compact, entry.profiles))}) for entry in gathered]
        data = fetch(folder.cell.application)
        encoded = png_input(data.x_test_NCHW, data.source)
    return KeptCell(
        cell=str(folder.cell),
        preset=settings.preset,
        seed=settings.seed,
        share=settings.share,
        until=settings.until,
        steps=steps,
        evaluations={reference: found for reference, found in evaluations.items() if found is not None},
        splits=tuple(splits),
        encoded=encoded,
    )


def collect(cells: Sequence[KeptCell]) -> Demand | None:
    """The demand of all cells that are profiled; None if none is.

    A decider's `layer`, `semantic` and `compressed` mean the first of each: four fragments in a chain, four branches
    that each read the images, as in the paper's published code, and the compressed model that validation images pick.

    Args:
        cells: In the order of the file.
    """
    splits, encoded = list[SplitDemand](), dict[str, EncodedInput]()
    for cell in cells:
        splits += cell.splits
        if cell.encoded is not None:
            encoded.setdefault(cell.cell.partition(".")[0], cell.encoded)
    if not splits:
        return None
    return Demand(splits=tuple(splits), encoded=encoded, provenance=provenance.collect(cells[0].seed))


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

    def row(self) -> dict[str, str]:
        """For people."""
        return {
            "split": self.reference,
            "top-1": f"{self.top1:.4f}",
            "fragments": str(self.fragments),
            "weights": f"{self.weight_bytes / 1e6:.2f} MB",
            "ms an image": f"{1e3 * self.seconds_a_sample:.3f}",
            "memory": f"{self.memory_bytes / 1e6:.0f} MB",
            "bytes between": f"{self.bytes_between / 1e3:.1f} kB",
        }


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
