"""What a client is given for a task, before it is sent: images as arrays or files, labels, a deadline, a key."""

import operator
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from splitplace.errors import ContractError, UsageError, unknown
from splitplace.placement.serve.frames import Array
from splitplace.records.split import Split
from splitplace.records.task import may_be_waited, wrong_key

Images = str | Path | Sequence[str | Path] | Array
"""(n, ...), n > 0; an .npy file of them; image files, or a folder of image files."""
Labels = str | Path | Array
"""Integers (n,), or an .npy file of them."""


def check_wish(deadline_s: float, key: str | None) -> None:
    """Refuse what no task can be asked with.

    Raises:
        UsageError: No seconds above 0, or a key of no or too many letters.
    """
    if not may_be_waited(deadline_s):
        raise UsageError(f"--deadline {deadline_s!s:.40}: expected seconds above 0")
    if wrong := wrong_key(key):
        raise UsageError(f"--key {wrong}")


def check_number(task_id: int, what: str = "task") -> int:
    """A task's number, or another thing's; numpy's whole numbers are such, too.

    Raises:
        UsageError: It is none.
    """
    try:
        number = operator.index(task_id)
    except TypeError:
        number = -1
    if not 0 <= number < 2**63:
        raise UsageError(f"{what} {task_id!r:.60}: expected a number from 0")
    return number


def images_of(images: Images, split: Callable[[], Split]) -> Array:
    """Images as they are sent, whatever they come as.

    Args:
        images: As a client is given them.
        split: Asked how image files are read, if there are any.

    Raises:
        NotFoundError: No such file, or no image in the folder.
        ContractError: NaN or infinite values, or neither an array nor files.
    """
    if isinstance(images, np.ndarray):
        found = images
    else:
        try:
            paths = [Path(images)] if isinstance(images, str | Path) else [Path(path) for path in images]
        except (TypeError, NotImplementedError) as error:
            raise ContractError(
                f"images: a {type(images).__name__}, expected a numpy array or image files: make one by np.asarray"
            ) from error
        found = _read(paths, split)
    if found.dtype.kind == "f" and not np.isfinite(found).all():
        raise ContractError("images: some values are NaN or infinite, expected numbers")
    return found


def labels_of(labels: Labels) -> Array:
    """Labels as they are sent.

    Raises:
        NotFoundError: No such file.
        ContractError: Neither an array nor a file.
    """
    if not isinstance(labels, np.ndarray | str | Path):
        raise ContractError(f"labels: a {type(labels).__name__}, expected a numpy array: make one by np.asarray")
    found = labels if isinstance(labels, np.ndarray) else _read_array(Path(labels))
    # Whatever whole numbers they came as: not all of these can be sent.
    return found.astype(np.int64) if found.dtype.kind == "u" else found


def pick_split(offers: dict[str, Split], application: str) -> Split:
    """One split of an application, which says what it takes and answers.

    Raises:
        NotFoundError: The fleet does not serve it.
    """
    if application not in offers:
        raise unknown("application", application, offers)
    return offers[application]


def _read(paths: list[Path], split: Callable[[], Split]) -> Array:
    # Here, because only who reads files needs what reads them: onnxruntime comes with it.
    from splitplace.inference.inputs import ARRAY_SUFFIXES, read_inputs

    if len(paths) == 1 and paths[0].suffix.lower() in ARRAY_SUFFIXES:
        return _read_array(paths[0])
    (found,) = read_inputs(paths, split()).values()
    return found


def _read_array(path: Path) -> Array:
    from splitplace.inference.inputs import read_array

    return read_array(path)
