"""Inputs from files: numpy arrays, and image files as the split says it reads them."""

import logging
import lzma
import tokenize
import zipfile
import zlib
from collections.abc import Iterable, Mapping, Sequence
from os import PathLike
from pathlib import Path

import numpy as np

from splitplace.errors import ContractError, IntegrityError, NotFoundError, SplitPlaceError, UsageError, some
from splitplace.inference.executor import Array, check_tensor
from splitplace.inference.images import image_suffixes, read_image
from splitplace.records.fragment import TensorSpec
from splitplace.records.preprocessing import ImageRule
from splitplace.records.split import Split

_log = logging.getLogger(__name__)

UNNAMED = "arr_0"
"""What numpy.savez calls an array that it was given without a name."""
ARRAY_SUFFIXES = (".npy", ".npz")
_MAGIC = b"\x93NUMPY"
"""How an .npy file begins."""
MAX_INPUT_BYTES = 8 * 2**30

_DAMAGED = (
    *(ValueError, TypeError, SyntaxError, tokenize.TokenError, OverflowError, MemoryError),  # an array's header
    *(EOFError, OSError, KeyError, RuntimeError, zipfile.BadZipFile, zlib.error, lzma.LZMAError),  # the archive
)
"""What numpy and zipfile raise on files that are damaged or of another kind; RuntimeError, where one is encrypted."""


def read_array(path: Path) -> Array:
    """A numpy array from an .npy file; object arrays, which would need unpickling, are refused.

    Raises:
        UsageError: No such file.
        SplitPlaceError: Not an .npy file, truncated, or too large.
    """
    if not path.is_file():
        raise NotFoundError(f"no file {path}")
    if path.stat().st_size > MAX_INPUT_BYTES:
        raise IntegrityError(f"{path}: {path.stat().st_size} bytes, expected at most {MAX_INPUT_BYTES}")
    try:
        # Mapped, so that a header that claims 100 GB is held against the file before anything is allocated.
        mapped = np.load(path, mmap_mode="r", allow_pickle=False)
        if isinstance(mapped, np.ndarray):
            return np.array(mapped)
        mapped.close()
    except _DAMAGED as error:
        raise IntegrityError(f"{path}: not a numpy array: {_what_else(path) or _reason(error)}") from error
    where = "name it .npz" if path.suffix.lower() != ".npz" else "expected one, as numpy.save writes it"
    raise IntegrityError(f"{path}: not one numpy array but an archive of several: {where}")


def read_arrays(place: str | Path) -> Array | dict[str, Array]:
    """One array from an .npy file; several by name from an .npz file or from NAME=FILE, a comma between two.

    Raises:
        UsageError: No such file.
        SplitPlaceError: A file that holds no arrays, is truncated or too large.
    """
    text = str(place)
    if "=" in text and not Path(text).exists():
        pairs = [part.partition("=") for part in text.split(",")]
        return {name.strip(): read_array(Path(file)) for name, _, file in pairs}
    path = Path(place)
    if path.suffix != ".npz" or not path.is_file():
        return read_array(path)
    try:
        opened = np.load(path, mmap_mode="r", allow_pickle=False)
        if isinstance(opened, np.ndarray):
            raise IntegrityError(f"{path}: one numpy array, expected an archive as numpy.savez writes: name it .npy")
        with opened as archive:
            claimed = sum(info.file_size for info in archive.zip.infolist())
            if claimed > MAX_INPUT_BYTES:
                raise IntegrityError(f"{path}: {claimed} bytes, expected at most {MAX_INPUT_BYTES}")
            members = {name: archive[name] for name in archive.files}
    except SplitPlaceError:
        raise
    except _DAMAGED as error:
        raise IntegrityError(f"{path}: not a file of numpy arrays: {_reason(error)}") from error
    # numpy gives what is no .npy as bytes, without a word.
    others = [name for name, member in members.items() if not isinstance(member, np.ndarray)]
    if others:
        raise IntegrityError(f"{path}: {others[0]} is no numpy array: expected what numpy.savez writes")
    return members


def _what_else(path: Path) -> str:
    """What is said of a file that does not begin like an array: numpy takes any such for a pickle and offers to run it.

    Raises:
        OSError: It cannot be read.
    """
    with path.open("rb") as file:
        begins = file.read(len(_MAGIC))
    empty = "an empty file, " * (not begins)
    return "" if begins.startswith((_MAGIC, b"PK")) else f"{empty}expected what numpy.save writes (.npy)"


def _reason(error: BaseException) -> str:
    """In one line."""
    return " ".join(str(error).split()) or type(error).__name__


def named_inputs(specs: Sequence[TensorSpec], given: Array | Mapping[str, Array], where: str) -> dict[str, Array]:
    """Arrays by the names of what a split takes, held against its contract; one array alone is its one input's.

    Raises:
        UsageError: One array for several inputs, or an input that is missing.
        SplitPlaceError: Another dtype or shape than the contract's, or another number of rows for each input.
    """
    names = [spec.name for spec in specs]
    if not isinstance(given, np.ndarray | Mapping):
        raise UsageError(f"{where}: got {_kind(given)}, expected a numpy array (n, ...), or several by name")
    if isinstance(given, np.ndarray):
        if len(specs) != 1:
            raise UsageError(f"{where} takes the inputs {', '.join(names)}: give each, by .npz or NAME=FILE")
        given = {names[0]: given}
    elif len(specs) == 1 and set(given) == {UNNAMED}:
        given = {names[0]: given[UNNAMED]}
    missing = [name for name in names if name not in given]
    if missing:
        raise UsageError(f"{where}: no input {', '.join(missing)}, got {', '.join(map(str, given)) or 'none'}")
    for name in names:
        if not isinstance(given[name], np.ndarray):
            raise UsageError(f"{where}: {name!r} is {_kind(given[name])}, expected a numpy array (n, ...)")
    given = {name: _native(given[name]) for name in names}
    for spec in specs:
        try:
            check_tensor(spec, given[spec.name], where)
        except ContractError as error:
            if turned := _as_meant(spec, given[spec.name]):
                raise ContractError(f"{error}: give it as {turned}") from error
            if given[spec.name].dtype == np.dtype(spec.dtype) or given[spec.name].dtype.kind not in "biuf":
                raise
            first = "" if spec.dtype != "uint8" or given[spec.name].dtype.kind != "f" else " (0 to 1 times 255, first)"
            raise ContractError(f"{error}: give it as .astype({spec.dtype!r}){first}") from error
    counts = {name: len(given[name]) for name in names}
    if len(set(counts.values())) > 1:
        raise ContractError(f"{where}: as many rows for every input are expected, got {counts}")
    return {name: given[name] for name in names}


def _as_meant(spec: TensorSpec, value: Array) -> str:
    """What makes an array of one sample, or with channels last, one of the right shape; nothing if that is not it."""
    sizes, axes = spec.shape[1:], len(spec.shape)
    if value.dtype != np.dtype(spec.dtype):
        return ""
    if value.shape == sizes:
        return "x[None], a batch of one"
    channels_last = axes > 2 and value.ndim == axes and value.shape[1:] == (*sizes[1:], sizes[0])
    return f".transpose{(0, axes - 1, *range(1, axes - 1))}, channels first" if channels_last else ""


def _kind(given: object) -> str:
    """What somebody has in an array's place, and how that becomes one where it does."""
    return f"of {type(given).__name__}" + (" (numpy.asarray makes one of it)" if hasattr(given, "__array__") else "")


def _native(value: Array) -> Array:
    """The same numbers in the byte order of this machine."""
    return value if value.dtype.isnative else value.astype(value.dtype.newbyteorder("="))


def as_paths(option: str, given: object) -> list[Path]:
    """One path, or several, of what is said to be no array.

    Args:
        option: What to call it in the message.
        given: By whoever calls from Python.

    Raises:
        UsageError: Something else, as a picture in memory, a tensor of torch's, or a list of arrays.
    """
    several = isinstance(given, Iterable) and not isinstance(given, str | bytes)
    items: list[object] = list(given) if isinstance(given, Iterable) and several else [given]
    paths = [Path(item) for item in items if isinstance(item, str | PathLike)]
    if len(paths) < len(items):
        kinds = sorted({type(item).__name__ for item in items})
        got = f"{type(given).__name__} of {some(kinds)}" if several else kinds[0]
        raise UsageError(
            f"{option}: got {got}, expected a numpy array (n, ...), several by name, or the paths of files"
        )
    return paths


def images_in(folder: Path) -> list[Path]:
    """The image files of a folder by their names; hidden ones are not taken.

    Raises:
        NotFoundError: There is none.
    """
    known = image_suffixes()
    names = sorted(entry.name for entry in folder.iterdir() if not entry.name.startswith("."))
    found = [folder / name for name in names if Path(name).suffix.lower() in known]
    if not found:
        below = sorted(path.name for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))
        if below:
            raise NotFoundError(
                f"{folder}: no image file in it, and folders in it are not entered: name {folder / below[0]}"
            )
        raise NotFoundError(f"{folder}: no image file in it, expected one of {', '.join(sorted(known))}")
    return found


def opened_folders(paths: Sequence[Path]) -> list[Path]:
    """The same, with the images of a folder in its place."""
    return [file for path in paths for file in (images_in(path) if path.is_dir() else [path])]


def read_inputs(paths: Sequence[Path], split: Split) -> dict[str, Array]:
    """The inputs of a split by name, held against its contract.

    Args:
        paths: One .npy file (n, ...), an .npz file or NAME=FILE of several inputs, or image files, read as the split's
            contract says; a folder stands for those in it, in the order of their names.
        split: What takes them.

    Raises:
        UsageError: Files of different kinds, or a split that does not say how it takes images.
        NotFoundError: No such file.
        IntegrityError: A file that cannot be read.
    """
    paths = opened_folders(paths)
    suffixes = sorted({path.suffix.lower() for path in paths})
    if paths and all("=" in str(path) and not path.exists() for path in paths):
        return named_inputs(split.inputs, read_arrays(",".join(map(str, paths))), split.reference)
    if len(paths) == 1 and suffixes[0] in ARRAY_SUFFIXES:
        return named_inputs(split.inputs, read_arrays(paths[0]), split.reference)
    if not suffixes or not set(suffixes) <= image_suffixes() - set(ARRAY_SUFFIXES):
        known = ", ".join(sorted(image_suffixes()))
        strange = [str(path) for path in paths if path.suffix.lower() not in image_suffixes()]
        got = some(strange) + (" beside image files" if strange and len(strange) < len(paths) else "")
        raise UsageError(f"expected one .npy file or image files ({known}), got {got or 'none'}")
    return named_inputs(split.inputs, read_images([(path, "") for path in paths], split), split.reference)


def read_images(sources: Sequence[tuple[Path | bytes, str]], split: Split) -> Array:
    """Image files as a split takes them.

    Args:
        sources: Each a file, or what is in one, with what messages call it; "" is the file's path.
        split: What takes them.

    Returns:
        uint8 (n, channels, height, width).

    Raises:
        UsageError: A split that does not say how it takes images.
        SplitPlaceError: As `images.read_image`.
    """
    rule = image_rule(split)
    x = np.stack([read_image(source, rule, name) for source, name in sources])
    if split.preprocessing is None:
        warn_of_guess(split, rule)
    return x


def warn_of_guess(split: Split, rule: ImageRule) -> None:
    """Say how images are read of which the split does not say it."""
    _log.warning(
        "%s does not say how it reads images: read as %s of %dx%d pixels, whatever it was made for",
        split.reference,
        "grey" if rule.channels == 1 else "RGB",
        rule.width,
        rule.height,
    )


def image_rule(split: Split) -> ImageRule:
    """How a split takes image files.

    Raises:
        UsageError: It does not say.
    """
    rule = split.preprocessing.before if split.preprocessing else _rule_of_shape(split)
    if rule is None:
        takes = ", ".join(f"{spec.dtype}{list(spec.shape)}" for spec in split.inputs)
        raise UsageError(
            f"{split.reference} takes {takes} and does not say how an image becomes that: give an .npy file (of "
            "several inputs an .npz file or NAME=FILE), or split the model with --mean and --std"
        )
    return rule


def _rule_of_shape(split: Split) -> ImageRule | None:
    """Of a split that came without: what is plain from an input of bytes with one or three channels."""
    (spec, *more) = split.inputs
    match spec.dtype, spec.shape:
        case "uint8", (_, 1 | 3 as channels, int(height), int(width)) if not more:
            return ImageRule(channels=channels, height=height, width=width)
    return None
