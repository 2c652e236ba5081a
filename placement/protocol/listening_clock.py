"""A clock that runs while its owner listens: what a process did not ask for, nobody was late with."""

import time

PAUSE_S = 0.25
"""What may lie between two looks at what has come in and count as listening."""


class ListeningClock:
    """Seconds that a node has listened to its peers.

    A process that was stopped, or that did something long between two calls, has heard nothing meanwhile.
    """

    def __init__(self) -> None:
        self.now_s = 0.0
        self._at_s = time.monotonic()

    def advance(self, most_s: float) -> None:
        """Time has passed, of which no more than so much counts."""
        at_s = time.monotonic()
        self.now_s += min(at_s - self._at_s, most_s)
        self._at_s = at_s
