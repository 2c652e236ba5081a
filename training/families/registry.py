"""The families whose stages are known, most of them fitted to small images: each is its own file and one line here."""

from importlib import import_module

from torch import nn

from splitplace.training.families.family import Family

FILES = (
    "densenet",
    "efficientnet",  # MobileNetV2, too
    "inception_v3",
    "mobilenet_v3",
    "resnet",
    "resnet_v2",
    "vgg",
    "vision_transformer",
)


def family_of(network: nn.Module) -> Family | None:
    """The family that a network belongs to; None for a network that is cut as its children stand."""
    for file in FILES:
        family: Family = import_module(f"{__package__}.{file}").FAMILY
        if isinstance(network, family.networks):
            return family
    return None
