"""Room for what surgery left: a whole network's layers take the shapes of a sliced one's tensors, to load them."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase

from splitplace.splitting.semantic.heads import Attention, heads_of, set_heads


def adopt_shapes(network: nn.Module, state: Mapping[str, Tensor]) -> None:
    """Give each layer the shapes of its tensors in `state`, so that a sliced network can be loaded without surgery.

    Args:
        network: The whole network's layers; changed in place, its weights are left undefined.
        state: As the sliced network's `state_dict()` gave it.

    Raises:
        KeyError: A layer has no tensors in `state`.
    """
    for name, layer in network.named_modules():
        own = dict(layer.named_parameters(recurse=False))
        if isinstance(layer, nn.Conv2d | nn.Linear) and "weight" not in own:
            continue  # it is made of other tensors, by weight normalisation, say: surgery does not slice it
        if isinstance(layer, nn.Conv2d):
            weight = state[f"{name}.weight"]
            depthwise = layer.groups == layer.in_channels == layer.out_channels > 1
            if not depthwise and layer.groups > 1:
                assert weight.shape == layer.weight.shape, "grouped convolutions that are not depthwise are not sliced"
                continue
            layer.out_channels = weight.shape[0]
            layer.groups = weight.shape[0] if depthwise else 1
            layer.in_channels = weight.shape[1] * layer.groups
        elif isinstance(layer, nn.Linear):
            layer.out_features, layer.in_features = state[f"{name}.weight"].shape
        elif isinstance(layer, Attention):
            set_heads(layer, heads_of(state, name, layer))
            continue
        elif isinstance(layer, _NormBase):
            features = [
                state[f"{name}.{key}"].shape[0] for key in ("running_mean", "weight") if f"{name}.{key}" in state
            ]
            layer.num_features = features[0] if features else layer.num_features
        else:
            continue
        for key, value in own.items():
            setattr(layer, key, nn.Parameter(torch.empty(state[f"{name}.{key}"].shape, dtype=value.dtype)))
        for key, value in list(layer.named_buffers(recurse=False)):
            setattr(layer, key, torch.empty(state[f"{name}.{key}"].shape, dtype=value.dtype))
