"""Data sets as their publishers distribute them: MNIST's IDX files, CIFAR's files, binary or Python's, numpy arrays.

Archives and packed files are read as they are (`packed.py`). Python's pickles are read without running them.
"""

import io
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from splitplace.errors import ContractError, IntegrityError, UsageError
from splitplace.training.data.dataset import Images, Labels
from splitplace.training.data.literals import Call, literals
from splitplace.training.data.packed import Files, files_in, is_archive
from splitplace.training.data.parts import is_hidden, some

_IDX_IMAGES = re.compile(r"(?:(?P<set>.+)-)?(?P<part>train|t10k|test)-images[-.]idx3-ubyte")
_NUMPY = (("x_train", "y_train", "x_test", "y_test"), ("train_images", "train_labels", "test_images", "test_labels"))
"""What Keras (mnist.npz) and MedMNIST call their arrays."""
_CIFAR_SIDE, _CIFAR_PIXELS = 32, 3 * 32 * 32
_CIFAR_LABELS = (b"fine_labels", b"labels")


@dataclass(frozen=True)
class Arrays:
    """Decoded images and labels, each (x_NCHW uint8, y_N int64); `class_names` where the files have them."""

    train: tuple[Images, Labels]
    test: tuple[Images, Labels]
    class_names: tuple[str, ...]
    form: str = ""


def read_published(path: Path) -> Arrays | None:
    """The data set in a folder or archive, if it is one of the forms that publishers use; None if not.

    Raises:
        UsageError: Several data sets in one folder.
        IntegrityError: Its files are damaged, or some of them are missing.
    """
    if path.is_file() and not is_archive(path):
        return None
    files = files_in(path)
    for read in (read_idx, read_cifar_binary, read_cifar_python, read_numpy):
        found = read(files)
        if found is not None:
            return found
    return None


def read_published_below(path: Path) -> tuple[Path, Arrays] | None:
    """The one data set of such a form in a folder of folders, as torchvision's `root` is, up to two below; and where.

    Archives are only looked into where nothing is unpacked.

    Raises:
        UsageError: There are several.
        IntegrityError: As `read_published`.
    """
    inner = _folders(path)
    inner += [below for folder in inner for below in _folders(folder)]
    archives = [file for file in sorted(path.iterdir()) if file.is_file() and is_archive(file)]
    for places in (inner, archives):
        found = [(place, arrays) for place in places if (arrays := read_published(place)) is not None]
        if len(found) > 1:
            names = some(sorted(str(place.relative_to(path)) for place, _ in found))
            raise UsageError(f"{path}: several data sets below it ({names}): give one of them")
        if found:
            return found[0]
    return None


def _folders(path: Path) -> list[Path]:
    return sorted(entry for entry in path.iterdir() if entry.is_dir() and not is_hidden(entry))


def read_idx(files: Files) -> Arrays | None:
    """MNIST's form (also Fashion-MNIST's, KMNIST's, EMNIST's): train-images-idx3-ubyte and so on."""
    found = [(match["set"], match["part"], name) for name in files if (match := _IDX_IMAGES.fullmatch(name))]
    if not found:
        return None
    found = [entry for entry in found if entry[0] is None] or found  # MNIST's own among others
    if len(sets := sorted({of or "" for of, _, _ in found})) > 1:
        raise UsageError(f"several data sets in one folder ({some(sets)}): give a folder with the files of one")
    images = {part: name for _, part, name in found}
    held_out = next((part for part in ("t10k", "test") if part in images), None)
    if "train" not in images or held_out is None:
        raise IntegrityError(
            f"got {some(sorted(images.values()))} but no images for {'testing' if held_out is None else 'training'}, "
            "expected both with their labels: the download is not whole"
        )
    parts = []
    for name in (images["train"], images[held_out]):
        labels = name.replace("images", "labels").replace("idx3", "idx1")
        if labels not in files:
            raise IntegrityError(f"{name}: no {labels} beside it")
        x_NHW, y_N = _idx(files[name](), 3, name), _idx(files[labels](), 1, labels)
        if len(x_NHW) != len(y_N):
            raise IntegrityError(f"{name}: {len(x_NHW)} images, but {len(y_N)} labels in {labels}")
        parts.append((x_NHW[:, None].copy(), y_N.astype(np.int64)))
    return Arrays(parts[0], parts[1], (), "IDX files")


def read_cifar_binary(files: Files) -> Arrays | None:
    """CIFAR's binary version: train.bin and test.bin (100 classes), or data_batch_*.bin and test_batch.bin (10)."""
    if {"train.bin", "test.bin"} <= set(files):
        names, labels, listed = ["train.bin"], 2, "fine_label_names.txt"
        held_out = "test.bin"
    elif "test_batch.bin" in files:
        names = _batches(files, ".bin")
        labels, listed, held_out = 1, "batches.meta.txt", "test_batch.bin"
    else:
        return None
    parts = [
        _cifar_records(b"".join(files[name]() for name in group), labels, group[0]) for group in (names, [held_out])
    ]
    class_names = tuple(files[listed]().decode().split()) if listed in files else ()
    return Arrays(parts[0], parts[1], class_names, "CIFAR binary files")


def read_cifar_python(files: Files) -> Arrays | None:
    """CIFAR's Python version, which torchvision keeps: train, test and meta (100 classes), or data_batch_* (10)."""
    if {"train", "test"} <= set(files):
        groups, meta, key = (["train"], ["test"]), "meta", b"fine_label_names"
    elif "test_batch" in files:
        groups, meta, key = (_batches(files, ""), ["test_batch"]), "batches.meta", b"label_names"
    else:
        return None
    parts = []
    for group in groups:
        read = [_cifar_pickle(files[name](), name) for name in group]
        parts.append((np.concatenate([x for x, _ in read]), np.concatenate([y for _, y in read])))
    names = _entries(literals(files[meta](), meta), meta).get(key, []) if meta in files else []
    return Arrays(parts[0], parts[1], tuple(_text(name) for name in names), "CIFAR Python files")


def read_numpy(files: Files) -> Arrays | None:
    """Four arrays as Keras or MedMNIST call them: images (n, height, width) or with channels last, labels (n,)."""
    for names in _NUMPY:
        if all(f"{name}.npy" in files for name in names):
            x_train, y_train, x_test, y_test = (_array(files[f"{name}.npy"](), name) for name in names)
            train, test = _labelled(x_train, y_train, names[0]), _labelled(x_test, y_test, names[2])
            return Arrays(train, test, (), "numpy arrays")
    return None


def _array(data: bytes, name: str) -> Any:
    try:
        return np.load(io.BytesIO(data), allow_pickle=False)
    except (ValueError, EOFError, OSError) as error:
        raise IntegrityError(f"{name}: not a numpy array: {' '.join(str(error).split())}") from error


def _labelled(x: Any, y: Any, name: str) -> tuple[Images, Labels]:
    """Images by channel; labels in one row, as (n, 1) is taken for (n,)."""
    if y.ndim == 2 and y.shape[1] == 1:
        y = y[:, 0]
    x = x[..., None] if x.ndim == 3 else x
    if x.dtype != np.uint8 or x.ndim != 4 or y.dtype.kind not in "iu" or y.shape != x.shape[:1]:
        raise ContractError(
            f"{name}: got images {x.dtype}{list(x.shape)} and labels {y.dtype}{list(y.shape)}, expected uint8 "
            "(n, height, width) or (n, height, width, channels) and whole numbers (n,)"
        )
    return np.ascontiguousarray(x.transpose(0, 3, 1, 2)), y.astype(np.int64)


def _batches(files: Files, ending: str) -> list[str]:
    """CIFAR-10's training files, which are numbered from 1."""
    numbers = sorted(int(m[1]) for name in files if (m := re.fullmatch(rf"data_batch_(\d+){re.escape(ending)}", name)))
    if numbers != list(range(1, 1 + len(numbers))) or not numbers:
        raise IntegrityError(
            f"test_batch{ending}: got the training batches {', '.join(map(str, numbers)) or 'none'} beside it, "
            f"expected data_batch_1{ending} and so on, without a gap: the download is not whole"
        )
    return [f"data_batch_{number}{ending}" for number in numbers]


def _idx(data: bytes, dimensions: int, name: str) -> Images:
    """An IDX file of bytes: a magic number that says how many dimensions, their sizes, the values."""
    head = np.frombuffer(data[: 4 * (1 + dimensions)], ">u4")
    if len(head) != 1 + dimensions or head[0] != 0x0800 + dimensions or len(data) != 4 * len(head) + head[1:].prod():
        raise IntegrityError(f"{name}: not an IDX file of {dimensions} dimension(s), or cut off ({len(data)} bytes)")
    return np.frombuffer(data, np.uint8, offset=4 * len(head)).reshape(head[1:].tolist())


def _cifar_records(data: bytes, labels: int, name: str) -> tuple[Images, Labels]:
    """Records of one label, or of a coarse and a fine one, and 3x32x32 pixels."""
    size = labels + _CIFAR_PIXELS
    if not data or len(data) % size:
        raise IntegrityError(f"{name}: {len(data)} bytes, expected records of {size}")
    records = np.frombuffer(data, np.uint8).reshape(-1, size)
    return _cifar_images(records[:, labels:]), records[:, labels - 1].astype(np.int64)


def _cifar_pickle(data: bytes, name: str) -> tuple[Images, Labels]:
    entries = _entries(literals(data, name), name)
    labels = next((entries[key] for key in _CIFAR_LABELS if key in entries), None)
    pixels = _by_row(entries.get(b"data")) or max(_leaves(entries.get(b"data")), key=len, default=b"")
    if not isinstance(labels, list) or not all(type(label) is int for label in labels):
        raise IntegrityError(f"{name}: no list of labels in it")
    if not labels or len(pixels) != len(labels) * _CIFAR_PIXELS:
        raise IntegrityError(
            f"{name}: {len(pixels)} bytes of pixels for {len(labels)} labels, expected {_CIFAR_PIXELS} each"
        )
    return _cifar_images(np.frombuffer(pixels, np.uint8)), np.array(labels, np.int64)


def _cifar_images(pixels: Images) -> Images:
    return pixels.reshape(-1, 3, _CIFAR_SIDE, _CIFAR_SIDE).copy()


def _entries(value: Any, name: str) -> dict[bytes, Any]:
    """A pickled dictionary; its keys are text or bytes, by who pickled it."""
    if not isinstance(value, dict):
        raise IntegrityError(f"{name}: holds no dictionary")
    return {key.encode() if isinstance(key, str) else key: entry for key, entry in value.items()}


def _by_row(value: Any) -> bytes:
    """An array's content where it was pickled column by column, as numpy does with a transposed one; else nothing."""
    match value:
        case [_, (_, (int(rows), int(columns)), _, True, bytes(content))]:  # the state of a numpy.ndarray
            pass
        case [
            (bytes(content) | bytearray(content), _, (int(rows), int(columns)), "F")
        ]:  # what numpy's _frombuffer is given
            pass
        case _:
            return b""
    if len(content) != rows * columns:
        return b""
    return np.frombuffer(content, np.uint8).reshape(columns, rows).T.tobytes()


def _leaves(value: Any) -> list[bytes]:
    """All strings of bytes in it: one of them is an array's content. Python 2's come as text, a letter a byte."""
    found, waiting, seen = [], [value], set[int]()
    while waiting:
        part = waiting.pop()
        if id(part) in seen:  # a pickle may hold one thing in many places, and itself
            continue
        seen.add(id(part))
        if isinstance(part, bytes | bytearray):
            found.append(bytes(part))
        elif isinstance(part, str):
            found.append(part.encode("latin-1", errors="replace"))
        elif isinstance(part, Call | tuple | list):
            waiting += part
    return found


def _text(name: Any) -> str:
    return name.decode() if isinstance(name, bytes) else str(name)
