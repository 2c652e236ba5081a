"""The way to a peer: directly, or through the broker for as long as that does not get through.

A link (`reliable.py`) is of two nodes, from end to end: what carries it may change at any time, and what was under way
is said again over the other one, so that nothing is lost, comes twice or out of order.

A node goes through the broker (`relay.py`) when a peer acknowledges nothing for `DETOUR_S`, or says something new
through the broker itself: who hears only one of two directions cannot be acknowledged. What is not new may have waited
there for many seconds, while both were back on the direct way, and is no reason. Where the peer wants an answer to it,
or was heard directly just now, the direct way is asked, and left if it does not answer.

From then on it tries the direct way every `TRY_S`, over a connection that is made anew every `ANEW_EVERY` of these: one
that was cut off would be mended by TCP only after a while, the longer the longer it was. The first that is answered
shows that both directions are whole, and the node is back on them: some 4 s after they are, at most. An attempt that
follows another was not answered, as far as the peer knows: who goes directly makes its own connection anew then.
"""

from collections.abc import Callable

from splitplace.placement.protocol import envelope
from splitplace.placement.protocol.envelope import Envelope
from splitplace.placement.protocol.parcels import Frames
from splitplace.placement.protocol.reliable import WINDOW, WINDOW_BYTES, Link, Transmit

DETOUR_S = 1.0
"""Before a device that waits for what does not come is doubted, and long before the pair is given up."""
TRY_S = 1.0
ANEW_EVERY = 3
SETTLE_S = 1.0
"""For so long after a node is back on the direct way, what still comes through the broker is no reason to leave it; nor
for so long after the peer said something directly."""
ASK_S = 0.5
"""For an answer on the direct way, where what came through the broker may be left over: the peer has others to wait."""
RELAY_WINDOW, RELAY_WINDOW_BYTES = 64, 8 * 2**20
"""What may be under way through the broker: it waits in its memory for a peer that is slow."""
_PADDING = bytes(16 * 2**10)
"""Of an attempt, more than any packet holds: a road on which tensors stay behind is none."""


class Route(Link):
    """A link that takes one of two ways. Times are of a clock that stands while nobody listens.

    Args:
        own: The incarnation of this node.
        directly: To the peer.
        relay: To the peer through the broker; none if there is no such way.
        reopen: Makes the direct connection anew.
    """

    def __init__(self, own: int, directly: Transmit, relay: Transmit | None, reopen: Callable[[], None]):
        super().__init__(own, self._carry)
        self._directly, self._relay, self._reopen = directly, relay, reopen
        self._relayed = False
        self._tries = self._first_try = 0
        """Numbers: of the last attempt, and of the first one since it goes through the broker."""
        self._their_try = -1
        """Number of the last attempt of the peer's, as long as it says nothing else directly."""
        self._next_try_s, self._direct_since_s, self._heard_s = 0.0, float("-inf"), float("-inf")
        self._reopened_s = float("-inf")
        """When the connection was last made anew because the peer asked again."""
        self._leave_s = float("inf")
        """When the direct way is left, which was asked, unless it answers before."""

    @property
    def relayed(self) -> bool:
        """Whether what is said goes through the broker."""
        return self._relayed

    @property
    def idle(self) -> bool:
        """Whether nothing waits here, neither to be acknowledged nor to be told, nor the direct way to be tried."""
        return super().idle and not self._relayed and self._leave_s == float("inf")

    def straighten(self) -> None:
        """It goes directly; of a peer to which another connection leads now, and that is still to be heard there."""
        self._relayed, self._leave_s = False, float("inf")
        self._window, self._window_bytes = WINDOW, WINDOW_BYTES

    def tick(self, now_s: float) -> None:
        """Do what is due; after what came in was taken in."""
        if now_s >= self._leave_s or (not self.overrun and self.silent_s(now_s) > DETOUR_S):
            self._detour(now_s)
        super().tick(now_s)
        if self._relayed and now_s >= self._next_try_s:
            self._try(now_s)

    def due_s(self, now_s: float) -> float:
        """Seconds until `tick` has something to do; infinite if it depends on others."""
        due_s = [super().due_s(now_s), self._leave_s - now_s]
        if self._relayed:
            due_s.append(self._next_try_s - now_s)
        elif self._relay is not None and self._parcels and (silent_s := self.silent_s(now_s)) <= DETOUR_S:
            due_s.append(DETOUR_S - silent_s)
        return max(min(due_s), 0.0)

    def take(self, sealed: Envelope, size_bytes: int, now_s: float, relayed: bool = False) -> bool:
        """Take in an envelope that came directly, or through the broker; answers whether what follows is delivered.

        Raises:
            ContractError: It acknowledges what was never said.
        """
        if sealed.flags & (envelope.TRY | envelope.HERE):
            if not relayed:
                self._tried(sealed, now_s)
            return False
        if not relayed:
            self._their_try, self._leave_s, self._heard_s = -1, float("inf"), now_s
        elif now_s - self._direct_since_s >= SETTLE_S:
            self._overhear(sealed, now_s)
        return super().take(sealed, size_bytes, now_s)

    def _overhear(self, sealed: Envelope, now_s: float) -> None:
        """Something came through the broker, where it may have waited since before both were back on the direct way."""
        probe = bool(sealed.flags & envelope.PROBE)
        if sealed.sender == self.peer and sealed.stream <= self._incoming.stream:
            news = (sealed.stream, sealed.number) == self._incoming.place
        else:
            news = probe or sealed.number > 0
        if news and now_s - self._heard_s >= SETTLE_S:
            self._detour(now_s)
        elif news or probe:
            self._ask(now_s)

    def _carry(self, sealed: Envelope, frames: Frames) -> bool:
        if self._relayed and self._relay is not None:
            return self._relay(sealed, frames)
        return self._directly(sealed, frames)

    def _detour(self, now_s: float) -> None:
        """Go through the broker, if that can be and is not so already."""
        if self._relayed or self._relay is None:
            return
        self._relayed, self._first_try, self._next_try_s = True, self._tries + 1, now_s
        self._leave_s = float("inf")
        self.reroute(now_s, RELAY_WINDOW, RELAY_WINDOW_BYTES)

    def _ask(self, now_s: float) -> None:
        """Whether the direct way is whole; once at a time, and leave it if there is no answer."""
        if self._relayed or self._relay is None or self._leave_s != float("inf"):
            return
        self._tries += 2  # it follows no other: the peer need not think that it does because it answered in vain
        self._first_try, self._leave_s = self._tries, now_s + ASK_S
        self._send_try()

    def _try(self, now_s: float) -> None:
        self._tries += 1
        if (self._tries - self._first_try) % ANEW_EVERY == 0:
            self._reopen()
        self._send_try()
        self._next_try_s = now_s + TRY_S

    def _send_try(self) -> None:
        self._directly(Envelope(self._own, self.peer, number=self._tries, flags=envelope.TRY), (_PADDING,))

    def _tried(self, sealed: Envelope, now_s: float) -> None:
        """An attempt came in, or the answer to one: of this node, and not of a time before."""
        if sealed.flags & envelope.TRY:
            again = sealed.number == self._their_try + 1 and not self._relayed
            if again and now_s - self._reopened_s >= ANEW_EVERY * TRY_S:  # however often it asks
                self._reopened_s = now_s
                self._reopen()  # the answer to the former did not get there
            self._their_try = sealed.number
            self._directly(Envelope(self._own, sealed.sender, number=sealed.number, flags=envelope.HERE), ())
            return
        ours = sealed.receiver == self._own and self.peer in (0, sealed.sender)
        if not ours or not self._first_try <= sealed.number <= self._tries:
            return
        if self._relayed:
            self._relayed, self._direct_since_s = False, now_s
            self.reroute(now_s, WINDOW, WINDOW_BYTES)
        elif self._leave_s != float("inf"):
            self._leave_s, self._direct_since_s = float("inf"), now_s
