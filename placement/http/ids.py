"""What a request's `id` stands for: one task, for as long as the fleet has it or its result."""

import hashlib
from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property

from splitplace.errors import ConflictError

Bytes = bytes | bytearray | memoryview


@dataclass(frozen=True)
class NamedRequest:
    """A request with an id."""

    caller: str
    """The name of its token."""
    application: str
    id: str
    said: bytes
    """A digest of all that it says (`said_by`)."""

    @property
    def place(self) -> tuple[str, str, str]:
        """Where an id is one id: of another caller, or of another model, it is another."""
        return self.caller, self.application, self.id

    @cached_property
    def key(self) -> str:
        """The key of its task: of its caller, its model, its id and all that it says."""
        return hashlib.sha256(b"\0".join((*(part.encode() for part in self.place), self.said))).hexdigest()


def said_by(parts: Iterable[Bytes]) -> bytes:
    """A digest of what a request says: of each part with its length, or two ways to divide the same bytes were one."""
    found = hashlib.sha256()
    for part in parts:
        found.update(len(part).to_bytes(8, "little"))
        found.update(part)
    return found.digest()


@dataclass(eq=False)
class KnownId:
    """What an id stands for."""

    said: bytes
    coming: int = 0
    """Requests of it that are on their way to the fleet."""
    task: int | None = None
    """That the fleet took the last of them for."""


class KnownIds:
    """Of one front door: the same id says the same, or is refused.

    Args:
        most: Ids that are remembered, the newest.
    """

    def __init__(self, most: int):
        self._most = most
        self._known: OrderedDict[tuple[str, str, str], KnownId] = OrderedDict()

    def other(self, named: NamedRequest) -> int | None:
        """The task of another request that the id stands for; none, also while such a one is on its way."""
        found = self._known.get(named.place)
        return None if found is None or found.said == named.said or found.coming else found.task

    def free(self, named: NamedRequest, task: int) -> None:
        """The fleet knows this task no more: its id stands for nothing, but if it is another one's by now."""
        if self.other(named) == task:
            del self._known[named.place]

    def take(self, named: NamedRequest) -> KnownId:
        """A request is on its way to the fleet; `settle` is to be told what comes of it.

        Raises:
            ConflictError: The id stands for a request that said something else.
        """
        found = self._known.setdefault(named.place, KnownId(named.said))
        if found.said != named.said:
            raise ConflictError(f"id {named.id[:100]!r} stands for another request already: give each its own")
        found.coming += 1
        self._known.move_to_end(named.place)
        while len(self._known) > self._most:
            self._known.popitem(last=False)
        return found

    def settle(self, named: NamedRequest, standing: KnownId, task: int | None) -> None:
        """The fleet took it for this task; none: it did not, and an id of which no task came stands for nothing."""
        standing.coming -= 1
        standing.task = standing.task if task is None else task
        if standing.task is None and not standing.coming and self._known.get(named.place) is standing:
            del self._known[named.place]
