"""A node of the fleet's network: one inbox, one outgoing pipe to each peer, and proof of who sent what on both.

Each node binds one PULL socket and connects one PUSH socket to each peer it sends to. The inbox accepts only peers that
prove who they are (`keys.py`); ZeroMQ's ZAP hands us what was proven with every message, so that a device can take
orders from the broker alone. Secrets live in memory: they reach a device through its standard input.

What is sent arrives once and in order, whatever becomes of the connections (`reliable.py`); all but pings and pongs.
"""

import logging
import math
import os
import secrets
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from types import TracebackType
from typing import Self

import zmq

from splitplace.errors import ContractError, SplitPlaceError
from splitplace.placement.protocol import codec, envelope, intake, messages
from splitplace.placement.protocol.envelope import Envelope
from splitplace.placement.protocol.keys import Access, CurveAccess, PatientAuthenticator
from splitplace.placement.protocol.reliable import WINDOW_BYTES, Frames, Link

log = logging.getLogger(__name__)
_AUTHENTICATOR_LOG = logging.getLogger(f"{__name__}.authenticator")
_AUTHENTICATOR_LOG.setLevel(logging.INFO)  # at DEBUG pyzmq writes the tokens that it sees

QUEUED_MESSAGES = 1000
"""That ZeroMQ holds for one peer, on either side; the rest waits in its link."""
HEARTBEAT_S, SILENT_S = 2.0, 6.0
"""How often ZeroMQ asks over an idle connection, and how long it may be silent before it is made anew: TCP by itself
would take minutes to notice that a broken road is whole again."""
CONNECT_S = 3.0
"""After which an attempt to connect, or to prove who one is, is made anew, and who has proven nothing is cut off."""
PAUSE_S = 0.25
"""What a node may take between two calls of `receive` and have it count as listening."""


_PASSED_OVER = 16


def draw_incarnation() -> int:
    """A number for a process, that no other process has and nobody can guess."""
    return secrets.randbits(64) or 1


class ListeningClock:
    """Seconds that a node has listened to its peers: what it did not ask for, nobody was late with.

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


@dataclass(frozen=True, eq=False)
class Received:
    """A message that came in, with its tensors and the peer that proved to have sent it."""

    peer: str
    message: messages.Message
    values: Mapping[str, messages.Array]


@dataclass(frozen=True)
class Malformed:
    """Something an accepted peer sent that is no message of ours."""

    peer: str
    error: str


@dataclass(frozen=True)
class UnknownProcess:
    """A process that proves a peer's name speaks, and is not the one that is that peer: what it says is dropped."""

    peer: str
    error: str


class StreamNode:
    """Sends to and receives from the peers it has access to; to be used by one thread.

    Args:
        access: How it proves itself, and whose messages are accepted.
        max_frame_bytes: A larger frame costs its sender the connection, before it is read.
        incarnation: Which process this is; drawn here if it was not before.
    """

    def __init__(self, access: Access, max_frame_bytes: int = messages.MAX_FRAME_BYTES, incarnation: int | None = None):
        self.access = access
        self._names = access.names()
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self._authenticator = PatientAuthenticator(self._context, log=_AUTHENTICATOR_LOG)
        self._authenticator.start()
        self._inbox = self._context.socket(zmq.PULL)
        access.guard(self._inbox, self._authenticator)
        self._inbox.setsockopt(zmq.MAXMSGSIZE, max_frame_bytes)
        self._inbox.rcvhwm = QUEUED_MESSAGES
        self._inbox.setsockopt(zmq.HANDSHAKE_IVL, round(1000 * CONNECT_S))
        # What an honest peer has under way, and what it says again while this node is busy.
        most_bytes = 2 * WINDOW_BYTES + messages.MAX_TENSORS * max_frame_bytes
        counts = intake.counts_bytes(access.address)
        self._intake = intake.Intake(self._inbox, most_bytes, HEARTBEAT_S) if counts else None
        self._inbox.bind(access.address)
        self.endpoint = self._inbox.get_string(zmq.LAST_ENDPOINT)
        self._outgoing: dict[str, zmq.Socket[bytes]] = {}
        self._endpoints: dict[str, str] = {}
        self.incarnation = incarnation or draw_incarnation()
        self._expected: dict[str, int] = {}
        """Which process each peer is, where that is known."""
        self._passed_over: dict[str, dict[int, None]] = {}
        """Other processes that proved a peer's name: those that it was before, and those that were told of."""
        self._piped: dict[str, int] = {}
        """The incarnation at the end of each pipe: the first that was heard after it was opened, or before."""
        self._links: dict[str, Link] = {}
        self._busy: dict[str, Link] = {}
        """Those that wait for something."""
        self._clock = ListeningClock()
        self.sent_bytes = self.received_bytes = 0
        """Of messages, as handed to the network and as they came in."""
        self._poller = zmq.Poller()
        self._poller.register(self._inbox, zmq.POLLIN)
        if self._intake is not None:
            self._poller.register(self._intake.events, zmq.POLLIN)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Drop what is queued and close every socket."""
        for socket in (*self._outgoing.values(), self._inbox):
            socket.close(linger=0)
        if self._intake is not None:
            self._intake.close()
        self._outgoing.clear()
        self._authenticator.stop()
        self._context.term()

    def watch(self, descriptor: int) -> None:
        """Also end `receive`'s wait when this file descriptor can be read."""
        self._poller.register(descriptor, zmq.POLLIN)

    @property
    def unreachable(self) -> frozenset[str]:
        """The peers that have acknowledged nothing for `UNREACHABLE_S` while something waits for them."""
        return frozenset(
            name for name, link in self._busy.items() if name in self._outgoing and link.unreachable(self._clock.now_s)
        )

    def overrun(self, name: str) -> bool:
        """Whether so much waited for a peer that it was given up: nothing reaches it until it is another process."""
        return name in self._links and self._links[name].overrun

    def connect(self, name: str, endpoint: str) -> None:
        """Open the pipe to a peer that it has access to; again: nothing, but at another endpoint it is another pipe.

        Raises:
            ContractError: An endpoint where no peer of this access listens.
        """
        if self._endpoints.get(name) == endpoint:
            return
        socket = self._context.socket(zmq.PUSH)
        socket.sndhwm = QUEUED_MESSAGES
        socket.linger = 0
        socket.setsockopt(zmq.HEARTBEAT_IVL, round(1000 * HEARTBEAT_S))
        socket.setsockopt(zmq.HEARTBEAT_TIMEOUT, round(1000 * SILENT_S))
        socket.setsockopt(zmq.CONNECT_TIMEOUT, round(1000 * CONNECT_S))
        socket.setsockopt(zmq.HANDSHAKE_IVL, round(1000 * CONNECT_S))
        try:
            self.access.call(socket, name, endpoint)
        except BaseException:
            socket.close()
            raise
        self.disconnect(name)
        self._outgoing[name], self._endpoints[name] = socket, endpoint
        self._piped[name] = self._wake(name).peer

    def expect(self, name: str, incarnation: int) -> None:
        """From now on a peer is this process, and nothing that another one says in its name is taken.

        What the one before it said and is still under way is dropped in silence, any other is told of once.
        """
        former = self._expected.get(name, incarnation)
        if former != incarnation:
            self._pass_over(name, former)
        self._expected[name] = incarnation

    def admit(self, name: str, key: str) -> None:
        """From now on this key proves a peer's name, and no other does: of a device that joined since."""
        self._know(name, key)

    def expel(self, name: str) -> None:
        """From now on nothing proves a peer's name: its pipe is dropped, and what it still says."""
        self.disconnect(name)
        self._know(name, None)

    def _know(self, name: str, key: str | None) -> None:
        assert isinstance(self.access, CurveAccess), "who has keys may come and go"
        self.access = self.access.knowing(name, key)
        self.access.admit(self._authenticator)
        self._names = self.access.names()

    def disconnect(self, name: str) -> None:
        """Drop the pipe to a peer with whatever is queued for it or unacknowledged."""
        socket = self._outgoing.pop(name, None)
        if socket is not None:
            socket.close(linger=0)
            del self._endpoints[name]
            link, piped = self._links[name], self._piped.pop(name)
            # Who was heard of through another process's pipe is new already.
            link.forget() if link.peer == piped else link.restart()

    def send(self, name: str, message: messages.Message, values: Sequence[messages.Array] = ()) -> None:
        """Send a message to a peer; never blocks. What is meant for a peer that is gone is dropped.

        The values must stay as they are until the peer has acknowledged them.
        """
        if name not in self._outgoing:
            log.debug("no pipe to %s: %s dropped", name, message.type)
            return
        frames, link = codec.encode(message, values), self._wake(name)
        if isinstance(message, messages.Ping | messages.Pong):
            link.say(frames)
        else:
            link.put(frames, sum(map(len, frames)), self._clock.now_s)

    def receive(self, timeout_s: float) -> Iterator[Received | Malformed | UnknownProcess]:
        """What has come in; waits up to `timeout_s` for the first, and yields no more than a bounded number.

        Returns earlier, and with nothing, where something is due: an acknowledgement, or a message once more.
        """
        self._clock.advance(PAUSE_S)
        now_s = self._clock.now_s
        wait_s = min([timeout_s, *(link.due_s(now_s) for name, link in self._busy.items() if name in self._outgoing)])
        if self._intake is not None:
            self._intake.look(int(self.endpoint.rpartition(":")[2]))
            wait_s = min(wait_s, intake.LOOK_S)
        events = dict(self._poller.poll(math.ceil(wait_s * 1000)))
        self._clock.advance(wait_s + PAUSE_S)
        if self._intake is not None and self._intake.events in events:
            self._intake.hear()
        for _ in range(1000 if self._inbox in events else 0):
            try:
                parts = self._inbox.recv_multipart(flags=zmq.NOBLOCK, copy=False)
            except zmq.Again:
                break
            if self._intake is not None:
                self._intake.handed_over(parts)
            peer = self._names.get(str(parts[0].get("User-Id")))
            if peer is None:
                continue  # over a connection of before it was expelled
            try:
                received = self._taken(peer, [part.buffer for part in parts])
            except SplitPlaceError as error:
                yield Malformed(peer, messages.text(error))
                continue
            if received is not None:
                yield received
        for name, link in tuple(self._busy.items()):
            if name in self._outgoing:
                link.tick(self._clock.now_s)
            if link.idle:
                self._busy.pop(name, None)

    def _pass_over(self, peer: str, incarnation: int) -> bool:
        """Note that a process is not the peer whose name it proves; answers whether that is news."""
        known = self._passed_over.setdefault(peer, {})
        if incarnation in known:
            return False
        known[incarnation] = None
        while len(known) > _PASSED_OVER:
            del known[next(iter(known))]
        return True

    def _taken(self, peer: str, frames: Sequence[memoryview]) -> Received | UnknownProcess | None:
        size_bytes = sum(map(len, frames))
        self.received_bytes += size_bytes
        header = frames[0]
        if bytes(header[:1]) == b"{":  # from before envelopes: a hello, which says so
            codec.decode(frames)
            raise ContractError("not a message: no envelope before its header")
        sealed = envelope.decode(header)
        if self._expected.get(peer, sealed.sender) != sealed.sender:
            news = self._pass_over(peer, sealed.sender)
            said = f"a process that is not {peer} speaks in its name: its key was copied, or it was given up before"
            return UnknownProcess(peer, said) if news else None
        link = self._wake(peer)
        deliver = link.take(sealed, size_bytes, self._clock.now_s)
        if self._piped.get(peer) == 0:
            self._piped[peer] = link.peer
        if not deliver or len(header) == envelope.SIZE_BYTES:
            return None
        return Received(peer, *codec.decode([header[envelope.SIZE_BYTES :], *frames[1:]]))

    def _wake(self, name: str) -> Link:
        """The link to a peer, which from now on is looked after."""
        link = self._links.get(name)
        if link is None:
            link = self._links[name] = Link(self.incarnation, partial(self._hand_over, name))
        self._busy[name] = link
        return link

    def _hand_over(self, name: str, sealed: Envelope, frames: Frames) -> bool:
        socket = self._outgoing.get(name)
        if socket is None:
            return False
        first, *rest = frames or (b"",)
        first = sealed.encode() + first
        try:
            if rest:
                socket.send_multipart([first, *rest], flags=zmq.NOBLOCK, copy=False)
            else:
                socket.send(first, flags=zmq.NOBLOCK)
        except zmq.Again:
            return False
        self.sent_bytes += len(first) + sum(map(len, rest))
        return True


def drain(descriptor: int) -> None:
    """Read all that wake-ups left in a pipe that does not block."""
    try:
        while os.read(descriptor, 4096):
            pass
    except BlockingIOError:
        return
