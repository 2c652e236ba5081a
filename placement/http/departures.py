"""How fast tasks leave, and so how long whoever was refused had better wait."""

import math
import time
from collections import deque
from collections.abc import Callable

WINDOW_S = 30.0
"""What is remembered."""
SEEN_EVERY_S = 0.1
"""What the fleet says is noted no more often."""
SOONEST_S, LATEST_S = 1, 60


class Departures:
    """Of the tasks that left through one front door, and of all that the fleet says have left it.

    Args:
        clock: Seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic):
        self._clock = clock
        self._left_s: deque[float] = deque(maxlen=10_000)
        self._seen: deque[tuple[float, int]] = deque(maxlen=1_000)
        """When the fleet said how many tasks had left it, and what."""

    def left(self) -> None:
        """One more has left."""
        self._left_s.append(self._clock())

    def saw(self, total: int) -> None:
        """So many have left the fleet since it was started, whoever had handed them in."""
        now_s = self._clock()
        if self._seen and total < self._seen[-1][1]:  # another fleet, which counts from 0
            self._seen.clear()
        while self._seen and self._seen[0][0] < now_s - WINDOW_S:
            self._seen.popleft()
        if not self._seen or now_s - self._seen[-1][0] >= SEEN_EVERY_S:
            self._seen.append((now_s, total))

    def retry_after_s(self, queue: int) -> int:
        """When a queue of so many tasks will be gone if they leave as the last ones did; whole seconds, 1 to 60.

        The queue is the whole fleet's: where others hand in tasks as well, it goes as fast as the fleet says that they
        all leave, not as this front door's own do.
        """
        now_s = self._clock()
        while self._left_s and self._left_s[0] < now_s - WINDOW_S:
            self._left_s.popleft()
        if queue <= 0:
            return SOONEST_S
        rate = max(self._own_rate(now_s), self._fleet_rate(now_s))
        return LATEST_S if rate <= 0 else min(max(math.ceil(queue / rate), SOONEST_S), LATEST_S)

    def _own_rate(self, now_s: float) -> float:
        return len(self._left_s) / max(now_s - self._left_s[0], SOONEST_S) if self._left_s else 0.0

    def _fleet_rate(self, now_s: float) -> float:
        if not self._seen or now_s - self._seen[0][0] > WINDOW_S:
            return 0.0
        (then_s, before), (_, after) = self._seen[0], self._seen[-1]
        return (after - before) / max(now_s - then_s, SOONEST_S)
