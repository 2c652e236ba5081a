"""What comes in from a peer: which number is expected next, and what of it the peer is still to be told."""

from splitplace.placement.protocol import envelope
from splitplace.placement.protocol.envelope import Envelope

ACKNOWLEDGE_AFTER_S = 0.15
"""How long an acknowledgement may wait for something to ride on: as long as the sender, which waits `FIRST_WAIT_S` for
it, is not led to say anything again. One that goes alone wakes both sides."""
ACKNOWLEDGE_AFTER, ACKNOWLEDGE_AFTER_BYTES = 32, 16 * 2**20


class Incoming:
    """Of one incarnation of the peer. Times are of the link's clock.

    Args:
        stream: Of its numbers, the one that goes on.
        expected: Its next number.
    """

    def __init__(self, stream: int = 0, expected: int = 1):
        self.stream, self.expected = stream, expected
        self.answered = 0
        """The last of its probes that came in."""
        self.flags = 0
        """What there is to tell besides how far it came in."""
        self._owed = self._owed_bytes = 0
        """Messages and bytes that came in unacknowledged."""
        self._owed_since_s = 0.0
        self._missing_told = 0
        """What the peer was told to be missing."""

    @property
    def place(self) -> tuple[int, int]:
        """Where it stands: the stream, and the number that is expected next."""
        return self.stream, self.expected

    @property
    def owes(self) -> bool:
        """Whether there is anything to tell the peer."""
        return bool(self._owed or self.flags)

    def due_s(self, now_s: float) -> float:
        """Seconds until the peer must be told, if nothing goes there meanwhile; infinite if there is nothing to say."""
        late = self._owed and now_s - self._owed_since_s >= ACKNOWLEDGE_AFTER_S
        if self.flags or late or self._owed >= ACKNOWLEDGE_AFTER or self._owed_bytes >= ACKNOWLEDGE_AFTER_BYTES:
            return 0.0
        return self._owed_since_s + ACKNOWLEDGE_AFTER_S - now_s if self._owed else float("inf")

    def told(self) -> None:
        """The peer was told all of it."""
        self._owed = self._owed_bytes = self.flags = 0

    def take(self, sealed: Envelope, size_bytes: int, now_s: float) -> bool:
        """Take in an envelope that is of this incarnation; answers whether what follows it is to be delivered."""
        self.answered = max(self.answered, sealed.probe)
        if sealed.number:
            return self._numbered(sealed, size_bytes, now_s)
        if sealed.flags & envelope.PROBE:
            self._follow(sealed.stream)
            self.owe(envelope.ANSWER, now_s)
        return True

    def owe(self, flags: int, now_s: float, size_bytes: int = 0) -> None:
        """There is something to tell the peer: of a message that came in, or what these flags say."""
        if not self._owed:
            self._owed_since_s = now_s
        self._owed += 1
        self._owed_bytes += size_bytes
        self.flags |= flags

    def _numbered(self, sealed: Envelope, size_bytes: int, now_s: float) -> bool:
        if sealed.stream < self.stream:
            return False
        self._follow(sealed.stream)
        expected = sealed.number == self.expected
        if expected:
            self.expected += 1
        if expected or sealed.number < self.expected:
            self.owe(envelope.ANSWER if sealed.flags & envelope.PROBE else 0, now_s, size_bytes)
        elif self._missing_told != self.expected:
            self._missing_told = self.expected
            self.owe(envelope.MISSING, now_s)
        return expected

    def _follow(self, stream: int) -> None:
        if stream > self.stream:
            self.stream, self.expected, self._missing_told = stream, 1, 0
