"""What a training makes small, and what each class weighs in it."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from splitplace.training.data.dataset import Dataset
from splitplace.training.preset import FullRecipe

Loss = Callable[[Tensor, Tensor, Tensor], Tensor]
"""(image_BCHW, logits_BK, y_B) to a scalar."""


def class_weights(data: Dataset, recipe: FullRecipe) -> Tensor | None:
    """The weight of each class [K] in the cross-entropy; None where all weigh the same."""
    if recipe.class_weights == "none":
        return None
    rows, _ = data.training_rows(recipe.validation_share)
    count_K = torch.bincount(torch.from_numpy(data.y_train_N[rows]), minlength=data.n_classes)
    return len(rows) / (data.n_classes * count_K.clamp(min=1))


def cross_entropy(recipe: FullRecipe, weight_K: Tensor | None = None) -> Loss:
    """Cross-entropy with the recipe's label smoothing, and these weights of classes."""

    def loss(image_BCHW: Tensor, logits_BK: Tensor, y_B: Tensor) -> Tensor:
        return hard_loss(logits_BK, y_B, recipe, weight_K)

    return loss


def hard_loss(logits_BK: Tensor, y_B: Tensor, recipe: FullRecipe, weight_K: Tensor | None = None) -> Tensor:
    """`cross_entropy` of a batch."""
    weight_K = None if weight_K is None else weight_K.to(logits_BK)
    return nn.functional.cross_entropy(logits_BK, y_B, weight_K, label_smoothing=recipe.label_smoothing)
