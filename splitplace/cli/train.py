"""`splitplace train`: a full model, a semantic tree split of one, or a compressed one."""

from pathlib import Path
from typing import TYPE_CHECKING, Literal

from rich.table import Table

from splitplace.cli.output import emit, err
from splitplace.errors import UsageError, unknown

if TYPE_CHECKING:
    from splitplace.training.compressed import Picked
    from splitplace.training.run import Run

TRAINED = ("full", "semantic", "compressed")


def train(
    application: str,
    *,
    model: str = "mobilenetv2",
    strategy: str = "full",
    tree: str = "2",
    cuts: str | None = None,
    groups: str = "features",
    recipe: Literal["distil", "splitnet", "scratch"] = "distil",
    overlap: float = 0.0,
    trunk: Literal["shared", "replicated"] = "shared",
    budget: float | None = None,
    ratio: float | None = None,
    full: Path | None = None,
    preset: str = "quick",
    epochs: int | None = None,
    samples: int | None = None,
    validation: float | None = None,
    seed: int = 0,
    path: Path | None = None,
    size: int | None = None,
    skip_corrupt: bool = False,
    out: Path | None = None,
    json: bool = False,
) -> None:
    """Train a model into a RUN folder; a finished run of the same request is reused.

    Args:
        application: mnist, fashionmnist, cifar100, tiny100, or a name of your own with --path.
        model: resnet50v2, resnet34v2, mobilenetv2, inceptionv3 or any timm name.
        strategy: full; semantic: a tree of branches cut out of a full model and fine-tuned; compressed: a full model
            without a share of its channels, fine-tuned.
        tree: Branches of every node, level by level: 2, 4 or 2,2.
        cuts: Stages before which each level branches, as blocks3,blocks5; the preset's by default; auto chooses the
            latest that keep within --budget.
        groups: How classes are grouped: by the full model's features or confusions, consecutive, random, or your own as
            0,1,2/3,4.
        recipe: How a tree is trained. distil: cut out of the full model and taught by it; splitnet: groups of classes
            and channels learned with the weights (Kim et al. 2017); scratch: as distil from fresh weights, a control.
        overlap: Share of the other branches' channels that each branch keeps as well, 0 to 1.
        trunk: shared: one for all branches; replicated: a copy in every branch, which then reads the image itself.
        budget: With --cuts auto: largest time from the image to the slowest branch, as a share of the full model's.
        ratio: Share of the channels to remove, 0.01 to 0.99; by default the preset's ratios are all trained and one is
            picked on validation images.
        full: The RUN of the full model to split or compress; trained first by default.
        preset: quick, standard, or a TOML file of your own: every number, for all models and data sets or for one.
        epochs: Passes over the training images, instead of the preset's.
        samples: Training images a pass, instead of the preset's.
        validation: Share of the training images that the full model keeps for validation, as 0.1.
        seed: Of weights, grouping, order and augmentation.
        path: Your own images, or those of tiny100.
        size: Resize your own images to SIZE x SIZE.
        skip_corrupt: Leave out your own images that cannot be decoded, and say how many.
        out: The RUN folder; runs/REFERENCE by default. Where the ratio is picked, the folder of all the RUNs.
        json: Print one JSON document.
    """
    if strategy not in TRAINED:
        raise unknown("strategy to train", strategy, TRAINED)
    for name, value in (("epochs", epochs), ("samples", samples)):
        if value is not None and value < 1:
            raise UsageError(f"--{name} {value}: expected at least 1")
    if seed < 0:
        raise UsageError(f"--seed {seed}: expected at least 0")
    if validation is not None and not 0 <= validation < 1:
        raise UsageError(f"--validation {validation:g}: expected a share of the training images, as 0.1")
    if (cuts == "auto") != (budget is not None) or (budget is not None and not 0 < budget <= 1):
        raise UsageError("--cuts auto and --budget belong together, as --budget 0.5: half of the full model's time")
    from splitplace.splitting.pruning import compressed_variant
    from splitplace.splitting.tree import parse_tree
    from splitplace.training.applications import check_names, fetch
    from splitplace.training.compressed import pick_compressed, train_compressed
    from splitplace.training.full import train_full
    from splitplace.training.grouping import parse_groups
    from splitplace.training.models import check_model
    from splitplace.training.preset import load_preset
    from splitplace.training.run import Run
    from splitplace.training.semantic import plan_tree, train_semantic

    shape, grouping, settings = parse_tree(tree), parse_groups(groups), load_preset(preset)
    if ratio is not None:
        compressed_variant(ratio)
    check_model(model)
    check_names([application], own=path is not None)
    picks = strategy == "compressed" and ratio is None
    if picks and full is None and not (validation or settings.settle(model, application).full.validation_share):
        raise UsageError(
            "give --ratio, or have one picked on validation images: --validation 0.1 keeps them out of the training"
        )
    with err.status(f"reading {application}"):
        data = fetch(application, path=path, size=size, seed=seed, skip_corrupt=skip_corrupt)
    if skip_corrupt and path is not None:
        err.print(data.source, soft_wrap=True)
    if strategy == "full":
        done = train_full(
            data,
            model,
            preset=settings,
            epochs=epochs,
            samples=samples,
            validation_share=validation,
            seed=seed,
            out=out,
        )
        return _report(done, json)
    teacher = Run.open(full) if full is not None else None
    if strategy == "semantic":
        origin = teacher.config.request if teacher else None
        name, strides = (
            (origin.model, origin.strides) if origin else (model, settings.settle(model, application).strides)
        )
        wanted = budget or (cuts.split(",") if cuts else settings.settle(name, application).cuts)
        with err.status("planning the tree"):
            # Before the full model is trained, which may take hours.
            shape, places = plan_tree(data, name, strides, shape, wanted, grouping, recipe, overlap)
    if teacher is None:
        teacher = train_full(data, model, preset=settings, validation_share=validation, seed=seed)
    if strategy == "semantic":
        done = train_semantic(
            data,
            teacher,
            tree=shape,
            cuts=places,
            groups=grouping,
            method=recipe,
            overlap=overlap,
            trunk=trunk,
            preset=settings,
            epochs=epochs,
            samples=samples,
            seed=seed,
            out=out,
        )
        return _report(done, json)
    if ratio is not None:
        done = train_compressed(
            data, teacher, ratio, preset=settings, epochs=epochs, samples=samples, seed=seed, out=out
        )
        return _report(done, json)
    picked = pick_compressed(
        data, teacher, preset=settings, epochs=epochs, samples=samples, seed=seed, folder=out or Path("runs")
    )
    return _report(picked.run, json, picked)


def _report(run: "Run", json: bool, picked: "Picked | None" = None) -> None:
    config, metrics = run.config, run.metrics
    request = config.request
    parents = {part.output: part.name for part in config.parts}
    edges = [(parents.get(name, "input"), part.name) for part in config.parts for name in part.inputs]
    table = Table("fragment", "reads", "parameters", "FLOPs an image", "classes")
    for part, size in zip(config.parts, metrics.fragments, strict=True):
        names = ", ".join(config.class_names[c] for c in part.classes) if len(part.classes) <= 10 else ""
        reads = ", ".join(src for src, dst in edges if dst == part.name)
        table.add_row(
            part.name, reads, f"{size.params:,}", f"{size.flops_per_sample:,}", names or str(len(part.classes))
        )
    table.title = request.reference
    table.caption = (
        f"held-out accuracy {metrics.accuracy:.4f} on {metrics.n} images · {metrics.epochs} epoch(s) at "
        f"{metrics.images_per_s:.0f} images/s · {run.path}"
    )
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
        "edges": [{"src": src, "dst": dst} for src, dst in edges],
        "ratio": request.ratio,
        **metrics.model_dump(mode="json"),
    }
    if picked is not None:
        document |= {
            "full_validation_accuracy": picked.full_validation_accuracy,
            "tried": [
                {
                    "ratio": tried.config.request.ratio,
                    "validation_accuracy": tried.metrics.validation_accuracy,
                    "params": tried.metrics.params,
                    "run": str(tried.path),
                }
                for tried in picked.tried
            ],
        }
    emit(document, table, json)
