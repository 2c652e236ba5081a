"""Inputs from files: numpy arrays, or images decoded to what a split takes."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from splitplace.errors import SplitPlaceError, UsageError
from splitplace.inference.executor import Array
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
