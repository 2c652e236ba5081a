"""Whether the logits of a tree's branches compare: what one scale and one shift a branch, fitted, would win.

Branches answer side by side, and the largest logit of all wins. A branch whose logits are all too large outbids the
right one. An affine map of each branch's logits (Platt 1999, with a class's logit in place of a margin), fitted on
images that nothing was trained on, puts that right and changes nothing within a branch: what it wins is what was lost
by logits that do not compare; the rest of the error is another matter.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

_ROUNDS = 100


def calibration(logits_NK: Tensor, y_N: Tensor, leaves: Sequence[Sequence[int]]) -> tuple[Tensor, Tensor]:
    """Scale and shift of every class [K], alike within a branch, that make the right classes most probable.

    Args:
        logits_NK: Of a tree on images that it was not trained on.
        y_N: The right classes.
        leaves: The classes of each branch, together all.
    """
    leaf_K = torch.empty(logits_NK.shape[1], dtype=torch.int64)
    for leaf, classes in enumerate(leaves):
        leaf_K[list(classes)] = leaf
    log_scale_G, shift_G = (torch.zeros(len(leaves), dtype=torch.float64, requires_grad=True) for _ in range(2))
    optimizer = torch.optim.LBFGS([log_scale_G, shift_G], max_iter=_ROUNDS, line_search_fn="strong_wolfe")
    double_NK = logits_NK.double()

    def loss() -> Tensor:
        optimizer.zero_grad()
        found = nn.functional.cross_entropy(double_NK * log_scale_G.exp()[leaf_K] + shift_G[leaf_K], y_N)
        torch.autograd.backward(found)
        return found

    optimizer.step(loss)  # type: ignore[no-untyped-call]
    return log_scale_G.detach().exp()[leaf_K], shift_G.detach()[leaf_K]


def outbid(logits_NK: Tensor, y_N: Tensor, leaves: Sequence[Sequence[int]]) -> float:
    """Share of images whose class is the largest of its own branch's, and that another branch wins."""
    own_N = torch.zeros(len(y_N), dtype=torch.bool)
    for classes in leaves:
        rows = torch.isin(y_N, torch.tensor(list(classes)))
        own_N[rows] = torch.tensor(list(classes))[logits_NK[rows][:, list(classes)].argmax(1)] == y_N[rows]
    return float((own_N & (logits_NK.argmax(1) != y_N)).double().mean())
