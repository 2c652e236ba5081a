"""Data sets as their publishers distribute them, on disk: MNIST's IDX files, and CIFAR's files, binary or Python's.

Archives (.tar.gz) and packed files (.gz) are read as they are. Python's pickles are read without running them.
"""

import gzip
import re
import tarfile
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from splitplace.errors import IntegrityError
from splitplace.training.data.dataset import Images, Labels
from splitplace.training.data.literals import Call, literals

Files = Mapping[str, Callable[[], bytes]]
"""What lies in a folder or archive: a function that reads it, by name."""

MAX_FILE_BYTES = 2**30
_ARCHIVES = (".tar.gz", ".tgz", ".tar")
_IDX_IMAGES = re.compile(r"(train|t10k|test)-images[-.]idx3-ubyte")
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
        IntegrityError: Its files are damaged.
    """
    if path.is_file() and not path.name.endswith(_ARCHIVES):
        return None
    files = _files(path)
    for read in (read_idx, read_cifar_binary, read_cifar_python):
        found = read(files)
        if found is not None:
            return found
    return None


def read_idx(files: Files) -> Arrays | None:
    """MNIST's form (also Fashion-MNIST's, KMNIST's): train-images-idx3-ubyte and so on."""
    images = {match[1]: name for name in files if (match := _IDX_IMAGES.fullmatch(name))}
    held_out = next((part for part in ("t10k", "test") if part in images), None)
    if "train" not in images or held_out is None:
        return None
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
        names = sorted(name for name in files if re.fullmatch(r"data_batch_\d+\.bin", name))
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
        batches = sorted(name for name in files if re.fullmatch(r"data_batch_\d+", name))
        groups, meta, key = (batches, ["test_batch"]), "batches.meta", b"label_names"
    else:
        return None
    parts = []
    for group in groups:
        read = [_cifar_pickle(files[name](), name) for name in group]
        parts.append((np.concatenate([x for x, _ in read]), np.concatenate([y for _, y in read])))
    names = _entries(literals(files[meta](), meta), meta).get(key, []) if meta in files else []
    return Arrays(parts[0], parts[1], tuple(_text(name) for name in names), "CIFAR Python files")


def _files(path: Path) -> Files:
    """What lies in a folder, or in an archive (or the folder in it), packed files without their .gz."""
    if path.is_file():
        try:
            with tarfile.open(path) as tar:
                members = [member for member in tar if member.isfile() and member.size <= MAX_FILE_BYTES]
                read = {Path(member.name).name: tar.extractfile(member) for member in members}
                return {name: partial(bytes, file.read()) for name, file in read.items() if file is not None}
        except (tarfile.TarError, OSError, EOFError, zlib.error) as error:
            raise IntegrityError(f"{path}: not an archive that can be read: {error}") from error
    return {file.name.removesuffix(".gz"): partial(_content, file) for file in path.iterdir() if file.is_file()}


def _content(file: Path) -> bytes:
    try:
        with gzip.open(file) if file.suffix == ".gz" else file.open("rb") as stream:
            data = stream.read(MAX_FILE_BYTES + 1)
    except (OSError, EOFError, zlib.error) as error:
        raise IntegrityError(f"{file}: cannot be read: {error}") from error
    if len(data) > MAX_FILE_BYTES:
        raise IntegrityError(f"{file}: more than {MAX_FILE_BYTES} bytes")
    return data


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
    pixels = max(_leaves(entries.get(b"data")), key=len, default=b"")
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
