"""A timm network as one ONNX file, at its own image size: what `splitplace split NAME` and the benches cut."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from splitplace.errors import SplitPlaceError, UsageError
from splitplace.export.convert.onnx_export import to_onnx
from splitplace.records.fragment import TensorSpec
from splitplace.records.split import Merge
from splitplace.splitting.modules import ModuleFragment, ModuleSplit
from splitplace.splitting.networks import Front, check_model, create


@dataclass(frozen=True)
class TimmModel:
    """A network's ONNX file, its image size and where its weights are from."""

    onnx: bytes
    size: int
    weights: str


def from_timm(name: str, size: int | None = None, random_weights: bool = False, seed: int = 0) -> TimmModel:
    """Export a timm network that takes raw uint8 images `image` and answers `logits`.

    Args:
        name: One of ours or of timm's.
        size: Height and width of the images; the network's own by default.
        random_weights: Draw weights instead of fetching timm's.
        seed: Of the draw.

    Raises:
        UsageError: An unknown name or an image size that the network does not take.
        SplitPlaceError: Its weights cannot be reached.
    """
    timm_name = check_model(name)
    torch.manual_seed(seed)
    try:
        network = create(name, pretrained=not random_weights)
    except (OSError, RuntimeError, ValueError) as error:
        why = (str(error).splitlines() or [type(error).__name__])[0]
        raise SplitPlaceError(f"the weights of {name} cannot be reached ({why}): give --random-weights") from error
    settings: dict[str, Any] = dict(network.pretrained_cfg)  # type: ignore[arg-type]  # nn.Module types it a Tensor
    side = size or int(settings["input_size"][-1])
    channels = int(settings["input_size"][0])
    whole = nn.Sequential(Front(settings["mean"], settings["std"]), network).eval()
    try:
        with torch.inference_mode():
            n_classes = whole(torch.zeros(1, channels, side, side, dtype=torch.uint8)).shape[1]
    except (RuntimeError, AssertionError, IndexError) as error:
        raise UsageError(f"{name} takes no images of {side} px: {str(error).splitlines()[0]}") from error
    classes = tuple(range(n_classes))
    split = ModuleSplit(
        application="custom",
        model="whole",
        strategy="full",
        variant="",
        input_spec=TensorSpec(name="image", dtype="uint8", shape=("batch", channels, side, side)),
        fragments=(ModuleFragment("whole", whole, ("image",), "logits", classes),),
        merge=Merge(kind="identity", class_order=classes),
    )
    artifact = to_onnx(split)
    return TimmModel(artifact.models["whole"], side, f"random, seed {seed}" if random_weights else f"timm {timm_name}")
