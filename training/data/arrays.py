"""Images that are decoded already: what publishers' files become, and numpy's as Keras and MedMNIST have them."""

import io
import tokenize
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

from splitplace.errors import ContractError, IntegrityError
from splitplace.training.data.dataset import Images, Labels
from splitplace.training.data.packed import Files
from splitplace.training.data.parts import MAX_CLASSES

_NAMES = (
    ("x_train", "y_train", "x_test", "y_test", "x_val"),
    ("train_images", "train_labels", "test_images", "test_labels", "val_images"),
)
"""What Keras (mnist.npz) and MedMNIST call their arrays; the last one is not read."""
_MOST_CHANNELS = 4
"""What cameras have; no image is so narrow."""
_DAMAGED = (ValueError, TypeError, SyntaxError, tokenize.TokenError, OverflowError, MemoryError, EOFError, OSError)
"""What numpy raises on a header or on what follows it."""


@dataclass(frozen=True)
class Arrays:
    """Decoded images and labels, each (x_NCHW uint8, y_N int64); `class_names` where the files have them."""

    train: tuple[Images, Labels]
    test: tuple[Images, Labels]
    class_names: tuple[str, ...]
    form: str = ""
    notes: tuple[str, ...] = ()


def as_labels(values: Any, name: str) -> Labels:
    """Whole numbers (n,) as numbers of classes.

    Raises:
        ContractError: One that is none: negative, as some mark what has no class, or `MAX_CLASSES` or more.
    """
    y_N = np.asarray(values)
    for number in (y_N.min(initial=0), y_N.max(initial=0)):
        if not 0 <= number < MAX_CLASSES:
            raise ContractError(
                f"{name}: got a label {number}, expected the numbers of classes, 0 to {MAX_CLASSES - 1}: leave out "
                "images that have none"
            )
    return y_N.astype(np.int64)


def read_numpy(files: Files) -> Arrays | None:
    """Four arrays as Keras or MedMNIST call them: images (n, height, width) or with channels last, labels (n,).

    In capital letters, too, as scikit-learn's users write X_train.
    """
    given = {name.lower(): name for name in array_names(files)}
    for *wanted, validation in _NAMES:
        if all(name in given for name in wanted):
            names = [name if f"{name}.npy" in files else given[name] for name in wanted]
            x_train, y_train, x_test, y_test = (_array(files[f"{name}.npy"](), name) for name in names)
            train, test = _labelled(x_train, y_train, names[0]), _labelled(x_test, y_test, names[2])
            left = f"beside training and test, the validation part ({given.get(validation)}) was not read"
            return Arrays(train, test, (), "numpy arrays", (left,) if validation in given else ())
    return None


def array_names(files: Iterable[str]) -> list[str]:
    """What numpy's arrays among these files are called."""
    return [name.removesuffix(".npy") for name in files if name.endswith(".npy")]


def _what_to_do(x: Any, y: Any) -> str:
    """For a message: how images or labels that stand otherwise become what is read."""
    if x.dtype != np.uint8:
        scaled = {"f": "0 to 1 times 255, ", "b": "times 255, "}.get(x.dtype.kind, "")
        return f": give images as bytes of 0 to 255 ({scaled}.astype('uint8'))" if x.dtype.kind in "biuf" else ""
    if y.ndim == 2:
        return ": of a column a class, y.argmax(1) is the number of each"
    if y.dtype.kind in "US":
        return ": numpy.unique(y, return_inverse=True)[1] numbers what is called by name"
    return ": give labels as y.astype('int64')" if y.dtype.kind in "bf" else ""


def _array(data: bytes, name: str) -> Any:
    try:
        array = np.load(io.BytesIO(data), allow_pickle=False)
    except _DAMAGED as error:
        raise IntegrityError(f"{name}: not a numpy array: {' '.join(str(error).split())}") from error
    if not isinstance(array, np.ndarray):
        raise IntegrityError(f"{name}: not a numpy array but an archive of several")
    return array


def _labelled(x: Any, y: Any, name: str) -> tuple[Images, Labels]:
    """Images by channel; labels in one row, as (n, 1) is taken for (n,)."""
    if y.ndim == 2 and y.shape[1] == 1:
        y = y[:, 0]
    x = x[..., None] if x.ndim == 3 else x
    if x.dtype != np.uint8 or x.ndim != 4 or y.dtype.kind not in "iu" or y.shape != x.shape[:1]:
        raise ContractError(
            f"{name}: got images {x.dtype}{list(x.shape)} and labels {y.dtype}{list(y.shape)}, expected uint8 "
            f"(n, height, width) or (n, height, width, channels) and whole numbers (n,){_what_to_do(x, y)}"
        )
    if x.shape[1] <= _MOST_CHANNELS < x.shape[3]:
        raise ContractError(
            f"{name}: got images {list(x.shape)}, channels first, expected (n, height, width, channels): "
            "x.transpose(0, 2, 3, 1) makes them that"
        )
    return np.ascontiguousarray(x.transpose(0, 3, 1, 2)), as_labels(y, name)
