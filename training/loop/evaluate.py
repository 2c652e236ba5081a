"""What a network answers to images in memory: accuracy, whole and with leaves missing."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import combinations

import torch
from torch import Tensor, nn

from splitplace.training.data.dataset import Images, Labels

_BATCH = 500
MAX_LEAVES = 12
"""Of more leaves there are too many sets to go through."""


def logits(network: nn.Module, x_NCHW: Images) -> Tensor:
    """Of all images [N,K], on the CPU; the network must be in eval mode, and is run on a GPU where there is one."""
    starts = range(0, len(x_NCHW), _BATCH)
    with on_fastest(network) as device, torch.inference_mode():
        return torch.cat([network(torch.from_numpy(x_NCHW[i : i + _BATCH]).to(device)).cpu() for i in starts])


@contextmanager
def on_fastest(network: nn.Module) -> Iterator[torch.device]:
    """Within, the network is on the GPU if there is one; then again where it was."""
    home = next(network.parameters()).device
    device = torch.device("cuda") if home.type == "cpu" and torch.cuda.is_available() else home
    network.to(device)
    try:
        yield device
    finally:
        network.to(home)


def accuracy(network: nn.Module, x_NCHW: Images, y_N: Labels) -> float:
    """Share of images whose largest logit is their label's; the network must be in eval mode."""
    return share_right(logits(network, x_NCHW), torch.from_numpy(y_N))


def share_right(logits_NK: Tensor, y_N: Tensor) -> float:
    """Share of rows whose largest logit is their label's."""
    return int((logits_NK.argmax(1) == y_N).sum()) / len(y_N)


def accuracy_missing(
    logits_NK: Tensor, y_N: Tensor, leaves: Sequence[Sequence[int]], spare_NK: Tensor | None = None
) -> tuple[float, ...]:
    """For each k below the number of leaves, the mean accuracy over all sets of k leaves that give no answer.

    Args:
        logits_NK: Of all leaves together, column c for class c.
        y_N: The right classes; those of an absent leaf cannot be right, without a spare.
        leaves: The classes of each.
        spare_NK: What stands in for the logits of absent leaves.
    """
    if len(leaves) > MAX_LEAVES:
        return ()
    means = []
    for k in range(1, len(leaves)):
        found = []
        for absent in combinations(leaves, k):
            without_NK, columns = logits_NK.clone(), [c for classes in absent for c in classes]
            without_NK[:, columns] = -torch.inf if spare_NK is None else spare_NK[:, columns]
            found.append(share_right(without_NK, y_N))
        means.append(sum(found) / len(found))
    return tuple(means)
