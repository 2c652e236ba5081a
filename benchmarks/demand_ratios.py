"""Which compressed models stand beside a semantic split: as quick as its critical path, as small as its largest part.

Sizes and the roofline (`splitting/semantic/critical_path.py`) hang on the network and its cuts alone, not on what was
learned: so ratios are known before anything is trained, the same on every machine.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import cache

import torch
from torch import nn

from splitplace.errors import InfeasibleError
from splitplace.splitting.modules import ModuleFragment
from splitplace.splitting.semantic.branches import Batch, grow_fragments
from splitplace.splitting.semantic.critical_path import share_of_whole
from splitplace.splitting.semantic.pruning import compress
from splitplace.splitting.semantic.tree import consecutive_tree
from splitplace.training.data.dataset import Dataset
from splitplace.training.families.build import build
from splitplace.training.preset import Settings

LIGHT = 25
"""Percent: the lightest of the three, for what compressing costs where it is asked for little."""


def choose_percents(data: Dataset, model: str, numbers: Settings, shape: Sequence[int]) -> dict[str, int]:
    """Percent of the channels to remove, by what for.

    Args:
        data: Whose image size and classes the network is made for.
        model: The network, by name.
        numbers: Of this network on these images: its strides and cuts.
        shape: Of the tree that is compared with.

    Returns:
        `light`; `quick`, the smallest ratio whose time from image to answer is at most that of the tree's critical
        path; `small`, the smallest whose weights are at most those of the tree's largest fragment.

    Raises:
        InfeasibleError: Not even the largest ratio is.
    """
    network = build(model, data.n_classes, data.shape_CHW, data.mean_std_C, numbers.strides).eval()
    image_BCHW = torch.from_numpy(data.x_train_NCHW[:2])
    tree = consecutive_tree(data.n_classes, shape)
    # One image for every class: which channels are kept does not matter here, only how many.
    images = image_BCHW[torch.arange(data.n_classes) % len(image_BCHW)]
    batches = [Batch(images, torch.arange(data.n_classes))]
    fragments = grow_fragments(network, numbers.cuts[: len(shape)], tree, batches, data.input_spec.name)
    path, largest = share_of_whole(fragments, network, image_BCHW), max(_params(part.module) for part in fragments)

    @cache
    def smaller(percent: int) -> nn.Module:
        return compress(network, image_BCHW, percent / 100, numbers.compressed.norm)

    def quick(percent: int) -> bool:
        alone = ModuleFragment("compressed", smaller(percent), (data.input_spec.name,), "logits")
        return share_of_whole([alone], network, image_BCHW) <= path

    def small(percent: int) -> bool:
        return _params(smaller(percent)) <= largest

    # About (1 - ratio)² of the work and of the weights are left: so near is the answer, and each try costs seconds.
    found = {
        "light": LIGHT,
        "quick": smallest(quick, round(100 * (1 - path**0.5))),
        "small": smallest(small, round(100 * (1 - (largest / _params(network)) ** 0.5))),
    }
    return apart(found)


def apart(percents: Mapping[str, int]) -> dict[str, int]:
    """Each another one: what is asked of a ratio holds of every larger one as well."""
    found: dict[str, int] = {}
    for name, percent in percents.items():
        while percent in found.values():
            percent += 1
        found[name] = percent
    return found


def smallest(fits: Callable[[int], bool], guess: int) -> int:
    """The smallest percentage that fits, of 1 to 99, where every larger one fits too; looked for from a guess on.

    Raises:
        InfeasibleError: None fits.
    """
    percent = min(max(guess, 1), 99)
    while not fits(percent):
        if percent == 99:
            raise InfeasibleError("no compressed model is as quick or as small as the split: choose a coarser tree")
        percent += 1
    while percent > 1 and fits(percent - 1):
        percent -= 1
    return percent


def _params(network: nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())
