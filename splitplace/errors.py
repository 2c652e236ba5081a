"""What a user can get wrong: one clear line each, never a traceback.

Programming errors are `assert`s; everything here is somebody's input or environment.
"""

from collections.abc import Iterable


class SplitPlaceError(ValueError):
    """Work that failed for a reason a user can act on: says what was got, what was expected, what to do.

    The command line prints the message as one line and exits with `exit_code`.
    """

    exit_code = 1


class UsageError(SplitPlaceError):
    """A name, flag or file that cannot be meant: the command line exits with 2."""

    exit_code = 2


class IntegrityError(SplitPlaceError):
    """Bytes that are not what their digest or contract says."""


class InfeasibleError(SplitPlaceError):
    """A request that no split, device or placement can meet."""


def unknown(what: str, got: str, valid: Iterable[str]) -> UsageError:
    """The error for a name that is not in a known set; lists what is valid."""
    return UsageError(f"unknown {what} {got!r}: expected one of {', '.join(sorted(valid))}")
