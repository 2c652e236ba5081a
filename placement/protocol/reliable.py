"""Messages that survive a connection that is reset: delivered once and in order, or to nobody, and then it is known.

ZeroMQ drops what was under way when a connection ends. So each node numbers what it says to each peer, keeps it until
the peer acknowledges it, and says it again if that does not happen. Acknowledgements are cumulative and ride on what is
said anyway (`incoming.py`); alone they go only where nothing is said for a moment, or where the sender, who hands over
no more than the road holds (`road.py`), asks for one. As in TCP (RFC 9293, RFC 6298) there is a window, a wait that
doubles, and a probe; unlike there, the network below loses nothing without losing all of a moment, so that a gap proves
a loss and everything behind it is said again (go-back-N), and nothing is kept out of order.

A peer is a process: one that starts again is another *incarnation*, for which nothing of the former was meant. What a
node gives up (`restart`) ends a *stream* of numbers; the next has a higher name.
"""

from collections.abc import Callable

from splitplace.errors import ContractError
from splitplace.placement.protocol import envelope
from splitplace.placement.protocol.envelope import Envelope
from splitplace.placement.protocol.incoming import Incoming
from splitplace.placement.protocol.parcels import Frames, Parcel, Unsent
from splitplace.placement.protocol.road import Road

Transmit = Callable[[Envelope, Frames], bool]
"""Hands an envelope and what follows it to the network; answers whether that had room."""

WINDOW = 512
"""Messages that may be under way to a peer; the rest waits here."""
WINDOW_BYTES = 64 * 2**20
"""At most, over whatever road."""
MAX_UNACKNOWLEDGED = 65_536
"""Messages that may wait for a peer, under way or not: with more it does not keep up, and is given up."""
MAX_UNACKNOWLEDGED_BYTES = 4 * 2**30
FIRST_WAIT_S, LONGEST_WAIT_S = 0.3, 2.4
"""For an acknowledgement, before the peer is probed; doubles each time."""
SAID_AGAIN_BYTES = 2**16
"""A message up to this size is its own probe. A larger one may still be on its way over a slow road, and would be that
much later for each time that it is said again: the peer is asked with an empty one, and only if it answers that nothing
came in before that is the message said again."""
RETRY_S = 0.02
"""After which the network, which had no room, is asked again."""
UNREACHABLE_S = 2.0
"""A peer that acknowledges nothing for so long, while something waits for it, is unreachable."""
SLOWEST_BYTES_PER_S, LEAST_BYTES_PER_S = 2**20, 2**14
"""What is acknowledged when it is in whole is waited for as long as that takes on such a road, besides; where the last
large message took longer, for twice what this one would take at that pace, which is taken to be no less than the other.
Else every one on a slow road would be given up before it is in."""
_ASKED = 64
"""Probes whose answers are waited for."""
_FORMER = 16
"""Incarnations of a peer that are remembered, so that what they left in the network is not taken for news."""


class Link:
    """Both directions between this node and one peer. Times are of a clock that stands while nobody listens.

    Args:
        own: The incarnation of this node.
        transmit: To the peer.
    """

    def __init__(self, own: int, transmit: Transmit):
        self._own, self._transmit = own, transmit
        self._window, self._window_bytes = WINDOW, WINDOW_BYTES
        self._peer = 0
        self._former: dict[int, tuple[int, int]] = {}
        """Incarnations that another took the place of: what of each had come in, as (stream, next number)."""
        self._doubted = self._challenge = 0
        """Of the former, the one that was heard again, and the stream whose name only it was told since."""
        self._stream = 0
        self._slowest_bytes_per_s: float = SLOWEST_BYTES_PER_S
        """Of the road, by which a message is waited for."""
        self.restart()
        self._incoming = Incoming()
        self._asked = 0

    def restart(self) -> None:
        """Give up what was said and is not acknowledged; what is said from now on is another stream."""
        self._stream = max(self._stream, self._challenge) + 1
        self._parcels: dict[int, Parcel] = {}
        """By number: what was handed over and is not acknowledged, and at most one that the network had no room for."""
        self._unsent, self._road = Unsent(), Road()
        self._first = self._next = self._cursor = 1
        """Numbers: of the oldest unacknowledged, of the next to be given, of the next to be handed over."""
        self._reached = 0
        """The highest that was ever handed over."""
        self._probes: dict[int, int] = {}
        """Of each probe that is not answered, the highest that was handed over before."""
        self._waiting_bytes = self._flying_bytes = 0
        self._wait_s, self._since_s, self._progress_s = FIRST_WAIT_S, 0.0, 0.0
        self._full = self.overrun = False
        """Whether the network has no room, and whether the peer was given up because it did not keep up."""

    @property
    def peer(self) -> int:
        """The incarnation of the peer, as last heard; 0 before that."""
        return self._peer

    def forget(self) -> None:
        """As `restart`, because the peer is to be another process: what is said from now on is for whoever that is.

        Else it would be said in the former's name, and refused.
        """
        self.restart()
        if self._peer:
            self._former[self._peer] = self._incoming.place
        self._peer, self._incoming = 0, Incoming()

    # What goes out.

    def put(self, frames: Frames, size_bytes: int, now_s: float, bulk_of: int | None = None) -> None:
        """Say something: at once if the window and the network have room, else as soon as they have.

        Args:
            frames: What to say.
            size_bytes: Of all of it.
            now_s: The time.
            bulk_of: The job whose bulk it is: what is said later and is none may come in before it.
        """
        if self.overrun:
            return
        waiting = len(self._parcels) + len(self._unsent)
        if waiting >= MAX_UNACKNOWLEDGED or self._waiting_bytes + size_bytes > MAX_UNACKNOWLEDGED_BYTES:
            self.restart()
            self.overrun = True
            return
        if not waiting:
            self._since_s = self._progress_s = now_s
        self._unsent.put(Parcel(frames, size_bytes, bulk_of))
        self._waiting_bytes += size_bytes
        self._pump(now_s)

    def take_back(self, job: int) -> None:
        """Say no more of a job's bulk than was handed over."""
        self._waiting_bytes -= self._unsent.take_back(job)

    def say(self, frames: Frames, aside: Transmit) -> None:
        """Say something that may be lost, and waits for nothing that is said otherwise: `aside` takes it there."""
        self._hand_over(0, frames, aside=aside)

    def reroute(self, now_s: float, window: int, window_bytes: int) -> None:
        """From now on something else carries what is said: all that is unacknowledged is said again, over that.

        What is still under way on the former may come in, too: the peer takes each number once.

        Args:
            now_s: From when on the peer's silence counts anew.
            window: Messages that may be under way.
            window_bytes: Bytes of them, or one message.
        """
        self._window, self._window_bytes, self._road = window, window_bytes, Road()
        self._again()
        self._wait_s, self._since_s, self._progress_s = FIRST_WAIT_S, now_s, now_s
        self._pump(now_s)

    def tick(self, now_s: float) -> None:
        """Do what is due; after what came in was taken in."""
        self._pump(now_s)
        if self._cursor > self._first and now_s - self._since_s >= self._wait_s:
            self._probe()
            self._since_s, self._wait_s = now_s, min(2 * self._wait_s, LONGEST_WAIT_S)
        if self._incoming.due_s(now_s) == 0:
            self._hand_over(0, ())

    def due_s(self, now_s: float) -> float:
        """Seconds until `tick` has something to do; infinite if it depends on others."""
        times = [self._incoming.due_s(now_s)]
        if self._cursor > self._first:
            times.append(self._since_s + self._wait_s - now_s)
        if self._full:
            times.append(RETRY_S)
        if self._parcels and (silent_s := self.silent_s(now_s)) <= UNREACHABLE_S:
            times.append(UNREACHABLE_S - silent_s)
        return max(min(times), 0.0)

    @property
    def idle(self) -> bool:
        """Whether nothing waits here, neither to be acknowledged nor to be told."""
        return not (self._parcels or self._incoming.owes or self.overrun)

    def unreachable(self, now_s: float) -> bool:
        """Whether what was said stays unacknowledged."""
        return self.overrun or self.silent_s(now_s) > UNREACHABLE_S

    def silent_s(self, now_s: float) -> float:
        """How long the peer could have acknowledged something, and did not."""
        if not self._parcels:
            return 0.0
        return now_s - self._progress_s - self._parcels[self._first].size_bytes / self._slowest_bytes_per_s

    def _pump(self, now_s: float) -> None:
        """Hand over what there is room for: first what is said again, then what waits and is no bulk, then that."""
        while parcel := self._parcels.get(self._cursor) or self._unsent.peek():
            flying, under_way_bytes = self._cursor - self._first, self._flying_bytes + parcel.size_bytes
            if flying and (
                flying >= self._window
                or under_way_bytes > self._window_bytes
                or self._flying_bytes >= self._road.holds_bytes
            ):
                break
            if self._cursor == self._next:
                self._parcels[self._next] = self._unsent.pop()
                self._next += 1
            # A road that is half full, or unknown: who waits for room has to hear soon that there is some.
            unknown = not self._road.known and parcel.size_bytes > SAID_AGAIN_BYTES
            soon = unknown or 2 * under_way_bytes >= self._road.holds_bytes
            if not self._hand_over(self._cursor, parcel.frames, envelope.PROBE * soon):
                self._full = True
                return
            if self._cursor > self._reached:
                self._reached = self._cursor
                self._road.sent(self._cursor, now_s)
            self._cursor += 1
            self._flying_bytes = under_way_bytes
        self._full = False

    def _probe(self) -> None:
        oldest = self._parcels[self._first]
        self._asked += 1
        self._probes[self._asked] = self._reached
        if len(self._probes) > _ASKED:
            del self._probes[next(iter(self._probes))]
        number, frames = (self._first, oldest.frames) if oldest.size_bytes <= SAID_AGAIN_BYTES else (0, ())
        self._hand_over(number, frames, envelope.PROBE, self._asked)

    def _again(self) -> None:
        """All that is unacknowledged: what is asked for no more is no matter."""
        self._cursor, self._flying_bytes = self._first, 0
        self._probes.clear()
        self._road.lost()

    def _hand_over(
        self, number: int, frames: Frames, flags: int = 0, probe: int = 0, aside: Transmit | None = None
    ) -> bool:
        theirs = self._incoming
        sealed = Envelope(
            self._own, self._peer, self._stream, number, theirs.stream, theirs.expected - 1, theirs.flags | flags,
            probe, theirs.answered,
        )  # fmt: skip
        if not (aside or self._transmit)(sealed, frames):
            return False
        theirs.told()
        return True

    # What comes in.

    def take(self, sealed: Envelope, size_bytes: int, now_s: float) -> bool:
        """Take in an envelope; answers whether what follows it is to be delivered.

        Raises:
            ContractError: It acknowledges what was never said.
        """
        if sealed.sender in self._former and not self._lives(sealed):
            return False
        if sealed.sender != self._peer:
            self._meet(sealed.sender)
        if sealed.receiver not in (0, self._own):
            self._incoming.owe(envelope.ANSWER, now_s)  # meant for whom this node replaced: the peer hears who it is
            return False
        if sealed.receiver == self._own and sealed.acked_stream == self._stream:
            self._acknowledged(sealed, now_s)
        return self._incoming.take(sealed, size_bytes, now_s)

    def _lives(self, sealed: Envelope) -> bool:
        """Whether what was sent by a former incarnation is no leftover: it knows what it was asked just now."""
        if sealed.sender == self._doubted and (sealed.receiver, sealed.acked_stream) == (self._own, self._challenge):
            return True
        if sealed.sender != self._doubted:
            self._doubted, self._challenge = sealed.sender, max(self._stream, self._challenge) + 1
        self._transmit(Envelope(self._own, sealed.sender, self._challenge, flags=envelope.PROBE), ())
        return False

    def _meet(self, peer: int) -> None:
        if self._peer:
            self._former[self._peer] = self._incoming.place
        if self._peer or self.overrun or peer in self._former:
            self.restart()
        self._peer, self._incoming = peer, Incoming(*self._former.pop(peer, ()))
        while len(self._former) > _FORMER:
            del self._former[next(iter(self._former))]

    def _acknowledged(self, sealed: Envelope, now_s: float) -> None:
        if sealed.acked > self._reached:
            raise ContractError(f"it acknowledges message {sealed.acked}, of {self._reached} that were sent")
        if sealed.acked >= self._first:
            before_bytes = self._waiting_bytes
            self._learn_pace(self._parcels[self._first].size_bytes, now_s - self._progress_s)
            for number in range(self._first, sealed.acked + 1):
                size_bytes = self._parcels.pop(number).size_bytes
                self._waiting_bytes -= size_bytes
                if number < self._cursor:
                    self._flying_bytes -= size_bytes
            self._road.delivered(sealed.acked, before_bytes - self._waiting_bytes, now_s, bool(self._unsent))
            self._first = sealed.acked + 1
            self._cursor = max(self._cursor, self._first)
            self._since_s = self._progress_s = now_s
            self._wait_s = FIRST_WAIT_S
        # What was handed over before the probe that is answered here came in before it, or never will.
        lost = self._first <= self._probes.get(sealed.answered, 0)
        for probe in [probe for probe in self._probes if probe <= sealed.answered]:
            del self._probes[probe]
        if lost or (sealed.flags & envelope.MISSING and sealed.acked + 1 == self._first):
            self._again()
        self._pump(now_s)

    def _learn_pace(self, size_bytes: int, took_s: float) -> None:
        if size_bytes > SAID_AGAIN_BYTES:
            pace = 0.5 * size_bytes / max(took_s, 1e-6)
            self._slowest_bytes_per_s = min(max(pace, LEAST_BYTES_PER_S), SLOWEST_BYTES_PER_S)
