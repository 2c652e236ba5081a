"""Parquet or Arrow with encoded images and labels, in one file or as the Hugging Face hub stores a data set."""

import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from splitplace.errors import ContractError, UsageError, some
from splitplace.records.split import as_seen
from splitplace.training.data.columns import IMAGE_COLUMNS, LABEL_COLUMNS, column_of, described, hub_features
from splitplace.training.data.dataset import Labels
from splitplace.training.data.parts import (
    MAX_CLASSES,
    EncodedPart,
    Found,
    PartName,
    in_order,
    part_called,
    parts_among,
)
from splitplace.training.data.tables import SUFFIX, is_arrow, read_table, table_files

_BYTES = (pa.types.is_binary, pa.types.is_large_binary, pa.types.is_binary_view)
_TEXT = (pa.types.is_string, pa.types.is_large_string, pa.types.is_string_view)
_NO_LABEL = -1


@dataclass(frozen=True)
class _Shard:
    """One file: what to call each row, its image, its label (a number or a name) and the names of its classes."""

    names: Sequence[str]
    images: Sequence[bytes | None]
    labels: Sequence[int | str | None]
    class_names: tuple[str, ...] | None


def read_parquet(path: Path) -> Found:
    """The images of a Parquet or Arrow file, or of a folder of them.

    A column of encoded images (bytes, or a struct with a field `bytes`) and one of labels: whole numbers from 0 (also
    as floats, where pandas kept missing ones as NaN), truth values, or the classes' names. What numbers are called
    stands in the schema's metadata, under `class_names` (a JSON list) or as the hub writes it (`huggingface`, a
    ClassLabel). Files are told apart by `train`, `test` and `validation` in their names or as folders.

    Raises:
        UsageError: Several data sets below one folder, or files for testing alone.
        ContractError: Columns of another form; parts whose classes do not agree.
        IntegrityError: Not Parquet, or not Arrow.
    """
    files = table_files(path)
    parts = _by_part(path, files)
    notes: list[str] = []
    train = [_read(file) for file in parts["train"]]
    test = _held_out(path, parts, notes)
    if not any(shard.class_names or any(isinstance(label, str) for label in shard.labels) for shard in (*train, *test)):
        train, test = ([_numbers_as_names(path, shard) for shard in part] for part in (train, test))
    class_names = _class_names(path, [*train, *test])
    held_out = _part(path, test, class_names) if test else None
    kind = "Arrow" if any(is_arrow(file) for file in files) else "Parquet"
    return Found(kind, _part(path, train, class_names), held_out, class_names, tuple(notes))


def _held_out(path: Path, parts: Mapping[PartName, Sequence[Path]], notes: list[str]) -> list[_Shard]:
    """The files of the test part, else of the validation part; none where nobody says what their images show."""
    if "test" in parts:
        test = [_read(file) for file in parts["test"]]
        if any(label not in (None, _NO_LABEL) for shard in test for label in shard.labels):
            if "validation" in parts:
                notes.append(f"beside training and test, the validation part of {path} was not read")
            return test
        notes.append(f"the test part of {path} has no labels and was left out")
    if "validation" not in parts:
        return []
    notes.append(f"{path} has no test part{' with labels' if notes else ''}: its validation part is held out")
    return [_read(file) for file in parts["validation"]]


def _by_part(path: Path, files: Sequence[Path]) -> dict[PartName, list[Path]]:
    """The files of each part; all of them for training where no name says what they are."""
    if path.is_file():
        return {"train": [path]}
    parts: dict[PartName, list[Path]] = {}
    homes: dict[str, Path] = {}
    unnamed = []
    for file in files:
        folders = file.relative_to(path).parts[:-1]
        start = file.stem.split("-")[0].split(".")[0]
        part = next((part for name in (*folders, start) if (part := part_called(name))), None)
        if part is None:
            unnamed.append(file)
        else:
            parts.setdefault(part, []).append(file)
        homes.setdefault("/".join(name for name in folders if not part_called(name)), file)
    if not parts:  # pets_train.parquet and pets_test.parquet
        called = parts_among(sorted({_stem(file) for file in unnamed}))
        for file in unnamed:
            if _stem(file) in called:
                parts.setdefault(called[_stem(file)], []).append(file)
        unnamed = [file for file in unnamed if _stem(file) not in called]
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


def _stem(file: Path) -> str:
    """A file's name without its number among shards."""
    return re.sub(r"-\d+-of-\d+.*", "", file.stem)


def _read(file: Path) -> _Shard:
    chosen: dict[str, Any] = {}

    def choose(schema: Any) -> list[str]:
        image, label, features = _columns(schema, file)
        chosen.update(image=image, label=label, names=_names(schema, features, label, file))
        return [image, label]

    table = read_table(file, choose)
    names = [f"{file.name} row {row}" for row in range(table.num_rows)]
    image, label = chosen["image"], chosen["label"]
    return _Shard(names, _images(table, image, file), _labels(table, label, file), chosen["names"])


def _columns(schema: Any, file: Path) -> tuple[str, str, dict[str, Any]]:
    """The columns of images and labels, and what the hub says of all."""
    features = hub_features(schema)
    image = column_of(schema.names, IMAGE_COLUMNS, described(features, "Image"), file)
    label = column_of(schema.names, LABEL_COLUMNS, described(features, "ClassLabel"), file)
    if image is None or label is None:
        raise ContractError(
            f"{file}: got the columns {schema.names}, expected image and label (or, as others call them, "
            f"{', '.join(IMAGE_COLUMNS[1:])}; {', '.join(LABEL_COLUMNS[1:])})"
        )
    for name in (image, label):
        if schema.names.count(name) > 1:
            raise ContractError(f"{file}: several columns are called {name}, expected one")
    return image, label, features


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
    column = _plain(column)
    if pa.types.is_null(column.type):
        return [None] * len(column)
    if not any(test(column.type) for test in _BYTES):
        raise ContractError(f"{file}: column {name} is {column.type}, expected encoded images (binary) in every row")
    values: list[bytes | None] = column.to_pylist()
    return values


def _labels(table: Any, name: str, file: Path) -> list[int | str | None]:
    column = _plain(table[name])
    if pa.types.is_boolean(column.type):
        column = column.cast(pa.string())
    if pa.types.is_floating(column.type):
        return [_whole(value, f"{file}: column {name} is {column.type}") for value in column.to_pylist()]
    if not any(test(column.type) for test in (pa.types.is_integer, pa.types.is_null, *_TEXT)):
        raise ContractError(f"{file}: column {name} is {column.type}, expected whole numbers or names in every row")
    values: list[int | str | None] = column.to_pylist()
    return [(as_seen(value) or None) if isinstance(value, str) else value for value in values]


def _plain(column: Any) -> Any:
    """Values in place of their numbers in a dictionary."""
    return column.cast(column.type.value_type) if pa.types.is_dictionary(column.type) else column


def _whole(value: float | None, where: str) -> int | None:
    """A label among those that pandas made floats, since some are missing."""
    if value is None or math.isnan(value):
        return None
    if not value.is_integer():
        raise ContractError(f"{where} and has {value}, expected whole numbers or names in every row")
    return int(value)


def _names(schema: Any, features: dict[str, Any], label: str, file: Path) -> tuple[str, ...] | None:
    """What this file calls its classes, by number."""
    own = (schema.metadata or {}).get(b"class_names")
    try:
        names = json.loads(own) if own is not None else features.get(label, {}).get("names")
    except ValueError as error:
        raise ContractError(f"{file}: metadata class_names is not JSON") from error
    if names is None:
        return None
    if not isinstance(names, list) or not all(isinstance(name, str) and name for name in names):
        raise ContractError(f"{file}: the names of its classes are no list of strings")
    names = [as_seen(name) for name in names]
    if len(set(names)) != len(names):
        names = [f"{name} ({c})" if names.count(name) > 1 else name for c, name in enumerate(names)]
    return tuple(names)


def _numbers_as_names(path: Path, shard: _Shard) -> _Shard:
    """Classes that nobody named are called by the numbers that occur: some count from 1, or leave numbers out."""
    numbers = [label for label in shard.labels if isinstance(label, int) and label >= 0]
    if (largest := max(numbers, default=0)) >= MAX_CLASSES:
        raise ContractError(
            f"{path}: got a label {largest}, expected the numbers of classes (below {MAX_CLASSES}), or the classes' "
            "names"
        )
    labels = [None if isinstance(label, int) and label < 0 else label for label in shard.labels]
    return replace(shard, labels=[str(label) if isinstance(label, int) else label for label in labels])


def _class_names(path: Path, shards: Sequence[_Shard]) -> tuple[str, ...]:
    """The classes of all files: as the first that names them does, else the names found."""
    named = [shard.class_names for shard in shards if shard.class_names]
    if named:
        unknown = sorted({name for names in named for name in names} - set(named[0]))
        if unknown:
            raise ContractError(f"{path}: one file names the class(es) {some(unknown)}, which another does not have")
        return named[0]
    labels = {label for shard in shards for label in shard.labels if label is not None}
    texts = {label for label in labels if isinstance(label, str)}
    if texts != labels:
        raise ContractError(f"{path}: some files name the class of a row, others number it: expected one of the two")
    return tuple(in_order(sorted(texts)))


def _part(path: Path, shards: Sequence[_Shard], class_names: tuple[str, ...]) -> EncodedPart:
    """The rows of all shards, their labels as `class_names` numbers them."""
    if not any(shard.names for shard in shards):  # one shard may be empty, as Spark leaves them
        raise ContractError(f"{path}: no rows")
    numbers = {name: c for c, name in enumerate(class_names)}

    def number(shard: _Shard, label: int | str | None) -> int:
        if label is None or (isinstance(label, int) and label < 0):
            return _NO_LABEL
        if isinstance(label, str):
            return numbers.get(label, len(class_names))
        own = shard.class_names
        if own is not None:
            return numbers[own[label]] if label < len(own) else len(class_names)
        return label

    numbered = [(number(shard, label), label) for shard in shards for label in shard.labels]
    if strange := [label for c, label in numbered if c >= len(class_names)]:
        raise ContractError(f"{path}: got a label {strange[0]!r}, which is none of its {len(class_names)} classes")
    labels: Labels = np.array([c for c, _ in numbered], np.int64)
    return EncodedPart(
        [name for shard in shards for name in shard.names],
        [image for shard in shards for image in shard.images],
        labels,
    )
