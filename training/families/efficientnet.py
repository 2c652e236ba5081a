"""EfficientNet and what timm builds as one: MobileNetV2, EfficientNet, MNASNet."""

from collections.abc import Sequence

from timm.models.efficientnet import EfficientNet
from torch import nn

from splitplace.errors import UsageError
from splitplace.training.families.family import HEAD, Family, Stages


def fit(network: EfficientNet, strides: Sequence[int]) -> None:
    """Stem, then the stages whose first depthwise convolution has stride 2 (blocks 1, 2, 3, 5 of MobileNetV2)."""
    stem, *later = strides or (1,)
    network.conv_stem.stride = (stem, stem)
    depthwise = [getattr(next(stage.children()), "conv_dw", None) for stage in network.blocks]
    shrinking = [conv for conv in depthwise if isinstance(conv, nn.Conv2d) and conv.stride != (1, 1)]
    if len(later) > len(shrinking):
        raise UsageError(f"{len(later)} strides after the stem's, but {len(shrinking)} stages that shrink")
    for conv, stride in zip(shrinking, later, strict=False):
        conv.stride = (stride, stride)
    for block in (block for stage in network.blocks for block in stage.children() if getattr(block, "has_skip", False)):
        # Each residual block starts as the identity (Goyal et al. 2017, 5.1), as timm starts its ResNets.
        *_, last = (layer for layer in block.modules() if isinstance(layer, nn.BatchNorm2d))
        nn.init.zeros_(last.weight)


def _stages(network: EfficientNet) -> Stages:
    stages = Stages(stem=nn.Sequential(network.conv_stem, network.bn1))
    stages.update((f"blocks{i}", stage) for i, stage in enumerate(network.blocks))
    stages[HEAD] = nn.Sequential(
        Stages(conv=network.conv_head, norm=network.bn2, global_pool=network.global_pool, classifier=network.classifier)
    )
    return stages


FAMILY = Family((EfficientNet,), fit, _stages)
