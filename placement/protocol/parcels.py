"""What is to be said to a peer and has no number yet: what is bulk waits until nothing else does."""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain

Frames = Sequence[bytes | memoryview]


@dataclass(frozen=True, eq=False)
class Parcel:
    """A message as it goes out."""

    frames: Frames
    size_bytes: int
    bulk_of: int | None = None
    """The job whose bulk it is."""


class Unsent:
    """In order, but that bulk is overtaken by what is none."""

    def __init__(self) -> None:
        self._first, self._bulk = deque[Parcel](), deque[Parcel]()

    def __len__(self) -> int:
        return len(self._first) + len(self._bulk)

    def put(self, parcel: Parcel) -> None:
        """One more."""
        (self._first if parcel.bulk_of is None else self._bulk).append(parcel)

    def peek(self) -> Parcel | None:
        """The next; none if there is none."""
        return next(chain(self._first, self._bulk), None)

    def pop(self) -> Parcel:
        """The next, which is here no more."""
        return (self._first or self._bulk).popleft()

    def take_back(self, job: int) -> int:
        """Drop a job's bulk; answers how many bytes that was."""
        dropped = sum(parcel.size_bytes for parcel in self._bulk if parcel.bulk_of == job)
        self._bulk = deque(parcel for parcel in self._bulk if parcel.bulk_of != job)
        return dropped
