"""A timm network as one ONNX file, at its own image size: what `splitplace split NAME` and the benches cut."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, get_args

import torch
from timm.data.constants import DEFAULT_CROP_PCT
from timm.data.imagenet_info import ImageNetInfo, infer_imagenet_subset
from torch import nn

from splitplace.errors import SplitPlaceError, UsageError
from splitplace.export.convert.onnx_export import to_onnx
from splitplace.records.fragment import TensorSpec
from splitplace.records.preprocessing import Filter, ImageRule, Normalisation, Preprocessing
from splitplace.records.split import Merge
from splitplace.splitting.modules import ModuleFragment, ModuleSplit
from splitplace.splitting.networks import Front, check_model, create


@dataclass(frozen=True)
class TimmModel:
    """A network as ONNX, its image size, where its weights are from, and what they were trained to read and to name."""

    onnx: bytes
    size: int
    weights: str
    preprocessing: Preprocessing | None
    class_names: tuple[str, ...]


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
    return TimmModel(
        onnx=artifact.models["whole"],
        size=side,
        weights=f"random, seed {seed}" if random_weights else f"timm {timm_name}",
        preprocessing=preprocessing(settings, side),
        class_names=() if random_weights else _class_names(network, n_classes),
    )


def preprocessing(settings: Mapping[str, Any], side: int) -> Preprocessing | None:
    """How timm reads images for a network with this `pretrained_cfg`, but for the turn that EXIF data asks for.

    None where that cannot be said as an `ImageRule` (another number of channels, padded borders).
    """
    channels, interpolation = settings["input_size"][0], settings["interpolation"]
    crop = settings.get("crop_mode") or "center"
    if channels not in (1, 3) or crop not in ("center", "squash") or interpolation not in get_args(Filter):
        return None
    rule = ImageRule(
        channels=channels,
        height=side,
        width=side,
        resize="cover" if crop == "center" else "stretch",
        filter=interpolation,
        crop_share=settings.get("crop_pct") or DEFAULT_CROP_PCT,
    )
    return Preprocessing(before=rule, inside=Normalisation(mean_C=settings["mean"], std_C=settings["std"]))


def _class_names(network: nn.Module, n_classes: int) -> tuple[str, ...]:
    """ImageNet's, where timm says that the weights are for it."""
    subset = infer_imagenet_subset(network)
    if not subset:
        return ()
    info = ImageNetInfo(subset)
    names = info.label_descriptions()
    return tuple(names) if len(names) == n_classes else ()
