"""What a caller states, held against what can be meant: in Python, unlike on a command line, anything may come."""

from collections.abc import Sequence
from math import inf
from numbers import Integral, Real
from pathlib import Path

from splitplace.errors import UsageError


def whole_number(option: str, value: object, low: int = 0, high: int | None = None) -> int:
    """A whole number within its bounds, as Python's own: a seed of numpy's is the same seed.

    Args:
        option: What the command line calls it.
        value: What was stated; True is no number, nor is 1.0.
        low: The least that is meant.
        high: The most; none if not given.

    Raises:
        UsageError: Another number, or something else.
    """
    bounds = f"{low} or more" if high is None else f"{low} to {high}"
    if isinstance(value, bool) or not isinstance(value, Integral):
        raise UsageError(f"{option} {value!r}: expected a whole number, {bounds}")
    number = int(value)
    if number < low or (high is not None and number > high):
        raise UsageError(f"{option} {number}: expected {bounds}")
    return number


def amount(option: str, value: object, low: float, high: float, unit: str = "") -> float:
    """A number within its bounds, as Python's own.

    Args:
        option: What the command line calls it.
        value: What was stated.
        low: The least that is meant.
        high: The most.
        unit: Of both, for the message.

    Raises:
        UsageError: Another number, none, or something else.
    """
    bounds = f"{low:g} to {high:g}{' ' * bool(unit)}{unit}"
    return _within(option, value, low, high, f"a number, {bounds}", bounds)


def share(option: str, value: object) -> float:
    """A number from 0 to 1, as Python's own.

    Args:
        option: What the command line calls it.
        value: What was stated.

    Raises:
        UsageError: Another number, none, or something else.
    """
    return _within(option, value, 0, 1, kind="a share, 0 to 1", bounds="a share, 0 to 1")


def number(option: str, value: object) -> float:
    """A number, whatever its bounds are, as Python's own.

    Args:
        option: What the command line calls it.
        value: What was stated.

    Raises:
        UsageError: Something else.
    """
    return _within(option, value, -inf, inf, kind="a number", bounds="a number")


def place(option: str, value: object) -> Path:
    """A file or folder, by text or as a path.

    Args:
        option: What the command line calls it.
        value: What was stated.

    Raises:
        UsageError: Something else.
    """
    if not isinstance(value, str | Path):
        raise UsageError(f"{option} {value!r}: expected a file's or folder's name")
    return Path(value)


def one_of(option: str, value: object, valid: Sequence[str]) -> None:
    """Hold one of a few words against them.

    Args:
        option: What the command line calls it.
        value: What was stated.
        valid: The words.

    Raises:
        UsageError: Something else.
    """
    if value not in valid:
        raise UsageError(f"{option} {value!r}: expected {' or '.join(valid)}")


def _within(option: str, value: object, low: float, high: float, kind: str, bounds: str) -> float:
    """Such a number; what is none is told that a `kind` is expected, another one the `bounds`."""
    if isinstance(value, bool) or not isinstance(value, Real):
        raise UsageError(f"{option} {value!r}: expected {kind}")
    number = float(value)
    if not low <= number <= high:
        raise UsageError(f"{option} {number:g}: expected {bounds}")
    return number
