"""ResNetV2, pre-activation residual networks (He et al. 2016): ResNet50V2 and the paper's ResNet34V2."""

from collections.abc import Sequence

from timm.models.resnetv2 import ResNetV2
from torch import nn

from splitplace.errors import UsageError
from splitplace.training.families.family import HEAD, Family, Stages


def _fit(network: ResNetV2, strides: Sequence[int]) -> None:
    """A 3x3 stem without pooling (He et al. 2016, for CIFAR)."""
    stride, *later = strides or (1,)
    stem = dict(network.stem.named_children()).get("conv")
    if not isinstance(stem, nn.Conv2d):
        raise UsageError("ResNetV2: a stem of several convolutions is not fitted to small images: choose resnetv2_50")
    network.stem.conv = nn.Conv2d(stem.in_channels, stem.out_channels, 3, stride=stride, padding=1, bias=False)
    network.stem.pool = nn.Identity()
    if later:
        raise UsageError("ResNetV2: only the stem's stride can be set")


def _stages(network: ResNetV2) -> Stages:
    stages = Stages(stem=network.stem)
    stages.update((f"stage{i}", stage) for i, stage in enumerate(network.stages))
    stages[HEAD] = nn.Sequential(Stages(norm=network.norm, classifier=network.head))
    return stages


FAMILY = Family((ResNetV2,), _fit, _stages)
