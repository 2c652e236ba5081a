"""Channel surgery: a physically smaller dense network that keeps some channels of every layer and no others.

torch-pruning's dependency graph says which channels of which layers are one and the same (Fang et al. 2023,
DepGraph); here such a coupled set is named by the layer at its root, and slicing is exact: what is kept computes what
it computed before, as far as nothing that was dropped fed it.
"""

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch_pruning as tp
from torch import Tensor, nn

from splitplace.errors import ContractError, SplitPlaceError
from splitplace.splitting.semantic.dependencies import last_layer, trace, tracing
from splitplace.splitting.semantic.heads import attentions, by_head, keep_heads


@dataclass(frozen=True)
class ChannelSet:
    """Channels that must stay or go together through the layers that share them.

    Args:
        name: The layer at the root, by its path in the network; or an attention, whose heads are its channels.
        size: How many channels.
        is_output: Whether they are the network's own outputs: its logits.
        are_heads: Whether they are an attention's heads.
    """

    name: str
    size: int
    is_output: bool
    are_heads: bool = False


def channel_sets(network: nn.Module, example_B: Tensor) -> tuple[ChannelSet, ...]:
    """The coupled channel sets of `network`, in the order of the dependency graph; its inputs belong to none.

    Args:
        network: Ends in the layer that gives the logits; left as it is.
        example_B: An input it takes.

    Raises:
        SplitPlaceError: The last layer's outputs are coupled to others, so that logits could not be dropped alone.
    """
    with tracing(network):
        traced = trace(network, example_B)
        last = last_layer(network, example_B)
        by_layer = tuple(_described(name, group, network, last) for name, group in traced.groups.items())
    heads = tuple(ChannelSet(name, layer.num_heads, False, True) for name, layer in attentions(network).items())
    return by_layer + heads


@dataclass(frozen=True)
class Side:
    """One side of a layer's weight, as far as it belongs to one channel set.

    Args:
        channel_set: By name.
        positions: Of the weight's rows (or columns).
        channels: Of the set: `positions[i]` is channel `channels[i]`.
    """

    channel_set: str
    positions: tuple[int, ...]
    channels: tuple[int, ...]


@dataclass(frozen=True)
class Dense:
    """A layer whose weight (out, in, ...) leads from channels to channels; what it reads of the input has no side."""

    layer: str
    writes: tuple[Side, ...]
    reads: tuple[Side, ...]


def dense_layers(network: nn.Module, example_B: Tensor) -> tuple[Dense, ...]:
    """The layers that lead from channel sets to channel sets, in network order.

    Depthwise layers keep every channel to itself; what reads the network's input alone leads from no set: neither is
    among them.
    """
    with tracing(network):
        traced = trace(network, example_B)
    sides: dict[nn.Module, tuple[list[Side], list[Side]]] = {}
    for name, group in traced.groups.items():
        seen = set()
        for item in group:
            layer, writes = item.dep.target.module, traced.graph.is_out_channel_pruning_fn(item.dep.handler)
            dense = isinstance(layer, nn.Linear) or (isinstance(layer, nn.Conv2d) and layer.groups == 1)
            side = Side(name, tuple(map(int, item.idxs)), tuple(map(int, item.root_idxs)))
            if dense and (layer, writes, side) not in seen:
                seen.add((layer, writes, side))
                sides.setdefault(layer, ([], []))[0 if writes else 1].append(side)
    found = [(name, sides[layer]) for name, layer in network.named_modules() if layer in sides]
    return tuple(Dense(name, tuple(writes), tuple(reads)) for name, (writes, reads) in found if writes and reads)


def slice_channels(network: nn.Module, example_B: Tensor, keep: Mapping[str, Sequence[int]]) -> nn.Module:
    """A copy of `network` with only the channels `keep` of each named set; sets not named stay whole.

    Args:
        network: Left as it is.
        example_B: An input it takes; the copy takes the same.
        keep: Channels to keep, by set name; their order in the copy is ascending.

    Raises:
        SplitPlaceError: A set that is not there, a channel that is not in it, or none kept.
    """
    smaller = copy.deepcopy(network)
    with tracing(smaller):
        traced = trace(smaller, example_B)
        heads = attentions(smaller)
        sizes = {name: len(group[0].idxs) for name, group in traced.groups.items()}
        sizes |= {name: layer.num_heads for name, layer in heads.items()}
        for name, channels in keep.items():
            if name not in sizes:
                raise ContractError(f"no channel set {name!r}: expected one of {', '.join(sizes)}")
            kept = set(channels)
            if not kept or not kept <= set(range(sizes[name])) or len(kept) != len(channels):
                raise ContractError(f"channel set {name!r}: got {len(channels)} channels to keep of {sizes[name]}")
            drop = [channel for channel in range(sizes[name]) if channel not in kept]
            if drop and name in heads:
                keep_heads(heads[name], sorted(kept))
            elif drop:
                # The whole complement at once: after a first cut the indices would mean other channels.
                traced.search.begin()
                root = smaller.get_submodule(name)
                prune = traced.graph.get_pruner_of_module(root).prune_out_channels
                traced.graph.get_pruning_group(root, prune, drop).prune()
    for parameter in smaller.parameters():
        parameter.grad = None
    return smaller


def channel_importance(
    network: nn.Module, example_B: Tensor, batches: Sequence[tuple[Tensor, Tensor]], loss: nn.Module
) -> dict[str, Tensor]:
    """First-order Taylor importance of every channel for a loss: |Σ gradient x weight| over a set's layers.

    Molchanov et al. 2019, eq. 8, in torch-pruning's grouped form, summed over batches. Parameters keep no gradient.

    Args:
        network: In whatever mode it is; running statistics are not touched.
        example_B: An input it takes.
        batches: Inputs and targets of the loss.
        loss: `loss(network(input), target)`.

    Returns:
        For each channel set, one non-negative number a channel.
    """
    score = tp.importance.GroupTaylorImportance(normalizer=None, multivariable=True, bias=True)
    with tracing(network):
        groups = trace(network, example_B).groups
        heads = attentions(network)
        sums = {name: torch.zeros(len(group[0].idxs)) for name, group in groups.items()}
        sums |= {name: torch.zeros(layer.num_heads) for name, layer in heads.items()}
        for x_B, target_B in batches:
            network.zero_grad(set_to_none=True)
            loss(network(x_B), target_B).backward()
            for name, group in groups.items():
                sums[name] += score(group).detach()
            for name, layer in heads.items():
                parts = by_head(layer, lambda p: p.detach() * p.grad if p.grad is not None else torch.zeros_like(p))
                sums[name] += torch.stack([part.abs() for part in parts]).mean(0)
    network.zero_grad(set_to_none=True)
    return sums


def channel_norms(network: nn.Module, example_B: Tensor, norm: int) -> dict[str, Tensor]:
    """L_n norm, to the power n, of every channel's weights: the mean over the layers that a set couples.

    Structured L_n pruning (Li et al. 2017, section 3.1) in torch-pruning's grouped form (Fang et al. 2023).

    Args:
        network: Left as it is.
        example_B: An input it takes.
        norm: The n of L_n.

    Returns:
        For each channel set, one non-negative number a channel.
    """
    score = tp.importance.GroupMagnitudeImportance(p=norm, normalizer=None)
    with tracing(network):
        groups = trace(network, example_B).groups
        norms = {name: score(group).detach() for name, group in groups.items()}
    heads = {
        name: torch.stack(by_head(layer, lambda p: p.detach().abs() ** norm)).mean(0)
        for name, layer in attentions(network).items()
    }
    return norms | heads


def _described(name: str, group: Any, network: nn.Module, last: nn.Module) -> ChannelSet:
    root = network.get_submodule(name)
    layers = {item.dep.target.module for item in group if isinstance(item.dep.target.module, nn.Conv2d | nn.Linear)}
    if root is last and layers != {root}:
        raise SplitPlaceError(f"the logits of {name} are coupled to another layer: cannot drop classes")
    return ChannelSet(name, len(group[0].idxs), root is last)
