"""Makes the demand that ships with the simulator: one network on three data sets, split every way, measured here.

Steps: train, export and cut, evaluate, profile, gather. Each leaves alone what an earlier run has made. Only profiles
depend on how busy the machine is, so they alone can be asked for again.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from splitplace.catalog.demand import demand as gather
from splitplace.catalog.demand import write_demand
from splitplace.errors import NotFoundError
from splitplace.export.catalog_writer import CatalogWriter
from splitplace.export.convert.onnx_export import to_onnx
from splitplace.export.measure.encoding import png_input
from splitplace.export.measure.evaluation import evaluate
from splitplace.export.measure.profiler import QUICK, Effort, profile_split
from splitplace.progress import Progress
from splitplace.records.base import Count, Fraction, Positive, PositiveCount, Record
from splitplace.records.demand import Demand, EncodedInput
from splitplace.records.split import INPUT
from splitplace.splitting.artifact import SplitArtifact
from splitplace.splitting.layerwise import costs, cutting
from splitplace.splitting.layerwise.hosts import Host
from splitplace.splitting.semantic.branches import replicate_trunk
from splitplace.training.data.dataset import Dataset
from splitplace.training.recipes.compressed import pick_compressed
from splitplace.training.recipes.full import train_full
from splitplace.training.recipes.semantic import train_semantic
from splitplace.training.run import Run

MODEL = "mobilenetv2"
LINK_BYTES_PER_S = 10e6
"""Layer splits are cut for equal hosts with the paper's network cards (§6.1): balanced work may send too much."""
CHECKED_IMAGES = 64
VALIDATION_SHARE = 0.1
"""Of the training images, kept by the full model to pick the compressed model's ratio by."""
EFFORT = Effort((1, 8, 32, 64), rounds=10, budget_s=1.0)


@dataclass(frozen=True)
class Training:
    """How long an application is trained, in passes over its images.

    Args:
        full: Of the full model.
        branches: Of each split made from it, semantic and compressed.
        samples: Images a pass; all if not stated.
    """

    full: int
    branches: int
    samples: int | None = None


TRAININGS = {
    "mnist": Training(1, 1, samples=20_000),
    "fashionmnist": Training(2, 1, samples=20_000),
    "tiny100": Training(3, 1, samples=20_000),
}
"""About 20 minutes on one core in all. More would be more accurate; what matters here is how the splits compare."""


@dataclass(frozen=True)
class DemandSettings:
    """What is made.

    Args:
        trainings: By application: these are the applications, in order.
        layers: Fragments of the layer splits. The first is the one that deciders mean by `layer` and that loads and
            deadlines are stated by: four, as in the paper's published code.
        tree: Of the semantic split: four branches, with the trunk in each and, as another split, with one for all.
        ratios: Of the compressed models: shares of the channels removed. The one that validation picks comes first.
        micro_batch: Samples a device runs at once.
        effort: Of the profiles.
        preset: Of the training.
        seed: Of everything.
    """

    trainings: Mapping[str, Training] = field(default_factory=lambda: TRAININGS)
    layers: tuple[int, ...] = (4, 3, 2)
    tree: tuple[int, ...] = (4,)
    ratios: tuple[float, ...] = (0.5, 0.75)
    micro_batch: int = 64
    effort: Effort = EFFORT
    preset: str = "quick"
    seed: int = 0

    def quick(self) -> "DemandSettings":
        """With profiles in a quarter of the time."""
        return replace(self, effort=QUICK)

    def only(self, names: tuple[str, ...]) -> "DemandSettings":
        """With these applications alone.

        Raises:
            UsageError: One is not among them.
        """
        strange = [name for name in names if name not in self.trainings]
        if strange:
            raise NotFoundError(f"application {strange[0]!r}: expected {', '.join(self.trainings)}")
        return replace(self, trainings={name: self.trainings[name] for name in self.trainings if name in names})


def run(
    work: Path,
    out: Path,
    fetch: Callable[[str], Dataset],
    settings: DemandSettings,
    progress: Progress,
    profile_again: bool = False,
) -> tuple[Demand, int]:
    """All steps.

    Args:
        work: Folder of the RUNs and the catalog; what it holds is used.
        out: The demand file.
        fetch: Gives an application's images.
        settings: What is made.
        progress: Told what is being done.
        profile_again: Measure profiles that are there, too.

    Returns:
        The demand, and the bytes of its file.
    """
    catalog = CatalogWriter(work / "catalog")
    references: list[str] = []
    encoded: dict[str, EncodedInput] = {}
    for application in settings.trainings:
        progress(f"{application}: training", 0.0)
        data = fetch(application)
        full, others = train(work / "runs", data, settings)
        progress(f"{application}: exporting", 0.0)
        mine = ship(catalog, data, full, others, settings)
        for reference in mine:
            judge(catalog, reference, data, settings.seed, progress)
        references += mine
        encoded[application] = png_input(data.x_test_NCHW, data.source)
    for reference in references:
        profile_split(catalog, reference, settings.effort, again=profile_again, progress=progress)
    value = gather(catalog, references, settings.micro_batch).model_copy(update={"encoded": encoded})
    out.parent.mkdir(parents=True, exist_ok=True)
    return value, write_demand(value, out)


def train(runs: Path, data: Dataset, settings: DemandSettings) -> tuple[Run, tuple[Run, ...]]:
    """The full model, and what is trained from it."""
    base, training = f"{data.application}.{MODEL}", settings.trainings[data.application]
    full = train_full(
        data,
        MODEL,
        preset=settings.preset,
        epochs=training.full,
        samples=training.samples,
        validation_share=VALIDATION_SHARE,
        seed=settings.seed,
        out=runs / f"{base}.full",
    )
    shape = "x".join(str(children) for children in settings.tree)
    semantic = train_semantic(
        data,
        full,
        tree=settings.tree,
        preset=settings.preset,
        epochs=training.branches,
        samples=training.samples,
        seed=settings.seed,
        out=runs / f"{base}.semantic-{shape}",
    )
    picked = pick_compressed(
        data,
        full,
        ratios=settings.ratios,
        preset=settings.preset,
        epochs=training.branches,
        samples=training.samples,
        seed=settings.seed,
        folder=runs,
    )
    rest = [other for other in picked.tried if other.path != picked.path]
    return full, (semantic, picked, *rest)


def ship(
    catalog: CatalogWriter, data: Dataset, full: Run, others: tuple[Run, ...], settings: DemandSettings
) -> tuple[str, ...]:
    """Export every RUN and cut the full model by layer; the references, layer splits first, the full model last."""
    whole = to_onnx(full.load())
    (model,) = whole.models.values()
    artifacts = [cut(model, data, fragments, settings.micro_batch) for fragments in settings.layers]
    trained = [other.load() for other in others]
    # First what deciders mean by `semantic`: branches that each read the images, as in the paper's published code.
    trained = [*(replicate_trunk(tree) for tree in trained if tree.strategy == "semantic"), *trained]
    artifacts += [to_onnx(split) for split in trained]
    for artifact in (*artifacts, whole):
        catalog.write(artifact)
    return tuple(artifact.split.reference for artifact in (*artifacts, whole))


def cut(model: bytes, data: Dataset, fragments: int, micro_batch: int) -> SplitArtifact:
    """A layer split of exactly so many fragments, best for equal hosts on that network, and held to the whole."""
    network = cutting.analyse(model)
    hosts = [
        Host(f"d{i}", up_bytes_per_s=LINK_BYTES_PER_S, down_bytes_per_s=LINK_BYTES_PER_S) for i in range(fragments)
    ]
    # Analytic costs are the same everywhere, so the fragments, and with them their digests, are.
    work = costs.work(network, costs.analytic(network, micro_batch), micro_batch)
    proposal = cutting.propose(network, work, hosts, fragments, exactly=True, slack=0.0)
    artifact = cutting.cut(network, proposal.places, proposal.plan.places, data.application, MODEL)
    cutting.verify(artifact, model, {data.input_spec.name: data.x_test_NCHW[:CHECKED_IMAGES]})
    return artifact


def judge(catalog: CatalogWriter, reference: str, data: Dataset, seed: int, progress: Progress) -> None:
    """Held-out accuracy through onnxruntime, unless this very split was judged on this very data."""
    known = catalog.evaluation(reference)
    if known is not None and known.sha256 == data.sha256:
        return
    split = catalog.split(reference)
    evaluation, _ = evaluate(
        split,
        lambda fragment: catalog.load(split, fragment),
        data.x_test_NCHW,
        data.y_test_N,
        dataset=data.application,
        sha256=data.sha256,
        seed=seed,
        source=data.source,
        progress=progress,
    )
    catalog.attach(reference, evaluation)


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
