"""In which order the tasks of a plan are looked at: as one machine would serve them that can do one at a time."""

import heapq
from collections.abc import Sequence


def least_late(due_s: Sequence[float], takes_s: Sequence[float], start_s: float) -> tuple[list[int], list[int]]:
    """Those that can all be done in time one after another, as many as possible; and the others.

    By due date; where one is late, the longest so far is put off (Moore, "An n job, one machine sequencing algorithm
    for minimizing the number of late jobs", Management Science 1968).

    Args:
        due_s: When each has to be done on the machine.
        takes_s: How long the machine takes for each.
        start_s: When it is free.

    Returns:
        Rows, both by due date.
    """
    by_due = sorted(range(len(due_s)), key=due_s.__getitem__)
    kept: list[tuple[float, int]] = []
    end_s, late = start_s, set[int]()
    for row in by_due:
        heapq.heappush(kept, (-takes_s[row], row))
        end_s += takes_s[row]
        if end_s > due_s[row]:
            longest_s, longest = heapq.heappop(kept)
            end_s += longest_s
            late.add(longest)
    return [row for row in by_due if row not in late], [row for row in by_due if row in late]
