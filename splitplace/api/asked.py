"""What a caller states, held against what can be meant: in Python, unlike on a command line, anything may come."""

from numbers import Integral, Real

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
    if isinstance(value, bool) or not isinstance(value, Real):
        raise UsageError(f"{option} {value!r}: expected a number, {bounds}")
    number = float(value)
    if not low <= number <= high:
        raise UsageError(f"{option} {number:g}: expected {bounds}")
    return number


def share(option: str, value: object) -> float:
    """A number from 0 to 1, as Python's own.

    Args:
        option: What the command line calls it.
        value: What was stated.

    Raises:
        UsageError: Another number, none, or something else.
    """
    if isinstance(value, bool) or not isinstance(value, Real) or not 0 <= float(value) <= 1:
        shown = f"{float(value):g}" if isinstance(value, Real) and not isinstance(value, bool) else repr(value)
        raise UsageError(f"{option} {shown}: expected a share, 0 to 1")
    return float(value)
