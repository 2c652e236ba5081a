"""Parquet with encoded images and labels, in one file or as the Hugging Face hub stores a data set: shards by part."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from splitplace.errors import ContractError, IntegrityError, UsageError
from splitplace.training.data.dataset import Labels
from splitplace.training.data.parts import EncodedPart, Found, PartName, in_order, is_hidden, part_called, some

SUFFIX = ".parquet"
IMAGE_COLUMNS = ("image", "img", "picture", "photo")
LABEL_COLUMNS = ("label", "labels", "fine_label", "class", "target")
_NO_LABEL = -1
MAX_CLASSES = 2**16
"""Numbers go up to this: beyond, they are no classes but hashes, years or identifiers."""


@dataclass(frozen=True)
class _Shard:
    """One file: what to call each row, its image, its label (a number or a name) and the names of its classes."""

    names: Sequence[str]
    images: Sequence[bytes | None]
    labels: Sequence[int | str | None]
    class_names: tuple[str, ...] | None


def parquet_files(path: Path) -> list[Path]:
    """The Parquet files at or below `path`."""
    if path.is_file():
        return [path]
    found = (file for file in path.rglob(f"*{SUFFIX}") if file.is_file())
    return sorted(file for file in found if not any(map(is_hidden, _inside(file, path))))


def read_parquet(path: Path) -> Found:
    """The images of a Parquet file, or of a folder of them.

    A column of encoded images (bytes, or a struct with a field `bytes`) and one of labels: whole numbers from 0, or
    the classes' names. What numbers are called stands in the schema's metadata, under `class_names` (a JSON list) or as
    the hub writes it (`huggingface`, a ClassLabel). Files are told apart by `train`, `test` and `validation` at the
    start of their names or as folders.

    Raises:
        UsageError: Several data sets below one folder, or files for testing alone.
        ContractError: Columns of another form; parts whose classes do not agree.
        IntegrityError: Not Parquet.
    """
    parts = _by_part(path, parquet_files(path))
    notes = []
    held_out: PartName = "test"
    if "test" not in parts and "validation" in parts:
        held_out = "validation"
        notes.append(f"{path} has no test part: its validation part is held out")
    elif "validation" in parts:
        notes.append(f"beside training and test, the validation part of {path} was not read")
    shards = {part: [_read(file) for file in parts[part]] for part in ("train", held_out) if part in parts}
    class_names = _class_names(path, [shard for group in shards.values() for shard in group])
    train, *test = (_part(group, class_names) for group in shards.values())
    return Found("Parquet", train, test[0] if test else None, class_names, tuple(notes))


def _inside(file: Path, folder: Path) -> list[Path]:
    """Every step from the folder to the file."""
    steps = file.relative_to(folder)
    return [steps, *steps.parents][:-1]


def _by_part(path: Path, files: Sequence[Path]) -> dict[PartName, list[Path]]:
    """The files of each part; all of them for training where no name says what they are."""
    if path.is_file():
        return {"train": [path]}
    parts: dict[PartName, list[Path]] = {}
    homes: dict[str, Path] = {}
    unnamed = []
    for file in files:
        folders = [step.name for step in reversed(_inside(file, path)[1:])]
        start = file.name.removesuffix(SUFFIX).split("-")[0].split(".")[0]
        part = next((part for name in (*folders, start) if (part := part_called(name))), None)
        if part is None:
            unnamed.append(file)
        else:
            parts.setdefault(part, []).append(file)
        homes.setdefault("/".join(name for name in folders if not part_called(name)), file)
    if len(homes) > 1 or (parts and unnamed):
        shown = some(sorted(str(file.relative_to(path)) for file in homes.values()))
        raise UsageError(
            f"{path}: several data sets below it ({shown}): give the folder of one, with files named train... and "
            "test..., or one file"
        )
    if unnamed:
        return {"train": unnamed}
    if "train" not in parts:
        raise UsageError(
            f"{path}: no file for training, expected train{SUFFIX} (or train-*{SUFFIX}), got {some(sorted(parts))}"
        )
    return parts


def _read(file: Path) -> _Shard:
    try:
        table = pq.read_table(file)
    except (pa.ArrowException, OSError) as error:
        raise IntegrityError(f"{file}: not a Parquet file: {str(error).splitlines()[0]}") from error
    if table.num_rows == 0:
        raise ContractError(f"{file}: no rows")
    features = _hub_features(table)
    image = _column(table, IMAGE_COLUMNS, [name for name, kind in features.items() if kind.get("_type") == "Image"])
    label = _column(
        table, LABEL_COLUMNS, [name for name, kind in features.items() if kind.get("_type") == "ClassLabel"]
    )
    if image is None or label is None:
        raise ContractError(
            f"{file}: got the columns {table.column_names}, expected image and label (or, as others call them, "
            f"{', '.join(IMAGE_COLUMNS[1:])}; {', '.join(LABEL_COLUMNS[1:])})"
        )
    names = [f"{file.name} row {row}" for row in range(table.num_rows)]
    return _Shard(names, _images(table, image, file), _labels(table, label, file), _names(table, features, label, file))


def _column(table: Any, known: Sequence[str], described: Sequence[str]) -> str | None:
    """The column of that use: by the names people give it, else the only one that the hub's description says is."""
    by_name = next((name for name in known if name in table.column_names), None)
    present = [name for name in described if name in table.column_names]
    return by_name or (present[0] if len(present) == 1 else None)


def _images(table: Any, name: str, file: Path) -> list[bytes | None]:
    column = table[name].combine_chunks()
    if pa.types.is_struct(column.type):
        fields = [column.type.field(i).name for i in range(column.type.num_fields)]
        if "bytes" not in fields:
            raise ContractError(
                f"{file}: column {name} has the fields {', '.join(fields)} in every row, expected encoded images in a "
                "field `bytes`"
            )
        column = (
            column.field("bytes") if not column.null_count else pa.array([v and v["bytes"] for v in column.to_pylist()])
        )
    if pa.types.is_null(column.type):
        return [None] * len(column)
    if not (pa.types.is_binary(column.type) or pa.types.is_large_binary(column.type)):
        raise ContractError(f"{file}: column {name} is {column.type}, expected encoded images (binary) in every row")
    values: list[bytes | None] = column.to_pylist()
    return values


def _labels(table: Any, name: str, file: Path) -> list[int | str | None]:
    column = table[name]
    if pa.types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    if not any(test(column.type) for test in (pa.types.is_integer, pa.types.is_string, pa.types.is_large_string)):
        raise ContractError(f"{file}: column {name} is {column.type}, expected whole numbers or names in every row")
    values: list[int | str | None] = column.to_pylist()
    return values


def _names(table: Any, features: dict[str, Any], label: str, file: Path) -> tuple[str, ...] | None:
    """What this file calls its classes, by number."""
    own = (table.schema.metadata or {}).get(b"class_names")
    try:
        names = json.loads(own) if own is not None else features.get(label, {}).get("names")
    except ValueError as error:
        raise ContractError(f"{file}: metadata class_names is not JSON") from error
    if names is None:
        return None
    if not isinstance(names, list) or not all(isinstance(name, str) and name for name in names):
        raise ContractError(f"{file}: the names of its classes are no list of strings")
    if len(set(names)) != len(names):
        names = [f"{name} ({c})" if names.count(name) > 1 else name for c, name in enumerate(names)]
    return tuple(names)


def _hub_features(table: Any) -> dict[str, Any]:
    """What the hub says of each column; nothing where it did not write the file, or in another form."""
    try:
        features = json.loads((table.schema.metadata or {}).get(b"huggingface", b"{}"))["info"]["features"]
    except (ValueError, KeyError, TypeError):
        return {}
    return (
        {name: kind for name, kind in features.items() if isinstance(kind, dict)} if isinstance(features, dict) else {}
    )


def _class_names(path: Path, shards: Sequence[_Shard]) -> tuple[str, ...]:
    """The classes of all files: as the first that names them does, else the names found, else the numbers."""
    named = [shard.class_names for shard in shards if shard.class_names]
    if named:
        unknown = sorted({name for names in named for name in names} - set(named[0]))
        if unknown:
            raise ContractError(f"{path}: one file names the class(es) {some(unknown)}, which another does not have")
        return named[0]
    labels = {label for shard in shards for label in shard.labels if label is not None}
    if any(isinstance(label, str) for label in labels):
        return tuple(in_order([str(label) for label in labels]))
    n_classes = 1 + max((int(label) for label in labels), default=0)
    if n_classes > MAX_CLASSES:
        raise ContractError(
            f"{path}: got a label {n_classes - 1}, expected the numbers of classes from 0 (at most {MAX_CLASSES}), or "
            "the classes' names"
        )
    return tuple(str(c) for c in range(n_classes))


def _part(shards: Sequence[_Shard], class_names: tuple[str, ...]) -> EncodedPart:
    """The rows of all shards, their labels as `class_names` numbers them."""
    numbers = {name: c for c, name in enumerate(class_names)}

    def number(shard: _Shard, label: int | str | None) -> int:
        if label is None or (isinstance(label, int) and label < 0):
            return _NO_LABEL
        if isinstance(label, str):
            return numbers.get(label, len(class_names))
        own = shard.class_names
        return numbers[own[label]] if own is not None and label < len(own) else label

    labels: Labels = np.array([number(shard, label) for shard in shards for label in shard.labels], np.int64)
    return EncodedPart(
        [name for shard in shards for name in shard.names],
        [image for shard in shards for image in shard.images],
        labels,
    )
