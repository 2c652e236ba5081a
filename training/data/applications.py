"""The data sets that have a name here, and how one is had: every known way in order, checked by hash."""

import logging
import os
import re
import tempfile
from collections.abc import Sequence
from pathlib import Path

from splitplace.errors import IntegrityError, NotFoundError, SplitPlaceError, UsageError, unknown
from splitplace.records.preprocessing import ImageRule
from splitplace.training.data.application import Application, Unavailable
from splitplace.training.data.arrays import Arrays
from splitplace.training.data.cifar100 import CIFAR100
from splitplace.training.data.dataset import Dataset, saved
from splitplace.training.data.fashionmnist import FASHIONMNIST
from splitplace.training.data.mnist import MNIST
from splitplace.training.data.own import load_own
from splitplace.training.data.tiny100 import TINY100

_log = logging.getLogger(__name__)

DATA_VARIABLE = "SPLITPLACE_DATA"

APPLICATIONS: dict[str, Application] = {known.name: known for known in (MNIST, FASHIONMNIST, CIFAR100, TINY100)}


def data_root() -> Path:
    """Where decoded data sets are kept: $SPLITPLACE_DATA, else ~/.cache/splitplace/data."""
    return Path(os.environ.get(DATA_VARIABLE) or Path.home() / ".cache" / "splitplace" / "data").absolute()


def check_names(applications: Sequence[str], own: bool) -> None:
    """Refuse unknown applications before anything is fetched; with `own` images any name will do.

    Raises:
        UsageError: Lists the known ones.
    """
    for application in applications:
        if application not in APPLICATIONS and not own:
            error = unknown("application", application, APPLICATIONS)
            raise NotFoundError(f"{error}, or any other name with --path to your own images")
        if not re.fullmatch("[a-z0-9][a-z0-9_-]{0,63}", application):
            raise UsageError(
                f"application {application!r:.80}: expected a name of at most 64 of a-z, 0-9, _ and -, no sign first"
            )


def fetch(
    application: str,
    root: Path | None = None,
    *,
    path: Path | None = None,
    size: int | None = None,
    rule: ImageRule | None = None,
    mirror: bool = False,
    skip_corrupt: bool = False,
) -> Dataset:
    """Get a data set: the decoded copy if there is one, else by every known way in order.

    What `path` gives is never silently replaced by anything else: images of a name of the user's own are read anew
    every time, and so are those of a known data set, to be held against the decoded copy.

    Args:
        application: One of `APPLICATIONS`, or any name with `path` (see `load_own`).
        root: Where decoded copies are kept; `data_root()` by default.
        path: The user's own images; or the files of a known data set, as its publisher distributes them, which are
            needed once.
        size: Resize own images to size x size.
        rule: Read own images as this says, which a split was trained with.
        mirror: Whether the mirror image of an own image is of the same class.
        skip_corrupt: Leave out own images that cannot be decoded.

    Raises:
        UsageError: An unknown application without `path`; a known one with a `path` that does not hold it, or holds
            another than the decoded copy, or with an option of own images.
        NotFoundError: No way gave the data; says what was tried.
        IntegrityError: The data is not what it should be.
    """
    known = APPLICATIONS.get(application)
    check_names([application], own=path is not None)
    if known is None:
        assert path is not None, "checked above"
        own = load_own(path, application, size=size, rule=rule, mirror=mirror, skip_corrupt=skip_corrupt)
        for note in own.notes:
            _log.warning("%s", note)
        return own
    for option, given in (("--size", size is not None), ("--mirror", mirror), ("--skip-corrupt", skip_corrupt)):
        if given:
            raise UsageError(f"{option} is for your own images (a name of your own and --path), {application} has none")
    folder = (root or data_root()) / application
    if saved(folder) and path is None:
        return Dataset.load(folder)
    if path is None and os.environ.get(known.variable):
        path = Path(os.environ[known.variable])
    data = _dataset(known, *(_by_any_way(known, folder) if path is None else _at(known, path)))
    if saved(folder):
        kept = Dataset.load(folder)
        if (kept.sha256, kept.train_sha256) != (data.sha256, data.train_sha256):
            raise UsageError(
                f"--path {path} holds other images than the decoded copy of {application} in {folder}, which is of "
                f"{kept.source}: leave out --path to use the copy, delete its dataset.json to use these, or give these "
                "another name"
            )
        return kept
    data.save(folder)
    return data


def copy_here(application: str) -> Dataset | None:
    """The decoded copy of a known data set, if there is one on this machine that can be read; nothing is fetched."""
    folder = data_root() / application
    if application not in APPLICATIONS or not saved(folder):
        return None
    try:
        return Dataset.load(folder)
    except SplitPlaceError as error:
        _log.warning("%s: its decoded copy is passed over: %s", application, error)
        return None


def _at(known: Application, path: Path) -> tuple[Arrays, str]:
    """What lies where the user says, and what to call it."""
    if not path.exists():
        raise NotFoundError(f"{path}: no such file or folder")
    arrays = known.on_disk(path)
    if arrays is None:
        raise NotFoundError(
            f"{path} does not hold {known.name}, expected {known.files}; give your own images another name"
        )
    return arrays, arrays.form


def _by_any_way(known: Application, folder: Path) -> tuple[Arrays, str]:
    """The publisher's files if they lie where decoded copies are kept; else by the first way that works."""
    for place in (folder, folder.parent):
        try:
            arrays = known.on_disk(place) if place.exists() else None
        except SplitPlaceError as error:  # nobody said that it is there
            _log.warning("%s: passed over what lies in %s: %s", known.name, place, error)
            continue
        if arrays is not None:
            return arrays, arrays.form
    tried: list[str] = []
    for name, get in known.ways:
        with tempfile.TemporaryDirectory(prefix="splitplace-data-") as scratch:
            try:
                return get(Path(scratch)), name
            except (Unavailable, IntegrityError) as error:
                if isinstance(error, IntegrityError):
                    _log.warning("%s: passed over %s: %s", known.name, name, error)
                tried.append(f"{name} ({error})")
    remedy = f"give --path to {known.files}" + (f", or set {known.variable} to the folder" if known.variable else "")
    if not tried:
        raise NotFoundError(f"{known.name} is in no public place: {remedy}")
    raise NotFoundError(f"{known.name} cannot be had here; tried: {'; '.join(tried)}: {remedy}")


def _dataset(known: Application, arrays: Arrays, source: str) -> Dataset:
    """These arrays as the data set they should be.

    Raises:
        IntegrityError: They are not.
    """
    got = (len(arrays.train[1]), len(arrays.test[1]))
    if got != (known.n_train, known.n_test):
        raise IntegrityError(
            f"{known.name} from {source}: got {got[0]} + {got[1]} images, expected {known.n_train} + {known.n_test}"
        )
    if arrays.class_names not in ((), known.class_names):
        raise IntegrityError(f"{known.name} from {source}: its classes are {len(arrays.class_names)} others")
    data = Dataset(known.name, *arrays.train, *arrays.test, known.class_names, source, known.mirror)
    for part, actual, stated in (
        ("held-out", data.sha256, known.sha256),
        ("training", data.train_sha256, known.train_sha256),
    ):
        if stated is not None and actual != stated:
            raise IntegrityError(f"{known.name} from {source}: {part} data has sha256 {actual}, expected {stated}")
    return data
