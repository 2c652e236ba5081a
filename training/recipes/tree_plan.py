"""Where a tree branches and how often: all that can be wrong with it, told before anything is trained."""

from collections.abc import Sequence
from typing import get_args

import torch

from splitplace.errors import UsageError, unknown
from splitplace.splitting.networks import ALIASES
from splitplace.splitting.semantic.branches import check_channels, check_cuts, check_links
from splitplace.splitting.semantic.critical_path import choose_cuts
from splitplace.splitting.semantic.pruning import check_slices
from splitplace.splitting.semantic.tree import check_tree, given_tree
from splitplace.training.config import Method
from splitplace.training.data.dataset import Dataset
from splitplace.training.families.build import build, stage_names
from splitplace.training.recipes.grouping import Grouping

METHODS: tuple[Method, ...] = get_args(Method)


def plan_tree(
    data: Dataset,
    model: str,
    strides: Sequence[int],
    tree: Sequence[int],
    cuts: Sequence[str] | float,
    groups: Grouping,
    method: Method = "distil",
    overlap: float = 0.0,
) -> tuple[tuple[int, ...], tuple[str, ...]]:
    """The shape and the cuts of a tree; all that can be wrong with it is told here, before anything is trained.

    Args:
        data: Whose classes are divided.
        model: The network, by name.
        strides: As `build` takes them.
        tree: Children of every node, level by level; lists of classes make a level of their own number.
        cuts: The stages to cut before, at least one a level; or a budget, which chooses them (`choose_cuts`).
        groups: How classes are grouped.
        method: As `train_semantic` takes it.
        overlap: As `train_semantic` takes it.

    Raises:
        UsageError: More groups than classes or than a layer has channels, more levels than cuts, no cuts, a cut that
            does not exist, lists that do not divide the classes, an overlap that is no share, groups for a method that
            learns them.
        SplitPlaceError: The network has layers that cannot be sliced.
        InfeasibleError: No cuts keep within the budget.
    """
    if method not in METHODS:
        raise unknown("recipe", method, METHODS)
    if not 0 <= overlap <= 1:
        raise UsageError(f"overlap {overlap:g}: expected a share of the other branches' channels, 0 to 1")
    if method == "splitnet" and (groups != "features" or overlap):
        raise UsageError("recipe splitnet learns its groups, disjoint ones: leave out --groups and --overlap")
    shape = tuple(tree) if isinstance(groups, str) else (len(groups),)
    network = build(model, data.n_classes, data.shape_CHW, data.mean_std_C, strides).eval()
    stages, image_BCHW = stage_names(network), torch.from_numpy(data.x_train_NCHW[:2])
    if not stages:
        raise UsageError(
            f"model {model} is one stage that cannot be cut: choose one of {', '.join(ALIASES)}, or a class whose "
            "forward does nothing but call its children one after the other, in the order they are set in, and flatten "
            "before the first linear one"
        )
    if not cuts:
        raise UsageError(
            f"no cuts: the preset names none for {model}: give --cuts, for each level one of {', '.join(stages)}; or "
            "--cuts auto --budget 0.5"
        )
    check_tree(shape, data.n_classes, len(stages) if isinstance(cuts, float) else len(cuts))
    if not isinstance(groups, str):
        given_tree(groups, data.n_classes)
    if isinstance(cuts, float):
        chosen = choose_cuts(network, image_BCHW, shape, cuts)
    else:
        check_cuts(network, cuts)
        chosen = tuple(cuts[: len(shape)])
        check_channels(network, image_BCHW, chosen, shape, overlap)
    check_slices(network, image_BCHW, chosen[0])
    if method == "splitnet":
        check_links(network, image_BCHW, chosen[0])
    return shape, chosen
