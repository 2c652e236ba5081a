"""Events in order of time, and of being scheduled where times are equal."""

import heapq
from collections.abc import Callable

Handler = Callable[[int, int], None]


class Clock:
    """Stands at `now`, and moves to the next instant at which something was scheduled."""

    def __init__(self) -> None:
        self.now = 0.0
        self._heap: list[tuple[float, int, Handler, int, int]] = []
        self._sequence = 0

    def schedule(self, at_s: float, handler: Handler, a: int = 0, b: int = 0) -> None:
        """Call `handler(a, b)` at this time, after what is scheduled for it already."""
        self._sequence += 1
        heapq.heappush(self._heap, (at_s, self._sequence, handler, a, b))

    def step_clock(self, end_s: float) -> bool:
        """Handle all events of the next instant up to and including `end_s`; False if there is none."""
        heap = self._heap
        if not heap or heap[0][0] > end_s:
            self.now = end_s
            return False
        self.now = heap[0][0]
        while heap and heap[0][0] == self.now:
            _, _, handler, a, b = heapq.heappop(heap)
            handler(a, b)
        return True
