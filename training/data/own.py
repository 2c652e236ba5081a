"""Bring your own images: a folder with one folder a class, or Parquet with encoded images and labels."""

import io
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image, UnidentifiedImageError

from splitplace.errors import SplitPlaceError, UsageError
from splitplace.training.data.dataset import MAX_DECODED_BYTES, Dataset, Images, Labels, split_by_seed

_SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".webp", ".gif", ".ppm", ".pgm", ".tif", ".tiff")
_PARTS = ("train", "test", "val", "valid", "validation")
"""Folders that are parts of a data set, where all that stands beside them is of this list too: not classes."""
MAX_SIZE = 4096
MAX_PIXELS = MAX_SIZE**2


@dataclass(frozen=True)
class _Part:
    """Encoded images that are still to be decoded: a name for messages, the bytes' source, the class."""

    names: Sequence[str]
    encoded: Iterable[bytes]
    y_N: Labels


def load_own(
    path: Path,
    application: str,
    *,
    size: int | None = None,
    test_share: float = 0.2,
    seed: int = 0,
    mirror: bool = False,
    skip_corrupt: bool = False,
) -> Dataset:
    """Read a data set of the user's own.

    Args:
        path: A folder `train/CLASS/*` + `test/CLASS/*` (what else stands there is not read), or `CLASS/*` (split by
            seed); a folder of `train.parquet` + `test.parquet`; or one Parquet file (split by seed). Parquet: a column
            `image` of encoded images (bytes, or a struct with a field `bytes`) and one `label` of integers from 0;
            `class_names` in the schema's metadata (a JSON list) names the classes.
        application: The name the data set will bear.
        size: Resize to size x size; without it all images must have one size.
        test_share: Share of every class to hold out where the user gives no test part.
        seed: Of that draw; not a training's, so that all seeds of one are held against the same images.
        mirror: Whether mirror images keep their class (training may then flip).
        skip_corrupt: Leave out images that cannot be decoded; the data set's `source` says how many.

    Raises:
        UsageError: Nothing of that form at `path`, or a size of no pixels.
        SplitPlaceError: Corrupt images (named), images of different sizes, one class only, a class without images.
    """
    if size is not None and not 1 <= size <= MAX_SIZE:
        raise UsageError(f"--size {size}: expected 1 to {MAX_SIZE} pixels")
    if not path.exists():
        raise UsageError(f"{path}: no such file or folder")
    if path.is_file() or (path / "train.parquet").is_file():
        parts, class_names = _parquet_parts(path)
    else:
        parts, class_names = _folder_parts(path)
    results = [_decode(part, size, skip_corrupt) for part in parts]
    decoded = [x for x, _ in results]
    grey = all(x.shape[1] == 1 for x in decoded)
    images = [x if grey or x.shape[1] == 3 else np.repeat(x, 3, axis=1) for x in decoded]
    labels = [part.y_N[kept] for part, (_, kept) in zip(parts, results, strict=True)]
    if len(parts) == 1:
        train, test = split_by_seed(labels[0], test_share, seed)
        images, labels = [images[0][train], images[0][test]], [labels[0][train], labels[0][test]]
    form = "Parquet" if path.is_file() or (path / "train.parquet").is_file() else "image folder"
    how = "train and test as given" if len(parts) == 2 else f"{test_share:g} of every class held out by seed {seed}"
    skipped = sum(len(part.y_N) - len(kept) for part, (_, kept) in zip(parts, results, strict=True))
    if skipped:
        how += f", {skipped} corrupt image(s) skipped"
    return Dataset(
        application=application,
        x_train_NCHW=images[0],
        y_train_N=labels[0],
        x_test_NCHW=images[1],
        y_test_N=labels[1],
        class_names=class_names,
        source=f"{form} {path.name} ({how})",
        mirror=mirror,
    )


def _parquet_parts(path: Path) -> tuple[list[_Part], tuple[str, ...]]:
    files = [path] if path.is_file() else [path / "train.parquet", path / "test.parquet"]
    tables = [_read_table(file) for file in files]
    labels = [_labels(table, file) for table, file in zip(tables, files, strict=True)]
    n_classes = 1 + max(int(y.max(initial=0)) for y in labels)
    class_names = _class_names(tables[0], files[0]) or tuple(str(c) for c in range(n_classes))
    parts = []
    for table, file, y_N in zip(tables, files, labels, strict=True):
        names = [f"{file.name} row {row}" for row in range(table.num_rows)]
        parts.append(_Part(names, _column_bytes(table, file), y_N))
    return parts, class_names


def _read_table(file: Path) -> Any:
    if not file.is_file():
        raise UsageError(f"{file}: no such file, expected train.parquet and test.parquet in one folder")
    try:
        table = pq.read_table(file)
    except (pa.ArrowException, OSError) as error:
        raise SplitPlaceError(f"{file}: not a Parquet file: {str(error).splitlines()[0]}") from error
    missing = {"image", "label"} - set(table.column_names)
    if missing:
        raise SplitPlaceError(f"{file}: got the columns {table.column_names}, expected image and label")
    if table.num_rows == 0:
        raise SplitPlaceError(f"{file}: no rows")
    return table


def _labels(table: Any, file: Path) -> Labels:
    column = table["label"]
    if not pa.types.is_integer(column.type) or column.null_count:
        raise SplitPlaceError(f"{file}: column label is {column.type}, expected integers without gaps")
    return np.asarray(column.to_numpy(), np.int64)


def _class_names(table: Any, file: Path) -> tuple[str, ...] | None:
    text = (table.schema.metadata or {}).get(b"class_names")
    if text is None:
        return None
    try:
        names = json.loads(text)
    except ValueError as error:
        raise SplitPlaceError(f"{file}: metadata class_names is not JSON") from error
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise SplitPlaceError(f"{file}: metadata class_names is no list of strings")
    return tuple(names)


def _column_bytes(table: Any, file: Path) -> Iterable[bytes]:
    column = table["image"]
    if pa.types.is_struct(column.type):
        column = pa.chunked_array([chunk.field("bytes") for chunk in column.chunks])
    if not (pa.types.is_binary(column.type) or pa.types.is_large_binary(column.type)) or column.null_count:
        raise SplitPlaceError(f"{file}: column image is {column.type}, expected encoded images (binary) without gaps")
    return (value.as_py() for value in column)


def _folder_parts(path: Path) -> tuple[list[_Part], tuple[str, ...]]:
    roots = _roots(path)
    class_names = tuple(sorted(entry.name for entry in roots[0].iterdir() if entry.is_dir()))
    if len(class_names) < 2:
        raise SplitPlaceError(
            f"{roots[0]}: {len(class_names)} class folder(s) ({', '.join(class_names) or 'none'}), expected at least 2"
        )
    parts = []
    for root in roots:
        files: list[Path] = []
        labels: list[int] = []
        extra = sorted(entry.name for entry in root.iterdir() if entry.is_dir() and entry.name not in class_names)
        if extra:
            raise SplitPlaceError(f"{root}: the class {extra[0]} is not in {roots[0]}")
        for label, name in enumerate(class_names):
            found = sorted(f for f in (root / name).rglob("*") if f.suffix.lower() in _SUFFIXES)
            if not found:
                raise SplitPlaceError(f"{root / name}: no image in it, expected {', '.join(_SUFFIXES)}")
            files += found
            labels += [label] * len(found)
        names = [str(file) for file in files]
        parts.append(_Part(names, (file.read_bytes() for file in files), np.asarray(labels, np.int64)))
    return parts, class_names


def _roots(path: Path) -> list[Path]:
    """The folders that hold class folders: of train and test, or `path` itself.

    Raises:
        UsageError: Some parts of a data set, but not train and test.
    """
    folders = sorted(entry.name for entry in path.iterdir() if entry.is_dir())
    missing = [name for name in ("train", "test") if name not in folders]
    if not missing:
        return [path / "train", path / "test"]
    if folders and all(name.lower() in _PARTS for name in folders):
        raise UsageError(
            f"{path}: got the folder(s) {', '.join(folders)}, but no {' and no '.join(missing)}: expected "
            "train/CLASS/* and, held out, test/CLASS/* (rename what you have), or CLASS/* alone, of which a part is "
            "then held out (give that folder)"
        )
    return [path]


def _decode(part: _Part, size: int | None, skip_corrupt: bool) -> tuple[Images, Labels]:
    """All images of a part, (N, C, H, W), with their rows; corrupt ones are named and counted, or skipped if asked."""
    images: list[Images] = []
    kept: list[int] = []
    corrupt: list[str] = []
    decoded_bytes = 0
    for row, (name, data) in enumerate(zip(part.names, part.encoded, strict=True)):
        try:
            image = _decode_one(data, size)
        except (UnidentifiedImageError, OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
            reason = "no image" if isinstance(error, UnidentifiedImageError) else error
            corrupt.append(f"{name} ({reason})")
            continue
        if images and image.shape[1:] != images[0].shape[1:]:
            raise SplitPlaceError(
                f"{name}: {image.shape[2]}x{image.shape[1]} pixels, the first image has "
                f"{images[0].shape[2]}x{images[0].shape[1]}: give a size to resize to (--size 32)"
            )
        decoded_bytes += image.nbytes
        if decoded_bytes > MAX_DECODED_BYTES:
            raise SplitPlaceError(f"more than {MAX_DECODED_BYTES} bytes decoded at {name}: give a smaller --size")
        images.append(image)
        kept.append(row)
    if corrupt and not (skip_corrupt and images):
        more = f" and {len(corrupt) - 3} more" if len(corrupt) > 3 else ""
        raise SplitPlaceError(
            f"{len(corrupt)} corrupt image(s): {', '.join(corrupt[:3])}{more}: repair or remove them, or --skip-corrupt"
        )
    channels = max(image.shape[0] for image in images)
    whole = np.stack([np.repeat(i, channels, axis=0) if len(i) < channels else i for i in images])
    return whole, np.asarray(kept, np.int64)


def _decode_one(data: bytes, size: int | None) -> Images:
    with Image.open(io.BytesIO(data)) as image:
        if image.width * image.height > MAX_PIXELS:
            raise ValueError(f"{image.width}x{image.height} pixels, at most {MAX_PIXELS} in all")
        plain = image.convert("L" if image.mode in ("1", "L", "I;16", "I", "F") else "RGB")
        if size is not None and plain.size != (size, size):
            plain = plain.resize(
                (size, size), Image.Resampling.BOX if min(plain.size) > size else Image.Resampling.BICUBIC
            )
        pixels = np.asarray(plain, np.uint8)
    return pixels[None] if pixels.ndim == 2 else np.ascontiguousarray(pixels.transpose(2, 0, 1))
