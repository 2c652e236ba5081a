"""Image folders: one folder a class, alone or in a folder each for training and test."""

import os
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np

from splitplace.errors import ContractError, UsageError, some
from splitplace.inference.images import image_suffixes
from splitplace.records.split import as_seen
from splitplace.training.data.packed import is_archive
from splitplace.training.data.parts import (
    EncodedPart,
    Found,
    in_order,
    is_hidden,
    is_hidden_below,
    part_called,
    parts_among,
)

_NO_CLASSES = frozenset({"image", "images", "img", "imgs", "mask", "masks", "label", "labels", "annotations", "json"})
"""What the folders of other tasks (detection, segmentation) are called."""
_TABLES = frozenset({".csv", ".tsv", ".jsonl", ".xlsx"})
"""What labels stand in where they are not the folders' names."""


def read_folder(path: Path) -> Found:
    """The images below `path` by class.

    Raises:
        UsageError: Some parts of a data set, but not training and test.
        ContractError: Fewer than two classes, a class without images, a class that training does not know.
    """
    train, test, notes = _roots(path)
    classes = _classes(train)
    class_names = tuple(in_order(list(classes)))
    if len(class_names) < 2:
        raise ContractError(
            f"{train}: {len(class_names)} class folder(s) ({', '.join(class_names) or 'none'}), expected at least 2"
            f"{_as_parts(train, test)}{_deeper(train, class_names)}{_unsorted(train)}"
        )
    if all(name.lower() in _NO_CLASSES for name in class_names):
        raise ContractError(
            f"{train}: got the folders {', '.join(class_names)}, which are no classes but pictures and what is known "
            "of them, expected a folder a class: an image's class is the name of its folder (if these are classes, "
            "rename them)"
        )
    if test is not None and not _folders(test):
        notes.append(f"{test} has no class folders, so that its {len(_files(test))} image(s) cannot be held out")
        test = None
    left_out: Counter[str] = Counter()
    parts = [_part([classes[name] for name in class_names], left_out)]
    if empty := [class_names[c] for c in np.setdiff1d(np.arange(len(class_names)), parts[0].y_N)]:
        known = some(sorted(image_suffixes()), 99)
        raise ContractError(f"{classes[empty[0]][0]}: no image in it, expected files named {known}")
    if test is not None:
        found = _classes(test)
        extra = sorted(set(found) - set(class_names))
        if extra:
            raise ContractError(f"{test}: the class {extra[0]} is not in {train}{_as_parts(train, test)}")
        parts.append(_part([found.get(name, []) for name in class_names], left_out))
        absent = [class_names[c] for c in np.setdiff1d(np.arange(len(class_names)), parts[1].y_N)]
        if len(absent) == len(class_names):
            raise ContractError(f"{test}: no image in its class folders")
        if absent:
            notes.append(f"{len(absent)} class(es) have no image in {test}: {some(absent)}")
    if left_out:
        kinds = some([f"{kind} ({n})" for kind, n in left_out.most_common()], most=5)
        notes.append(
            f"{left_out.total()} file(s) below {path} were left out, their names are not those of images: {kinds}"
        )
    astray = [entry for root in (train, test) if root is not None for entry in root.iterdir() if _leads_nowhere(entry)]
    if astray:
        notes.append(f"{len(astray)} link(s) beside the classes lead nowhere and were left out, as {min(astray)}")
    notes += _look_alike(class_names)
    notes += _nested(classes)
    if tables := [entry for root in (train, test) if root is not None for entry in _tables(root)]:
        notes.append(f"tables were not read ({some(tables)}): an image's class is the name of its folder")
    beside = [entry for root in (train, test) if root is not None for entry in _files(root)]
    if beside:
        notes.append(f"{len(beside)} image(s) stand in no class folder and were left out, as {beside[0]}")
    return Found("image folder", parts[0], parts[1] if len(parts) > 1 else None, class_names, tuple(notes))


def check_outside(path: Path, place: Path, option: str) -> None:
    """Refuse a place among class folders, of which what is written there would be one the next time.

    Raises:
        UsageError: As said.
    """
    for root in _roots(path)[:2]:
        if root is not None and place.resolve().is_relative_to(root.resolve()):
            raise UsageError(f"{option} {place} lies among the classes in {root}: choose a place outside")


def holds_images(path: Path) -> bool:
    """Whether images lie in a folder or up to three folders below it."""
    entries = (entry for depth in range(1, 5) for entry in path.glob("/".join("*" * depth)))
    return any(_is_image(entry) and not is_hidden_below(path, entry) for entry in entries)


def _roots(path: Path) -> tuple[Path, Path | None, list[str]]:
    """The folders that hold class folders: of training and of test, or `path` alone; and what was not read."""
    folders = _folders(path)
    # A class may be called alike, too (`pregnancy test` and `pregnancy train`): images lie in it, not folders.
    parts = parts_among([folder.name for folder in folders], lambda name: bool(_folders(path / name)))
    named = {part: path / name for name, part in parts.items()}
    held_out, notes = "test", list[str]()
    if "train" in named and "validation" in named and ("test" not in named or not _folders(named["test"])):
        notes.append(f"{path} has no test part with class folders: its validation part is held out")
        held_out = "validation"
        named["test"] = named.pop("validation")
    if "train" in named and "test" in named:
        others = [folder.name for folder in folders if folder not in (named["train"], named["test"])]
        if others:
            notes.append(f"beside training and {held_out}, {some(others)} of {path} was not read")
        return _inner(named["train"]), _inner(named["test"]), notes
    if folders and (("train" in named and len(named) > 1) or all(part_called(folder.name) for folder in folders)):
        missing = [name for name in ("train", "test") if name not in named]
        raise UsageError(
            f"{path}: got the folder(s) {', '.join(folder.name for folder in folders)}, but no "
            f"{' and no '.join(missing)}: expected train/CLASS/* and, held out, test/CLASS/* (rename what you have), "
            "or CLASS/* alone, of which a part is then held out (give that folder)"
        )
    return path, None, []


def _as_parts(train: Path, test: Path | None) -> str:
    """For a message: what the folders were taken for where only a likeness of their names says so."""
    if test is None or (part_called(train.name) and part_called(test.name)):
        return ""
    return f"; {train.name} and {test.name} were read as the parts of one data set: if they are classes, rename them"


def _deeper(path: Path, names: Sequence[str]) -> str:
    """For a message: the folder to give where all lies in one, as archives leave it."""
    inner = [path / name for name in names if len(_folders(path / name)) > 1]
    return f"; if they are in {inner[0]}, give that folder" if inner else ""


def _unsorted(path: Path) -> str:
    """For a message: what to do with images that lie in no class folder, their classes in a table or in their names."""
    images, tables = _files(path), _tables(path)
    packed = [] if images else [file.name for file in sorted(path.iterdir()) if file.is_file() and is_archive(file)]
    if packed:
        return f": the images in an archive ({some(packed)}) are not read: unpack it to a folder a class"
    inside = [image for folder in _folders(path) for image in _files(folder)] if tables else []
    if not images and not inside:
        return ""
    said = f", tables of labels ({some(tables)}) are not read" if tables else ""
    return f": an image's class is the name of its folder{said}: move each image into a folder of its class"


def _tables(path: Path) -> list[str]:
    """The files in a folder itself that may say what images show."""
    return sorted(str(entry) for entry in path.iterdir() if entry.suffix.lower() in _TABLES and not is_hidden(entry))


def _look_alike(class_names: Sequence[str]) -> list[str]:
    """Classes that are one to a reader: their names differ in capital letters or blanks alone."""
    alike: dict[str, list[str]] = {}
    for name in class_names:
        alike.setdefault(" ".join(name.casefold().split()), []).append(name)
    several = [" and ".join(map(repr, names)) for names in alike.values() if len(names) > 1]
    if not several:
        return []
    return [f"classes whose names differ in capital letters or blanks alone are learned apart: {some(several)}"]


def _nested(classes: Mapping[str, Sequence[Path]]) -> list[str]:
    """Class folders with the same folders of images in each, and no other images: folds of all classes, or sites."""
    inner = [
        {below.name for folder in folders for below in _folders(folder) if holds_images(below)}
        for folders in classes.values()
        if not any(_files(folder) for folder in folders)
    ]
    if len(inner) < len(classes) or len(inner[0]) < 2 or any(names != inner[0] for names in inner):
        return []
    return [
        f"{some(list(classes))} are learned as the classes, each of which holds the folders {some(sorted(inner[0]))}: "
        "if those are the classes, put the images of each in one folder"
    ]


def _inner(part: Path) -> Path:
    """The folder of a part, which archives hold in another one of the same name."""
    return part / part.name if [entry.name for entry in _folders(part)] == [part.name] else part


def _folders(path: Path) -> list[Path]:
    """The folders in a folder that a user sees."""
    return sorted(entry for entry in path.iterdir() if entry.is_dir() and not is_hidden(entry))


def _classes(path: Path) -> dict[str, list[Path]]:
    """Each class's folders: several where their names differ in nothing that is seen (é as one letter, or as two)."""
    classes: dict[str, list[Path]] = {}
    for folder in _folders(path):
        classes.setdefault(as_seen(folder.name), []).append(folder)
    return classes


def _leads_nowhere(entry: Path) -> bool:
    """Whether what it leads to is not there: perhaps a class."""
    return entry.is_symlink() and not entry.exists() and not is_hidden(entry) and not _is_image(entry)


def _files(path: Path) -> list[Path]:
    """The images in a folder itself."""
    return sorted(entry for entry in path.iterdir() if not entry.is_dir() and not is_hidden(entry) and _is_image(entry))


def _part(classes: Sequence[Sequence[Path]], left_out: Counter[str]) -> EncodedPart:
    """The images in the folders of each class, as far as there are any."""
    files: list[Path] = []
    labels: list[int] = []
    for label, folders in enumerate(classes):
        found = []
        for file in (file for folder in folders for file in _walk(folder)):
            if _is_image(file):
                found.append(file)
            else:
                left_out[file.suffix.lower() or "no ending"] += 1
        files += sorted(found)
        labels += [label] * len(found)
    return EncodedPart([str(file) for file in files], files, np.asarray(labels, np.int64))


def _walk(folder: Path) -> Iterator[Path]:
    """Every entry below that is no folder and that a user sees; what is no file (a broken link) among them.

    A link to a folder is one, unless it leads to where the walk has been or to a folder around it.
    """
    been = {_identity(above) for above in folder.resolve().parents}
    for place, folders, files in os.walk(folder, onerror=_refuse, followlinks=True):
        here = _identity(Path(place))
        if here in been:
            folders.clear()
            continue
        been.add(here)
        folders[:] = sorted(name for name in folders if not is_hidden(Path(name)))
        yield from (Path(place, name) for name in files if not is_hidden(Path(name)))


def _identity(folder: Path) -> tuple[int, int]:
    """The same for a folder and all links to it."""
    found = folder.stat()
    return found.st_dev, found.st_ino


def _refuse(error: OSError) -> None:
    """A folder that cannot be read is not left out without a word."""
    raise error


def _is_image(file: Path) -> bool:
    return file.suffix.lower() in image_suffixes()
