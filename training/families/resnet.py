"""ResNet and what timm builds as one: ResNet-D (a stem of three convolutions), SE-ResNet, ResNeXt, Wide ResNet."""

from collections.abc import Sequence

from timm.models.resnet import ResNet
from torch import nn

from splitplace.errors import UsageError
from splitplace.training.families.family import HEAD, Family, Stages


def _fit(network: ResNet, strides: Sequence[int]) -> None:
    """A 3x3 stem without pooling (He et al. 2016, for CIFAR); a stem of three convolutions keeps them."""
    stem, *later = strides or (1,)
    if later:
        raise UsageError("ResNet: only the stem's stride can be set")
    first = network.conv1
    if isinstance(first, nn.Conv2d):
        small = nn.Conv2d(first.in_channels, first.out_channels, 3, stride=stem, padding=1, bias=False)
        network.register_module("conv1", small)
    else:
        first.get_submodule("0").stride = (stem, stem)  # type: ignore[assignment]  # a plain attribute of convolutions
    network.register_module("maxpool", nn.Identity())


def _stages(network: ResNet) -> Stages:
    stages = Stages(stem=nn.Sequential(Stages(conv=network.conv1, norm=network.bn1, act=network.act1)))
    stages.update((f"layer{i}", getattr(network, f"layer{i}")) for i in range(1, 5))
    stages[HEAD] = nn.Sequential(Stages(global_pool=network.global_pool, classifier=network.fc))
    return stages


FAMILY = Family((ResNet,), _fit, _stages)
