"""`splitplace train`: a full model, a semantic tree split of one, or a compressed one."""

from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, cast

from rich.table import Table

from splitplace.cli.output import emit, step

if TYPE_CHECKING:
    from splitplace import Run


def train(
    application: str,
    *,
    model: str | None = None,
    strategy: str = "full",
    tree: str | None = None,
    cuts: str | None = None,
    groups: str | None = None,
    recipe: Literal["distil", "splitnet", "scratch"] | None = None,
    overlap: float | None = None,
    trunk: Literal["shared", "replicated"] | None = None,
    spare: float | None = None,
    budget: float | None = None,
    ratio: float | None = None,
    weights: str | None = None,
    full: Path | None = None,
    preset: str = "quick",
    epochs: int | None = None,
    samples: int | None = None,
    validation: float | None = None,
    seed: int = 0,
    path: Path | None = None,
    size: int | None = None,
    mirror: bool = False,
    skip_corrupt: bool = False,
    out: Path | None = None,
    plot: Path | None = None,
    json: bool = False,
) -> None:
    """Train a model into a RUN folder; a finished run of the same request is reused.

    Args:
        application: mnist, fashionmnist, cifar100, tiny100, or a name of your own with --path.
        model: resnet50v2, resnet34v2, mobilenetv2, inceptionv3, any timm name, or package.module:Class, a Module of
            your own; mobilenetv2 by default, or what --full is.
        strategy: full; semantic: a tree of branches cut out of a full model and fine-tuned; compressed: a full model
            without a share of its channels, fine-tuned.
        tree: Of semantic: branches of every node, level by level: 2 (the default), 4 or 2,2.
        cuts: Of semantic: stages before which each level branches, as blocks3,blocks5; the preset's by default; auto
            chooses the latest that keep within --budget.
        groups: Of semantic: how classes are grouped: by the full model's features (the default) or confusions,
            consecutive, random, or your own as cat,dog/car,ship (names) or 0,1,2/3,4 (numbers).
        recipe: Of semantic: how a tree is trained. distil (the default): cut out of the full model and taught by it;
            splitnet: groups of classes and channels learned with the weights (Kim et al. 2017); scratch: as distil from
            fresh weights, a control.
        overlap: Of semantic: share of the other branches' channels that each branch keeps as well, 0 to 1; 0 by
            default.
        trunk: Of semantic: shared (the default): one for all branches; replicated: a copy in every branch, which then
            reads the image itself.
        spare: Of semantic: add a fragment that knows every class, without this share of the channels, to stand in for
            branches that give no answer; 0.01 to 0.99.
        budget: With --cuts auto: largest time from the image to the slowest branch, as a share of the full model's.
        ratio: Of compressed: share of the channels to remove, 0.01 to 0.99; by default the preset's ratios are all
            trained and one is picked on validation images.
        weights: Of full: fine-tune these: a .safetensors file, of timm's form or a full model's RUN,
            or timm for those that it publishes.
        full: The RUN of the full model to split or compress; by default one is trained first, in runs/REFERENCE or,
            where another run holds that place, in OUT.full beside --out.
        preset: quick, standard, or a TOML file of your own: every number, for all models and data sets or for one.
        epochs: Passes over the training images, instead of the preset's.
        samples: Training images a pass, instead of the preset's.
        validation: Share of the training images that the full model keeps for validation, as 0.1.
        seed: Of weights, grouping, order and augmentation; held-out and validation images are the same for all.
        path: Your own images: CLASS/*, of which a fifth is held out, or train/CLASS/* and test/CLASS/*; or Parquet with
            the columns image and label, one file or train.parquet and test.parquet. Or the files of a known data set.
        size: Resize your own images to SIZE x SIZE.
        mirror: The mirror image of any of your own images is of the same class: let the preset's flips apply.
        skip_corrupt: Leave out your own images that cannot be decoded, and say how many.
        out: The RUN folder; runs/REFERENCE by default. Where the ratio is picked, the folder of all the RUNs.
        plot: Draw which classes the held-out images were taken for (.png, .svg or .pdf).
        json: Print one JSON document.
    """
    import splitplace as sp

    done = sp.train(
        application,
        model=model,
        strategy=cast(Any, strategy),  # `train` itself says what there is
        tree=tree,
        cuts=cuts,
        groups=groups,
        recipe=recipe,
        overlap=overlap,
        trunk=trunk,
        spare=spare,
        budget=budget,
        ratio=ratio,
        weights=weights,
        full=full,
        preset=preset,
        epochs=epochs,
        samples=samples,
        validation=validation,
        seed=seed,
        path=path,
        size=size,
        mirror=mirror,
        skip_corrupt=skip_corrupt,
        out=out,
        plot=plot,
        progress=step,
    )
    document = _document(done)
    if plot is not None:
        document["plot"] = str(plot.absolute())
    emit(document, _table(done), json)


def _edges(run: "Run") -> list[tuple[str, str]]:
    parents = {part.output: part.name for part in run.config.parts}
    return [(parents.get(name, "input"), part.name) for part in run.config.parts for name in part.inputs]


def _table(run: "Run") -> Table:
    config, metrics, edges = run.config, run.metrics, _edges(run)
    table = Table("fragment", "reads", "parameters", "FLOPs an image", "classes")
    for part, size in zip(config.parts, metrics.fragments, strict=True):
        names = ", ".join(config.class_names[c] for c in part.classes) if len(part.classes) <= 10 else ""
        reads = ", ".join(src for src, dst in edges if dst == part.name)
        table.add_row(
            part.name, reads, f"{size.params:,}", f"{size.flops_per_sample:,}", names or str(len(part.classes))
        )
    table.title = config.request.reference
    table.caption = (
        f"held-out accuracy {metrics.accuracy:.4f} on {metrics.n} images · {metrics.epochs} epoch(s) at "
        f"{metrics.images_per_s:.0f} images/s · {run.path}"
    )
    return table


def _document(run: "Run") -> dict[str, Any]:
    from splitplace import Picked

    request = run.config.request
    document = {
        "run": str(run.path),
        "application": request.application,
        "model": request.model,
        "strategy": request.strategy,
        "recipe": request.method if request.strategy == "semantic" else None,
        "tree": list(request.tree),
        "cuts": list(request.cuts),
        "groups": request.groups,
        "overlap": request.overlap,
        "trunk": request.trunk,
        "edges": [{"src": src, "dst": dst} for src, dst in _edges(run)],
        "ratio": request.ratio,
        **run.metrics.model_dump(mode="json"),
    }
    if isinstance(run, Picked):
        document |= {
            "full_validation_accuracy": run.full_validation_accuracy,
            "tried": [
                {
                    "ratio": tried.config.request.ratio,
                    "validation_accuracy": tried.metrics.validation_accuracy,
                    "params": tried.metrics.params,
                    "run": str(tried.path),
                }
                for tried in run.tried
            ],
        }
    return document
