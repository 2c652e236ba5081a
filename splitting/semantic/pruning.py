"""Compression: a network with the same share of every layer's channels removed, physically smaller and dense.

Structured L_n pruning: of every coupled channel set the channels of the smallest norm go, by the same surgery that cuts
branches; the logits stay. What that costs in accuracy is for fine-tuning to win back.
"""

import copy
from collections import OrderedDict

import torch
from torch import Tensor, nn

from splitplace.errors import SplitPlaceError, UsageError
from splitplace.records.fragment import TensorSpec
from splitplace.records.split import Merge
from splitplace.splitting.modules import ModuleFragment, ModuleSplit
from splitplace.splitting.semantic.rebuild import adopt_shapes
from splitplace.splitting.semantic.surgery import ChannelSet, channel_norms, channel_sets, slice_channels

COMPRESSED = "compressed"
BLOCK = 4
"""Channels are kept in so many: onnxruntime's kernels for CPUs work on blocks of them, and a convolution of another
count takes up to four times as long (measured; as `round_to` of torch-pruning)."""


def compress(network: nn.Sequential, image_BCHW: Tensor, ratio: float, norm: int = 2) -> nn.Sequential:
    """A copy of `network` without `ratio` of the channels of every coupled set, its inputs and logits excepted.

    Args:
        network: A module that takes raw images, then the rest, whatever its weights are; left as it is.
        image_BCHW: Raw images it takes.
        ratio: Share of the channels to remove (about 1 - (1 - ratio)² of the weights), in whole percent; of a set the
            nearest multiple of four stays, of up to four the nearest number.
        norm: The n of L_n.

    Raises:
        UsageError: A ratio that is no share.
        SplitPlaceError: The network has layers that cannot be sliced.
    """
    compressed_variant(ratio)
    front, body = network[:1], network[1:]
    with torch.no_grad():
        x_B = front(image_BCHW)
    smaller = prune_body(body, x_B, ratio, norm)
    stages = [*front.named_children(), *smaller.named_children()]
    return nn.Sequential(OrderedDict(stages)).train(network.training)


def check_slices(network: nn.Sequential, image_BCHW: Tensor, cut: str) -> None:
    """Refuse a network whose stages from `cut` on surgery cannot slice, or could not load back: it is tried.

    Args:
        network: A chain of named stages, whatever its weights are; left as it is.
        image_BCHW: Raw images it takes.
        cut: A stage of it.

    Raises:
        SplitPlaceError: Names the layer, or says why.
    """
    first = [name for name, _ in network.named_children()].index(cut)
    with torch.no_grad():
        x_B = network[:first](image_BCHW)
    prune_body(network[first:], x_B, ratio=0.5, norm=2)


def compressed_split(
    application: str, model: str, ratio: float, input_spec: TensorSpec, network: nn.Module, n_classes: int
) -> ModuleSplit:
    """A compressed network as a split of one fragment, `APP.MODEL.compressed-PERCENT`."""
    classes = tuple(range(n_classes))
    return ModuleSplit(
        application=application,
        model=model,
        strategy="compressed",
        variant=compressed_variant(ratio),
        input_spec=input_spec,
        fragments=(ModuleFragment(COMPRESSED, network.eval(), (input_spec.name,), "logits", classes),),
        merge=Merge(kind="identity", class_order=classes),
    )


def compressed_variant(ratio: float) -> str:
    """The last part of the reference: the share of channels removed, in percent.

    Raises:
        UsageError: Not a whole percentage between 1 and 99.
    """
    percent = round(100 * ratio) if 0 < ratio < 1 else 0
    if not 1 <= percent <= 99 or abs(100 * ratio - percent) > 1e-6:
        raise UsageError(f"ratio {ratio:g}: expected the share of channels to remove, 0.01 to 0.99 in whole percent")
    return str(percent)


def prune_body(body: nn.Sequential, x_B: Tensor, ratio: float, norm: int = 2) -> nn.Sequential:
    """A copy of `body` without `ratio` of the channels of every set, but for its inputs and logits; as `compress`."""
    _check_layers(body)
    try:
        norms = channel_norms(body, x_B, norm)
        keep = {}
        for channels in channel_sets(body, x_B):
            if not channels.is_output:
                kept = kept_of(channels, (1 - ratio) * channels.size)
                # A stable order: equal norms (untrained norms, say) fall by channel number, not by chance.
                order = norms[channels.name].argsort(descending=True, stable=True)
                keep[channels.name] = sorted(order[:kept].tolist())
        smaller = slice_channels(body, x_B, keep)
    except (AttributeError, IndexError, KeyError, RuntimeError, TypeError) as error:
        # What torch-pruning makes of layers that it does not know.
        raise _unsliceable(error) from error
    _check_norms(body, smaller)
    _check_rebuilds(body, smaller, x_B)
    assert isinstance(smaller, nn.Sequential)
    return smaller


def kept_of(channels: ChannelSet, wanted: float) -> int:
    """How many of these stay: of channels whole blocks, or all; of heads, and of up to a block, any number."""
    step = 1 if channels.are_heads or channels.size <= BLOCK else BLOCK
    counts: tuple[int, ...] = (*range(step, channels.size, step), channels.size)
    return min(counts, key=lambda count: abs(count - wanted))


def _unsliceable(error: Exception) -> SplitPlaceError:
    reason = (str(error).strip().splitlines() or [type(error).__name__])[-1].strip()
    return SplitPlaceError(f"this network has layers that surgery cannot slice ({reason}): choose another --model")


def _check_layers(network: nn.Module) -> None:
    """Refuse grouped convolutions: their channels are coupled across groups in a way that slicing does not follow."""
    for name, layer in network.named_modules():
        if isinstance(layer, nn.Conv2d) and 1 < layer.groups < layer.in_channels:
            raise SplitPlaceError(f"{name} is a convolution of {layer.groups} groups, which surgery cannot slice")


def _check_norms(body: nn.Module, smaller: nn.Module) -> None:
    """Refuse normalisation over channels of which some were cut away: what is left of it computes something else."""
    for name, layer in body.named_modules():
        left = smaller.get_submodule(name)
        if isinstance(layer, nn.LayerNorm) and isinstance(left, nn.LayerNorm):
            same = tuple(layer.normalized_shape) == tuple(left.normalized_shape)
        elif isinstance(layer, nn.GroupNorm) and isinstance(left, nn.GroupNorm):
            same = layer.num_channels == left.num_channels
        else:
            continue
        if not same:
            reason = f"{name} normalises over all of its channels at once"
            raise SplitPlaceError(
                f"this network has layers that surgery cannot slice ({reason}): choose another --model"
            )


def _check_rebuilds(body: nn.Sequential, smaller: nn.Module, x_B: Tensor) -> None:
    """Refuse what lost logits, or could not be loaded back: layers whose shapes do not follow from their tensors."""
    rebuilt = copy.deepcopy(body).eval()
    try:
        with torch.no_grad():
            assert rebuilt(x_B).shape == smaller.eval()(x_B).shape, "its logits are not those of its last layer"
        adopt_shapes(rebuilt, smaller.state_dict())
        rebuilt.load_state_dict(smaller.state_dict(), strict=True)
        with torch.no_grad():
            assert torch.equal(rebuilt(x_B), smaller(x_B)), "it answers otherwise when loaded back"
    except (AssertionError, KeyError, RuntimeError) as error:
        raise _unsliceable(error) from error
