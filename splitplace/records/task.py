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


MAX_KEY_LETTERS = 200


def wrong_key(key: object) -> str | None:
    """What is wrong with a caller's own name for a task; None if nothing is, or there is none."""
    if key is None:
        return None
    if not isinstance(key, str):
        return f"of type {type(key).__name__}: expected text"
    if not 0 < len(key) <= MAX_KEY_LETTERS:
        return f"of {len(key)} letters: expected 1 to {MAX_KEY_LETTERS}"
    if not may_be_written(key):
        return f"{key!r:.60}: expected text in UTF-8"
    return None


def may_be_written(text: str) -> bool:
    """Whether it is text to others, too: of a lone half of a surrogate pair no file and no message can be made."""
    return not any("\ud800" <= letter <= "\udfff" for letter in text)


class Task(Record):
    """What a user asks for. `deadline_s` counts from `arrival_s`, on the environment's monotonic clock."""

    id: Count
    application: Name
    n: PositiveCount
    deadline_s: Positive
    arrival_s: NonNegative
