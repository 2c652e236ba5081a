"""Inputs from files: numpy arrays, or images decoded to what a split takes."""

import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from splitplace.errors import SplitPlaceError, UsageError
from splitplace.inference.executor import Array, check_tensor
from splitplace.records.fragment import TensorSpec

IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".webp")
MAX_INPUT_BYTES = 8 * 2**30


def read_array(path: Path) -> Array:
    """A numpy array from an .npy file; object arrays, which would need unpickling, are refused.

    Raises:
        UsageError: No such file.
        SplitPlaceError: Not an .npy file, truncated, or too large.
    """
    if not path.is_file():
        raise UsageError(f"no file {path}")
    if path.stat().st_size > MAX_INPUT_BYTES:
        raise SplitPlaceError(f"{path}: {path.stat().st_size} bytes, expected at most {MAX_INPUT_BYTES}")
    try:
        # Mapped, so that a header that claims 100 GB is held against the file before anything is allocated.
        return np.array(np.load(path, mmap_mode="r", allow_pickle=False))
    except (ValueError, EOFError, OSError) as error:
        raise SplitPlaceError(f"{path}: not a numpy array: {str(error).splitlines()[0]}") from error


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
        with np.load(path, allow_pickle=False) as archive:
            claimed = sum(info.file_size for info in archive.zip.infolist())
            if claimed > MAX_INPUT_BYTES:
                raise SplitPlaceError(f"{path}: {claimed} bytes, expected at most {MAX_INPUT_BYTES}")
            return {name: archive[name] for name in archive.files}
    except SplitPlaceError:
        raise
    except (ValueError, EOFError, OSError, KeyError, zipfile.BadZipFile) as error:
        raise SplitPlaceError(f"{path}: not a file of numpy arrays: {' '.join(str(error).split())}") from error


def named_inputs(specs: Sequence[TensorSpec], given: Array | Mapping[str, Array], where: str) -> dict[str, Array]:
    """Arrays by the names of what a split takes, held against its contract; one array alone is its one input's.

    Raises:
        UsageError: One array for several inputs, or an input that is missing.
        SplitPlaceError: Another dtype or shape than the contract's, or another number of rows for each input.
    """
    names = [spec.name for spec in specs]
    if isinstance(given, np.ndarray):
        if len(specs) != 1:
            raise UsageError(f"{where} takes the inputs {', '.join(names)}: give each, by .npz or NAME=FILE")
        given = {names[0]: given}
    missing = [name for name in names if name not in given]
    if missing:
        raise UsageError(f"{where}: no input {', '.join(missing)}, got {', '.join(given) or 'none'}")
    for spec in specs:
        check_tensor(spec, given[spec.name], where)
    counts = {name: len(given[name]) for name in names}
    if len(set(counts.values())) > 1:
        raise SplitPlaceError(f"{where}: as many rows for every input are expected, got {counts}")
    return {name: given[name] for name in names}


def read_inputs(paths: Sequence[Path], spec: TensorSpec) -> Array:
    """The inputs of a split from one .npy file (n, ...) or from image files, resized to what the split takes.

    Raises:
        UsageError: No such file, files of different kinds, or a split that takes no images.
        SplitPlaceError: A file that cannot be read.
    """
    suffixes = {path.suffix.lower() for path in paths}
    if suffixes == {".npy"} and len(paths) == 1:
        return read_array(paths[0])
    if not suffixes or not suffixes <= set(IMAGE_SUFFIXES):
        raise UsageError(f"expected one .npy file or image files ({', '.join(IMAGE_SUFFIXES)}), got {sorted(suffixes)}")
    if spec.dtype != "uint8" or len(spec.shape) != 4 or spec.shape[1] not in (1, 3):
        raise UsageError(f"this split takes {spec.dtype}{list(spec.shape)}, no images: give an .npy file")
    return np.stack([_decode(path, spec) for path in paths])


def _decode(path: Path, spec: TensorSpec) -> Array:
    try:
        from PIL import Image
    except ImportError as error:
        raise UsageError("reading image files needs pillow: `pip install pillow`, or give an .npy file") from error
    _, channels, height, width = (int(size) if isinstance(size, int) else 0 for size in spec.shape)
    try:
        with Image.open(path) as image:
            plain = image.convert("L" if channels == 1 else "RGB").resize((width, height), Image.Resampling.BILINEAR)
            x_HWC = np.asarray(plain, np.uint8).reshape(height, width, channels)
    except FileNotFoundError as error:
        raise UsageError(f"no file {path}") from error
    except (OSError, ValueError, Image.DecompressionBombError) as error:
        raise SplitPlaceError(f"{path}: not an image: {' '.join(str(error).split())}") from error
    return np.ascontiguousarray(x_HWC.transpose(2, 0, 1))
