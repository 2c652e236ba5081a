"""Networks by name, fitted to small images, as a chain of named stages that can be cut between any two.

The networks are timm's. What we add: their stems take 28-32 px images without shrinking them at once, raw uint8 goes
in (normalised by a module at the front), and the whole is an `nn.Sequential` of stages.
"""

from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import Any

import timm
import torch
from timm.models.efficientnet import EfficientNet
from timm.models.inception_v3 import InceptionV3
from timm.models.resnetv2 import ResNetV2
from torch import nn

from splitplace.errors import UsageError
from splitplace.splitting.networks import ALIASES, Front, check_model

FRONT = "front"
HEAD = "head"


def build(
    name: str,
    n_classes: int,
    shape_CHW: tuple[int, int, int],
    mean_std_C: tuple[Sequence[float], Sequence[float]],
    strides: Sequence[int] = (),
) -> nn.Sequential:
    """A fresh network as a chain of named stages: `front`, then the network's own, then `head`.

    Args:
        name: One of ours (`ALIASES`) or of timm's.
        n_classes: How many logits.
        shape_CHW: The raw image's.
        mean_std_C: Of the training images, for the front.
        strides: Stride of the stem, then of each later stage that shrinks its input; those not given stay as timm has
            them, except for a stem of 1. Only for the families we fit (MobileNetV2, ResNetV2, InceptionV3).

    Raises:
        UsageError: An unknown model, strides that the family does not have, or images it cannot take.
    """
    timm_name = check_model(name)
    options: dict[str, Any] = {"aux_logits": False} if timm_name.startswith("inception_v3") else {}
    network = timm.create_model(timm_name, pretrained=False, num_classes=n_classes, in_chans=shape_CHW[0], **options)
    for family, (fit, stages) in _FAMILIES.items():
        if isinstance(network, family):
            fit(network, list(strides) or [1])
            chain = stages(network)
            break
    else:
        if strides:
            raise UsageError(f"model {name}: strides can be set for {', '.join(ALIASES)} only")
        chain = OrderedDict(network=network)
    size = _size_needed(name, nn.Sequential(chain), shape_CHW, network)
    return nn.Sequential(OrderedDict([(FRONT, Front(*mean_std_C, size=size)), *chain.items()]))


def stage_names(model: nn.Sequential) -> list[str]:
    """The stages a cut may stand before: every stage but the front and the first behind it."""
    return [name for name, _ in model.named_children()][2:]


def _size_needed(name: str, network: nn.Module, shape_CHW: tuple[int, int, int], original: nn.Module) -> int | None:
    """None if the network takes images of this size, else the size it was designed for."""
    _, height, width = shape_CHW
    designed = int(original.default_cfg["input_size"][-1])  # type: ignore[index]  # timm's untyped attribute
    for size in (None, designed):
        try:
            with torch.no_grad():
                network.eval()(torch.zeros(1, shape_CHW[0], size or height, size or width))
        except (RuntimeError, AssertionError):
            continue
        finally:
            network.train()
        return size
    raise UsageError(f"model {name} takes neither {height}x{width} images nor its own {designed}x{designed}")


def _fit_mobilenet(network: EfficientNet, strides: list[int]) -> None:
    """Stem, then the stages whose first depthwise convolution has stride 2 (blocks 1, 2, 3, 5 of MobileNetV2)."""
    network.conv_stem.stride = (strides[0], strides[0])
    depthwise = [getattr(next(stage.children()), "conv_dw", None) for stage in network.blocks]
    shrinking = [conv for conv in depthwise if isinstance(conv, nn.Conv2d) and conv.stride != (1, 1)]
    if len(strides) - 1 > len(shrinking):
        raise UsageError(f"{len(strides) - 1} strides after the stem's, but {len(shrinking)} stages that shrink")
    for conv, stride in zip(shrinking, strides[1:], strict=False):
        conv.stride = (stride, stride)
    for block in (block for stage in network.blocks for block in stage.children() if getattr(block, "has_skip", False)):
        # Each residual block starts as the identity (Goyal et al. 2017, 5.1), as timm starts its ResNets.
        *_, last = (layer for layer in block.modules() if isinstance(layer, nn.BatchNorm2d))
        nn.init.zeros_(last.weight)


def _fit_resnet(network: ResNetV2, strides: list[int]) -> None:
    """A 3x3 stem without pooling (He et al. 2016, for CIFAR); then the stages that shrink."""
    stem = dict(network.stem.named_children()).get("conv")
    if not isinstance(stem, nn.Conv2d):
        raise UsageError("ResNetV2: a stem of several convolutions is not fitted to small images: choose resnetv2_50")
    network.stem.conv = nn.Conv2d(stem.in_channels, stem.out_channels, 3, stride=strides[0], padding=1, bias=False)
    network.stem.pool = nn.Identity()
    if len(strides) > 1:
        raise UsageError("ResNetV2: only the stem's stride can be set")


def _fit_inception(network: InceptionV3, strides: list[int]) -> None:
    """A stem without its two pools, so that 28 px leave at least 1 px after the two later reductions."""
    network.Conv2d_1a_3x3.conv.stride = (strides[0], strides[0])
    network.register_module("Pool1", nn.Identity())
    network.register_module("Pool2", nn.Identity())
    if len(strides) > 1:
        raise UsageError("InceptionV3: only the stem's stride can be set")


def _mobilenet_stages(network: EfficientNet) -> "OrderedDict[str, nn.Module]":
    stages = OrderedDict[str, nn.Module](stem=nn.Sequential(network.conv_stem, network.bn1))
    stages.update((f"blocks{i}", stage) for i, stage in enumerate(network.blocks))
    stages[HEAD] = nn.Sequential(
        OrderedDict(
            conv=network.conv_head, norm=network.bn2, global_pool=network.global_pool, classifier=network.classifier
        )
    )
    return stages


def _resnet_stages(network: ResNetV2) -> "OrderedDict[str, nn.Module]":
    stages = OrderedDict[str, nn.Module](stem=network.stem)
    stages.update((f"stage{i}", stage) for i, stage in enumerate(network.stages))
    stages[HEAD] = nn.Sequential(OrderedDict(norm=network.norm, classifier=network.head))
    return stages


def _inception_stages(network: InceptionV3) -> "OrderedDict[str, nn.Module]":
    children = dict(network.named_children())
    stem = ("Conv2d_1a_3x3", "Conv2d_2a_3x3", "Conv2d_2b_3x3", "Pool1", "Conv2d_3b_1x1", "Conv2d_4a_3x3", "Pool2")
    stages = OrderedDict[str, nn.Module](stem=nn.Sequential(OrderedDict((name, children[name]) for name in stem)))
    stages.update((name.lower(), child) for name, child in children.items() if name.startswith("Mixed"))
    stages[HEAD] = nn.Sequential(
        OrderedDict(global_pool=network.global_pool, dropout=network.head_drop, classifier=network.fc)
    )
    return stages


_Fit = Callable[..., None]
_Stages = Callable[..., "OrderedDict[str, nn.Module]"]
_FAMILIES: dict[type[nn.Module], tuple[_Fit, _Stages]] = {
    EfficientNet: (_fit_mobilenet, _mobilenet_stages),
    ResNetV2: (_fit_resnet, _resnet_stages),
    InceptionV3: (_fit_inception, _inception_stages),
}
