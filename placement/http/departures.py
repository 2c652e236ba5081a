"""How fast tasks leave, and so how long whoever was refused had better wait."""

import math
import time
from collections import deque
from collections.abc import Callable

WINDOW_S = 30.0
"""What is remembered."""
SOONEST_S, LATEST_S = 1, 60


class Departures:
    """Of the tasks that left through one front door.

    Args:
        clock: Seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic):
        self._clock = clock
        self._left_s: deque[float] = deque(maxlen=10_000)

    def left(self) -> None:
        """One more has left."""
        self._left_s.append(self._clock())

    def retry_after_s(self, queue: int) -> int:
        """When a queue of so many tasks will be gone if they leave as the last ones did; whole seconds, 1 to 60."""
        now_s = self._clock()
        while self._left_s and self._left_s[0] < now_s - WINDOW_S:
            self._left_s.popleft()
        if queue <= 0:
            return SOONEST_S
        if not self._left_s:
            return LATEST_S
        rate = len(self._left_s) / max(now_s - self._left_s[0], SOONEST_S)
        return min(max(math.ceil(queue / rate), SOONEST_S), LATEST_S)
