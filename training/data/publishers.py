"""Data sets as their publishers distribute them: MNIST's IDX files, here; CIFAR's (`cifar.py`); numpy's (`arrays.py`).

Archives and packed files are read as they are (`packed.py`).
"""

import re
from pathlib import Path

import numpy as np

from splitplace.errors import IntegrityError, UsageError, some
from splitplace.training.data.arrays import Arrays, read_numpy
from splitplace.training.data.cifar import read_cifar_binary, read_cifar_python
from splitplace.training.data.dataset import Images
from splitplace.training.data.packed import Files, files_in, is_archive
from splitplace.training.data.parts import is_hidden

_IDX_IMAGES = re.compile(r"(?:(?P<set>.+)-)?(?P<part>train|t10k|test)-images[-.]idx3-ubyte")


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
    """MNIST's form (also Fashion-MNIST's, KMNIST's, EMNIST's): train-images-idx3-ubyte and so on.

    EMNIST's images are stored with rows and columns swapped; here they stand upright.
    """
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
    of_emnist = sets[0].startswith("emnist")
    parts = []
    for name in (images["train"], images[held_out]):
        labels = name.replace("images", "labels").replace("idx3", "idx1")
        if labels not in files:
            raise IntegrityError(f"{name}: no {labels} beside it")
        x_NHW, y_N = _idx(files[name](), 3, name), _idx(files[labels](), 1, labels)
        if len(x_NHW) != len(y_N):
            raise IntegrityError(f"{name}: {len(x_NHW)} images, but {len(y_N)} labels in {labels}")
        upright_NHW = x_NHW.transpose(0, 2, 1) if of_emnist else x_NHW
        parts.append((upright_NHW[:, None].copy(), y_N.astype(np.int64)))
    notes = (f"the images of {sets[0]}, which has them lie on their side, were put upright",) if of_emnist else ()
    return Arrays(parts[0], parts[1], (), "IDX files", notes)


def _idx(data: bytes, dimensions: int, name: str) -> Images:
    """An IDX file of bytes: a magic number that says how many dimensions, their sizes, the values."""
    head = np.frombuffer(data[: 4 * (1 + dimensions)], ">u4")
    if len(head) != 1 + dimensions or head[0] != 0x0800 + dimensions or len(data) != 4 * len(head) + head[1:].prod():
        raise IntegrityError(f"{name}: not an IDX file of {dimensions} dimension(s), or cut off ({len(data)} bytes)")
    return np.frombuffer(data, np.uint8, offset=4 * len(head)).reshape(head[1:].tolist())
