"""Running statistics of a short training: taken anew over the training images, where they hold too much of old ones.

Batch normalisation answers by running statistics; each step keeps a share 1 - momentum of what was there. After few
steps they are mostly where they started, mean 0 and variance 1, whatever the layer sees: the weights are good, and the
network answers at chance. Averages over the images, without touching a weight, are what a longer training would have
ended with (Ioffe & Szegedy 2015, algorithm 2).
"""

from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt
import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from splitplace.seeds import generator
from splitplace.training.data.dataset import Images

OLD_SHARE = 1e-4
"""The largest share of what was there before a training that running statistics may keep: a variance that starts at 1
may end at a thousandth of it. At torch's momentum of 0.1, 88 steps."""
MAX_BATCHES = 64


def settle(
    network: nn.Module,
    x_NCHW: Images,
    rows: npt.NDArray[np.int64],
    batch_size: int,
    seed: int,
    steps: int,
    frozen: Sequence[nn.Module] = (),
) -> int:
    """Take the running statistics anew, if so short a training needs it; weights stay as they are.

    Args:
        network: Trained, in eval mode; its statistics are changed in place.
        x_NCHW: Images.
        rows: Those it was trained on.
        batch_size: Images a batch, as in training.
        seed: Of the order of images; of more than `MAX_BATCHES` batches, of which are taken.
        steps: How many these weights had.
        frozen: Parts of the network that were not trained.

    Returns:
        How many images the statistics are of; 0 if they are still those of the training.
    """
    still = {module for part in frozen for module in part.modules()}
    norms = [module for module in network.modules() if isinstance(module, _BatchNorm) and module not in still]
    kept = [(1 - norm.momentum) ** steps for norm in norms if norm.track_running_stats and norm.momentum is not None]
    if max(kept, default=0.0) <= OLD_SHARE:
        return 0
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # a plain average
        norm.train()
    seen, device = 0, next(network.parameters()).device
    with torch.no_grad():
        for batch in _batches(rows, batch_size, seed):
            network(torch.from_numpy(x_NCHW[batch]).to(device))
            seen += len(batch)
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
        norm.eval()
    return seen


def _batches(rows: npt.NDArray[np.int64], batch_size: int, seed: int) -> Iterator[npt.NDArray[np.int64]]:
    """Whole batches in the order of the seed; of fewer images than one, all of them."""
    drawn = generator(seed, "statistics").permutation(rows)
    for i in range(min(max(1, len(drawn) // batch_size), MAX_BATCHES)):
        yield drawn[i * batch_size : (i + 1) * batch_size]
