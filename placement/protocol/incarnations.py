"""Which process a peer is: its name is proven by whoever has its key, its incarnation tells one process from another.

A process that starts again draws another number, and what the one before it said and is still under way is not of it.
"""

import secrets

_REMEMBERED = 16
"""Of the processes that prove a peer's name and are not it; who comes again after so many others is told of again."""


def draw_incarnation() -> int:
    """A number for a process, that no other process has and nobody can guess."""
    return secrets.randbits(64) or 1


class Incarnations:
    """Those of a node's peers, as far as they are known to it."""

    def __init__(self) -> None:
        self._expected: dict[str, int] = {}
        self._passed_over: dict[str, dict[int, None]] = {}
        """Other processes that proved a peer's name: those that it was before, and those that were told of."""

    def expect(self, name: str, incarnation: int) -> None:
        """From now on a peer is this process; the one that it was before is no news."""
        former = self._expected.get(name, incarnation)
        if former != incarnation:
            self.pass_over(name, former)
        self._expected[name] = incarnation

    def is_peer(self, name: str, incarnation: int) -> bool:
        """Whether a process that proves a peer's name is that peer; any is while nobody has said which."""
        return self._expected.get(name, incarnation) == incarnation

    def pass_over(self, name: str, incarnation: int) -> bool:
        """Note that a process is not the peer whose name it proves; answers whether that is news."""
        known = self._passed_over.setdefault(name, {})
        if incarnation in known:
            return False
        known[incarnation] = None
        while len(known) > _REMEMBERED:
            del known[next(iter(known))]
        return True
