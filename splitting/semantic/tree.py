"""The class tree of a semantic split: which classes go together, by what a trained network confuses."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.optimize import linear_sum_assignment

from splitplace.errors import UsageError

Floats = npt.NDArray[np.float64]

_RESTARTS = 8
_MAX_ROUNDS = 100


@dataclass(frozen=True)
class ClassTree:
    """A node: the classes below it (ascending), divided among its children; a leaf has none."""

    classes: tuple[int, ...]
    children: tuple["ClassTree", ...] = ()

    def __post_init__(self) -> None:
        below = sorted(c for child in self.children for c in child.classes)
        assert not self.children or below == list(self.classes), "children divide their parent's classes"

    @property
    def leaves(self) -> tuple["ClassTree", ...]:
        """The leaves, from left to right."""
        return tuple(leaf for child in self.children for leaf in child.leaves) if self.children else (self,)


def parse_tree(text: str) -> tuple[int, ...]:
    """`2,2` as (2, 2): children of every node, level by level.

    Raises:
        UsageError: Not of that form, or a node with fewer than two children.
    """
    parts = text.split(",")
    if not all(part.strip().isdecimal() and 2 <= int(part) <= 1000 for part in parts):
        raise UsageError(f"tree {text!r}: expected children a node, level by level, each at least 2, as 2 or 4 or 2,2")
    return tuple(int(part) for part in parts)


def check_tree(shape: Sequence[int], n_classes: int, depth: int) -> None:
    """Refuse a tree with more leaves than classes, or more levels than there are cuts.

    Raises:
        UsageError: The tree does not fit.
    """
    leaves = int(np.prod(shape))
    if leaves > n_classes:
        raise UsageError(
            f"a tree of {','.join(map(str, shape))} has {leaves} groups, expected at most {n_classes} classes"
        )
    if len(shape) > depth:
        raise UsageError(f"a tree of {len(shape)} levels needs {len(shape)} cuts, got {depth}")


def tree_from_features(features_KD: Floats, shape: Sequence[int], rng: np.random.Generator) -> ClassTree:
    """Group classes whose features lie close, level by level, into groups of (nearly) equal size.

    Args:
        features_KD: One row a class: mean features, or its row of the confusion matrix.
        shape: Children of every node, level by level.
        rng: Draws the starting points.
    """

    def grow(classes: tuple[int, ...], below: Sequence[int]) -> ClassTree:
        if not below:
            return ClassTree(classes)
        groups = balanced_clusters(features_KD[list(classes)], below[0], rng)
        children = (tuple(classes[row] for row in group) for group in groups)
        return ClassTree(classes, tuple(grow(child, below[1:]) for child in children))

    return grow(tuple(range(len(features_KD))), shape)


def consecutive_tree(n_classes: int, shape: Sequence[int]) -> ClassTree:
    """Classes in the order of their numbers: the control that knows no meaning."""

    def grow(classes: tuple[int, ...], below: Sequence[int]) -> ClassTree:
        if not below:
            return ClassTree(classes)
        parts = np.array_split(np.asarray(classes), below[0])
        return ClassTree(classes, tuple(grow(tuple(int(c) for c in part), below[1:]) for part in parts))

    return grow(tuple(range(n_classes)), shape)


def random_tree(n_classes: int, shape: Sequence[int], rng: np.random.Generator) -> ClassTree:
    """Classes in an order drawn by `rng`: the control that has neither meaning nor the data set's own order."""
    order = rng.permutation(n_classes)

    def renamed(node: ClassTree) -> ClassTree:
        classes = tuple(sorted(int(order[c]) for c in node.classes))
        return ClassTree(classes, tuple(renamed(child) for child in node.children))

    return renamed(consecutive_tree(n_classes, shape))


def given_tree(groups: Sequence[Sequence[int]], n_classes: int) -> ClassTree:
    """One level of groups as the user lists them.

    Raises:
        UsageError: A class in two groups, in none, or unknown; an empty group.
    """
    listed = sorted(c for group in groups for c in group)
    if listed != list(range(n_classes)) or len(groups) < 2 or not all(groups):
        raise UsageError(f"groups {list(map(list, groups))}: expected every class 0..{n_classes - 1} exactly once")
    return ClassTree(tuple(range(n_classes)), tuple(ClassTree(tuple(sorted(group))) for group in groups))


def balanced_clusters(x_ND: Floats, k: int, rng: np.random.Generator) -> list[list[int]]:
    """K-means whose clusters differ by at most one member: the assignment step is an assignment problem.

    Bradley, Bennett & Demiriz 2000; best of several starts by the sum of squared distances.

    Returns:
        k lists of rows, each ascending, ordered by their first row.
    """
    n = len(x_ND)
    assert 1 <= k <= n
    slots = np.arange(n) % k  # cluster of each of n places: sizes differ by at most one
    best: tuple[float, npt.NDArray[np.int64]] | None = None
    for _ in range(_RESTARTS):
        centers = x_ND[rng.choice(n, k, replace=False)]
        label = np.full(n, -1)
        for _ in range(_MAX_ROUNDS):
            distance = ((x_ND[:, None] - centers[None]) ** 2).sum(-1)
            rows, columns = linear_sum_assignment(distance[:, slots])
            new = np.empty(n, np.int64)
            new[rows] = slots[columns]
            if (new == label).all():
                break
            label = new
            centers = np.stack([x_ND[label == c].mean(0) for c in range(k)])
        cost = float(((x_ND - centers[label]) ** 2).sum())
        if best is None or cost < best[0] - 1e-12:
            best = cost, label
    assert best is not None
    return sorted([int(row) for row in np.flatnonzero(best[1] == c)] for c in range(k))


def divide_channels(importance_GC: Floats, overlap: float = 0.0) -> list[list[int]]:
    """Give every channel to exactly one group, evenly, so that the importance kept is largest.

    Args:
        importance_GC: What each channel is worth to each group; scaled to a sum of 1 a group first, so that no group
            is heard louder than another.
        overlap: Share of the other groups' channels, by importance, that a group holds as well.

    Returns:
        For each group its channels, ascending; sizes differ by at most one, and no group is empty.
    """
    groups, channels = importance_GC.shape
    if channels < groups:
        raise UsageError(f"{channels} channels cannot be divided among {groups} groups: choose a smaller tree")
    share = importance_GC / np.maximum(importance_GC.sum(1, keepdims=True), 1e-300)
    slots = np.arange(channels) % groups
    rows, columns = linear_sum_assignment(-share.T[:, slots])
    owner = np.empty(channels, np.int64)
    owner[rows] = slots[columns]
    kept = [set(np.flatnonzero(owner == g).tolist()) for g in range(groups)]
    for g, own in enumerate(kept):
        others = [int(c) for c in np.argsort(-share[g], kind="stable") if c not in own]
        own.update(others[: round(overlap * len(others))])
    return [sorted(own) for own in kept]
