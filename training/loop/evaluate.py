"""What a network answers to images in memory: accuracy, whole and with leaves missing."""

from collections.abc import Sequence
from itertools import combinations

import torch
from torch import Tensor, nn

from splitplace.training.data.dataset import Images, Labels

_BATCH = 500
MAX_LEAVES = 12
"""Of more leaves there are too many sets to go through."""


def logits(network: nn.Module, x_NCHW: Images) -> Tensor:
    """Of all images [N,K], on the CPU; the network must be in eval mode."""
    device = next(network.parameters()).device
    with torch.inference_mode():
        starts = range(0, len(x_NCHW), _BATCH)
        return torch.cat([network(torch.from_numpy(x_NCHW[i : i + _BATCH]).to(device)).cpu() for i in starts])


def accuracy(network: nn.Module, x_NCHW: Images, y_N: Labels) -> float:
    """Share of images whose largest logit is their label's; the network must be in eval mode."""
    return share_right(logits(network, x_NCHW), torch.from_numpy(y_N))


def share_right(logits_NK: Tensor, y_N: Tensor) -> float:
    """Share of rows whose largest logit is their label's."""
    return int((logits_NK.argmax(1) == y_N).sum()) / len(y_N)


def accuracy_missing(logits_NK: Tensor, y_N: Tensor, leaves: Sequence[Sequence[int]]) -> tuple[float, ...]:
    """For each k below the number of leaves, the mean accuracy over all sets of k leaves that give no answer.

    Args:
        logits_NK: Of all leaves together, column c for class c.
        y_N: The right classes; those of an absent leaf cannot be right.
        leaves: The classes of each.
    """
    if len(leaves) > MAX_LEAVES:
        return ()
    means = []
    for k in range(1, len(leaves)):
        found = []
        for absent in combinations(leaves, k):
            without_NK = logits_NK.clone()
            without_NK[:, [c for classes in absent for c in classes]] = -torch.inf
            found.append(share_right(without_NK, y_N))
        means.append(sum(found) / len(found))
    return tuple(means)
