"""Which options of a training go together: what would have no effect, or contradicts another, is refused.

Messages name options as the command line does; a function's argument of that name is meant likewise.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from splitplace.errors import UsageError, unknown
from splitplace.splitting.semantic.pruning import compressed_variant
from splitplace.splitting.semantic.tree import parse_tree
from splitplace.training.data.dataset import Dataset
from splitplace.training.recipes.grouping import Asked, parse_groups
from splitplace.training.run import Run

STRATEGIES = ("full", "semantic", "compressed")
"""What can be trained; `layer` needs no training."""


def check_strategy(strategy: str) -> None:
    """Refuse a strategy that no training makes.

    Raises:
        NotFoundError: Lists those that one makes.
    """
    if strategy not in STRATEGIES:
        raise unknown("strategy to train", strategy, STRATEGIES)


def check_values(
    *,
    validation: float | None,
    cuts: str | Sequence[str] | None,
    budget: float | None,
) -> None:
    """Refuse shares out of range.

    Raises:
        UsageError: Names the option.
    """
    if validation is not None and not 0 <= validation < 1:
        raise UsageError(f"--validation {validation:g}: expected a share of the training images, as 0.1")
    if (cuts == "auto") != (budget is not None) or (budget is not None and not 0 < budget <= 1):
        raise UsageError("--cuts auto and --budget belong together, as --budget 0.5: half of the full model's time")


def check_belong(strategy: str, strategies: Sequence[str], **options: object) -> None:
    """Refuse options of other strategies.

    Args:
        strategy: What is trained.
        strategies: What the options are for.
        options: By name; None where not given.

    Raises:
        UsageError: Names the option and the strategies it belongs to.
    """
    for name, value in options.items():
        if value is not None and strategy not in strategies:
            raise UsageError(f"--{name} belongs to --strategy {' or '.join(strategies)}, got --strategy {strategy}")


@dataclass(frozen=True)
class TreeAsked:
    """The tree that is asked for: its shape, its classes' groups, and its cuts or the budget that chooses them.

    Args:
        shape: Children of every node, level by level.
        groups: A rule, or the classes of each group.
        cuts: The stages to cut before, where they are listed.
        budget: Of the slowest branch's time, where that chooses them.
    """

    shape: tuple[int, ...]
    groups: Asked
    cuts: Sequence[str] | None
    budget: float | None


def tree_asked(
    tree: int | str | Sequence[int] | None,
    cuts: str | Sequence[str] | None,
    groups: str | Sequence[Sequence[int | str]] | None,
    recipe: str | None,
    budget: float | None,
) -> TreeAsked:
    """What the options of a tree say together; by default, two branches by what the full model sees.

    Raises:
        UsageError: No tree, no grouping, or options that contradict each other.
    """
    if recipe == "splitnet" and groups is not None:
        raise UsageError(f"--recipe splitnet learns its groups: leave out --groups {groups}")
    for option, value in (("--tree", tree), ("--cuts", cuts), ("--groups", groups)):
        if not isinstance(value, Iterable | int | None) or (isinstance(value, int) and option != "--tree"):
            raise UsageError(f"{option} {value!r}: expected a list, or its text")
    asked = parse_groups(groups or "features") if isinstance(groups, str | None) else groups
    listed = None if cuts == "auto" else cuts.split(",") if isinstance(cuts, str) else cuts
    return TreeAsked(_tree_shape(tree, asked, listed), asked, listed, budget)


def _tree_shape(tree: int | str | Sequence[int] | None, groups: Asked, cuts: Sequence[str] | None) -> tuple[int, ...]:
    """The shape of the tree, two branches by default, held against listed groups and cuts.

    Args:
        tree: Children of every node, level by level, as (2, 2) or "2,2"; of one level, 2.
        groups: A rule, or the classes of each group.
        cuts: The stages to cut before, where they are listed.

    Raises:
        UsageError: No tree, another than the lists make, or more cuts than it has levels.
    """
    levels = [tree] if isinstance(tree, int) else tree
    text = levels if levels is None or isinstance(levels, str) else ",".join(map(str, levels))
    shape = parse_tree(text) if text is not None else None
    if not isinstance(groups, str):
        if shape is not None and shape != (len(groups),):
            raise UsageError(f"--groups lists {len(groups)} groups of one level: leave out --tree {text}")
        shape = (len(groups),)
    shape = shape or (2,)
    if len(cuts or ()) > len(shape):
        listed, asked = ",".join(cuts or ()), ",".join(map(str, shape))
        raise UsageError(
            f"--cuts {listed}: got {len(cuts or ())}, expected {len(shape)}, one for each level of --tree {asked}"
        )
    return shape


def check_full(full: Run, model: str | None, validation: float | None) -> None:
    """Refuse what contradicts a full model that is given.

    Raises:
        UsageError: Another model, or validation images for a training that is over.
    """
    theirs = full.config.request.model
    if model not in (None, theirs):
        raise UsageError(f"--full {full.path} is a run of {theirs}: leave out --model {model}, or give a run of it")
    if validation is not None:
        raise UsageError(
            f"--validation is for the full model's training, and --full {full.path} is trained (it keeps "
            f"{full.config.request.recipe.validation_share:g} of the images): leave out one of them"
        )


def check_ratio(ratio: float | None, kept: float | None) -> None:
    """Refuse a ratio that is no share, or that is to be picked where nothing is kept to pick it by.

    Args:
        ratio: Share of the channels to remove; None to have one picked.
        kept: Share of the images that a full model still to be trained keeps for validation; None where it is trained.

    Raises:
        UsageError: As said.
    """
    if ratio is not None:
        compressed_variant(ratio)
    elif kept == 0:
        raise UsageError(
            "give --ratio, or have one picked on validation images: --validation 0.1 keeps them out of the training"
        )


def check_images(full: Run, data: Dataset) -> None:
    """Refuse a full model of other images that go by the same name.

    Raises:
        UsageError: Says what may have changed.
    """
    theirs = full.config.request
    if theirs.application == data.application and theirs.data_sha256 != data.sha256:
        raise UsageError(
            f"--full {full.path} was held against other images called {data.application} than these (another --path, "
            "--size or --skip-corrupt; or images were added): train a full model on these, or leave out --full"
        )
