"""`train`: a full model, a semantic tree split of one, or a compressed one, as a RUN folder."""

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from splitplace.errors import UsageError
from splitplace.extras import needs
from splitplace.progress import Progress, silent
from splitplace.report.picture import check_picture

if TYPE_CHECKING:
    from torch import nn

    from splitplace.training.data.dataset import Dataset
    from splitplace.training.preset import Preset
    from splitplace.training.run import Run

_log = logging.getLogger(__name__)


def train(
    application: "str | Dataset",
    *,
    model: "str | type[nn.Module] | None" = None,
    strategy: Literal["full", "semantic", "compressed"] = "full",
    tree: str | Sequence[int] | None = None,
    cuts: str | Sequence[str] | None = None,
    groups: str | Sequence[Sequence[int | str]] | None = None,
    recipe: Literal["distil", "splitnet", "scratch"] | None = None,
    overlap: float | None = None,
    trunk: Literal["shared", "replicated"] | None = None,
    budget: float | None = None,
    ratio: float | None = None,
    weights: str | Path | None = None,
    full: "str | Path | Run | None" = None,
    preset: "str | Path | Preset" = "quick",
    epochs: int | None = None,
    samples: int | None = None,
    validation: float | None = None,
    seed: int = 0,
    path: str | Path | None = None,
    size: int | None = None,
    mirror: bool = False,
    skip_corrupt: bool = False,
    out: str | Path | None = None,
    plot: str | Path | None = None,
    progress: Progress = silent,
) -> "Run":
    """Train a model; a finished run of the same request is reused, an interrupted one goes on.

    All that can be wrong is told before anything is trained. Lightning draws a bar of its own where stderr is a
    terminal.

    Args:
        application: Images: a name that `fetch` knows, one of your own with `path`, or what `fetch` gave.
        model: resnet50v2, resnet34v2, mobilenetv2, inceptionv3, any timm name, or a network of your own: a class of
            nn.Module that takes `num_classes` and `in_chans` or neither, or its name, "package.module:Class", which is
            what the run keeps; whoever opens the run must have it, too. mobilenetv2 by default, or what `full` is.
        strategy: full; semantic: a tree of branches cut out of a full model and fine-tuned; compressed: a full model
            without a share of its channels, fine-tuned.
        tree: Of semantic: children of every node, level by level: (2,) (the default), (4,), (2, 2), or as "2,2".
        cuts: Of semantic: the stages before which each level branches, as a list or "blocks3,blocks5"; the preset's by
            default; "auto" chooses the latest that keep within `budget`.
        groups: Of semantic: by what classes are grouped: "features" (of the full model, the default), "confusions",
            "consecutive", "random", or the classes of each group by name or number, as [["cat", "dog"], ["car"]],
            "cat,dog/car" or "0,1/2".
        recipe: Of semantic: distil (the default): cut out of the full model and taught by it; splitnet: groups of
            classes and channels learned with the weights; scratch: as distil from fresh weights, a control.
        overlap: Of semantic: share of the other branches' channels that each branch keeps as well, 0 to 1.
        trunk: Of semantic: shared (the default), or replicated: a copy in every branch, which then reads the image.
        budget: With cuts="auto": largest time from the image to the slowest branch, as a share of the full model's.
        ratio: Of compressed: share of the channels to remove, 0.01 to 0.99; by default the preset's ratios are all
            trained and one is picked on validation images.
        weights: Of full: fine-tune these: a .safetensors file, of timm's form or a full model's RUN,
            or "timm" for those that it publishes for the model. What does not fit (the classifier, a fitted stem)
            starts fresh, and is said.
        full: The run of the full model to split or compress, or its folder; by default one is trained first.
        preset: quick, standard, a TOML file, or a preset as it is: every number of a training.
        epochs: Passes over the training images, instead of the preset's.
        samples: Training images a pass, instead of the preset's.
        validation: Share of the training images that the full model keeps for validation, as 0.1.
        seed: Of weights, grouping, order and augmentation.
        path: Your own images, as `fetch` takes them.
        size: Resize your own images to size x size pixels.
        mirror: The mirror image of any of your own images is of the same class: let the preset's flips apply.
        skip_corrupt: Leave out your own images that cannot be decoded.
        out: The RUN folder; runs/REFERENCE by default. Where the ratio is picked, the folder of all the RUNs.
        plot: Draw which classes the held-out images were taken for to this .png, .svg or .pdf (`Run.plot_confusion`).
        progress: Told what is being done.

    Returns:
        The finished run; of a compressed model whose ratio was picked, a `Picked` with the others that were tried.

    Raises:
        MissingExtraError: The extra `train` is not installed.
        UsageError: Names that are unknown, numbers out of range, options without effect or that contradict each other.
        SplitPlaceError: Another run stands at `out`, a network that cannot be sliced, or the loss is no longer finite.
    """
    needs("training", "train")
    from splitplace.splitting.semantic.pruning import compressed_variant
    from splitplace.training import options
    from splitplace.training.data.applications import check_names
    from splitplace.training.families.build import check_network
    from splitplace.training.families.own import own_name
    from splitplace.training.preset import Preset, load_preset
    from splitplace.training.recipes.compressed import check_compressed, pick_compressed, train_compressed
    from splitplace.training.recipes.full import train_full
    from splitplace.training.recipes.grouping import numbered, parse_groups
    from splitplace.training.recipes.semantic import plan_tree, train_semantic, tree_recipe
    from splitplace.training.run import Run, check_folder, check_place

    if plot is not None:
        check_picture(Path(plot))
    options.check_strategy(strategy)
    options.check_values(epochs=epochs, samples=samples, seed=seed, validation=validation, cuts=cuts, budget=budget)
    of_trees = {"tree": tree, "cuts": cuts, "groups": groups, "recipe": recipe, "overlap": overlap, "trunk": trunk}
    options.check_belong(strategy, ("semantic",), **of_trees, budget=budget)
    options.check_belong(strategy, ("compressed",), ratio=ratio)
    options.check_belong(strategy, ("full",), weights=weights)
    options.check_belong(strategy, ("semantic", "compressed"), full=full)
    if recipe == "splitnet" and groups is not None:
        raise UsageError(f"--recipe splitnet learns its groups: leave out --groups {groups}")
    asked = parse_groups(groups or "features") if isinstance(groups, str | None) else groups
    method = recipe or "distil"
    settings = preset if isinstance(preset, Preset) else load_preset(str(preset))
    listed = options.listed_cuts(cuts)
    shape = options.tree_shape(tree, asked, listed)
    if ratio is not None:
        compressed_variant(ratio)
    name = application if isinstance(application, str) else application.application
    if isinstance(application, str):
        check_names([application], own=path is not None)
    teacher = full if isinstance(full, Run) or full is None else Run.open(Path(full))
    model = model if isinstance(model, str) or model is None else own_name(model)
    if teacher is not None:
        options.check_full(teacher, model, validation)
        model = teacher.config.request.model
    model = model or "mobilenetv2"
    check_network(model)
    numbers = settings.settle(model, name)
    share = teacher.config.request.recipe.validation_share if teacher else numbers.full.validation_share
    share = share if validation is None else validation
    picks = strategy == "compressed" and ratio is None
    if picks and teacher is None and not share:
        raise UsageError(
            "give --ratio, or have one picked on validation images: --validation 0.1 keeps them out of the training"
        )
    place = None if out is None else Path(out)
    if place is not None:
        (check_folder if picks else check_place)(place.absolute())
    progress(f"reading {name}", 0.0)
    data = _images(application, path, size, mirror, skip_corrupt)
    if skip_corrupt:
        _log.warning("%s", data.source)
    if plot is not None:
        options.check_confusion(data)
    grouping = numbered(asked, data.class_names)
    if strategy == "full":
        progress(f"training {model}", 0.0)
        return _drawn(
            train_full(
                data,
                model,
                preset=settings,
                epochs=epochs,
                samples=samples,
                validation_share=validation,
                weights=None if weights is None else str(weights),
                seed=seed,
                out=place,
            ),
            plot,
        )
    if teacher is not None:
        options.check_images(teacher, data)
    # All that can be wrong is told before the full model is trained, which may take hours.
    if strategy == "semantic":
        tree_recipe(numbers, method).beside(share)
        strides = teacher.config.request.strides if teacher else numbers.strides
        wanted = budget or (numbers.cuts if listed is None else tuple(listed))
        progress("planning the tree", 0.0)
        shape, places = plan_tree(data, model, strides, shape, wanted, grouping, method, overlap or 0.0)
    elif teacher is None:
        progress("trying the surgery", 0.0)
        check_compressed(data, model, numbers, numbers.compressed.ratios if ratio is None else [ratio], share)
    if teacher is None:
        progress(f"training {model}, the full model", 0.0)
        teacher = _teacher(data, model, settings, validation, seed, place)
    progress(f"training {model}, {strategy}", 0.0)
    if strategy == "semantic":
        return _drawn(
            train_semantic(
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
                out=place,
            ),
            plot,
        )
    if ratio is not None:
        return _drawn(
            train_compressed(
                data, teacher, ratio, preset=settings, epochs=epochs, samples=samples, seed=seed, out=place
            ),
            plot,
        )
    return _drawn(
        pick_compressed(
            data, teacher, preset=settings, epochs=epochs, samples=samples, seed=seed, folder=place or Path("runs")
        ),
        plot,
    )


def _drawn(run: "Run", plot: str | Path | None) -> "Run":
    """The run, its confusions drawn where that was asked for."""
    if plot is not None:
        run.plot_confusion(Path(plot))
    return run


def _images(
    application: "str | Dataset", path: str | Path | None, size: int | None, mirror: bool, skip_corrupt: bool
) -> "Dataset":
    """The data set by its name, or as it is."""
    from splitplace.training.data.applications import fetch

    if isinstance(application, str):
        return fetch(
            application,
            path=None if path is None else Path(path),
            size=size,
            mirror=mirror,
            skip_corrupt=skip_corrupt,
        )
    for option, given in (("path", path), ("size", size), ("mirror", mirror), ("skip_corrupt", skip_corrupt)):
        if given:
            raise UsageError(f"{option} is for images that are still to be read, {application.application} is given")
    return application


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
