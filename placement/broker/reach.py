"""Devices that do not reach each other, by no way: which of them are left out, so that all that go on do.

One device's word is about a pair, and which of the two is at fault it does not tell. Who has trouble with most others
is left out first; where that says nothing, who complained. So whatever one device says, it takes no other one out; and
one that is badly connected, or answers whom it likes, at most one.
"""

from collections.abc import Iterable
from functools import lru_cache

TRIED = 3
"""How many others are asked to reach a device that one does not reach, and are tried by that one."""


def left_out(unreached: Iterable[tuple[int, int]]) -> frozenset[int]:
    """Devices without which no pair is left; never all of those that are named.

    Args:
        unreached: (who says so, whom it does not reach), in the order in which it was heard; nobody itself.
    """
    return _left_out(tuple(unreached))


@lru_cache(maxsize=4)
def _left_out(unreached: tuple[tuple[int, int], ...]) -> frozenset[int]:
    """Asked for each device of a view: of a large fleet that is cut in two it would take seconds each time."""
    pairs, out = list(unreached), set[int]()
    while pairs:
        troubled: dict[int, set[int]] = {}
        for by, to in pairs:
            troubled.setdefault(by, set()).add(to)
            troubled.setdefault(to, set()).add(by)
        worst = max(troubled, key=lambda device: len(troubled[device]))  # of equals the first, who complained
        out.add(worst)
        pairs = [pair for pair in pairs if worst not in pair]
    return frozenset(out)
