"""Trains a spare: one small head for all classes on a tree's trunk, which answers for branches that do not.

Its logits take the columns of absent branches beside those that are there, so they must compare with every branch's.
That is what it is trained for: in each step every image has branches of its own taken away at random, and the loss
(cross-entropy and distillation, as the tree's) is of the mixture. Trunk and branches stay as they are, so what a whole
tree answers does not change.
"""

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from splitplace.errors import UsageError
from splitplace.splitting.modules import ModuleFragment
from splitplace.splitting.semantic.pruning import compressed_variant
from splitplace.training.config import Method
from splitplace.training.data.dataset import Dataset
from splitplace.training.loop.fit import Fitted, fit
from splitplace.training.loop.losses import Loss, class_weights
from splitplace.training.network import SplitNetwork
from splitplace.training.preset import SemanticRecipe
from splitplace.training.recipes.distil import distillation

ABSENT = 0.5
"""How probable it is that a branch is taken away."""


class _Beside(nn.Module):
    """The tree's logits [B,K], then the spare's: [B,2K]."""

    def __init__(self, fragments: Sequence[ModuleFragment], spare: ModuleFragment, input_name: str):
        super().__init__()
        trunk, *branches = fragments
        self.trunk, self.spare = trunk.module, spare.module
        self.branches = SplitNetwork(branches, trunk.output)

    def forward(self, image_BCHW: Tensor) -> Tensor:
        """Both, of features that are computed once."""
        with torch.no_grad():
            features_B = self.trunk(image_BCHW)
            tree_BK = self.branches(features_B)
        return torch.cat([tree_BK, self.spare(features_B)], dim=1)


def check_spare(spare: float | None, method: Method) -> None:
    """Refuse a spare that cannot be.

    Raises:
        UsageError: No share of the channels, or of a recipe that has no full model's answers to learn from.
    """
    if spare is None:
        return
    if method != "distil":
        raise UsageError(f"--spare is taught by the full model, as --recipe distil is: leave it out with {method}")
    compressed_variant(spare)


def fit_spare(
    fragments: Sequence[ModuleFragment],
    spare: ModuleFragment,
    teacher: nn.Sequential,
    data: Dataset,
    recipe: SemanticRecipe,
    seed: int,
    folder: Path,
    request: str,
) -> Fitted:
    """Train the spare of a trained tree, in place.

    Args:
        fragments: The tree's: trunk first, every parent before its children.
        spare: What is trained.
        teacher: The full model.
        data: Its training part is used.
        recipe: The tree's numbers, but for passes of the branches alone.
        seed: Of the order of images and their augmentation; which branches are absent is drawn by torch.
        folder: Where the checkpoint goes.
        request: All that determines this training.
    """
    network = _Beside(fragments, spare, data.input_spec.name)
    leaves = [fragment.classes for fragment in fragments if fragment.classes]
    leaf_K = torch.empty(data.n_classes, dtype=torch.int64)
    for leaf, classes in enumerate(leaves):
        leaf_K[list(classes)] = leaf
    loss = mixed(distillation(teacher, recipe, class_weights(data, recipe)), leaf_K, len(leaves))
    frozen = [fragment.module for fragment in fragments]
    return fit(network, loss, data, recipe.changed(patience=0), seed, folder, request, frozen)


def mixed(loss: Loss, leaf_K: Tensor, leaves: int) -> Loss:
    """A loss of what is answered where branches are absent, drawn for each image anew; a tree whole is none of them.

    Args:
        loss: Of a batch's logits [B,K].
        leaf_K: Which leaf has each class.
        leaves: How many there are.

    Returns:
        The loss of logits [B,2K], the tree's and the spare's.
    """

    def of_both(image_BCHW: Tensor, logits_B2K: Tensor, y_B: Tensor) -> Tensor:
        tree_BK, spare_BK = logits_B2K.chunk(2, dim=1)
        absent_BG = torch.rand(len(y_B), leaves) < ABSENT
        absent_BG[torch.arange(len(y_B)), torch.randint(leaves, (len(y_B),))] = True
        stands_in_BK = absent_BG[:, leaf_K].to(logits_B2K.device)
        return loss(image_BCHW, torch.where(stands_in_BK, spare_BK, tree_BK), y_B)

    return of_both
