"""A link that all devices share, the broker's: what `links.py` keeps of it."""

Entry = tuple[float, int, int]
"""Of a heap: what it is ordered by, the stamp of the route then, and the route; void once the route has another."""


class Hub:
    """A link of the broker: one virtual time for all routes that it holds up."""

    def __init__(self) -> None:
        self.version = 0
        self.rate = self.virtual = self.since = 0.0
        self.ends: list[Entry] = []
        """Of its routes: the virtual time at which their next transfer ends."""
        self.held: list[Entry] = []
        """Routes that it holds up, by the share that the device's link would give."""
        self.free: list[Entry] = []
        """Routes that the device's link holds up, by its share, the largest first."""

    def advance(self, now: float) -> None:
        """Bring its virtual time up to now."""
        self.virtual += self.rate * (now - self.since)
        self.since = now
