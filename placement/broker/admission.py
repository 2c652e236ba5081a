"""What a broker takes on: tasks by contract, and no more of them than it can hold."""

import numpy as np

from splitplace.errors import ContractError, OverloadedError, unknown
from splitplace.inference.executor import check_tensor
from splitplace.inference.unmasked import check_unmasked
from splitplace.placement.protocol.fields import Array
from splitplace.records.demand import Demand
from splitplace.records.task import may_be_waited

MAX_PENDING_TASKS = 10_000
MAX_PENDING_BYTES = 2**30
"""Of images and labels: what the tasks that have not left may hold of this process's memory."""


class Admission:
    """Counts what has been taken on and has not left. `take`, `take_over`, `left`: by one thread at a time.

    Raises:
        SplitPlaceError: A split of the demand does not take one input.
    """

    def __init__(self, demand: Demand):
        self.demand = demand
        self._tasks = self._bytes = 0
        for entry in demand.splits:
            if len(entry.split.inputs) != 1:
                raise ContractError(f"{entry.split.reference}: takes {len(entry.split.inputs)} inputs, expected one")

    def check(self, application: str, images: Array, labels: Array | None, deadline_s: float) -> None:
        """Hold a task against the contract of its application's splits; from any thread.

        Raises:
            UsageError: Unknown application.
            SplitPlaceError: Images, labels or a deadline that are not by contract.
        """
        entries = [entry for entry in self.demand.splits if entry.split.application == application]
        if not entries:
            raise unknown("application", application, {entry.split.application for entry in self.demand.splits})
        for entry in entries:
            check_tensor(entry.split.inputs[0], images, entry.split.reference)
            if not entry.split.n_classes:
                raise ContractError(
                    f"{entry.split.reference} answers no scores of classes, so that nobody can tell how often it is "
                    "right, which a fleet decides by: run it by `splitplace infer`, or as an image"
                )
            if labels is None and entry.evaluation is None:
                raise ContractError(
                    f"{entry.split.reference} has no evaluation, so a task needs labels; `splitplace evaluate` "
                    "measures one, and a fleet that is started afterwards has it"
                )
        if len(images) == 0:
            raise ContractError("a task needs at least one image")
        if images.dtype.kind == "f" and not np.isfinite(images).all():  # its answer would be none, on any device
            raise ContractError("images: some values are NaN or infinite, expected numbers")
        if labels is not None:
            _check_labels(labels, len(images), max(entry.split.n_classes for entry in entries))
        if not may_be_waited(deadline_s):
            raise ContractError(f"deadline_s {deadline_s!s:.40}, expected seconds above 0")

    def take(self, size_bytes: int) -> None:
        """One task more, with so many bytes of images.

        Raises:
            OverloadedError: It would be too many, or too much; nothing is counted.
        """
        if size_bytes > MAX_PENDING_BYTES:
            raise OverloadedError(
                f"a task of {size_bytes} bytes, expected at most {MAX_PENDING_BYTES}: send its images as several tasks"
            )
        if self._tasks >= MAX_PENDING_TASKS:
            raise OverloadedError(
                f"{self._tasks} tasks wait, expected at most {MAX_PENDING_TASKS}: try again when some have left"
            )
        if self._bytes + size_bytes > MAX_PENDING_BYTES:
            raise OverloadedError(
                f"{self._bytes + size_bytes} bytes of images would wait, expected at most {MAX_PENDING_BYTES}: try "
                "again when some tasks have left"
            )
        self._tasks += 1
        self._bytes += size_bytes

    def take_over(self, tasks: int) -> None:
        """So many that an earlier broker took are here, whatever the bounds; their images are on the disk."""
        self._tasks += tasks

    def left(self, size_bytes: int) -> None:
        """One that was taken is answered or has failed."""
        self._tasks -= 1
        self._bytes -= size_bytes


def _check_labels(labels: Array, n: int, classes: int) -> None:
    if labels.shape != (n,) or not np.issubdtype(labels.dtype, np.integer):
        raise ContractError(f"labels {labels.dtype}{list(labels.shape)}, expected integers [{n}]")
    # No split ever answers such a class: it would count as wrong, and the policy would learn that.
    strange = np.flatnonzero((labels < 0) | (labels >= classes))
    if len(strange):
        raise ContractError(
            f"label {labels[strange[0]]} of image {strange[0]}, expected a class from 0 to {classes - 1}"
        )


def as_array(what: str, values: object) -> Array:
    """Numbers of a task in this machine's own byte order.

    Raises:
        ContractError: They are no numpy array, or some are masked.
    """
    if not isinstance(values, np.ndarray):
        raise ContractError(f"{what}: a {type(values).__name__}, expected a numpy array: make one by np.asarray")
    check_unmasked(what, values)
    return np.asarray(values).astype(values.dtype.newbyteorder("="), copy=False)


def unchanging(images: Array) -> Array:
    """Images as they stay: a copy, but where they are half or more of the `bytes` they lie in, which nobody changes.

    For as long as a task keeps its images it keeps all that they lie in, of which the images alone are counted.
    """
    base = images.base
    while isinstance(base, np.ndarray):
        base = base.base
    if isinstance(base, memoryview):
        base = base.obj
    whole = isinstance(base, bytes) and len(base) <= 2 * images.nbytes
    if whole and images.flags.c_contiguous and images.flags.aligned:
        return images
    copy = np.array(images, order="C")
    copy.flags.writeable = False
    return copy
