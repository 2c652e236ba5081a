"""What a RUN folder says: what was asked for, how its network is rebuilt, what was measured."""

import hashlib
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from splitplace.records import formats
from splitplace.records.base import Count, Fraction, Name, PositiveCount, Record
from splitplace.records.formats import Format
from splitplace.records.fragment import TensorSpec
from splitplace.records.preprocessing import ImageRule, Normalisation, Preprocessing
from splitplace.records.split import Merge
from splitplace.splitting.networks import model_label
from splitplace.splitting.semantic.pruning import compressed_variant
from splitplace.training.preset import CompressedRecipe, FullRecipe, SemanticRecipe, SplitNetRecipe

Method = Literal["distil", "splitnet", "scratch"]
Trunk = Literal["shared", "replicated"]


class TrainingRequest(Record):
    """All that determines a run; two runs of one request are one run."""

    application: Name
    data_sha256: str
    train_sha256: str
    model: str
    """One of ours, of timm's, or `package.module:Class`."""
    strategy: Literal["full", "semantic", "compressed"]
    preset: str
    seed: Count
    strides: tuple[int, ...]
    recipe: FullRecipe | SemanticRecipe | SplitNetRecipe | CompressedRecipe
    tree: tuple[int, ...] = ()
    cuts: tuple[str, ...] = ()
    groups: str = ""
    """How classes were grouped; only for a tree, as the next three."""
    method: Method = "distil"
    overlap: Fraction = 0.0
    """Share of the other branches' channels that a branch keeps as well."""
    spare: Annotated[float, Field(gt=0, lt=1)] | None = None
    """Share of the channels removed from a spare, which knows every class; None for a tree without."""
    trunk: Trunk = "shared"
    ratio: Annotated[float, Field(gt=0, lt=1)] | None = None
    """Share of the channels removed; only for a compressed model."""
    weights: str = ""
    """What a full model started from; empty for random weights."""
    weights_sha256: str = ""
    teacher_sha256: str = ""
    """Of the full model's weights; empty for a full model."""

    @property
    def variant(self) -> str:
        """The last part of the catalog reference: `2x2` for a tree of 2,2; `50` for half of the channels.

        `-roots` says that every leaf reads the image. What is not the default follows, so that no split takes the place
        of its twin: the recipe, how classes are grouped (of listed groups, a digest), overlap and spare in percent.
        """
        if self.ratio is not None:
            return compressed_variant(self.ratio)
        if self.strategy != "semantic":
            return ""
        parts = ["x".join(str(children) for children in self.tree)]
        parts += ["roots"] * (self.trunk == "replicated") + [self.method] * (self.method != "distil")
        if self.groups.startswith("["):
            parts.append(f"groups{hashlib.sha256(self.groups.encode()).hexdigest()[:6]}")
        elif self.groups not in ("", "features", "learned"):
            parts.append(self.groups)
        parts += [f"overlap{100 * self.overlap:g}".replace(".", "_")] * (self.overlap > 0)
        parts += [f"spare{compressed_variant(self.spare)}"] if self.spare is not None else []
        return "-".join(parts)

    @property
    def label(self) -> str:
        """The model's name as references hold it."""
        return model_label(self.model)

    @property
    def reference(self) -> str:
        """The catalog reference of what `splitplace export` makes of it."""
        name = f"{self.application}.{self.label}.{self.strategy}"
        return f"{name}-{self.variant}" if self.variant else name


class Part(Record):
    """One fragment: which stages of the network it holds, and how it is wired."""

    name: Name
    stages: tuple[str, ...]
    inputs: tuple[str, ...]
    output: str
    classes: tuple[Count, ...] = ()


class Config(Record):
    """What a run is, and how to rebuild its network."""

    file_format: ClassVar[Format | None] = formats.RUN
    format: Literal[3] = 3
    request: TrainingRequest
    input_spec: TensorSpec
    class_names: tuple[str, ...]
    image_rule: ImageRule | None
    """How an image file became `input_spec`; None where it has neither one nor three channels."""
    mean_C: tuple[float, ...]
    std_C: tuple[float, ...]
    resize_to: PositiveCount | None = None
    """Height and width that the network's front makes of an image that is too small for it."""
    parts: tuple[Part, ...] = Field(min_length=1)
    merge: Merge
    weights_sha256: str

    @property
    def preprocessing(self) -> Preprocessing | None:
        """The contract between an image file and what was trained."""
        if self.image_rule is None:
            return None
        inside = Normalisation(mean_C=self.mean_C, std_C=self.std_C, resize_to=self.resize_to)
        return Preprocessing(before=self.image_rule, inside=inside)
