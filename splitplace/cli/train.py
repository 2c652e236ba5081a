"""`splitplace train`: a full model, or a semantic tree split of one."""

from pathlib import Path
from typing import TYPE_CHECKING

from rich.table import Table

from splitplace.cli.output import emit, err
from splitplace.errors import UsageError, unknown

if TYPE_CHECKING:
    from splitplace.training.run import Run

TRAINED = ("full", "semantic")


def train(
    application: str,
    *,
    model: str = "mobilenetv2",
    strategy: str = "full",
    tree: str = "2",
    cuts: str | None = None,
    groups: str = "features",
    full: Path | None = None,
    preset: str = "quick",
    epochs: int | None = None,
    samples: int | None = None,
    seed: int = 0,
    path: Path | None = None,
    size: int | None = None,
    out: Path | None = None,
    json: bool = False,
) -> None:
    """Train a model into a RUN folder; a finished run of the same request is reused.

    Args:
        application: mnist, fashionmnist, cifar100, tiny100, or a name of your own with --path.
        model: resnet50v2, resnet34v2, mobilenetv2, inceptionv3 or any timm name.
        strategy: full, or semantic: a tree of branches cut out of a full model and fine-tuned.
        tree: Branches of every node, level by level: 2, 4 or 2,2.
        cuts: Stages before which each level branches, as blocks3,blocks5; the preset's by default.
        groups: How classes are grouped: features (of the full model), consecutive, or your own as 0,1,2/3,4.
        full: The RUN of the full model to split; trained first by default.
        preset: quick, standard, or a TOML file.
        epochs: Passes over the training images, instead of the preset's.
        samples: Training images a pass, instead of the preset's.
        seed: Of weights, grouping, order and augmentation.
        path: Your own images, or those of tiny100.
        size: Resize your own images to SIZE x SIZE.
        out: The RUN folder; runs/REFERENCE by default.
        json: Print one JSON document.
    """
    if strategy not in TRAINED:
        raise unknown("strategy to train", strategy, TRAINED)
    for name, value in (("epochs", epochs), ("samples", samples)):
        if value is not None and value < 1:
            raise UsageError(f"--{name} {value}: expected at least 1")
    if seed < 0:
        raise UsageError(f"--seed {seed}: expected at least 0")
    from splitplace.splitting.tree import parse_tree
    from splitplace.training.applications import check_names, fetch
    from splitplace.training.full import train_full
    from splitplace.training.models import check_model
    from splitplace.training.preset import load_preset
    from splitplace.training.run import Run
    from splitplace.training.semantic import parse_groups, train_semantic

    shape, grouping, settings = parse_tree(tree), parse_groups(groups), load_preset(preset)
    check_model(model)
    check_names([application], own=path is not None)
    with err.status(f"reading {application}"):
        data = fetch(application, path=path, size=size, seed=seed)
    if strategy == "full":
        done = train_full(data, model, preset=settings, epochs=epochs, samples=samples, seed=seed, out=out)
    else:
        teacher = Run.open(full) if full else train_full(data, model, preset=settings, seed=seed)
        done = train_semantic(
            data,
            teacher,
            tree=shape,
            cuts=cuts.split(",") if cuts else None,
            groups=grouping,
            preset=settings,
            epochs=epochs,
            samples=samples,
            seed=seed,
            out=out,
        )
    _report(done, json)


def _report(run: "Run", json: bool) -> None:
    config, metrics = run.config, run.metrics
    request = config.request
    parents = {part.output: part.name for part in config.parts}
    edges = [(parents.get(name, "input"), part.name) for part in config.parts for name in part.inputs]
    table = Table("fragment", "reads", "parameters", "classes")
    for part, size in zip(config.parts, metrics.fragments, strict=True):
        names = ", ".join(config.class_names[c] for c in part.classes) if len(part.classes) <= 10 else ""
        reads = ", ".join(src for src, dst in edges if dst == part.name)
        table.add_row(part.name, reads, f"{size.params:,}", names or str(len(part.classes)))
    table.title = f"{request.application}.{request.model}.{request.strategy}"
    table.caption = (
        f"held-out accuracy {metrics.accuracy:.4f} on {metrics.n} images · {metrics.epochs} epoch(s) at "
        f"{metrics.images_per_s:.0f} images/s · {run.path}"
    )
    document = {
        "run": str(run.path),
        "application": request.application,
        "model": request.model,
        "strategy": request.strategy,
        "tree": list(request.tree),
        "cuts": list(request.cuts),
        "edges": [{"src": src, "dst": dst} for src, dst in edges],
        **metrics.model_dump(mode="json"),
    }
    emit(document, table, json)
