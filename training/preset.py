"""Training presets: every number of a recipe, read from a TOML file that people can read too.

A file holds a recipe for every strategy, and under `[models.NAME]` and `[applications.NAME]` what one model or one data
set does otherwise.
"""

import json
from dataclasses import dataclass
from importlib import resources
from itertools import product
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, JsonValue, field_validator, model_validator

from splitplace.errors import SplitPlaceError, UsageError, unknown
from splitplace.records.base import Count, Fraction, Name, NonNegative, Positive, PositiveCount, Record
from splitplace.training.data.applications import APPLICATIONS
from splitplace.training.data.augment import parse
from splitplace.training.data.dataset import Dataset
from splitplace.training.families.build import check_network

FEWEST = 2
"""Images a step: normalisation over a batch of one has nothing to go by."""

Stride = Annotated[int, Field(ge=1, le=8)]


class FullRecipe(Record):
    """How one network is trained, under a one-cycle schedule (Smith & Topin 2018).

    Args:
        epochs: Passes.
        samples: Training images a pass, at least `FEWEST`; 0 for all.
        batch_size: Images a step.
        optimizer: SGD with Nesterov momentum, or AdamW.
        learning_rate: The schedule's peak.
        weight_decay: Of weights; biases and norms have none.
        warmup_share: Share of the steps before the peak.
        label_smoothing: Of the cross-entropy.
        class_weights: Of the cross-entropy: `balanced` weighs each class by how rare it is among the images that are
            trained on, n / (K n_c), so that all classes together weigh the same; `none`: each image does.
        augment: Transforms of torchvision's, in order, by `NAME(option=value, ...)` (`training/data/augment.py`).
        precision: Lightning's name of it.
        deterministic: Only algorithms that give the same bits again; on a CPU they all do.
        validation_share: Share of the training images, of every class, that is kept out of training.
        patience: Stop after so many epochs without a gain on validation images, and go back to the best; 0 for never.
    """

    epochs: PositiveCount
    samples: Count
    batch_size: Annotated[int, Field(ge=FEWEST)]
    optimizer: Literal["sgd", "adamw"]
    learning_rate: Positive
    weight_decay: NonNegative
    warmup_share: Annotated[float, Field(gt=0, lt=1)]
    label_smoothing: Fraction
    augment: tuple[str, ...]
    precision: Literal["32-true", "bf16-mixed", "16-mixed"]
    deterministic: bool = False
    validation_share: Annotated[float, Field(ge=0, lt=1)] = 0.0
    patience: Count = 0
    class_weights: Literal["none", "balanced"] = "none"

    @field_validator("augment")
    @classmethod
    def _augment_is_known(cls, augment: tuple[str, ...]) -> tuple[str, ...]:
        for transform in augment:
            parse(transform)
        return augment

    @model_validator(mode="after")
    def _batch_has_images(self) -> Self:
        if 0 < self.samples < FEWEST:
            raise ValueError(f"samples {self.samples}: expected at least {FEWEST} images a pass, or 0 for all of them")
        return self

    @model_validator(mode="after")
    def _patience_has_images(self) -> Self:
        if self.patience and not self.validation_share:
            raise ValueError("patience needs a validation_share above 0: early stopping goes by validation images")
        return self

    def changed(self, **values: object) -> Self:
        """This recipe with other values; None leaves what was there."""
        given = {name: value for name, value in values.items() if value is not None}
        return self.parse(json.dumps(self.model_dump(mode="json") | given), "recipe")

    def beside(self, validation_share: float, epochs: int | None = None, samples: int | None = None) -> Self:
        """This recipe for what is cut out of a full model: it is validated on the images which that one kept.

        Args:
            validation_share: The full model's.
            epochs: Instead of the recipe's; None leaves it.
            samples: Likewise.

        Raises:
            UsageError: It stops early, and the full model kept no images to go by.
        """
        if self.patience and not validation_share:
            raise UsageError(
                f"the recipe stops early (patience {self.patience}), by validation images that the full model keeps, "
                "and it keeps none: train that with --validation 0.1 or a validation_share in [full], or set patience 0"
            )
        return self.changed(epochs=epochs, samples=samples, validation_share=validation_share)


class DistilRecipe(FullRecipe):
    """How what surgery left is trained: cross-entropy and distillation from the full model (Hinton et al. 2015).

    Args:
        distil_share: Weight of the distillation in the loss; cross-entropy has the rest.
        temperature: Of both softmaxes in the distillation.
    """

    distil_share: Fraction
    temperature: Positive


class SemanticRecipe(DistilRecipe):
    """How branches are trained: alone on a frozen trunk, then all together.

    Args:
        freeze_trunk: Whether the trunk stays what it was in the full model to the end.
        importance_images: Training images a class from which channels are chosen.
        branch_epochs: Passes of the branches alone, over features that are computed once; `epochs` is what follows.
        cache_bytes: Of these features, at most.
    """

    freeze_trunk: bool
    importance_images: PositiveCount
    branch_epochs: Count = 0
    cache_bytes: PositiveCount = 2**30


class SplitNetRecipe(FullRecipe):
    """How groups are learned (stage 1, `group_epochs` passes) and what is sliced is trained (stage 2, `epochs`).

    Args:
        start: Where stage 1 starts: at the full model's weights, or at fresh ones.
        group_epochs: Passes of stage 1.
        assign_steps: Steps of the assignments before the first image.
        assign_rate: Their learning rate.
        gamma_split: γ_W, the pull on weights between groups.
        gamma_disjoint: γ_D, against assignments to several groups.
        gamma_even: γ_E, against uneven groups.
    """

    start: Literal["full", "scratch"]
    group_epochs: PositiveCount
    assign_steps: PositiveCount
    assign_rate: Positive
    gamma_split: Positive
    gamma_disjoint: Positive
    gamma_even: Positive


class CompressedRecipe(DistilRecipe):
    """How a pruned network is trained, and how its ratio is picked where none is given.

    Args:
        norm: The n of L_n.
        ratios: Shares of the channels to remove, to pick from.
        accuracy_loss: The largest ratio that loses at most this much validation accuracy is picked.
    """

    norm: Literal[1, 2]
    ratios: Annotated[tuple[Fraction, ...], Field(min_length=1)]
    accuracy_loss: Fraction


class Overrides(Record):
    """What one data set does otherwise than the recipes: only the values that differ."""

    full: dict[str, JsonValue] = Field(default={})
    semantic: dict[str, JsonValue] = Field(default={})
    splitnet: dict[str, JsonValue] = Field(default={})
    compressed: dict[str, JsonValue] = Field(default={})


class ModelOverrides(Overrides):
    """What one model does otherwise, and how it is fitted to small images and cut.

    Args:
        strides: Of the stem, then of each later stage that shrinks its input; none for a model that is not fitted.
        cuts: Where a tree of depth 1, 2, ... branches: before these stages.
    """

    strides: tuple[Stride, ...] = ()
    cuts: tuple[str, ...] = ()


@dataclass(frozen=True)
class Settings:
    """A preset, settled for one model on one data set."""

    name: str
    full: FullRecipe
    semantic: SemanticRecipe
    splitnet: SplitNetRecipe
    compressed: CompressedRecipe
    strides: tuple[int, ...]
    cuts: tuple[str, ...]


class Preset(Record):
    """A named set of recipes, and what single models and data sets do otherwise.

    Args:
        name: Of the preset.
        full: How a whole network is trained.
        semantic: How the branches of a tree are.
        compressed: How a pruned network is.
        models: By name, ours or timm's.
        applications: By name, known or the user's own; where a model and a data set differ on a value, this one holds.
    """

    name: Name
    full: FullRecipe
    semantic: SemanticRecipe
    splitnet: SplitNetRecipe
    compressed: CompressedRecipe
    models: dict[str, ModelOverrides] = Field(default={})
    applications: dict[str, Overrides] = Field(default={})

    @model_validator(mode="after")
    def _overrides_fit(self) -> Self:
        for model in self.models:
            check_network(model)
        for model, application in product(("", *self.models), ("", *self.applications)):
            try:
                self.settle(model, application)
            except SplitPlaceError as error:
                tables = [f"models.{model}"] * bool(model) + [f"applications.{application}"] * bool(application)
                raise ValueError(f"{' with '.join(tables)}: {error}") from error
        return self

    def mirrored(self) -> "Preset":
        """This preset for own images whose mirror image is of the same class, under a name that says so.

        What determines a run is its data and its recipes; whether the recipes' flips were left out is in neither.
        """
        return self.model_copy(update={"name": f"{self.name}-mirror"})

    def settle(self, model: str, application: str) -> Settings:
        """The recipes for one model on one data set.

        Raises:
            SplitPlaceError: Values that do not go together; a preset that was read has none.
        """
        by_model = self.models.get(model, ModelOverrides())
        by_data = self.applications.get(application, Overrides())
        return Settings(
            self.name,
            self.full.changed(**(by_model.full | by_data.full)),
            self.semantic.changed(**(by_model.semantic | by_data.semantic)),
            self.splitnet.changed(**(by_model.splitnet | by_data.splitnet)),
            self.compressed.changed(**(by_model.compressed | by_data.compressed)),
            by_model.strides,
            by_model.cuts,
        )


def settle(preset: "str | Preset", model: str, data: Dataset) -> Settings:
    """The recipes for one model on these images, from a preset or its name (`load_preset`).

    A known data set is mirrored or not by its name, own images as their owner says: `mirrored` then tells them apart.
    """
    settings = preset if isinstance(preset, Preset) else load_preset(preset)
    if data.mirror and data.application not in APPLICATIONS:
        settings = settings.mirrored()
    return settings.settle(model, data.application)


def load_preset(name: str) -> Preset:
    """A preset by its name, or from a TOML file of the user's.

    Args:
        name: quick, standard, or the path of a .toml file.

    Returns:
        Every number of a training: a recipe a strategy, and what single models and data sets do otherwise.

    Raises:
        UsageError: An unknown name.
        SplitPlaceError: A file that is no preset.
    """
    shipped = resources.files("splitplace.training") / "presets"
    names = sorted(entry.name.removesuffix(".toml") for entry in shipped.iterdir() if entry.name.endswith(".toml"))
    if name in names:
        text = (shipped / f"{name}.toml").read_bytes()
    elif name.endswith(".toml") and Path(name).is_file():
        text = Path(name).read_bytes()
    else:
        raise unknown("preset", name, [*names, "a .toml file"])
    return Preset.parse_toml(text, f"preset {name}")
