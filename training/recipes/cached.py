"""Trains branches on a frozen trunk: what the trunk and the teacher make of an image is computed once.

A pass then costs the branches alone, a few percent of a pass over the images through everything.
"""

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from rich.console import Console
from rich.progress import track
from torch import Tensor, nn

from splitplace.seeds import derive, generator
from splitplace.splitting.modules import ModuleFragment
from splitplace.training.data.batches import Batches
from splitplace.training.data.dataset import Dataset
from splitplace.training.loop.evaluate import accuracy, on_fastest
from splitplace.training.loop.fit import Fitted, fit_batches, log_held_out
from splitplace.training.loop.losses import class_weights
from splitplace.training.network import SplitNetwork
from splitplace.training.preset import SemanticRecipe
from splitplace.training.recipes.distil import distil_loss

_BATCH = 500


def fit_branches(
    fragments: tuple[ModuleFragment, ...],
    teacher: nn.Module,
    data: Dataset,
    recipe: SemanticRecipe,
    seed: int,
    folder: Path,
    request: str,
) -> Fitted:
    """Train every fragment but the first, `recipe.branch_epochs` passes, in place.

    Images are seen as they are, without augmentation. Of more features than `recipe.cache_bytes` hold, as many images
    as fit are drawn by the seed.

    Args:
        fragments: The trunk, then branches.
        teacher: The full model: its answers are what the branches learn from, beside the labels.
        data: Its training part is used.
        recipe: The numbers.
        seed: Of the draw and the order of images.
        folder: Where the checkpoint goes.
        request: All that determines this training.
    """
    trunk, branches = fragments[0], SplitNetwork(fragments[1:], fragments[0].output)
    rows = _drawn(trunk.module, data, recipe, seed)
    features_NCHW = _computed(trunk.module, data, rows, "features of the trunk")
    target_NK = torch.from_numpy(_computed(teacher, data, rows, "answers of the full model"))
    y_N = torch.from_numpy(data.y_train_N[rows])

    weight_K = class_weights(data, recipe)

    def loss(x_BCHW: Tensor, logits_BK: Tensor, row_B: Tensor) -> Tensor:
        # What a batch calls labels are row numbers here: they lead to both kinds of target.
        place = row_B.to("cpu")
        target_BK, y_B = target_NK[place].to(logits_BK.device), y_N[place].to(logits_BK.device)
        return distil_loss(logits_BK, target_BK, y_B, recipe, weight_K)

    passes = recipe.changed(epochs=recipe.branch_epochs, patience=0)
    batches = Batches(
        features_NCHW, np.arange(len(rows)), recipe.batch_size, derive(seed, "branches"), samples=recipe.samples
    )
    fitted = fit_batches(branches, loss, batches, passes, folder, request)
    whole = SplitNetwork(fragments, data.input_spec.name).eval()
    log_held_out(folder, accuracy(whole, data.x_test_NCHW, data.y_test_N), fitted)
    return fitted


def _drawn(trunk: nn.Module, data: Dataset, recipe: SemanticRecipe, seed: int) -> npt.NDArray[np.int64]:
    """Rows of the training images whose features fit into the cache, no more than are asked for, in their order."""
    rows, _ = data.training_rows(recipe.validation_share)
    with torch.inference_mode():
        size_bytes = trunk(torch.from_numpy(data.x_train_NCHW[:1])).nbytes
    wanted = recipe.samples * recipe.branch_epochs or len(rows)
    fit = max(recipe.batch_size, min(recipe.cache_bytes // size_bytes, wanted))
    if len(rows) > fit:
        rows = np.sort(generator(seed, "branches", "cached").permutation(rows)[:fit])
    return rows


def _computed(module: nn.Module, data: Dataset, rows: npt.NDArray[np.int64], what: str) -> npt.NDArray[Any]:
    """What a module makes of these training images."""
    parts = []
    module.eval()
    with on_fastest(module) as device, torch.inference_mode():
        for start in track(range(0, len(rows), _BATCH), what, console=Console(stderr=True), transient=True):
            x_BCHW = torch.from_numpy(data.x_train_NCHW[rows[start : start + _BATCH]]).to(device)
            parts.append(module(x_BCHW).cpu().numpy())
    return np.concatenate(parts)
