"""Where to cut for a latency budget: the time from the image to the slowest leaf, over the full model's, by analysis.

A disjoint branch of G costs about 1/G² of what stands behind the cut (1/G of a transformer), so the trunk is the
bottleneck, and the cut matters more than G. Layers cost what the roofline says (`costs`): the same answer on every
machine and every day, so a cut chosen for a budget can be part of what identifies a training. The benchmark measures
how far it is off.
"""

from collections.abc import Iterator, Sequence
from itertools import combinations

import torch
from torch import Tensor, nn

from splitplace.errors import InfeasibleError, UsageError
from splitplace.records.dag import path_ends
from splitplace.splitting.layerwise.costs import REFERENCE_BYTES_PER_S, REFERENCE_FLOPS_PER_S
from splitplace.splitting.modules import ModuleFragment, walk
from splitplace.splitting.semantic.branches import Batch, grow_fragments
from splitplace.splitting.semantic.tree import consecutive_tree

MICRO_BATCH = 64


def choose_cuts(network: nn.Sequential, image_BCHW: Tensor, shape: Sequence[int], budget: float) -> tuple[str, ...]:
    """The latest cuts whose critical path keeps within the budget: the more is shared, the less accuracy is at stake.

    Args:
        network: A chain of named stages; its weights do not matter.
        image_BCHW: Raw images it takes, at least two.
        shape: Of the tree.
        budget: Largest time from the image to the slowest leaf, as a share of the full model's.

    Returns:
        One stage a level, each behind the one before.

    Raises:
        InfeasibleError: No cuts keep within the budget; says what the best reach.
    """
    best = float("inf")
    for cuts, ratio in _ratios(network, image_BCHW, shape):
        if ratio <= budget:
            return cuts
        best = min(best, ratio)
    raise InfeasibleError(
        f"no cut for a tree of {','.join(map(str, shape))} keeps within {budget:g} of the full model's time: "
        f"the best takes {best:.2f}; raise --budget or choose more branches"
    )


def critical_path(fragments: Sequence[ModuleFragment], image_BCHW: Tensor) -> float:
    """Seconds from the image to the slowest leaf on a core of speed 1.0, for a micro-batch, by the roofline."""
    (image,) = fragments[0].inputs
    cost_s: dict[str, float] = {}

    def run(fragment: ModuleFragment, inputs: tuple[Tensor, ...]) -> Tensor:
        cost_s[fragment.output], made = _cost_s(fragment.module, *inputs)
        return made

    with torch.no_grad():
        walk(fragments, image, image_BCHW, run)
    fed_by = {fragment.output: [name for name in fragment.inputs if name != image] for fragment in fragments}
    ends_s = path_ends(fed_by, lambda name, ends: (0.0, *(ends[parent] for parent in fed_by[name])), cost_s.__getitem__)
    return float(max(ends_s.values()))


def share_of_whole(fragments: Sequence[ModuleFragment], network: nn.Module, image_BCHW: Tensor) -> float:
    """The critical path of a tree over that of the network it was grown from: what a budget is held against."""
    with torch.no_grad():
        whole_s, _ = _cost_s(network, image_BCHW)
    return critical_path(fragments, image_BCHW) / whole_s


def _ratios(
    network: nn.Sequential, image_BCHW: Tensor, shape: Sequence[int]
) -> Iterator[tuple[tuple[str, ...], float]]:
    """Every way to place the cuts, latest first, with its critical path over the full model's."""
    network.eval()
    image_BCHW = image_BCHW[:2]
    with torch.no_grad():
        whole_s, logits_BK = _cost_s(network, image_BCHW)
    stages = [name for name, _ in network.named_children()][2:]
    tree = consecutive_tree(logits_BK.shape[1], shape)
    # One image for every class: which channels are kept does not matter here, only how many.
    images = image_BCHW[torch.arange(len(tree.classes)) % len(image_BCHW)]
    batches = [Batch(images, torch.tensor(tree.classes))]
    for cuts in sorted(combinations(stages, len(shape)), key=lambda cuts: [-stages.index(cut) for cut in cuts]):
        try:
            fragments = grow_fragments(network, cuts, tree, batches, "image")
        except UsageError:
            continue  # too few channels there for so many branches
        yield cuts, critical_path(fragments, image_BCHW) / whole_s


def _cost_s(network: nn.Module, x_B: Tensor) -> tuple[float, Tensor]:
    """Seconds of every convolution and linear layer, the rest fused into them; and what the network answers."""
    seconds = 0.0

    def add(layer: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        nonlocal seconds
        weight = layer.weight
        assert isinstance(weight, Tensor)
        places = output[0].numel() // len(weight)
        flops = 2 * MICRO_BATCH * weight.numel() * places
        values = MICRO_BATCH * (inputs[0][0].numel() + output[0].numel()) + weight.numel()
        seconds += max(flops / REFERENCE_FLOPS_PER_S, 4 * values / REFERENCE_BYTES_PER_S)

    layers = [layer for layer in network.modules() if isinstance(layer, nn.Conv2d | nn.Linear)]
    handles = [layer.register_forward_hook(add) for layer in layers]
    try:
        answer_B: Tensor = network(x_B)
    finally:
        for handle in handles:
            handle.remove()
    return seconds, answer_B
