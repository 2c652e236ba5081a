"""Attention by its heads, each kept or dropped whole: timm's `Attention` (Vaswani et al. 2017, section 3.2.2).

A head reads every channel of a token and adds to every channel. Its own are its rows of the joint projection to
queries, keys and values, and its columns of the projection back: without it, a block answers as if those columns were
zero. torch-pruning's graph knows channels, and no heads.
"""

from collections.abc import Callable, Mapping, Sequence

import torch
from timm.layers.attention import Attention as Attention
from torch import Tensor, nn

from splitplace.errors import SplitPlaceError


def attentions(network: nn.Module) -> dict[str, Attention]:
    """The attention layers of a network, by their paths in it.

    Raises:
        SplitPlaceError: One that normalises over all of its heads, so that none can be taken out alone.
    """
    found = {name: layer for name, layer in network.named_modules() if isinstance(layer, Attention)}
    for name, layer in found.items():
        if not isinstance(layer.norm, nn.Identity):
            raise SplitPlaceError(f"{name} normalises over all of its heads, which surgery cannot part")
    return found


def inner_layers(layer: Attention) -> list[nn.Linear]:
    """What a head has rows or columns of."""
    return [inner for inner in (layer.qkv, layer.proj, layer.gate) if inner is not None]


def keep_heads(layer: Attention, heads: Sequence[int]) -> None:
    """Leave these heads of a layer, in this order, in place."""
    width = layer.head_dim
    for inner, parts in _parts(layer):
        of_heads = torch.tensor([part + head * width for part in parts for head in heads])
        positions = (of_heads[:, None] + torch.arange(width)).flatten()
        columns = inner is layer.proj
        inner.weight = nn.Parameter(
            inner.weight.detach()[:, positions] if columns else inner.weight.detach()[positions]
        )
        if inner.bias is not None and not columns:
            inner.bias = nn.Parameter(inner.bias.detach()[positions])
        inner.out_features, inner.in_features = inner.weight.shape
    set_heads(layer, len(heads))


def set_heads(layer: Attention, heads: int) -> None:
    """Say how many heads a layer's projections are of."""
    layer.num_heads, layer.attn_dim = heads, heads * layer.head_dim


def heads_of(state: Mapping[str, Tensor], name: str, layer: Attention) -> int:
    """How many heads the layer of that name has in a network's state."""
    return int(state[f"{name}.qkv.weight"].shape[0]) // (3 * layer.head_dim)


def by_head(layer: Attention, value: Callable[[Tensor], Tensor]) -> list[Tensor]:
    """For each parameter that heads part, the sum of a value of its elements over each head's.

    Args:
        layer: The attention.
        value: Of a parameter, element by element.

    Returns:
        One [heads] a parameter.
    """
    sums = []
    for inner, parts in _parts(layer):
        rows = value(inner.weight).sum(0 if inner is layer.proj else 1)
        vectors = [rows] if inner.bias is None or inner is layer.proj else [rows, value(inner.bias)]
        sums += [vector.reshape(len(parts), layer.num_heads, layer.head_dim).sum((0, 2)) for vector in vectors]
    return sums


def _parts(layer: Attention) -> list[tuple[nn.Linear, list[int]]]:
    """The projections, with where each of their parts begins: queries, keys and values stand one after the other."""
    return [
        (inner, [part * layer.attn_dim for part in range(3 if inner is layer.qkv else 1)])
        for inner in inner_layers(layer)
    ]
