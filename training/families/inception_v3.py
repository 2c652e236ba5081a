"""InceptionV3 (Szegedy et al. 2016), without its auxiliary classifier."""

from collections.abc import Sequence

from timm.models.inception_v3 import InceptionV3
from torch import nn

from splitplace.errors import UsageError
from splitplace.training.families.family import HEAD, Family, Stages

_STEM = ("Conv2d_1a_3x3", "Conv2d_2a_3x3", "Conv2d_2b_3x3", "Pool1", "Conv2d_3b_1x1", "Conv2d_4a_3x3", "Pool2")


def _fit(network: InceptionV3, strides: Sequence[int]) -> None:
    """A stem without its two pools, so that 28 px leave at least 1 px after the two later reductions."""
    stem, *later = strides or (1,)
    network.Conv2d_1a_3x3.conv.stride = (stem, stem)
    network.register_module("Pool1", nn.Identity())
    network.register_module("Pool2", nn.Identity())
    if later:
        raise UsageError("InceptionV3: only the stem's stride can be set")


def _stages(network: InceptionV3) -> Stages:
    children = dict(network.named_children())
    stages = Stages(stem=nn.Sequential(Stages((name, children[name]) for name in _STEM)))
    stages.update((name.lower(), child) for name, child in children.items() if name.startswith("Mixed"))
    stages[HEAD] = nn.Sequential(
        Stages(global_pool=network.global_pool, dropout=network.head_drop, classifier=network.fc)
    )
    return stages


FAMILY = Family((InceptionV3,), _fit, _stages)
