"""Trains a semantic tree split by distillation from a full model (recipe `distil`).

Class groups by the teacher's features, channels by class-wise importance, branches cut out by surgery; then all
branches together under cross-entropy on their concatenated logits + distillation, so that their logits compare.
"""

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Literal, cast

import lightning
import numpy as np
import torch
from torch import Tensor, nn

from splitplace.errors import UsageError
from splitplace.seeds import derive, generator
from splitplace.splitting.branches import TRUNK, Batch, assemble, check_cuts, grow_fragments
from splitplace.splitting.tree import (
    ClassTree,
    check_tree,
    consecutive_tree,
    given_tree,
    tree_from_features,
)
from splitplace.training import run as runs
from splitplace.training.dataset import Dataset
from splitplace.training.distil import check_teacher, distillation, load_teacher, student_request
from splitplace.training.fit import fit
from splitplace.training.measured import measured
from splitplace.training.models import HEAD
from splitplace.training.network import SplitNetwork
from splitplace.training.preset import Preset, settle
from splitplace.training.run import Run

Grouping = Literal["features", "consecutive"] | Sequence[Sequence[int]]


def train_semantic(
    data: Dataset,
    full: Run,
    *,
    tree: Sequence[int] = (2,),
    cuts: Sequence[str] | None = None,
    groups: Grouping = "features",
    preset: str | Preset = "quick",
    epochs: int | None = None,
    samples: int | None = None,
    seed: int = 0,
    out: Path | None = None,
) -> Run:
    """Cut a trained full model into a trunk and a tree of branches and fine-tune it, or reuse the finished run.

    Args:
        data: The images the full model was trained on.
        full: A run of strategy `full`.
        tree: Children of every node, level by level: (2,), (4,) or (2, 2).
        cuts: The stages before which each level branches; the preset's for this model by default.
        groups: `features` (cluster the teacher's mean features), `consecutive`, or the classes of each group of a
            one-level tree.
        preset: The recipe, by name or as it is.
        epochs: Instead of the recipe's.
        samples: Training images a pass, instead of the recipe's.
        seed: Of the clustering, the images that weigh channels, order and augmentation.
        out: The RUN folder; runs/APP.MODEL.semantic-TREE by default.

    Raises:
        UsageError: A tree, cut or grouping that does not fit, or `full` is of other data or another strategy.
        SplitPlaceError: Another run stands at `out`, or the loss is no longer finite.
    """
    started_s = time.perf_counter()
    model = full.config.request.model
    settings = settle(preset, model, data.application)
    validation_share = full.config.request.recipe.validation_share
    recipe = settings.semantic.changed(epochs=epochs, samples=samples, validation_share=validation_share)
    shape = tuple(tree) if isinstance(groups, str) else (len(groups),)
    chosen = tuple(cuts if cuts is not None else settings.cuts)
    check_teacher(full, data)
    check_tree(shape, data.n_classes, len(chosen))
    chosen = chosen[: len(shape)]
    request = student_request(
        full,
        data,
        strategy="semantic",
        preset=settings.name,
        seed=seed,
        recipe=recipe,
        tree=shape,
        cuts=chosen,
        groups=groups if isinstance(groups, str) else str([sorted(group) for group in groups]),
    )
    folder = runs.place(request, out)
    finished = runs.find(folder, request)
    if finished is not None:
        return finished

    teacher = load_teacher(full)
    check_cuts(teacher, chosen)
    lightning.seed_everything(derive(seed, "weights") % 2**32, verbose=False)
    sample = _sample(data, recipe.importance_images, seed)
    classes = _class_tree(teacher, sample, shape, groups, data.n_classes, seed)
    fragments = grow_fragments(teacher, chosen, classes, sample, data.input_spec.name)
    network = SplitNetwork(fragments, data.input_spec.name)
    frozen = [f.module for f in fragments if f.name == TRUNK] if recipe.freeze_trunk else []
    fitted = fit(network, distillation(teacher, recipe), data, recipe, seed, folder, request.model_dump_json(), frozen)
    split = assemble(data.application, model, request.variant, data.input_spec, fragments)
    metrics = measured(split, data, recipe, fitted, time.perf_counter() - started_s, full)
    return runs.save(folder, request, split, data, metrics)


def parse_groups(text: str) -> Grouping:
    """`features`, `consecutive`, or lists of classes as `0,1,2/3,4`.

    Raises:
        UsageError: None of these.
    """
    if text in ("features", "consecutive"):
        return cast("Literal['features', 'consecutive']", text)
    parts = [group.split(",") for group in text.split("/")]
    if len(parts) < 2 or not all(c.strip().isdecimal() for group in parts for c in group):
        raise UsageError(f"groups {text!r}: expected features, consecutive, or classes as 0,1,2/3,4")
    return [[int(c) for c in group] for group in parts]


def _sample(data: Dataset, per_class: int, seed: int) -> list[Batch]:
    """Training images of every class, one batch a class."""
    rng = generator(seed, "semantic", "sample")
    batches = []
    for c in range(data.n_classes):
        rows = rng.permutation(np.flatnonzero(data.y_train_N == c))[:per_class]
        batches.append(Batch(torch.from_numpy(data.x_train_NCHW[rows]), torch.from_numpy(data.y_train_N[rows])))
    return batches


def _class_tree(
    teacher: nn.Sequential, sample: Sequence[Batch], shape: Sequence[int], groups: Grouping, n_classes: int, seed: int
) -> ClassTree:
    if groups == "consecutive":
        return consecutive_tree(n_classes, shape)
    if not isinstance(groups, str):
        return given_tree(groups, n_classes)
    if groups != "features":
        raise UsageError(f"unknown grouping {groups!r}: expected features, consecutive or lists of classes")
    with torch.no_grad():
        rows = [_features(teacher, batch.x_B).double().mean(0).numpy() for batch in sample]
    features_KD = np.stack(rows)
    return tree_from_features(features_KD, shape, generator(seed, "semantic", "groups"))


def _features(teacher: nn.Sequential, image_BCHW: Tensor) -> Tensor:
    """What the last layer reads: one vector an image."""
    last = [layer for layer in teacher.get_submodule(HEAD).modules() if isinstance(layer, nn.Conv2d | nn.Linear)][-1]
    seen: list[Tensor] = []
    handle = last.register_forward_pre_hook(lambda layer, args: seen.append(args[0].flatten(1)))
    try:
        teacher(image_BCHW)
    finally:
        handle.remove()
    return seen[0]
