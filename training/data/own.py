"""Bring your own images: a folder with one folder a class, Parquet, or what publishers of data sets distribute."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from splitplace.errors import ContractError, NotFoundError, SplitPlaceError, UsageError, some
from splitplace.inference.images import fit_image
from splitplace.records.preprocessing import ImageRule
from splitplace.training.data.arrays import Arrays, array_names
from splitplace.training.data.dataset import (
    Dataset,
    Images,
    Labels,
    Rows,
    digests,
    first_copies,
    split_by_seed,
)
from splitplace.training.data.decoded import decode_part, with_channels
from splitplace.training.data.folders import check_outside, holds_images, read_folder
from splitplace.training.data.packed import files_in, is_archive
from splitplace.training.data.parquet import read_parquet
from splitplace.training.data.publishers import read_published, read_published_below
from splitplace.training.data.tables import is_table, table_files

MAX_SIZE = 4096
FEW_LEVELS = 32
"""Of 256: a data set whose pixels lie in fewer has hardly anything to tell apart."""


def load_own(
    path: Path,
    application: str,
    *,
    size: int | None = None,
    rule: ImageRule | None = None,
    test_share: float = 0.2,
    seed: int = 0,
    mirror: bool = False,
    skip_corrupt: bool = False,
    unseen: bool = False,
) -> Dataset:
    """Read a data set of the user's own, every image by `splitplace.inference.images`, as `infer` reads it later.

    Args:
        path: A folder `train/CLASS/*` + `test/CLASS/*` (or as people call these), or `CLASS/*` (split by seed); Parquet
            as `read_parquet` takes it; or the files of a publisher, as `read_published` takes them.
        application: The name the data set will bear.
        size: Resize to size x size; without it all images must have one size.
        rule: Read them as this says, which a split was trained with; instead of `size`.
        test_share: Share of every class to hold out where the user gives no test part.
        seed: Of that draw; not a training's, so that all seeds of one are held against the same images.
        mirror: Whether mirror images keep their class (training may then flip).
        skip_corrupt: Leave out images that cannot be read, and rows without an image or label; `source` says how many.
        unseen: Nothing is to be trained on these: all are held-out images (and training images, in name).

    Raises:
        UsageError: Nothing of that form at `path`, or a size of no pixels.
        ContractError: Images of different sizes, one class only, a class without images, nothing to hold out.
        IntegrityError: Images that cannot be read, each named.
    """
    if size is not None and not 1 <= size <= MAX_SIZE:
        raise UsageError(f"--size {size}: expected 1 to {MAX_SIZE} pixels")
    if not path.exists():
        raise NotFoundError(f"{path}: no such file or folder")
    notes: list[str] = []
    published = _published(path, notes)
    if published is not None:
        place, arrays = published
        return _of_arrays(arrays, application, place, size, rule, mirror, notes)
    if path.is_file() and not is_table(path):
        names = array_names(files_in(path)) if is_archive(path) else []
        if names:
            raise UsageError(
                f"{path}: got the arrays {some(names)}, expected x_train, y_train, x_test and y_test: save them by "
                "numpy.savez under these names, a part of them held out"
            )
        raise UsageError(
            f"{path}: {'no data set in this archive: unpack it' if is_archive(path) else 'not a data set'}: expected a "
            "folder of class folders, Parquet or Arrow, or a publisher's archive (IDX or CIFAR's files; or .npz with "
            "x_train, y_train, x_test and y_test)"
        )
    in_tables = bool(table_files(path))
    found = read_parquet(path) if in_tables else read_folder(path)
    parts = [found.train] if found.test is None else [found.train, found.test]
    decoded = [decode_part(part, size, rule, skip_corrupt) for part in parts]
    channels = max(part.x_NCHW.shape[1] for part in decoded)
    images = [with_channels(part.x_NCHW, channels) for part in decoded]
    labels = [part.y_N[kept.rows] for part, kept in zip(parts, decoded, strict=True)]
    notes += [*found.notes, *_renumbered(found.class_names)]
    if in_tables and path.is_dir() and holds_images(path):
        notes.append(f"beside Parquet, the image files below {path} were not read: give their folder to have those")
    if unseen:
        images, labels = [np.concatenate(images)] * 2, [np.concatenate(labels)] * 2
        how = "all of it"
    elif found.test is None:
        train, test = _hold_out(images[0], labels[0], test_share, seed, path, found.class_names, notes)
        images, labels = [images[0][train], images[0][test]], [labels[0][train], labels[0][test]]
        how = f"{test_share:g} of every class held out by seed {seed}"
    else:
        how = "train and test as given"
        seen = set(digests(images[0]))
        twice = sum(digest in seen for digest in digests(images[1]))
        if twice:
            notes.append(f"{twice} of {len(labels[1])} held-out images of {path} are training images, too")
    if paged := [name for part in decoded for name in part.paged]:
        notes.append(f"{len(paged)} file(s) hold several pictures, of which the first was read: {some(paged)}")
    notes += _faint(images[0])
    skipped = sum(len(part.unreadable) for part in decoded)
    if skipped:
        how += f", {skipped} unreadable image(s) skipped"
    return Dataset(
        application=application,
        x_train_NCHW=images[0],
        y_train_N=labels[0],
        x_test_NCHW=images[1],
        y_test_N=labels[1],
        class_names=found.class_names,
        source=f"{found.form} {path.name} ({how})",
        mirror=mirror,
        notes=tuple(notes),
    )


def check_apart(path: Path, place: Path, option: str) -> None:
    """Refuse to write a folder among the class folders of own images, of which it would be one the next time.

    Args:
        path: Own images, as `load_own` takes them.
        place: Where something is to be written.
        option: What to call that in the message.

    Raises:
        UsageError: As said.
    """
    inside = path.is_dir() and place.resolve().is_relative_to(path.resolve())
    if inside and holds_images(path) and not table_files(path):
        check_outside(path, place, option)


def _published(path: Path, notes: list[str]) -> tuple[Path, Arrays] | None:
    """What a publisher distributes, and where it lies: at `path`, or below it where neither images nor Parquet do.

    Of such that cannot be read beside images or Parquet, a note says so; of these beside such that can, too.
    """
    beside = "" if path.is_file() else "image files" if holds_images(path) else "Parquet" if table_files(path) else ""
    try:
        arrays = read_published(path)
    except SplitPlaceError as error:
        if not beside:
            raise
        notes.append(f"beside {beside}, what seems to be a publisher's was left out: {error}")
        return None
    if arrays is not None:
        if beside:
            notes.append(f"beside {arrays.form}, the {beside} below {path} were not read: give a folder without those")
        return path, arrays
    return None if path.is_file() or beside else read_published_below(path)


def _hold_out(
    x_NCHW: Images,
    y_N: Labels,
    test_share: float,
    seed: int,
    path: Path,
    class_names: Sequence[str],
    notes: list[str],
) -> tuple[Rows, Rows]:
    """Rows to train on and to hold out; copies of an image stay together."""
    first = first_copies(x_NCHW)
    copies = int((first != np.arange(len(first))).sum())
    train, test = split_by_seed(y_N, test_share, seed, first)
    if len(test):
        where = "each on the side of its original"
    else:
        where = "too many to hold any out apart, so that held-out accuracy says nothing"
        train, test = split_by_seed(y_N, test_share, seed)
    if not len(test):
        raise ContractError(
            f"{path}: one image a class, of which none can be held out: add images, or give others as test/CLASS/*"
        )
    if copies:
        notes.append(f"{copies} of {len(y_N)} images of {path} are copies of others: {where}")
    differ = int((y_N[first] != y_N).sum())
    if differ:
        notes.append(f"{differ} of them are in another class than their original")
    absent = [class_names[c] for c in np.setdiff1d(y_N, y_N[test])]
    if absent:
        notes.append(f"{len(absent)} class(es) of {path} have no held-out image, for want of a second: {some(absent)}")
    return train, test


def _of_arrays(
    arrays: Arrays,
    application: str,
    path: Path,
    size: int | None,
    rule: ImageRule | None,
    mirror: bool,
    notes: Sequence[str],
) -> Dataset:
    """What a publisher's files hold, which is decoded already."""
    (x_train, y_train), (x_test, y_test) = arrays.train, arrays.test
    names = arrays.class_names
    if not names:  # the numbers that occur: some publishers count from 1
        numbers = np.unique(np.concatenate([y_train, y_test]))
        names = tuple(str(number) for number in numbers)
        y_train, y_test = np.searchsorted(numbers, y_train), np.searchsorted(numbers, y_test)
    if size is not None and rule is None:
        rule = ImageRule(channels=1 if x_train.shape[1] == 1 else 3, height=size, width=size)
    if rule is not None:
        x_train, x_test = (np.stack([fit_image(_picture(x_CHW), rule) for x_CHW in x]) for x in (x_train, x_test))
    return Dataset(
        application=application,
        x_train_NCHW=x_train,
        y_train_N=y_train,
        x_test_NCHW=x_test,
        y_test_N=y_test,
        class_names=names,
        source=f"{arrays.form} {path.name}",
        mirror=mirror,
        notes=(*notes, *arrays.notes, *_renumbered(names), *_faint(x_train)),
    )


def _renumbered(class_names: Sequence[str]) -> list[str]:
    """For those who go by numbers: which class is which, where the classes are called by other numbers."""
    numbers = [name.lstrip("0") or "0" for name in class_names if name.isdecimal()]
    if len(numbers) < len(class_names) or numbers == [str(c) for c in range(len(class_names))]:
        return []
    shown = some([f"{c} is the class {name!r}" for c, name in enumerate(class_names)])
    return [f"classes are numbered from 0 on, whatever they are called: {shown}"]


def _faint(x_NCHW: Images) -> list[str]:
    """Where nearly all of the 256 levels are unused, as of 12 bits that were saved as 16."""
    low, high = int(x_NCHW.min()), int(x_NCHW.max())
    if high - low >= FEW_LEVELS:
        return []
    return [
        f"all pixels of the training images are between {low} and {high} of 0 to 255, which leaves little to tell "
        "apart (16 bits become 8: 12 bits in a file of 16 lose all but 16 levels): stretch their values before"
    ]


def _picture(x_CHW: Images) -> Image.Image:
    return Image.fromarray(x_CHW[0] if len(x_CHW) == 1 else x_CHW.transpose(1, 2, 0))
