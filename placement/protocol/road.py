"""How much may be under way to a peer: what the road there holds, and little more.

What is handed over beyond that stands in queues on the way, and whatever is said next stands behind it: the credit that
the other side waits for, the order that takes a task back, the acknowledgement by which a peer is known to live. As BBR
has it (Cardwell et al., "BBR: congestion-based congestion control", ACM Queue 2016): the road is as wide as what was
ever delivered in a round trip lately, as long as the shortest round trip, and holds the product of both. What is there
while nobody had to wait says only that the road is no narrower.
"""

from collections import deque

FIRST_BYTES = 2**18
"""Under way while nothing is known of the road, or nothing any more."""
LEAST_BYTES = 2**16
QUEUED_S = 0.1
"""What may stand in queues besides, or as much again as the road holds: it is not empty while the other side is slow to
acknowledge, and twice as much in every round trip shows how wide it is."""
KEPT_S = 10.0
"""How long a rate is believed."""
_MOMENT_S = 1e-4
"""Between two looks at the clock at least."""


class Road:
    """To one peer. Times are of the link's clock."""

    def __init__(self) -> None:
        self._delivered_bytes = 0
        self._sent: deque[tuple[int, float, int]] = deque()
        """Numbers, when each was handed over, and what had been delivered by then."""
        self._rates: deque[tuple[float, float]] = deque()
        """When, and bytes a second: each less than the one before, so that the first is the largest."""
        self._least_s = float("inf")
        self.holds_bytes: float = FIRST_BYTES
        """More is handed over as long as less than that is under way."""

    @property
    def known(self) -> bool:
        """Whether anything was delivered over it."""
        return bool(self._rates)

    def sent(self, number: int, now_s: float) -> None:
        """A message is handed over for the first time."""
        self._sent.append((number, now_s, self._delivered_bytes))

    def lost(self) -> None:
        """What is under way is said again: when it is acknowledged says nothing."""
        self._sent.clear()

    def delivered(self, number: int, size_bytes: int, now_s: float, waited: bool) -> None:
        """All up to a message was acknowledged.

        Args:
            number: The message's.
            size_bytes: Of all that was not acknowledged before.
            now_s: The time.
            waited: Whether more would have been handed over, had there been room.
        """
        self._delivered_bytes += size_bytes
        last = None
        while self._sent and self._sent[0][0] <= number:
            last = self._sent.popleft()
        if last is not None:
            _, at_s, before_bytes = last
            took_s = max(now_s - at_s, _MOMENT_S)
            self._least_s = min(self._least_s, took_s)
            self._learn((self._delivered_bytes - before_bytes) / took_s, now_s, waited)

    def _learn(self, rate: float, now_s: float, waited: bool) -> None:
        rates = self._rates
        while rates and rates[0][0] < now_s - KEPT_S:
            rates.popleft()
        if waited or not rates or rate > rates[0][1]:
            while rates and rates[-1][1] <= rate:
                rates.pop()
            rates.append((now_s, rate))
        self.holds_bytes = max(rates[0][1] * (self._least_s + max(self._least_s, QUEUED_S)), LEAST_BYTES)
