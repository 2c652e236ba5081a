"""Accuracy of a network on images in memory."""

import torch
from torch import nn

from splitplace.training.dataset import Images, Labels

_BATCH = 500


def accuracy(network: nn.Module, x_NCHW: Images, y_N: Labels) -> float:
    """Share of images whose largest logit is their label's; the network must be in eval mode."""
    device = next(network.parameters()).device
    right = 0
    with torch.inference_mode():
        for start in range(0, len(y_N), _BATCH):
            rows = slice(start, start + _BATCH)
            answer_B = network(torch.from_numpy(x_NCHW[rows]).to(device)).argmax(1)
            right += int((answer_B.cpu() == torch.from_numpy(y_N[rows])).sum())
    return right / len(y_N)
