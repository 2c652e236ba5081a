"""VGG (Simonyan & Zisserman 2015), with batch normalisation or without: a stage ends at each of its five pools."""

from collections.abc import Sequence

from timm.models.vgg import VGG
from torch import nn

from splitplace.errors import UsageError
from splitplace.training.families.family import HEAD, Family, Stages


def _fit(network: VGG, strides: Sequence[int]) -> None:
    """A first fully connected layer of the one place that five pools leave of 32 px, instead of 7x7 copies of it."""
    if strides:
        raise UsageError("VGG shrinks images by its pools: it has no strides to set")
    wide = network.pre_logits.fc1
    assert isinstance(wide, nn.Conv2d)
    network.pre_logits.fc1 = nn.Conv2d(wide.in_channels, wide.out_channels, 1)
    network.pre_logits.input_kernel_size = 1


def _stages(network: VGG) -> Stages:
    stages, layers = Stages(), []
    for layer in network.features:
        layers.append(layer)
        if isinstance(layer, nn.MaxPool2d):
            stages[f"features{len(stages)}"] = nn.Sequential(*layers)
            layers = []
    stages[HEAD] = nn.Sequential(Stages(pre_logits=network.pre_logits, classifier=network.head))
    return stages


FAMILY = Family((VGG,), _fit, _stages)
