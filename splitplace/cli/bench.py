"""What the `splitplace bench` commands share: lists of numbers, verdicts in words."""

from collections.abc import Mapping

from splitplace.errors import UsageError


def numbers(name: str, text: str) -> tuple[int, ...]:
    """The whole numbers of a comma-separated option.

    Raises:
        UsageError: Something else, or a number below 1; names the option.
    """
    try:
        found = tuple(int(part) for part in text.split(","))
    except ValueError as error:
        raise UsageError(f"--{name} {text}: expected whole numbers, comma-separated") from error
    if min(found) < 1:
        raise UsageError(f"--{name} {text}: expected numbers of at least 1")
    return found


def in_words(verdict: Mapping[str, bool | str]) -> list[str]:
    """A line a claim: whether it holds, or why that is not known."""
    words = {True: "holds", False: "does not hold"}
    return [f"{claim}: {words[holds] if isinstance(holds, bool) else holds}" for claim, holds in verdict.items()]
