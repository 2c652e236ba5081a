"""Training presets: every number of a recipe, read from a TOML file that people can read too."""

import json
import tomllib
from importlib import resources
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from splitplace.errors import SplitPlaceError, unknown
from splitplace.records.base import Count, Fraction, Name, NonNegative, Positive, PositiveCount, Record

Stride = Annotated[int, Field(ge=1, le=8)]


class FullRecipe(Record):
    """How one network is trained, under a one-cycle schedule (Smith & Topin 2018).

    Args:
        epochs: Passes.
        samples: Training images a pass; 0 for all.
        batch_size: Images a step.
        optimizer: SGD with Nesterov momentum, or AdamW.
        learning_rate: The schedule's peak.
        weight_decay: Of weights; biases and norms have none.
        warmup_share: Share of the steps before the peak.
        label_smoothing: Of the cross-entropy.
        shift_px: Largest random shift of an image, by pixels.
        precision: Lightning's name of it.
        deterministic: Only algorithms that give the same bits again; on a CPU they all do.
        validation_share: Share of the training images, of every class, that is kept out of training.
        patience: Stop after so many epochs without a gain on validation images, and go back to the best; 0 for never.
    """

    epochs: PositiveCount
    samples: Count
    batch_size: Annotated[int, Field(ge=2)]
    optimizer: Literal["sgd", "adamw"]
    learning_rate: Positive
    weight_decay: NonNegative
    warmup_share: Annotated[float, Field(gt=0, lt=1)]
    label_smoothing: Fraction
    shift_px: Count
    precision: Literal["32-true", "bf16-mixed", "16-mixed"]
    deterministic: bool = False
    validation_share: Annotated[float, Field(ge=0, lt=1)] = 0.0
    patience: Count = 0

    @model_validator(mode="after")
    def _patience_has_images(self) -> Self:
        if self.patience and not self.validation_share:
            raise ValueError("patience needs a validation_share above 0: early stopping goes by validation images")
        return self

    def changed(self, **values: object) -> Self:
        """This recipe with other values; None leaves what was there."""
        given = {name: value for name, value in values.items() if value is not None}
        return self.parse((self.model_copy(update=given)).model_dump_json(), "recipe")


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


class Preset(Record):
    """A named set of recipes, with the strides and cuts of each model."""

    name: Name
    full: FullRecipe
    semantic: SemanticRecipe
    splitnet: SplitNetRecipe
    compressed: CompressedRecipe
    strides: dict[str, tuple[Stride, ...]]
    cuts: dict[str, tuple[str, ...]]


def load_preset(name: str) -> Preset:
    """A preset by its name, or from a TOML file of the user's.

    Raises:
        UsageError: An unknown name.
        SplitPlaceError: A file that is no preset.
    """
    shipped = resources.files("splitplace.training") / "presets"
    names = sorted(entry.name.removesuffix(".toml") for entry in shipped.iterdir() if entry.name.endswith(".toml"))
    if name in names:
        text = (shipped / f"{name}.toml").read_text(encoding="utf-8")
    elif name.endswith(".toml") and Path(name).is_file():
        text = Path(name).read_text(encoding="utf-8")
    else:
        raise unknown("preset", name, [*names, "a .toml file"])
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise SplitPlaceError(f"preset {name}: not TOML: {error}") from error
    return Preset.parse(json.dumps(document, default=str), f"preset {name}")
