"""SplitNet's three regularisers (Kim, Park, Kim & Hwang 2017, section 3), each 1 where nothing is assigned yet.

Normalisers are those of the authors' published code (github.com/dalgu90/splitnet-wrn, `_add_split_loss`): each is what
the regulariser comes to where assignments are uniform and weights of one size.
"""

from torch import Tensor

_TINY = 1e-12
"""Under a root, so that its slope stays finite."""


def group_split(energy_OI: Tensor, q_GO: Tensor, p_GI: Tensor) -> Tensor:
    """R_W of one layer: L2 norms of what leads into a group from outside, and out of it, by input and by output.

    Σ_g Σ_i ‖((1 - P_g) W Q_g)_i*‖ + Σ_g Σ_j ‖(P_g W (1 - Q_g))_*j‖, each over its number of norms and their size.

    Args:
        energy_OI: Squared weights, over their mean.
        q_GO: To which group each output belongs.
        p_GI: To which group each input belongs.
    """
    groups, (outputs, inputs) = len(q_GO), energy_OI.shape
    rows_GI = (1 - p_GI) * (q_GO.square() @ energy_OI + _TINY).sqrt()
    columns_GO = (1 - q_GO) * (p_GI.square() @ energy_OI.T + _TINY).sqrt()
    norms = rows_GI.sum() / (inputs * outputs**0.5) + columns_GO.sum() / (outputs * inputs**0.5)
    loss: Tensor = norms / (2 * (groups - 1) / groups)
    return loss


def disjointness(p_GC: Tensor) -> Tensor:
    """R_D: Σ_{g<h} p_g · p_h, over what it is for uniform columns."""
    groups, channels = p_GC.shape
    overlap = (p_GC.sum(0).square().sum() - p_GC.square().sum()) / 2
    return overlap / (channels * (groups - 1) / (2 * groups))


def evenness(p_GC: Tensor) -> Tensor:
    """R_E: Σ_g (Σ_c p_gc)², over what it is for even groups."""
    groups, channels = p_GC.shape
    return p_GC.sum(1).square().sum() / (channels**2 / groups)


def merged(p_GC: Tensor, groups: int) -> Tensor:
    """Probabilities of the parents: the sums over their children, which stand side by side."""
    return p_GC.reshape(groups, -1, p_GC.shape[1]).sum(1)
