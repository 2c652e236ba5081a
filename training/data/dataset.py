"""A data set as one frozen value in memory, and its decoded copy on disk."""

import hashlib
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import BinaryIO, ClassVar, Literal

import numpy as np
import numpy.typing as npt

from splitplace.errors import ContractError, IntegrityError, SplitPlaceError, some
from splitplace.files import replace_file
from splitplace.records import formats
from splitplace.records.base import Name, PositiveCount, Record
from splitplace.records.formats import Format
from splitplace.records.fragment import TensorSpec
from splitplace.records.preprocessing import ImageRule
from splitplace.records.split import MAX_CLASS_NAME
from splitplace.seeds import generator

Images = npt.NDArray[np.uint8]
Labels = npt.NDArray[np.int64]
Rows = npt.NDArray[np.int64]

MAX_DECODED_BYTES = 8 * 2**30
"""A data set lives in memory; a larger one is refused before it is decoded."""

_ARRAYS = ("x_train_NCHW", "y_train_N", "x_test_NCHW", "y_test_N")
_CARD = "dataset.json"


class Card(Record):
    """What the decoded copy of a data set says about itself."""

    file_format: ClassVar[Format | None] = formats.DATASET
    format: Literal[1] = 1
    application: Name
    class_names: tuple[str, ...]
    source: str
    mirror: bool
    n_train: PositiveCount
    n_test: PositiveCount
    sha256: str
    train_sha256: str


@dataclass(frozen=True, eq=False)
class Dataset:
    """Training and held-out images of one application.

    Args:
        application: Its name.
        x_train_NCHW: Training images, uint8.
        y_train_N: Their classes, int64, 0..K-1.
        x_test_NCHW: Held-out images, uint8; nothing is ever fitted to them.
        y_test_N: Their classes.
        class_names: One a class.
        source: Where the images came from.
        mirror: Whether an image's mirror image is of the same class (a shirt's is, a 2's is not).
        notes: What a user should know of how it was read, a line each.

    Raises:
        SplitPlaceError: The arrays do not fit together, hold a single class, or a class without a training image; or a
            class has no name that a record takes.
    """

    application: str
    x_train_NCHW: Images
    y_train_N: Labels
    x_test_NCHW: Images
    y_test_N: Labels
    class_names: tuple[str, ...]
    source: str
    mirror: bool = False
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for name in self.class_names:
            if not 1 <= len(name) <= MAX_CLASS_NAME or any("\ud800" <= letter <= "\udfff" for letter in name):
                raise ContractError(
                    f"{self.application}: the class name {name!r:.80}: expected text in UTF-8 of 1 to {MAX_CLASS_NAME} "
                    "letters: rename it"
                )
        for part, x, y in (("train", self.x_train_NCHW, self.y_train_N), ("test", self.x_test_NCHW, self.y_test_N)):
            where = f"{self.application}: {part}"
            if x.dtype != np.uint8 or x.ndim != 4 or y.dtype != np.int64 or y.shape != x.shape[:1] or not len(x):
                raise ContractError(
                    f"{where}: got images {x.dtype}{list(x.shape)} and labels {y.dtype}{list(y.shape)}, "
                    "expected uint8 [N,C,H,W] and int64 [N] with N > 0"
                )
            if y.min() < 0 or y.max() >= self.n_classes:
                raise ContractError(
                    f"{where}: labels {y.min()}..{y.max()}, expected 0..{self.n_classes - 1} ({self.n_classes} classes)"
                )
        if self.x_train_NCHW.shape[1:] != self.x_test_NCHW.shape[1:]:
            raise ContractError(
                f"{self.application}: training images are {list(self.x_train_NCHW.shape[1:])}, "
                f"held-out images {list(self.x_test_NCHW.shape[1:])}: expected one shape"
            )
        if len(np.unique(self.y_train_N)) < 2:
            name = self.class_names[self.y_train_N[0]]
            raise ContractError(
                f"{self.application}: one class only has training images ({name}), expected at least 2 to tell apart"
            )
        absent = [self.class_names[c] for c in np.setdiff1d(np.arange(self.n_classes), self.y_train_N)]
        if absent:
            raise ContractError(
                f"{self.application} ({self.source}): no training image of the class(es) {some(absent)}: "
                "expected at least one of every class; add some, or leave the class out"
            )

    @property
    def n_classes(self) -> int:
        """How many classes there are."""
        return len(self.class_names)

    @property
    def shape_CHW(self) -> tuple[int, int, int]:  # noqa: N802 - shape suffix
        """Channels, height and width of every image."""
        c, h, w = self.x_train_NCHW.shape[1:]
        return c, h, w

    @property
    def input_spec(self) -> TensorSpec:
        """The raw input every fragment that reads images takes: `image`, uint8 [batch,C,H,W]."""
        shape: tuple[int | Literal["batch"], ...] = ("batch", *self.shape_CHW)
        return TensorSpec(name="image", dtype="uint8", shape=shape)

    @property
    def image_rule(self) -> ImageRule | None:
        """How an image file becomes one of these; None where they have neither one nor three channels."""
        channels, height, width = self.shape_CHW
        if channels not in (1, 3):
            return None
        return ImageRule(channels=1 if channels == 1 else 3, height=height, width=width)

    @cached_property
    def sha256(self) -> str:
        """Of the decoded held-out images and labels: two evaluations with one hash saw the same data."""
        return _hash(self.x_test_NCHW, self.y_test_N)

    @cached_property
    def train_sha256(self) -> str:
        """Of the decoded training images and labels."""
        return _hash(self.x_train_NCHW, self.y_train_N)

    def training_rows(self, validation_share: float) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        """Rows of the training images to train on and to validate on: the same for every seed and strategy.

        So a model cut out of another is never validated on what the other was trained on. Copies of an image are on the
        side of its first, unless that leaves a class none to train on, or none at all to validate on.
        """
        every = np.arange(len(self.y_train_N))
        if validation_share == 0:
            return every, every[:0]
        train, drawn = split_by_seed(self.y_train_N, validation_share, seed=0)
        held_N = np.isin(self._first_copies_N, drawn)
        untrained = np.setdiff1d(self.y_train_N, self.y_train_N[~held_N])  # classes of copies alone: as drawn
        held_N = np.where(np.isin(self.y_train_N, untrained), np.isin(every, drawn), held_N)
        return (every[~held_N], every[held_N]) if held_N.any() else (train, drawn)

    @cached_property
    def _first_copies_N(self) -> Rows:  # noqa: N802 - shape suffix
        return first_copies(self.x_train_NCHW)

    @cached_property
    def mean_std_C(self) -> tuple[tuple[float, ...], tuple[float, ...]]:  # noqa: N802 - shape suffix
        """Mean and standard deviation of each channel of the training images, on a scale of 0..1."""
        levels = np.arange(256) / 255
        means, stds = [], []
        for c in range(self.shape_CHW[0]):
            # Exact from the histogram, without a float copy of the images.
            share = np.bincount(self.x_train_NCHW[:, c].ravel(), minlength=256) / self.x_train_NCHW[:, c].size
            mean = float(share @ levels)
            means.append(mean)
            stds.append(max(float(np.sqrt(share @ (levels - mean) ** 2)), 1 / 255))
        return tuple(means), tuple(stds)

    def save(self, folder: Path) -> None:
        """Keep the decoded arrays in `folder`, beside what else lies there: it may be what they were decoded from.

        The card is written last: an interrupted save leaves no copy.
        """
        card = Card(
            application=self.application,
            class_names=self.class_names,
            source=self.source,
            mirror=self.mirror,
            n_train=len(self.y_train_N),
            n_test=len(self.y_test_N),
            sha256=self.sha256,
            train_sha256=self.train_sha256,
        )
        try:
            (folder / _CARD).unlink(missing_ok=True)
            for name in _ARRAYS:
                replace_file(folder / f"{name}.npy", partial(_write, getattr(self, name)))
            replace_file(folder / _CARD, card.model_dump_json(indent=2) + "\n")
        except OSError as error:
            raise SplitPlaceError(
                f"cannot write {folder} ({error.strerror or error}): make room and try again"
            ) from error

    @staticmethod
    def load(folder: Path) -> "Dataset":
        """Read back what `save` kept.

        Raises:
            IntegrityError: The arrays are not what was saved.
        """
        card = Card.parse((folder / _CARD).read_bytes(), str(folder / _CARD))
        remedy = f"delete {folder / _CARD} and fetch again"
        try:
            arrays = {name: np.load(folder / f"{name}.npy", allow_pickle=False) for name in _ARRAYS}
            data = Dataset(
                application=card.application,
                class_names=card.class_names,
                source=card.source,
                mirror=card.mirror,
                **arrays,
            )
        except (OSError, ValueError) as error:
            raise IntegrityError(f"{folder}: damaged ({error}): {remedy}") from error
        for part, actual, expected in (
            ("training", data.train_sha256, card.train_sha256),
            ("held-out", data.sha256, card.sha256),
        ):
            if actual != expected:
                raise IntegrityError(f"{folder}: {part} data has sha256 {actual}, expected {expected}: {remedy}")
        return data


def saved(folder: Path) -> bool:
    """Whether a decoded copy stands in `folder`."""
    return (folder / _CARD).is_file()


def split_by_seed(y_N: Labels, test_share: float, seed: int, first_N: Rows | None = None) -> tuple[Rows, Rows]:
    """Rows for training and for testing, `test_share` of every class held out, drawn by `seed`.

    Args:
        y_N: The classes.
        test_share: Share of the different images of every class to hold out.
        seed: Of the draw.
        first_N: For every row the first that is the same image (`first_copies`): they go where that one goes.

    Returns:
        Two sorted arrays of row numbers, disjoint, together all rows.
    """
    rng = generator(seed, "data", "split")
    every = np.arange(len(y_N))
    first_N = every if first_N is None else first_N
    test: list[Rows] = []
    for c in np.unique(y_N):
        rows = rng.permutation(np.flatnonzero((y_N == c) & (first_N == every)))
        # At least one on either side; of a single image, none for testing.
        test.append(rows[: max(0, min(len(rows) - 1, max(1, round(test_share * len(rows)))))])
    held_out = np.flatnonzero(np.isin(first_N, np.concatenate(test)))
    return np.setdiff1d(every, held_out), held_out


def digests(x_NCHW: Images) -> list[bytes]:
    """One for every image; two are equal if the images are."""
    return [hashlib.sha256(np.ascontiguousarray(x_CHW).data).digest() for x_CHW in x_NCHW]


def first_copies(x_NCHW: Images) -> Rows:
    """For every image the row of the first that is equal to it: its own, unless it is a copy."""
    seen: dict[bytes, int] = {}
    return np.array([seen.setdefault(digest, row) for row, digest in enumerate(digests(x_NCHW))], np.int64)


def _write(array: Images | Labels, file: BinaryIO) -> None:
    np.save(file, array, allow_pickle=False)


def _hash(x_NCHW: Images, y_N: Labels) -> str:
    digest = hashlib.sha256(f"uint8{list(x_NCHW.shape)} int64{list(y_N.shape)}\n".encode())
    digest.update(np.ascontiguousarray(x_NCHW).data)
    digest.update(np.ascontiguousarray(y_N, dtype="<i8").data)
    return digest.hexdigest()
