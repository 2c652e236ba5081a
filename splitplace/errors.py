"""What can go wrong for a user: one clear line each, by cause, never a traceback.

Programming errors are `assert`s; everything here is somebody's input or environment. A message says what was got, what
was expected and what to do. Raise the class of the cause; what a cause means to a shell or to an HTTP client is decided
in `CAUSES` alone. What others raise becomes one of ours in `explained` alone, or at the seam that knows what it means.
"""

import errno
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from difflib import get_close_matches
from typing import ClassVar, Literal, NamedTuple

from pydantic import ValidationError

Cause = Literal[
    "usage", "not-found", "contract", "not-ready", "overloaded", "integrity", "failed",
    "conflict", "unanswered", "unknown-caller", "forbidden", "too-large", "too-slow",
]  # fmt: skip


MOST_RAISED = 1000
"""Letters of what somebody's own code raised."""


class Answer(NamedTuple):
    """What a cause means outside of the program."""

    exit_code: int
    http_status: int
    grpc_status: str


REFUSED = 77
"""EX_NOPERM of sysexits.h: what is refused for good, so that a supervisor need not start it again."""

CAUSES: dict[Cause, Answer] = {
    "usage": Answer(2, 400, "INVALID_ARGUMENT"),
    "not-found": Answer(2, 404, "NOT_FOUND"),
    "contract": Answer(1, 400, "INVALID_ARGUMENT"),
    "not-ready": Answer(1, 503, "UNAVAILABLE"),
    "overloaded": Answer(1, 429, "RESOURCE_EXHAUSTED"),
    "integrity": Answer(1, 500, "DATA_LOSS"),
    "failed": Answer(1, 500, "INTERNAL"),
    "conflict": Answer(1, 409, "ALREADY_EXISTS"),
    "unanswered": Answer(1, 503, "ABORTED"),
    "unknown-caller": Answer(1, 401, "UNAUTHENTICATED"),
    "forbidden": Answer(REFUSED, 403, "PERMISSION_DENIED"),
    "too-large": Answer(1, 413, "OUT_OF_RANGE"),
    "too-slow": Answer(1, 408, "DEADLINE_EXCEEDED"),
}


class SplitPlaceError(ValueError):
    """Work that failed for a reason a user can act on."""

    cause: ClassVar[Cause] = "failed"

    @property
    def exit_code(self) -> int:
        """What the command line exits with."""
        return CAUSES[self.cause].exit_code

    @property
    def http_status(self) -> int:
        """What the front door answers with."""
        return CAUSES[self.cause].http_status

    @property
    def grpc_status(self) -> str:
        """What it answers with over gRPC, by the status' name."""
        return CAUSES[self.cause].grpc_status


class UsageError(SplitPlaceError):
    """A name, flag, value or file that cannot be meant."""

    cause: ClassVar[Cause] = "usage"


class NotFoundError(UsageError):
    """A thing by a name that nothing here has: a split, a device, a data set, a file."""

    cause: ClassVar[Cause] = "not-found"


class MissingExtraError(UsageError):
    """A command or function whose optional packages are not installed."""


class ContractError(SplitPlaceError):
    """A tensor, message or answer that breaks what was agreed: another name, dtype, shape or range."""

    cause: ClassVar[Cause] = "contract"


class NotReadyError(SplitPlaceError):
    """Something that is not up yet, or no longer: a fleet, a device, a model that is being loaded."""

    cause: ClassVar[Cause] = "not-ready"


class OverloadedError(SplitPlaceError):
    """More work than the bounds allow: try again later, or ask for less."""

    cause: ClassVar[Cause] = "overloaded"


class ConflictError(SplitPlaceError):
    """A name that stands for something else already: an id of a request that said other things."""

    cause: ClassVar[Cause] = "conflict"


class UnansweredError(SplitPlaceError):
    """A task that was taken on and came to no answer: its deadline passed, its devices were lost, it was cancelled."""

    cause: ClassVar[Cause] = "unanswered"


class UnknownCallerError(SplitPlaceError):
    """A request whose token is missing, unknown or revoked."""

    cause: ClassVar[Cause] = "unknown-caller"


class ForbiddenError(SplitPlaceError):
    """A request that its caller may not make: from another site's page, or for somebody else's task."""

    cause: ClassVar[Cause] = "forbidden"


class TooLargeError(SplitPlaceError):
    """A message beyond the bounds: ask for less at once."""

    cause: ClassVar[Cause] = "too-large"


class TooSlowError(SplitPlaceError):
    """A message that took too long to come in."""

    cause: ClassVar[Cause] = "too-slow"


class PolicyError(SplitPlaceError):
    """A policy that raised, broke a rule or took too long: what it was asked for did not come about."""

    def __init__(self, policy: str, reason: str):
        super().__init__(policy, reason)
        self.policy, self.reason = policy, reason

    def __str__(self) -> str:
        return f"policy {self.policy} failed: {self.reason}"


class IntegrityError(SplitPlaceError):
    """Bytes that are not what their digest or format says."""

    cause: ClassVar[Cause] = "integrity"


class InfeasibleError(SplitPlaceError):
    """A request that no split, device or placement can meet."""


def raised(error: BaseException) -> str:
    """For a message: what somebody's own code raised, on one line; by its class, too, unless it is one of ours."""
    try:
        words = " ".join(str(error).split())
    except Exception:  # noqa: BLE001 - its words are somebody's code as well
        words = "it fails to say what"
    if isinstance(error, SplitPlaceError):
        return words[:MOST_RAISED]
    return f"{type(error).__name__}: {words}"[:MOST_RAISED] if words else type(error).__name__


def some(names: Sequence[str], most: int = 3) -> str:
    """For a message: the first few, and how many more there are."""
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")


def unknown(what: str, got: str, valid: Iterable[str]) -> NotFoundError:
    """The error for a name that is not in a known set; lists what is valid."""
    return NotFoundError(f"unknown {what} {got!r:.200}: expected one of {', '.join(sorted(valid))}")


_NAMES = frozenset({
    errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.ENAMETOOLONG, errno.ELOOP, errno.EINVAL, errno.EEXIST, errno.ENXIO,
})  # fmt: skip
"""What the system says of a name that cannot be meant; all else it says of the place."""


@contextmanager
def explained() -> Iterator[None]:
    """Turn what the system or a record refuses within into one of our errors; as a decorator, of a whole function.

    Whatever else is raised is a fault of ours, and stays what it is.
    """
    try:
        yield
    except BrokenPipeError:
        raise  # whoever reads our output left: nothing is wrong
    except OSError as error:
        raise of_system(error) from error
    except ValidationError as error:
        raise UsageError(f"{error.title}: {first_problem(error, 'as a whole')}") from error
    except MemoryError as error:
        raise SplitPlaceError(f"not enough memory: {str(error) or 'no more is given'}: ask for less at once") from error


MORE_FILES = "allow this process more open files, as by `ulimit -n 4096`, and try again"


def of_system(error: OSError, what: str = "") -> SplitPlaceError:
    """What the system refused, in one line.

    Args:
        error: Its own words and, mostly, the file.
        what: The option or thing that it is about.
    """
    place = " ".join(str(part) for part in (what, error.filename) if part not in ("", None))
    said = f"{place or 'a file'}: {error.strerror or error}"
    if error.errno == errno.ENOENT:
        return NotFoundError(f"{said}: expected one that is there")
    if error.errno in _NAMES:
        return UsageError(f"{said}: give another name")
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return SplitPlaceError(f"{said}: give another place, or the permission")
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return SplitPlaceError(f"{said}: make room and try again")
    if error.errno in (errno.EMFILE, errno.ENFILE):
        return OverloadedError(f"{said}: {MORE_FILES}")
    return SplitPlaceError(said)


def first_problem(
    error: ValidationError,
    whole: str = "document",
    keys: Callable[[Sequence[str | int]], tuple[str, ...]] | None = None,
) -> str:
    """The first thing wrong, on one line: where (or in the `whole`), what is expected, what was got, how many more.

    Args:
        error: What pydantic found.
        whole: What the document is called.
        keys: The keys that a table may have, by the place of the table: a wrong one is then told with the right one.
    """
    problems = error.errors(include_url=False, include_context=False)
    places = {problem["loc"][:end] for problem in problems for end in range(len(problem["loc"]))}
    # Of a list whose entries are wrong, pydantic also says that it is too short: they are left out of it.
    problems = [problem for problem in problems if problem["loc"] not in places or not problem["loc"]]
    for problem in problems:
        # Before what is missing: most often that is the same key.
        if keys and problem["type"] == "extra_forbidden" and (meant := _meant(problem["loc"], keys)):
            problems = [problem, *(other for other in problems if other["loc"] not in (problem["loc"], meant))]
            further_out = len(meant) < len(problem["loc"])
            problem["msg"] = "no such key: " + (
                f"it belongs before [{problem['loc'][0]}]" if further_out else f"did you mean {meant[-1]}?"
            )
            break
    first = problems[0]
    place = ".".join(str(part) for part in first["loc"]) or whole
    # Of texts, only names that had a list to choose from: another may be a key, or as long as the document.
    shown = isinstance(first["input"], int | float) or first["type"] == "literal_error"
    got = f", got {first['input']!r}" if shown else ""
    more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
    said = first["msg"].removeprefix("Value error, ")  # a validator of ours: its words are enough
    return f"{place}: {said}{got}{more}"


BEGINNING = 3
"""Letters of a key by which it may be told."""


def _meant(
    place: tuple[str | int, ...], keys: Callable[[Sequence[str | int]], tuple[str, ...]]
) -> tuple[str | int, ...]:
    """The place of the key that an unknown one is meant to be; nothing if none is like it.

    That is the document's own of that name, which in TOML any [table] before it swallows; one that it begins; or the
    one that is most like it.
    """
    *table, key = place
    if table and key in keys(()):
        return (key,)
    known = keys(table)
    begun = [name for name in known if name.startswith(str(key))] if len(str(key)) >= BEGINNING else []
    return (*table, like[0]) if (like := begun or get_close_matches(str(key), known, 1)) else ()
