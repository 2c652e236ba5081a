"""`train`: a full model, a semantic tree split of one, or a compressed one, as a RUN folder."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from splitplace.api.asked import whole_number
from splitplace.api.checked import checked
from splitplace.errors import UsageError, explained
from splitplace.extras import needs
from splitplace.files import check_folder
from splitplace.progress import Progress, silent
from splitplace.report.picture import check_confused, check_picture

if TYPE_CHECKING:
    from torch import nn

    from splitplace.training.config import Method, Trunk
    from splitplace.training.data.dataset import Dataset
    from splitplace.training.options import TreeAsked
    from splitplace.training.preset import Preset
    from splitplace.training.recipes.grouping import Grouping
    from splitplace.training.run import Run
    from splitplace.training.start import StartingPoint

_log = logging.getLogger(__name__)


@explained()
@checked("strategy", epochs=1, seed=0)
def train(
    application: "str | Dataset",
    *,
    model: "str | type[nn.Module] | None" = None,
    strategy: Literal["full", "semantic", "compressed"] = "full",
    tree: int | str | Sequence[int] | None = None,
    cuts: str | Sequence[str] | None = None,
    groups: str | Sequence[Sequence[int | str]] | None = None,
    recipe: Literal["distil", "splitnet", "scratch"] | None = None,
    overlap: float | None = None,
    trunk: Literal["shared", "replicated"] | None = None,
    spare: float | None = None,
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
        application: mnist, fashionmnist, cifar100, tiny100, or a name of your own with `path`. From Python, also what
            `fetch` gave.
        model: resnet50v2, resnet34v2, mobilenetv2, inceptionv3, any timm name, or package.module:Class, a network of
            your own: an nn.Module that takes num_classes and in_chans or neither, and that whoever opens the run has,
            too. mobilenetv2 by default, or what `full` is. From Python, also the class itself.
        strategy: full; semantic: a tree of branches cut out of a full model and fine-tuned; compressed: a full model
            without a share of its channels, fine-tuned.
        tree: Of semantic: branches of every node, level by level: 2 (the default), 4 or 2,2. From Python, also (2, 2).
        cuts: Of semantic: stages before which each level branches, as blocks3,blocks5; the preset's by default; auto
            chooses the latest that keep within `budget`. From Python, also a list of them.
        groups: Of semantic: how classes are grouped: by the full model's features (the default) or confusions,
            consecutive, random, or your own as cat,dog/car,ship (names) or 0,1,2/3,4 (numbers). From Python, also
            [["cat", "dog"], ["car"]].
        recipe: Of semantic: how a tree is trained. distil (the default): cut out of the full model and taught by it;
            splitnet: groups of classes and channels learned with the weights (Kim et al. 2017); scratch: as distil from
            fresh weights, a control.
        overlap: Of semantic: share of the other branches' channels that each branch keeps as well, 0 to 1; 0 by
            default.
        trunk: Of semantic: shared (the default): one for all branches; replicated: a copy in every branch, which then
            reads the image itself.
        spare: Of semantic: add a fragment that knows every class, without this share of the channels (0.01 to 0.99), to
            stand in for branches that give no answer. It is trained after the tree, for as many passes.
        budget: With `cuts` auto: largest time from the image to the slowest branch, as a share of the full model's.
        ratio: Of compressed: share of the channels to remove, 0.01 to 0.99; by default the preset's ratios are all
            trained and one is picked on validation images.
        weights: Of full: fine-tune these: a .safetensors file, of timm's form or a full model's RUN, or timm for those
            that it publishes for the model. What does not fit (the classifier, a fitted stem) starts fresh, and is
            said.
        full: The RUN of the full model to split or compress; by default one is trained first, in runs/REFERENCE or,
            where another run holds that place, in OUT.full beside `out`. From Python, also the run itself.
        preset: quick, standard, or a TOML file of your own: every number, for all models and data sets or for one.
            From Python, also a preset as it is.
        epochs: Passes over the training images, instead of the preset's.
        samples: Training images a pass, instead of the preset's; at least 2.
        validation: Share of the training images that the full model keeps for validation, as 0.1.
        seed: Of weights, grouping, order and augmentation; held-out and validation images are the same for all.
        path: Your own images: CLASS/*, of which a fifth is held out, or train/CLASS/* and test/CLASS/*; or Parquet with
            the columns image and label, one file or train.parquet and test.parquet. Or the files of a known data set.
        size: Resize your own images to so many pixels a side.
        mirror: The mirror image of any of your own images is of the same class: let the preset's flips apply.
        skip_corrupt: Leave out your own images that cannot be decoded, and say how many.
        out: The RUN folder; runs/REFERENCE by default. Where the ratio is picked, the folder of all the RUNs.
        plot: Draw which classes the held-out images were taken for to this .png, .svg or .pdf.
        progress: Told what is being done.

    Returns:
        The finished run; of a compressed model whose ratio was picked, a `Picked` with the others that were tried.

    Raises:
        MissingExtraError: The extra `train` is not installed.
        UsageError: Names that are unknown, numbers out of range, options without effect or that contradict each other.
        SplitPlaceError: Another run stands at `out`, a network that cannot be sliced, or the loss is no longer finite.
    """
    needs("training", "train")
    from splitplace.training import options
    from splitplace.training.data.applications import APPLICATIONS
    from splitplace.training.data.own import check_apart
    from splitplace.training.preset import FEWEST
    from splitplace.training.recipes.grouping import numbered
    from splitplace.training.start import start_of

    if plot is not None:
        check_picture(Path(plot))
    options.check_strategy(strategy)
    samples = None if samples is None else whole_number("--samples", samples, FEWEST)
    options.check_values(validation=validation, cuts=cuts, budget=budget)
    of_trees = {
        "tree": tree,
        "cuts": cuts,
        "groups": groups,
        "recipe": recipe,
        "overlap": overlap,
        "trunk": trunk,
        "spare": spare,
    }
    options.check_belong(strategy, ("semantic",), **of_trees, budget=budget)
    options.check_belong(strategy, ("compressed",), ratio=ratio)
    options.check_belong(strategy, ("full",), weights=weights)
    options.check_belong(strategy, ("semantic", "compressed"), full=full)
    asked = options.tree_asked(tree, cuts, groups, recipe, budget)
    start = start_of(application, model, full, preset, validation, own=path is not None)
    if strategy == "compressed":
        options.check_ratio(ratio, start.kept if start.full is None else None)
    place = _place(out, many=strategy == "compressed" and ratio is None)
    if path is not None and application not in APPLICATIONS:
        check_apart(Path(path), Path("runs") if out is None else Path(out), "--out")
    progress(f"reading {start.application}", 0.0)
    data = _images(application, path, size, mirror, skip_corrupt)
    if plot is not None:
        check_confused(data.n_classes, data.application)
    grouping = numbered(asked.groups, data.class_names)
    work = _Training(
        start, data, {"preset": start.preset, "epochs": epochs, "samples": samples, "seed": seed}, place, progress
    )
    if strategy == "full":
        run = work.full(weights)
    elif strategy == "semantic":
        run = work.semantic(asked, grouping, recipe or "distil", overlap or 0.0, trunk or "shared", spare)
    else:
        run = work.compressed(ratio)
    if plot is not None:
        run.plot_confusion(Path(plot))
    return run


def _place(out: str | Path | None, many: bool) -> Path | None:
    """Where the run goes, or the folder of many."""
    from splitplace.training.run import check_place

    if out is None:
        return None
    if many:
        check_folder(Path(out), "--out")
    else:
        check_place(Path(out).absolute())
    return Path(out)


@dataclass(frozen=True)
class _Training:
    """A strategy each, from the images to the run; `common` is what every recipe is told."""

    start: "StartingPoint"
    data: "Dataset"
    common: dict[str, Any]
    out: Path | None
    progress: Progress

    def full(self, weights: str | Path | None) -> "Run":
        """A full model."""
        from splitplace.training.recipes.full import train_full

        self.progress(f"training {self.start.model}", 0.0)
        return train_full(
            self.data,
            self.start.model,
            validation_share=self.start.validation,
            weights=None if weights is None else str(weights),
            out=self.out,
            **self.common,
        )

    def semantic(
        self,
        asked: "TreeAsked",
        groups: "Grouping",
        method: "Method",
        overlap: float,
        trunk: "Trunk",
        spare: float | None,
    ) -> "Run":
        """A tree; all that can be wrong with it is told before its full model is trained, which may take hours."""
        from splitplace.training import options
        from splitplace.training.recipes.semantic import train_semantic, tree_recipe
        from splitplace.training.recipes.spare import check_spare
        from splitplace.training.recipes.tree_plan import plan_tree

        start, data = self.start, self.data
        if start.full is not None:
            options.check_images(start.full, data)
        check_spare(spare, method)
        tree_recipe(start.numbers, method).beside(start.kept)
        strides = start.full.config.request.strides if start.full else start.numbers.strides
        wanted = asked.budget or (start.numbers.cuts if asked.cuts is None else tuple(asked.cuts))
        self.progress("planning the tree", 0.0)
        shape, cuts = plan_tree(data, start.model, strides, asked.shape, wanted, groups, method, overlap)
        teacher = self._teacher()
        self.progress(f"training {start.model}, semantic", 0.0)
        return train_semantic(
            data,
            teacher,
            tree=shape,
            cuts=cuts,
            groups=groups,
            method=method,
            overlap=overlap,
            trunk=trunk,
            spare=spare,
            out=self.out,
            **self.common,
        )

    def compressed(self, ratio: float | None) -> "Run":
        """A compressed model, or one of each of the preset's ratios; surgery is tried before anything is trained."""
        from splitplace.training import options
        from splitplace.training.recipes.compressed import check_compressed, pick_compressed, train_compressed

        start, data = self.start, self.data
        if start.full is not None:
            options.check_images(start.full, data)
        else:
            self.progress("trying the surgery", 0.0)
            ratios = start.numbers.compressed.ratios if ratio is None else [ratio]
            check_compressed(data, start.model, start.numbers, ratios, start.kept)
        teacher = self._teacher()
        self.progress(f"training {start.model}, compressed", 0.0)
        if ratio is not None:
            return train_compressed(data, teacher, ratio, out=self.out, **self.common)
        return pick_compressed(data, teacher, folder=self.out or Path("runs"), **self.common)

    def _teacher(self) -> "Run":
        """The full model that is given, or one that is trained now, beside `out` where its usual place is taken."""
        from splitplace.training.recipes.full import train_full
        from splitplace.training.run import OtherRunError

        start = self.start
        if start.full is not None:
            return start.full
        self.progress(f"training {start.model}, the full model", 0.0)
        told: dict[str, Any] = {
            "preset": start.preset,
            "validation_share": start.validation,
            "seed": self.common["seed"],
        }
        try:
            return train_full(self.data, start.model, **told)
        except OtherRunError as error:
            if self.out is None:
                raise UsageError(
                    f"the full model is trained first, and {error.difference}: choose another --out, beside which it "
                    "then goes, or give it as --full"
                ) from error
        place = self.out.resolve()
        return train_full(self.data, start.model, out=place.with_name(f"{place.name}.full"), **told)


def _images(
    application: "str | Dataset", path: str | Path | None, size: int | None, mirror: bool, skip_corrupt: bool
) -> "Dataset":
    """The data set by its name, or as it is."""
    from splitplace.training.data.applications import fetch

    if isinstance(application, str):
        own = None if path is None else Path(path)
        data = fetch(application, path=own, size=size, mirror=mirror, skip_corrupt=skip_corrupt)
        if skip_corrupt:
            _log.warning("%s", data.source)
        return data
    for option, given in (("path", path), ("size", size), ("mirror", mirror), ("skip_corrupt", skip_corrupt)):
        if given:
            raise UsageError(f"{option} is for images that are still to be read, {application.application} is given")
    return application
