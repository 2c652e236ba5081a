"""Augmentation by torchvision's transforms v2, written in a preset as one would write them in Python.

A transform of v2 draws once a call: a batch given to it is shifted as one, so each image is given to it by itself.
That costs more than a small network's training step can bear (METHODOLOGY.md, "Training"). The two transforms that
nearly every recipe has, `RandomCrop` and `RandomHorizontalFlip`, are therefore computed here for a whole batch, with
draws of v2's distribution and v2's results for them; every other transform is v2's own.
"""

import ast
import inspect
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor
from torchvision.transforms import v2

from splitplace.errors import ContractError, unknown

ALLOWED = (
    "ColorJitter",
    "ElasticTransform",
    "GaussianBlur",
    "RandAugment",
    "RandomAdjustSharpness",
    "RandomAffine",
    "RandomAutocontrast",
    "RandomCrop",
    "RandomEqualize",
    "RandomErasing",
    "RandomGrayscale",
    "RandomHorizontalFlip",
    "RandomInvert",
    "RandomPerspective",
    "RandomPosterize",
    "RandomResizedCrop",
    "RandomRotation",
    "RandomSolarize",
    "RandomVerticalFlip",
    "TrivialAugmentWide",
)
"""Transforms that take an image to one of its size and type, and draw from torch's generator alone."""

_MIRROR = "RandomHorizontalFlip"
_MAX_CHARACTERS = 200


class _Transform(Protocol):
    def draw(self, n: int, rng: torch.Generator) -> Tensor:
        """What is random for each of n images, [n, ...]."""
        ...

    def apply(self, x_BCHW: Tensor, drawn_B: Tensor) -> Tensor:
        """Images transformed, each by its own draw."""
        ...


@dataclass(frozen=True)
class _Crop:
    """Pad all sides, and cut the image's own size out at random."""

    padding: int
    padding_mode: str

    def draw(self, n: int, rng: torch.Generator) -> Tensor:
        return torch.randint(0, 2 * self.padding + 1, (n, 2), generator=rng)

    def apply(self, x_BCHW: Tensor, drawn_B: Tensor) -> Tensor:
        batch, _, height, width = x_BCHW.shape
        padded: Tensor = v2.functional.pad(x_BCHW, [self.padding], padding_mode=self.padding_mode)
        y_BH = drawn_B[:, :1] + torch.arange(height, device=x_BCHW.device)
        x_BW = drawn_B[:, 1:] + torch.arange(width, device=x_BCHW.device)
        image_B = torch.arange(batch, device=x_BCHW.device)[:, None, None]
        # Indexing the first, third and fourth dimension puts the channels last: move them back.
        return padded[image_B, :, y_BH[:, :, None], x_BW[:, None, :]].permute(0, 3, 1, 2).contiguous()


@dataclass(frozen=True)
class _Mirror:
    """Left to right with probability p."""

    p: float

    def draw(self, n: int, rng: torch.Generator) -> Tensor:
        return torch.rand(n, generator=rng) < self.p

    def apply(self, x_BCHW: Tensor, drawn_B: Tensor) -> Tensor:
        return torch.where(drawn_B[:, None, None, None], x_BCHW.flip(-1), x_BCHW)


@dataclass(frozen=True)
class _ImageByImage:
    """Any transform of v2's; what is drawn is the seed of each image."""

    transform: v2.Transform

    def draw(self, n: int, rng: torch.Generator) -> Tensor:
        return torch.randint(0, 2**62, (n,), generator=rng)

    def apply(self, x_BCHW: Tensor, drawn_B: Tensor) -> Tensor:
        images = []
        with torch.random.fork_rng(devices=[]):
            for image_CHW, seed in zip(x_BCHW.cpu(), drawn_B.tolist(), strict=True):
                torch.default_generator.manual_seed(seed)
                images.append(self.transform(image_CHW))
        return torch.stack(images).to(x_BCHW.device)


class Augment:
    """Transforms in order, each image by draws of its own.

    Args:
        transforms: As `RandomCrop(padding=2, padding_mode='edge')`; a size is the image's own and is not given.
        shape_CHW: The images'.
        mirror: Whether a mirror image is of the same class; if not, `RandomHorizontalFlip` is left out.

    Raises:
        SplitPlaceError: Not of this form, an unknown transform, or one that does not keep these images' shape.
    """

    def __init__(self, transforms: Sequence[str], shape_CHW: tuple[int, int, int], *, mirror: bool):
        self._transforms: list[_Transform] = []
        for text in transforms:
            name, options = parse(text)
            if name == _MIRROR and not mirror:
                continue
            try:
                transform = _made(name, options, shape_CHW[1:])
                drawn = transform.draw(1, torch.Generator().manual_seed(0))
                image = transform.apply(torch.zeros(1, *shape_CHW, dtype=torch.uint8), drawn)
            except (TypeError, ValueError, RuntimeError) as error:
                raise ContractError(f"augment {text!r}: {str(error).splitlines()[0]}") from error
            if image.shape[1:] != shape_CHW or image.dtype != torch.uint8:
                raise ContractError(
                    f"augment {text!r}: makes {image.dtype}{list(image.shape[1:])} of uint8{list(shape_CHW)}, "
                    "expected the same shape and type"
                )
            self._transforms.append(transform)

    def __call__(self, x_BCHW: Tensor, n: int, mine: slice, rng: torch.Generator) -> Tensor:
        """The images `mine` of a batch of n, augmented as they are where all n are given.

        What is random is drawn on the CPU, so that it is the same wherever the images are; they stay where they are.
        """
        for transform in self._transforms:
            x_BCHW = transform.apply(x_BCHW, transform.draw(n, rng)[mine].to(x_BCHW.device))
        return x_BCHW


def parse(text: str) -> tuple[str, dict[str, Any]]:
    """Name and options of `NAME(option=literal, ...)`; nothing is executed.

    Raises:
        SplitPlaceError: Another form.
        UsageError: An unknown transform.
    """
    form = f"augment {text!r}: expected NAME(option=value, ...), as RandomCrop(padding=2, padding_mode='edge')"
    if len(text) > _MAX_CHARACTERS:
        raise ContractError(f"augment: {len(text)} characters in one transform, expected at most {_MAX_CHARACTERS}")
    try:
        call = ast.parse(text, mode="eval").body
    except (SyntaxError, ValueError) as error:
        raise ContractError(form) from error
    if not (isinstance(call, ast.Call) and isinstance(call.func, ast.Name)) or call.args:
        raise ContractError(form)
    name = call.func.id
    if name not in ALLOWED:
        raise unknown("transform", name, ALLOWED)
    options: dict[str, Any] = {}
    for keyword in call.keywords:
        if keyword.arg is None or keyword.arg in options:
            raise ContractError(form)
        if keyword.arg == "size":
            raise ContractError(f"augment {text!r}: leave out size, it is the image's own")
        try:
            options[keyword.arg] = ast.literal_eval(keyword.value)
        except (ValueError, TypeError) as error:
            raise ContractError(form) from error
    return name, options


def _made(name: str, options: dict[str, Any], size: tuple[int, int]) -> _Transform:
    padding = options.get("padding")
    if name == "RandomCrop" and set(options) <= {"padding", "padding_mode"} and isinstance(padding, int):
        v2.RandomCrop(size, **options)  # refuses what it does not know
        return _Crop(padding, options.get("padding_mode", "constant"))
    if name == _MIRROR:
        return _Mirror(v2.RandomHorizontalFlip(**options).p)
    kind = getattr(v2, name)
    if "size" in inspect.signature(kind).parameters:
        options = {"size": size, **options}
    return _ImageByImage(kind(**options))
