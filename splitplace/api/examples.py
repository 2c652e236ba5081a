"""Real inputs that a split is checked or calibrated with: arrays, or image files as the split reads them."""

from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path

import numpy as np

from splitplace.errors import NotFoundError
from splitplace.extras import needs
from splitplace.inference.executor import Array
from splitplace.inference.images import image_suffixes, read_image
from splitplace.inference.inputs import ARRAY_SUFFIXES, images_in, read_arrays
from splitplace.records.preprocessing import ImageRule

MOST = 256
"""Of image files, so many are taken, from all over the folder or the training part."""


def read_examples(
    given: str | Path | Array | Mapping[str, Array] | None, rule: Callable[[], ImageRule], application: str
) -> Array | Mapping[str, Array] | None:
    """Inputs (n, ...), by name where there are several.

    Args:
        given: These themselves; an .npy or .npz file or `NAME=FILE`; an image file or a folder of them; or a user's own
            images as `train` takes them, of which no held-out one is taken.
        rule: How image files are read; asked where there are some.
        application: What messages call the images.

    Raises:
        MissingExtraError: Own images without the extra `train`, or image files without `images`.
        UsageError: No such file, or a split that reads no image files.
        SplitPlaceError: What cannot be read.
    """
    if not isinstance(given, str | Path):
        return given
    path = Path(given)
    suffix = path.suffix.lower()
    if suffix in ARRAY_SUFFIXES or not path.exists():
        return read_arrays(given)
    wanted = rule()
    files = [path] if suffix in image_suffixes() else _images_alone(path) if path.is_dir() else []
    if files:
        return np.stack([read_image(files[k], wanted) for k in _spread(len(files))])
    needs("reading your own images as training did", "train")
    from splitplace.training.data.own import load_own

    own = load_own(path, application, rule=wanted, skip_corrupt=True)
    return own.x_train_NCHW[_spread(len(own.x_train_NCHW))]


def _images_alone(folder: Path) -> list[Path]:
    """The image files in a folder, if there are no folders in it."""
    if any(entry.is_dir() and not entry.name.startswith(".") for entry in folder.iterdir()):
        return []
    with suppress(NotFoundError):
        return images_in(folder)
    return []


def _spread(n: int) -> list[int]:
    """Of n in their order, at most `MOST`, as far from each other as can be."""
    return [k * n // min(n, MOST) for k in range(min(n, MOST))]
