"""What training and export both know of networks: their names, how timm makes them, and what stands before each."""

import re
from collections.abc import Sequence
from typing import Any

import timm
import torch
from torch import Tensor, nn

from splitplace.errors import NotFoundError

ALIASES = {
    "resnet50v2": "resnetv2_50",
    "resnet34v2": "resnetv2_34",
    "mobilenetv2": "mobilenetv2_100",
    "inceptionv3": "inception_v3",
}


_HUB = re.compile(r"(hf[-_]hub:)?timm/")
"""What stands before timm's own name where a network is called by its page on the Hugging Face hub."""


class Front(nn.Module):
    """Raw uint8 images to normalised float32 ones, resized if the network needs it.

    Args:
        mean_C: Channel means on a scale of 0..1.
        std_C: Channel standard deviations on that scale.
        size: Height and width to resize to; None leaves the image's.
    """

    scale: Tensor
    shift: Tensor

    def __init__(self, mean_C: Sequence[float], std_C: Sequence[float], size: int | None = None):
        super().__init__()
        self.size = size
        # (x / 255 - mean) / std as one multiplication and one addition.
        std = torch.tensor(std_C, dtype=torch.float32)
        self.register_buffer("scale", (1 / (255 * std))[:, None, None])
        self.register_buffer("shift", (-torch.tensor(mean_C, dtype=torch.float32) / std)[:, None, None])

    def forward(self, image_BCHW: Tensor) -> Tensor:
        """Normalise (and resize): uint8 [B,C,H,W] to float32."""
        x = image_BCHW.to(self.scale.dtype) * self.scale + self.shift
        if self.size is not None:
            x = nn.functional.interpolate(x, size=(self.size, self.size), mode="bilinear", align_corners=False)
        return x


def plain_name(name: str) -> str:
    """A network's name without the hub's: `timm/resnet18.a1_in1k` and `hf_hub:timm/...` are timm's resnet18.a1_in1k."""
    hub = _HUB.match(name)
    return name[hub.end() :] if hub else name


def check_model(name: str) -> str:
    """The name timm has for a model.

    Raises:
        UsageError: Neither one of ours nor of timm's, or a tag (after the dot) that timm does not have of it.
    """
    plain = plain_name(name)
    timm_name = ALIASES.get(plain, plain)
    if not timm.is_model(timm_name):
        raise NotFoundError(f"unknown model {name!r}: expected one of {', '.join(ALIASES)} or a timm name")
    architecture, _, tag = timm_name.partition(".")
    if tag and timm_name not in (known := timm.list_models(f"{architecture}.*", include_tags=True)):
        raise NotFoundError(
            f"unknown model {name!r}: expected {architecture} or one of {', '.join(known) or 'no tags'}"
        )
    return timm_name


def create(name: str, **options: Any) -> nn.Module:
    """Timm's network of that name, without auxiliary classifiers.

    Args:
        name: One of ours or of timm's.
        options: As `timm.create_model` takes them.

    Raises:
        UsageError: An unknown name.
    """
    timm_name = check_model(name)
    if timm_name.startswith("inception_v3"):
        options["aux_logits"] = False
    network: nn.Module = timm.create_model(timm_name, **options)
    return network


def model_label(name: str) -> str:
    """A model's name as catalog references can hold it: `resnet50.a1_in1k` is called `resnet50-a1_in1k` there."""
    return re.sub(r"[^A-Za-z0-9_-]+", "-", name).strip("-")
