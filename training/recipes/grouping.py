"""How classes are grouped: by what the teacher sees or confuses, as the user says, or by meaningless controls."""

from collections import Counter
from collections.abc import Sequence
from numbers import Integral
from typing import Literal, get_args

import numpy as np
import torch
from torch import Tensor, nn

from splitplace.errors import NotFoundError, UsageError, some, unknown
from splitplace.records.split import as_seen
from splitplace.seeds import generator
from splitplace.splitting.semantic.branches import Batch
from splitplace.splitting.semantic.dependencies import last_layer
from splitplace.splitting.semantic.tree import ClassTree, consecutive_tree, given_tree, random_tree, tree_from_features

Rule = Literal["features", "confusions", "consecutive", "random"]
RULES: tuple[Rule, ...] = get_args(Rule)
Grouping = Rule | Sequence[Sequence[int]]
Asked = Rule | Sequence[Sequence[str | int]]
"""As somebody writes it: classes by name or number (a number that is no text is always one)."""

_SOFTNESS = 4.0
"""Temperature of the answers that count as confusions: a trained network's are too sure of its own training images."""


def parse_groups(text: str) -> Asked:
    """One of `RULES`, or lists of classes as `cat,dog/car,ship` or `0,1,2/3,4`.

    Raises:
        UsageError: None of these.
    """
    if text in RULES:
        return text
    parts = [[c.strip() for c in group.split(",")] for group in text.split("/")]
    if len(parts) < 2 or not all(c for group in parts for c in group):
        raise UsageError(f"groups {text!r}: expected {', '.join(RULES)}, or classes as cat,dog/car,ship or 0,1,2/3,4")
    return parts


def numbered(asked: Asked, class_names: Sequence[str]) -> Grouping:
    """Groups by the classes' numbers; a name is what it says, also where it looks like a number.

    Raises:
        UsageError: A class that is not there, or in no group, or in two.
    """
    if isinstance(asked, str):
        for rule in RULES:
            if asked == rule:
                return rule
    if any(isinstance(group, str) or not isinstance(group, Sequence) for group in asked):
        raise UsageError(f'groups {list(asked)}: expected the classes of each group, as [["cat", "dog"], ["car"]]')
    numbers = {as_seen(name): c for c, name in enumerate(class_names)}
    if not any(name.isdecimal() for name in class_names):
        numbers = {str(c): c for c in range(len(class_names))} | numbers
    for c in (c for group in asked for c in group):
        if not isinstance(c, str | Integral):
            raise UsageError(f"groups: {c!r} of {type(c).__name__}, expected classes by their names or numbers")
        if isinstance(c, str) and as_seen(c) not in numbers:
            raise NotFoundError(f"groups: no class {c!r}, expected of {', '.join(class_names)}")
    found = [[numbers[as_seen(c)] if isinstance(c, str) else int(c) for c in group] for group in asked]
    counts = Counter(c for group in found for c in group)
    for wrong, classes in (
        ("leave out", [name for c, name in enumerate(class_names) if not counts[c]]),
        ("list twice", [class_names[c] for c, count in sorted(counts.items()) if count > 1 and c < len(class_names)]),
    ):
        if classes:
            raise UsageError(f"groups {wrong} {some(classes)}: expected every class in one group")
    return found


def class_tree(
    teacher: nn.Sequential, sample: Sequence[Batch], shape: Sequence[int], groups: Grouping, seed: int
) -> ClassTree:
    """The tree of classes.

    Args:
        teacher: The full model, in eval mode.
        sample: Training images, one batch a class, in the order of the classes.
        shape: Children of every node, level by level.
        groups: The rule, or the groups.
        seed: Of clustering and of `random`.

    Raises:
        UsageError: An unknown rule, or groups that do not divide the classes.
    """
    rng = generator(seed, "semantic", "groups")
    if not isinstance(groups, str):
        return given_tree(groups, len(sample))
    if groups == "consecutive":
        return consecutive_tree(len(sample), shape)
    if groups == "random":
        return random_tree(len(sample), shape, rng)
    if groups not in RULES:
        raise unknown("grouping", groups, [*RULES, "lists of classes"])
    describe = _features if groups == "features" else _confusions
    with torch.no_grad():
        rows = [describe(teacher, batch.x_B).double().mean(0).numpy() for batch in sample]
    return tree_from_features(np.stack(rows), shape, rng)


def _confusions(teacher: nn.Sequential, image_BCHW: Tensor) -> Tensor:
    """How probable the teacher finds each class, softened [B,K]."""
    logits_BK: Tensor = teacher(image_BCHW)
    return (logits_BK / _SOFTNESS).softmax(1)


def _features(teacher: nn.Sequential, image_BCHW: Tensor) -> Tensor:
    """What the last layer reads: one vector an image [B,D]."""
    last = last_layer(teacher, image_BCHW[:1])
    seen: list[Tensor] = []
    handle = last.register_forward_pre_hook(lambda layer, args: seen.append(args[0].flatten(1)))
    try:
        teacher(image_BCHW)
    finally:
        handle.remove()
    return seen[0]
