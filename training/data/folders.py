"""Image folders: one folder a class, alone or in a folder each for training and test."""

import os
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from splitplace.errors import ContractError, UsageError
from splitplace.inference.images import image_suffixes
from splitplace.training.data.parts import EncodedPart, Found, in_order, is_hidden, part_called, some


def read_folder(path: Path) -> Found:
    """The images below `path` by class.

    Raises:
        UsageError: Some parts of a data set, but not training and test.
        ContractError: Fewer than two classes, a class without images, a class that training does not know.
    """
    train, test, notes = _roots(path)
    class_names = tuple(in_order([entry.name for entry in _folders(train)]))
    if len(class_names) < 2:
        raise ContractError(
            f"{train}: {len(class_names)} class folder(s) ({', '.join(class_names) or 'none'}), expected at least 2"
        )
    left_out: Counter[str] = Counter()
    parts = [_part(root, class_names, left_out) for root in (train, test) if root is not None]
    if test is not None:
        extra = [entry.name for entry in _folders(test) if entry.name not in class_names]
        if extra:
            raise ContractError(f"{test}: the class {extra[0]} is not in {train}")
    if left_out:
        kinds = some([f"{kind} ({n})" for kind, n in left_out.most_common()], most=5)
        notes.append(
            f"{left_out.total()} file(s) below {path} were left out, their names are not those of images: {kinds}"
        )
    beside = [entry for root in (train, test) if root is not None for entry in _files(root)]
    if beside:
        notes.append(f"{len(beside)} image(s) stand in no class folder and were left out, as {beside[0]}")
    return Found("image folder", parts[0], parts[1] if len(parts) > 1 else None, class_names, tuple(notes))


def _roots(path: Path) -> tuple[Path, Path | None, list[str]]:
    """The folders that hold class folders: of training and of test, or `path` alone; and what was not read."""
    folders = _folders(path)
    named = {part_called(folder.name): folder for folder in folders}
    if "train" in named and "test" in named:
        others = [folder.name for folder in folders if folder not in (named["train"], named["test"])]
        notes = [f"beside training and test, {some(others)} of {path} was not read"] if others else []
        return named["train"], named["test"], notes
    if folders and None not in named:
        missing = [name for name in ("train", "test") if name not in named]
        raise UsageError(
            f"{path}: got the folder(s) {', '.join(folder.name for folder in folders)}, but no "
            f"{' and no '.join(missing)}: expected train/CLASS/* and, held out, test/CLASS/* (rename what you have), "
            "or CLASS/* alone, of which a part is then held out (give that folder)"
        )
    return path, None, []


def _folders(path: Path) -> list[Path]:
    """The folders in a folder that a user sees."""
    return sorted(entry for entry in path.iterdir() if entry.is_dir() and not is_hidden(entry))


def _files(path: Path) -> list[Path]:
    """The images in a folder itself."""
    return sorted(entry for entry in path.iterdir() if not entry.is_dir() and not is_hidden(entry) and _is_image(entry))


def _part(root: Path, class_names: tuple[str, ...], left_out: Counter[str]) -> EncodedPart:
    files: list[Path] = []
    labels: list[int] = []
    for label, name in enumerate(class_names):
        found = []
        for file in _walk(root / name):
            if _is_image(file):
                found.append(file)
            else:
                left_out[file.suffix.lower() or "no ending"] += 1
        if not found:
            raise ContractError(
                f"{root / name}: no image in it, expected files named {some(sorted(image_suffixes()), 99)}"
            )
        files += sorted(found)
        labels += [label] * len(found)
    return EncodedPart([str(file) for file in files], files, np.asarray(labels, np.int64))


def _walk(folder: Path) -> Iterator[Path]:
    """Every entry below that is no folder and that a user sees; what is no file (a broken link) among them."""
    for place, folders, files in os.walk(folder):
        folders[:] = [name for name in folders if not is_hidden(Path(name))]
        yield from (Path(place, name) for name in files if not is_hidden(Path(name)))


def _is_image(file: Path) -> bool:
    return file.suffix.lower() in image_suffixes()
