"""What is read of a user's own data set before anything is decoded: its parts, its classes, what was left out."""

import re
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from splitplace.training.data.dataset import Labels

PartName = Literal["train", "test", "validation"]

MAX_CLASSES = 2**16
"""Labels go up to this: beyond, they are no classes but hashes, years or identifiers."""

_WORDS: dict[str, PartName] = {
    "train": "train",
    "training": "train",
    "test": "test",
    "testing": "test",
    "val": "validation",
    "valid": "validation",
    "validation": "validation",
    "dev": "validation",
}
_SYSTEM_NAMES = ("__MACOSX", "@eaDir", "lost+found", "$RECYCLE.BIN", "System Volume Information", "Thumbs.db")
"""What systems leave behind, beside names that begin with a dot."""


@dataclass(frozen=True)
class EncodedPart:
    """Encoded images that are still to be decoded.

    Args:
        names: What to call each in messages.
        images: The file, or its content; None where there is none.
        y_N: The class of each; -1 where it has none.
    """

    names: Sequence[str]
    images: Sequence[Path | bytes | None]
    y_N: Labels


@dataclass(frozen=True)
class Found:
    """A data set as it lies on disk.

    Args:
        form: What it is, for the data set's `source`.
        train: The images, or those for training where the user divided them.
        test: The user's held-out images, if there are any.
        class_names: One a class.
        notes: What a user should know of how it was read, a line each.
    """

    form: str
    train: EncodedPart
    test: EncodedPart | None
    class_names: tuple[str, ...]
    notes: tuple[str, ...] = field(default=())


def part_called(name: str) -> PartName | None:
    """Which part of a data set a folder or file of this name is (`Training`, `test_set`, `val`); None if none."""
    word = re.sub(r"[^a-z]", "", name.lower())
    return _WORDS.get(word) or _WORDS.get(re.sub(r"(set|data|images)$", "", word))


def parts_among(names: Collection[str], can_train: Callable[[str], bool] = lambda name: True) -> dict[str, PartName]:
    """Which of these folders or files are parts of one data set: by their names, else by what tells alike ones apart.

    `seg_train` and `seg_test` are parts; `bullet_train` beside `pregnancy_test` is a class.

    Args:
        names: Of all that lie side by side.
        can_train: Whether one may be the training part by what is in it; asked where only alike names say so.
    """
    plain = {name: part for name in names if (part := part_called(name))}
    alike: dict[tuple[str, str], dict[str, PartName]] = {}
    for name in names:
        for word in re.finditer("[A-Za-z]+", name):
            if part := part_called(word[0]):
                alike.setdefault((name[: word.start()], name[word.end() :]), {})[name] = part
    told = (parts for parts in alike.values() if all(can_train(name) for name, p in parts.items() if p == "train"))
    every = (plain, *told)
    return next((parts for parts in every if "train" in parts.values() and len(set(parts.values())) > 1), plain)


def is_hidden(path: Path) -> bool:
    """Whether a user does not see this entry: .ipynb_checkpoints, .git, ._photo.png, __MACOSX ..."""
    return path.name.startswith(".") or path.name in _SYSTEM_NAMES


def is_hidden_below(folder: Path, entry: Path) -> bool:
    """Whether a user who looks into the folder does not see this entry, or a folder on the way to it."""
    return any(is_hidden(Path(step)) for step in entry.relative_to(folder).parts)


def in_order(names: Sequence[str]) -> list[str]:
    """Class names as they are numbered: whole numbers by value (2 before 10), all else as text."""
    if all(name.isdecimal() for name in names):
        return sorted(names, key=lambda name: (int(name), name))
    return sorted(names)
