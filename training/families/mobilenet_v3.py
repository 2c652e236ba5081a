"""MobileNetV3 and what timm builds as one: FBNetV3, HardCoRe-NAS, LCNet."""

from timm.models.mobilenetv3 import MobileNetV3
from torch import nn

from splitplace.training.families.efficientnet import fit
from splitplace.training.families.family import HEAD, Family, Stages


def _stages(network: MobileNetV3) -> Stages:
    stages = Stages(stem=nn.Sequential(network.conv_stem, network.bn1))
    stages.update((f"blocks{i}", stage) for i, stage in enumerate(network.blocks))
    stages[HEAD] = nn.Sequential(
        Stages(
            global_pool=network.global_pool,
            conv=network.conv_head,
            norm=network.norm_head,
            act=network.act2,
            flatten=network.flatten,
            classifier=network.classifier,
        )
    )
    return stages


FAMILY = Family((MobileNetV3,), fit, _stages)
