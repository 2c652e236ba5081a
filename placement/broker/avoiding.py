"""Which devices a plan is not shown, for tasks that have failed there: another is tried first, while there is one.

A view knows devices that are up, not tasks for which one is out. So for the plan in which such a task has its turn the
device is out for all, and for no longer than a moment: whatever finds no place without it has it back.
"""

from collections.abc import Iterable

from splitplace.placement.broker.state import FleetState, TaskState

AVOID_S = 1.0
"""From the first plan on that shows the task since it failed, and for that one in any case."""


class Avoiding:
    """Of one broker; remembers since when each such task has been shown."""

    def __init__(self) -> None:
        self._since_s: dict[tuple[int, int], float] = {}
        """By task and its setbacks."""

    def devices(self, state: FleetState, tasks: Iterable[TaskState], now_s: float) -> frozenset[int]:
        """Their rows; never all on which something can be placed.

        Args:
            state: The fleet's; it is only read.
            tasks: Those that the plan is to show, whoever has failed first before others.
            now_s: The fleet's clock.
        """
        self._since_s = {key: since_s for key, since_s in self._since_s.items() if key[0] in state.tasks}
        found = set[int]()
        if again := [task for task in tasks if task.job is None and task.failed_on]:
            placeable = {row for row in range(len(state.devices)) if state.placeable(row, now_s)}
            for task in again:
                since_s = self._since_s.setdefault((task.task.id, task.setbacks), now_s)
                if now_s - since_s <= AVOID_S and not placeable <= found | task.failed_on:
                    found |= task.failed_on
        return frozenset(found)
