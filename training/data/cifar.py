"""CIFAR's files, binary or Python's. Python's pickles are read without running them."""

import re
from collections.abc import Sequence
from typing import Any

import numpy as np

from splitplace.errors import IntegrityError
from splitplace.training.data.arrays import Arrays, as_labels
from splitplace.training.data.dataset import Images, Labels
from splitplace.training.data.literals import Call, literals
from splitplace.training.data.packed import Files

_CIFAR_SIDE, _CIFAR_PIXELS = 32, 3 * 32 * 32
_CIFAR_LABELS = (b"fine_labels", b"labels")
_CIFAR_10 = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
_CIFAR_10_BATCHES = 5


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
    class_names = tuple(files[listed]().decode(errors="replace").split()) if listed in files else ()
    return Arrays(parts[0], parts[1], class_names, "CIFAR binary files", _missing(names, class_names))


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
    names = _entries(literals(files[meta](), meta), meta).get(key) if meta in files else None
    class_names = tuple(_text(name) for name in names) if isinstance(names, list) else ()
    return Arrays(parts[0], parts[1], class_names, "CIFAR Python files", _missing(groups[0], class_names))


def _batches(files: Files, ending: str) -> list[str]:
    """CIFAR-10's training files, which are numbered from 1."""
    numbers = sorted(int(m[1]) for name in files if (m := re.fullmatch(rf"data_batch_(\d+){re.escape(ending)}", name)))
    if numbers != list(range(1, 1 + len(numbers))) or not numbers:
        raise IntegrityError(
            f"test_batch{ending}: got the training batches {', '.join(map(str, numbers)) or 'none'} beside it, "
            f"expected data_batch_1{ending} and so on, without a gap: the download is not whole"
        )
    return [f"data_batch_{number}{ending}" for number in numbers]


def _missing(batches: Sequence[str], class_names: Sequence[str]) -> tuple[str, ...]:
    """What is to be said of the number of training batches: other data sets in CIFAR-10's form may have fewer."""
    if len(batches) == _CIFAR_10_BATCHES or not batches[0].startswith("data_batch_"):
        return ()
    if tuple(class_names) == _CIFAR_10:
        raise IntegrityError(
            f"got {len(batches)} training batch(es) of CIFAR-10, {batches[0]} to {batches[-1]}, expected "
            f"{_CIFAR_10_BATCHES}: the download is not whole"
        )
    return (f"{len(batches)} training batch(es) were read, {batches[-1]} is the last one: CIFAR-10 has 5",)


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
    pixels = _by_row(entries.get(b"data"))
    if pixels is None:
        pixels = max(_leaves(entries.get(b"data")), key=len, default=b"")
    if not isinstance(labels, list) or not all(type(label) is int for label in labels):
        raise IntegrityError(f"{name}: no list of labels in it")
    if not labels or len(pixels) != len(labels) * _CIFAR_PIXELS:
        raise IntegrityError(
            f"{name}: {len(pixels)} bytes of pixels for {len(labels)} labels, expected {_CIFAR_PIXELS} each"
        )
    return _cifar_images(np.frombuffer(pixels, np.uint8)), as_labels(labels, name)


def _cifar_images(pixels: Images) -> Images:
    return pixels.reshape(-1, 3, _CIFAR_SIDE, _CIFAR_SIDE).copy()


def _entries(value: Any, name: str) -> dict[bytes, Any]:
    """A pickled dictionary; its keys are text or bytes, by who pickled it."""
    if not isinstance(value, dict):
        raise IntegrityError(f"{name}: holds no dictionary")
    return {key.encode() if isinstance(key, str) else key: entry for key, entry in value.items()}


def _by_row(value: Any) -> bytes | None:
    """An array's content where it was pickled column by column, as numpy does with a transposed one; else None.

    None of it where its size is not what it says.
    """
    match value:
        case [_, (_, (int(rows), int(columns)), _, True, bytes(content) | str(content))]:
            pass  # the state of a numpy.ndarray
        case [(bytes(content) | bytearray(content), _, (int(rows), int(columns)), "F")]:
            pass  # what numpy's _frombuffer is given
        case _:
            return None
    if min(rows, columns) < 0 or len(content) != rows * columns:
        return b""
    content = _as_bytes(content)
    return np.frombuffer(content, np.uint8).reshape(columns, rows).T.tobytes()


def _leaves(value: Any) -> list[bytes]:
    """All strings of bytes in it: one of them is an array's content."""
    found, waiting, seen = [], [value], set[int]()
    while waiting:
        part = waiting.pop()
        if id(part) in seen:  # a pickle may hold one thing in many places, and itself
            continue
        seen.add(id(part))
        if isinstance(part, bytes | bytearray | str):
            found.append(_as_bytes(part))
        elif isinstance(part, Call | tuple | list):
            waiting += part
    return found


def _as_bytes(content: bytes | bytearray | str) -> bytes:
    """Python 2's come as text, a letter a byte."""
    return content.encode("latin-1", errors="replace") if isinstance(content, str) else bytes(content)


def _text(name: Any) -> str:
    return name.decode(errors="replace") if isinstance(name, bytes) else str(name)
