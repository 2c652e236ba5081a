"""`splitplace train`: a full model, a semantic tree split of one, or a compressed one."""

from pathlib import Path
from typing import TYPE_CHECKING, Literal

from rich.table import Table

from splitplace.cli.output import emit, err
from splitplace.cli.train_options import check_belong, check_full, check_images, check_values, tree_shape
from splitplace.errors import UsageError, unknown

if TYPE_CHECKING:
    from splitplace.training.data.dataset import Dataset
    from splitplace.training.preset import Preset
    from splitplace.training.recipes.compressed import Picked
    from splitplace.training.run import Run

TRAINED = ("full", "semantic", "compressed")


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
    mirror: bool = False,
    skip_corrupt: bool = False,
    out: Path | None = None,
    json: bool = False,
) -> None:
    """Train a model into a RUN folder; a finished run of the same request is reused.

    Args:
        application: mnist, fashionmnist, cifar100, tiny100, or a name of your own with --path.
        model: resnet50v2, resnet34v2, mobilenetv2, inceptionv3 or any timm name; mobilenetv2 by default, or what --full
            is.
        strategy: full; semantic: a tree of branches cut out of a full model and fine-tuned; compressed: a full model
            without a share of its channels, fine-tuned.
        tree: Of semantic: branches of every node, level by level: 2 (the default), 4 or 2,2.
        cuts: Of semantic: stages before which each level branches, as blocks3,blocks5; the preset's by default; auto
            chooses the latest that keep within --budget.
        groups: Of semantic: how classes are grouped: by the full model's features (the default) or confusions,
            consecutive, random, or your own as 0,1,2/3,4.
        recipe: Of semantic: how a tree is trained. distil (the default): cut out of the full model and taught by it;
            splitnet: groups of classes and channels learned with the weights (Kim et al. 2017); scratch: as distil from
            fresh weights, a control.
        overlap: Of semantic: share of the other branches' channels that each branch keeps as well, 0 to 1; 0 by
            default.
        trunk: Of semantic: shared (the default): one for all branches; replicated: a copy in every branch, which then
            reads the image itself.
        budget: With --cuts auto: largest time from the image to the slowest branch, as a share of the full model's.
        ratio: Of compressed: share of the channels to remove, 0.01 to 0.99; by default the preset's ratios are all
            trained and one is picked on validation images.
        full: The RUN of the full model to split or compress; by default one is trained first, in runs/REFERENCE or,
            where another run holds that place, in OUT.full beside --out.
        preset: quick, standard, or a TOML file of your own: every number, for all models and data sets or for one.
        epochs: Passes over the training images, instead of the preset's.
        samples: Training images a pass, instead of the preset's.
        validation: Share of the training images that the full model keeps for validation, as 0.1.
        seed: Of weights, grouping, order and augmentation; held-out and validation images are the same for all.
        path: Your own images: CLASS/*, of which a fifth is held out, or train/CLASS/* and test/CLASS/*; or Parquet with
            the columns image and label, one file or train.parquet and test.parquet. Or those of tiny100.
        size: Resize your own images to SIZE x SIZE.
        mirror: The mirror image of any of your own images is of the same class: let the preset's flips apply.
        skip_corrupt: Leave out your own images that cannot be decoded, and say how many.
        out: The RUN folder; runs/REFERENCE by default. Where the ratio is picked, the folder of all the RUNs.
        json: Print one JSON document.
    """
    if strategy not in TRAINED:
        raise unknown("strategy to train", strategy, TRAINED)
    check_values(epochs=epochs, samples=samples, seed=seed, validation=validation, cuts=cuts, budget=budget)
    check_belong(
        strategy,
        ("semantic",),
        tree=tree,
        cuts=cuts,
        groups=groups,
        recipe=recipe,
        overlap=overlap,
        trunk=trunk,
        budget=budget,
    )
    check_belong(strategy, ("compressed",), ratio=ratio)
    check_belong(strategy, ("semantic", "compressed"), full=full)
    if recipe == "splitnet" and groups is not None:
        raise UsageError(f"--recipe splitnet learns its groups: leave out --groups {groups}")
    from splitplace.splitting.networks import check_model
    from splitplace.splitting.semantic.pruning import compressed_variant
    from splitplace.training.data.applications import check_names, fetch
    from splitplace.training.preset import load_preset
    from splitplace.training.recipes.compressed import check_compressed, pick_compressed, train_compressed
    from splitplace.training.recipes.full import train_full
    from splitplace.training.recipes.grouping import parse_groups
    from splitplace.training.recipes.semantic import plan_tree, train_semantic, tree_recipe
    from splitplace.training.run import Run, check_folder, check_place

    grouping, method, settings = parse_groups(groups or "features"), recipe or "distil", load_preset(preset)
    shape = tree_shape(tree, grouping, cuts)
    if mirror:
        settings = settings.mirrored()
    if ratio is not None:
        compressed_variant(ratio)
    check_names([application], own=path is not None)
    teacher = Run.open(full) if full is not None else None
    if teacher is not None:
        check_full(teacher, model, validation)
        model = teacher.config.request.model
    model = model or "mobilenetv2"
    check_model(model)
    numbers = settings.settle(model, application)
    share = teacher.config.request.recipe.validation_share if teacher else numbers.full.validation_share
    share = share if validation is None else validation
    picks = strategy == "compressed" and ratio is None
    if picks and teacher is None and not share:
        raise UsageError(
            "give --ratio, or have one picked on validation images: --validation 0.1 keeps them out of the training"
        )
    if out is not None:
        (check_folder if picks else check_place)(out.absolute())
    with err.status(f"reading {application}"):
        data = fetch(application, path=path, size=size, mirror=mirror, skip_corrupt=skip_corrupt)
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
    if teacher is not None:
        check_images(teacher, data)
    # All that can be wrong is told before the full model is trained, which may take hours.
    if strategy == "semantic":
        tree_recipe(numbers, method).beside(share)
        strides = teacher.config.request.strides if teacher else numbers.strides
        wanted = budget or (cuts.split(",") if cuts is not None else numbers.cuts)
        with err.status("planning the tree"):
            shape, places = plan_tree(data, model, strides, shape, wanted, grouping, method, overlap or 0.0)
    elif teacher is None:
        with err.status("trying the surgery"):
            check_compressed(data, model, numbers, numbers.compressed.ratios if ratio is None else [ratio], share)
    if teacher is None:
        teacher = _teacher(data, model, settings, validation, seed, out)
    if strategy == "semantic":
        done = train_semantic(
            data,
            teacher,
            tree=shape,
            cuts=places,
            groups=grouping,
            method=method,
            overlap=overlap or 0.0,
            trunk=trunk or "shared",
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


def _teacher(
    data: "Dataset", model: str, preset: "Preset", validation: float | None, seed: int, out: Path | None
) -> "Run":
    """The full model, where nobody gave one: in its usual place, or beside `out` if another has that."""
    from splitplace.training.recipes.full import train_full
    from splitplace.training.run import OtherRunError

    try:
        return train_full(data, model, preset=preset, validation_share=validation, seed=seed)
    except OtherRunError as error:
        if out is None:
            raise UsageError(
                f"the full model is trained first, and {error.difference}: choose another --out, beside which it then "
                "goes, or give it as --full"
            ) from error
    place = out.resolve()
    beside = place.with_name(f"{place.name}.full")
    return train_full(data, model, preset=preset, validation_share=validation, seed=seed, out=beside)


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
