"""ViT (Dosovitskiy et al. 2021), as timm has it: taken at the size it was designed for, a stage a block.

Behind a cut, what tokens are made of stays whole, since every block adds to it; a branch keeps heads of the attention
and channels of the MLP of each block.
"""

from collections.abc import Sequence

import torch
from timm.layers.pool1d import global_pool_nlc
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn

from splitplace.errors import UsageError
from splitplace.training.families.family import HEAD, Family, Stages


class Tokens(nn.Module):
    """Patches of an image as tokens, behind those of no patch, with their places added.

    Args:
        network: Whose parts it shares.
    """

    def __init__(self, network: VisionTransformer):
        super().__init__()
        self.patch_embed = network.patch_embed
        self.cls_token, self.reg_token, self.pos_embed = network.cls_token, network.reg_token, network.pos_embed
        self.places_first = network.no_embed_class
        self.rest = nn.Sequential(network.pos_drop, network.patch_drop, network.norm_pre)

    def forward(self, image_BCHW: Tensor) -> Tensor:
        """[B,N,D]."""
        x_BND = self.patch_embed(image_BCHW)
        if self.places_first:  # only patches have places
            x_BND = x_BND + self.pos_embed
        first = [
            token.expand(x_BND.shape[0], -1, -1) for token in (self.cls_token, self.reg_token) if token is not None
        ]
        x_BND = torch.cat([*first, x_BND], dim=1)
        if not self.places_first and self.pos_embed is not None:
            x_BND = x_BND + self.pos_embed
        answer_BND: Tensor = self.rest(x_BND)
        return answer_BND


class Pool(nn.Module):
    """One vector of all tokens.

    Args:
        network: Whose rule it follows.
    """

    def __init__(self, network: VisionTransformer):
        super().__init__()
        self.rule, self.prefix, self.whole = network.global_pool, network.num_prefix_tokens, network.pool_include_prefix

    def forward(self, x_BND: Tensor) -> Tensor:
        """[B,D]."""
        answer_BD: Tensor = global_pool_nlc(x_BND, self.rule, self.prefix, self.whole)
        return answer_BD


def _fit(network: VisionTransformer, strides: Sequence[int]) -> None:
    """Nothing: other patches would be another network, and none of its weights would fit."""
    if strides:
        raise UsageError("ViT cuts images into patches: it has no strides to set")


def _stages(network: VisionTransformer) -> Stages:
    if type(network) is not VisionTransformer or network.dynamic_img_size or network.attn_pool is not None:
        return Stages({HEAD: network})  # it does more than these stages in a row
    stages = Stages(tokens=Tokens(network))
    stages.update((f"blocks{i}", block) for i, block in enumerate(network.blocks))
    last = Stages(norm=network.norm, pool=Pool(network), fc_norm=network.fc_norm, drop=network.head_drop)
    stages[HEAD] = nn.Sequential(last | {"classifier": network.head})
    return stages


FAMILY = Family((VisionTransformer,), _fit, _stages, fitted=False)
