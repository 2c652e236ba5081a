"""Which channels of which layers are one and the same: torch-pruning's dependency graph, searched within bounds."""

import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
import torch_pruning as tp
from torch import Tensor, nn

from splitplace.errors import SplitPlaceError
from splitplace.splitting.semantic.heads import attentions, inner_layers

MAX_VISITS = 8_000
"""Of the search for one channel set. torch-pruning's remembers lists of channels, not channels, and may go on and on;
DenseNet121 takes 1,296, the most of all networks that were tried."""
MAX_CHANNELS = 2_000_000
"""Of the same search: channels, counted wherever they are numbered anew (reshaped, split, joined). DenseNet121 takes
17,408; where attention's maps are made of channels, their numbers multiply until memory ends."""


@contextmanager
def tracing(network: nn.Module) -> Iterator[None]:
    """Trace in eval mode and with gradients on; leave modes and flags as they were."""
    modes = {module: module.training for module in network.modules()}
    wants = {parameter: parameter.requires_grad for parameter in network.parameters()}
    in_place = [module for module in network.modules() if getattr(module, "inplace", False)]
    for module in in_place:
        # An activation that overwrites its input hides the layer before it from the graph's hooks.
        module.inplace = False  # type: ignore[assignment]  # a plain attribute of activations
    network.eval().requires_grad_(True)
    try:
        with torch.enable_grad(), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch-pruning warns of unwrapped parameters it then handles
            yield
    finally:
        for module, training in modes.items():
            module.training = training
        for parameter, wanted in wants.items():
            parameter.requires_grad_(wanted)
        for module in in_place:
            module.inplace = True  # type: ignore[assignment]  # as above


class _Search:
    """Of one channel set: how often it came to a layer, and how many channels it has numbered anew."""

    visits = 0
    channels = 0

    def begin(self) -> None:
        """Count from 0."""
        self.visits = self.channels = 0

    def mapped(self, mapping: Callable[[Any], list[Any]], channels: Any) -> list[Any]:
        """Channels as the next layer numbers them."""
        numbered = mapping(channels)
        self.channels += len(numbered)
        if self.channels > MAX_CHANNELS:
            raise SplitPlaceError(
                "surgery cannot tell which channels of this network belong together: where they are reshaped, their "
                f"numbers grow beyond {MAX_CHANNELS} (attention over maps, as in CoAtNet): choose another --model"
            )
        return numbered


class _Mappings(list[Any]):
    """How channels are numbered from one layer to the next; torch-pruning replaces single ones."""

    def __init__(self, mappings: Sequence[Any], search: _Search):
        super().__init__(mappings)
        self.search = search

    def __iter__(self) -> Iterator[Any]:
        return (mapping and partial(self.search.mapped, mapping) for mapping in super().__iter__())


class _Counted(list[Any]):
    """What depends on a layer; whoever goes through it has come to the layer."""

    def __init__(self, dependencies: Sequence[Any], search: _Search):
        super().__init__(dependencies)
        self.search = search
        for dependency in self:
            dependency.index_mapping = _Mappings(dependency.index_mapping, search)

    def __iter__(self) -> Iterator[Any]:
        self.search.visits += 1
        if self.search.visits > MAX_VISITS:
            raise SplitPlaceError(
                f"surgery cannot tell which channels of this network belong together: its search came to no end in "
                f"{MAX_VISITS} visits to layers (channels are cut and joined, as in ReXNet): choose another --model"
            )
        return super().__iter__()


@dataclass(frozen=True)
class Traced:
    """A dependency graph with its prunable groups by the name of their root layer."""

    graph: Any
    groups: dict[str, Any]
    search: _Search


def trace(network: nn.Module, example_B: Tensor) -> Traced:
    """The dependency graph of a network (within `tracing`), with its prunable groups; its inputs belong to none.

    Args:
        network: Ends in the layer that gives the logits.
        example_B: An input it takes.

    Raises:
        SplitPlaceError: The search came to no end.
    """
    # A layer stands for whatever feeds the network: without one, concatenations with the input itself (Inception's
    # pooling paths) have no offsets. What is coupled to it belongs to the input, and stays whole.
    width = example_B.shape[1 if example_B.ndim == 4 else -1]  # of tokens, [B,N,D]
    source = (nn.Conv2d(width, width, 1) if example_B.ndim == 4 else nn.Linear(width, width)).to(example_B)
    fed = nn.Sequential(source, network)
    graph = tp.DependencyGraph().build_dependency(fed, example_inputs=example_B)
    search = _Search()
    for node in graph.module2node.values():
        node.dependencies = _Counted(node.dependencies, search)
    names = {module: name for name, module in network.named_modules()}
    of_heads = {inner for layer in attentions(network).values() for inner in inner_layers(layer)}
    groups = {}
    for group in graph.get_all_groups():
        search.begin()
        layers = {item.dep.target.module for item in group}
        writes = {item.dep.target.module for item in group if graph.is_out_channel_pruning_fn(item.dep.handler)}
        # What attention reads and adds to, the tokens' channels, stays whole; heads are sets of their own.
        if source not in writes and not layers & of_heads:
            groups[names[group[0].dep.target.module]] = group
    return Traced(graph, groups, search)


def last_layer(network: nn.Module, example_B: Tensor) -> nn.Module:
    """The convolution or linear layer that a network goes through last: it gives the logits."""
    called: list[nn.Module] = []
    layers = [layer for layer in network.modules() if isinstance(layer, nn.Conv2d | nn.Linear)]
    handles = [layer.register_forward_hook(lambda layer, *_: called.append(layer)) for layer in layers]
    try:
        network(example_B)
    finally:
        for handle in handles:
            handle.remove()
    return called[-1]
