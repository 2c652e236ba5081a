"""DenseNet (Huang et al. 2017): every layer reads all layers of its block before it."""

from collections.abc import Sequence

from timm.models.densenet import DenseNet
from torch import nn

from splitplace.errors import UsageError
from splitplace.training.families.family import HEAD, Family, Stages


def _fit(network: DenseNet, strides: Sequence[int]) -> None:
    """A 3x3 stem without pooling, as the authors have for CIFAR (section 4.1); a stem of several keeps them."""
    stride, *later = strides or (1,)
    if later:
        raise UsageError("DenseNet: only the stem's stride can be set")
    first = network.features.get_submodule("conv0")
    assert isinstance(first, nn.Conv2d)
    network.features.conv0 = nn.Conv2d(first.in_channels, first.out_channels, 3, stride=stride, padding=1, bias=False)
    network.features.pool0 = nn.Identity()


def _stages(network: DenseNet) -> Stages:
    parts = dict(network.features.named_children())
    stem = {name: part for name, part in parts.items() if name[:-1] in ("conv", "norm") and name != "norm5"}
    stages = Stages(stem=nn.Sequential(Stages(stem)))
    stages.update((name, part) for name, part in parts.items() if name.startswith(("denseblock", "transition")))
    stages[HEAD] = nn.Sequential(
        Stages(
            norm=parts["norm5"],
            global_pool=network.get_submodule("global_pool"),
            dropout=network.head_drop,
            classifier=network.get_submodule("classifier"),
        )
    )
    return stages


FAMILY = Family((DenseNet,), _fit, _stages)
