"""A task: a batch of inputs of one application, with a deadline."""

from numbers import Real
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from splitplace.records.base import Count, Name, NonNegative, Positive, PositiveCount, Record

Number = TypeVar("Number", int, npt.NDArray[np.int64])


def micro_batches(n: Number, micro_batch: Number | int) -> Number:
    """How many micro-batches n samples are: ceil(n / micro_batch), exactly; numbers or arrays of one shape."""
    batches: Number = -(-n // micro_batch)
    return batches


def may_be_waited(deadline_s: object) -> bool:
    """Whether this is a deadline: a number of seconds above 0, and finite."""
    try:
        return isinstance(deadline_s, Real) and 0 < float(deadline_s) < float("inf")
    except OverflowError:  # a whole number beyond all floats
        return False


class Task(Record):
    """What a user asks for. `deadline_s` counts from `arrival_s`, on the environment's monotonic clock."""

    id: Count
    application: Name
    n: PositiveCount
    deadline_s: Positive
    arrival_s: NonNegative
