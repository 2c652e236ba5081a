"""A node of the fleet's network: one inbox, one outgoing pipe to each peer, and proof of who sent what on both.

Each node binds one PULL socket and connects one PUSH socket to each peer it sends to. The inbox accepts only peers that
prove who they are (`keys.py`); ZeroMQ's ZAP hands us what was proven with every message, so that a device can take
orders from the broker alone. Secrets live in memory: they reach a device through its standard input.

What is sent arrives once and in order, whatever becomes of the connections (`reliable.py`); all but pings and pongs.
Where a peer is not reached directly it goes through the broker, which says whose it is (`route.py`, `relay.py`).
"""

import logging
import math
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from types import TracebackType
from typing import Self

import zmq

from splitplace.errors import ContractError, SplitPlaceError
from splitplace.placement.protocol import codec, envelope, fields, messages
from splitplace.placement.protocol.fields import BROKER
from splitplace.placement.protocol.inbox import Inbox
from splitplace.placement.protocol.incarnations import Incarnations, draw_incarnation
from splitplace.placement.protocol.keys import Access
from splitplace.placement.protocol.listening_clock import PAUSE_S, ListeningClock
from splitplace.placement.protocol.pipes import QUEUED_MESSAGES, Pipes
from splitplace.placement.protocol.route import Route

log = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class Received:
    """A message that came in, with its tensors and the peer that proved to have sent it."""

    peer: str
    message: messages.Message
    values: Mapping[str, fields.Value]


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
        max_frame_bytes: A larger frame costs its sender the connection, before it is read; a larger tensor that comes
            in pieces is refused.
        incarnation: Which process this is; drawn here if it was not before.
        relay: Where the broker takes what a peer is not reached with directly; none, and such a peer is not reached.
    """

    def __init__(
        self,
        access: Access,
        max_frame_bytes: int = fields.MAX_FRAME_BYTES,
        incarnation: int | None = None,
        relay: str | None = None,
    ):
        self.inbox, self._max_frame_bytes = Inbox(access, max_frame_bytes, QUEUED_MESSAGES), max_frame_bytes
        self.endpoint = self.inbox.endpoint
        self.pipes = Pipes(self.inbox, relay)
        self.incarnation = incarnation or draw_incarnation()
        self._processes = Incarnations()
        self._piped: dict[str, int] = {}
        """The incarnation at the end of each pipe: the first that was heard after it was opened, or before."""
        self._links: dict[str, Route] = {}
        self._busy: dict[str, Route] = {}
        """Those that wait for something."""
        self._clock = ListeningClock()
        self.received_bytes = 0
        """Of messages, as they came in."""
        self._poller = zmq.Poller()
        self.inbox.watched_by(self._poller)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Drop what is queued and close every socket."""
        self.pipes.close()
        self.inbox.close()

    @property
    def sent_bytes(self) -> int:
        """Of messages, as handed to the network."""
        return self.pipes.sent_bytes

    @property
    def access(self) -> Access:
        """How it proves itself, and whose messages it accepts now."""
        return self.inbox.access

    def watch(self, descriptor: int) -> None:
        """Also end `receive`'s wait when this file descriptor can be read."""
        self._poller.register(descriptor, zmq.POLLIN)

    @property
    def unreachable(self) -> frozenset[str]:
        """The peers that have acknowledged nothing for `UNREACHABLE_S` while something waits for them, by any way."""
        return frozenset(
            name for name, link in self._busy.items() if name in self.pipes and link.unreachable(self._clock.now_s)
        )

    @property
    def relayed(self) -> frozenset[str]:
        """The peers to which what is said goes through the broker."""
        return frozenset(name for name, link in self._busy.items() if link.relayed)

    def overrun(self, name: str) -> bool:
        """Whether so much waited for a peer that it was given up: nothing reaches it until it is another process."""
        return name in self._links and self._links[name].overrun

    def connect(self, name: str, endpoint: str) -> None:
        """Open the pipe to a peer that it has access to; again: nothing, but at another endpoint it is another pipe.

        Raises:
            ContractError: An endpoint where no peer of this access listens.
        """
        if self.pipes.endpoints.get(name) == endpoint:
            return
        pipe = self.pipes.made(name, endpoint)
        self.disconnect(name)
        self.pipes.put(name, endpoint, pipe)
        self._piped[name] = self._wake(name).peer

    def expect(self, name: str, incarnation: int) -> None:
        """From now on a peer is this process, and nothing that another one says in its name is taken.

        What the one before it said and is still under way is dropped in silence, any other is told of once.
        """
        self._processes.expect(name, incarnation)

    def admit(self, name: str, key: str) -> None:
        """From now on this key proves a peer's name, and no other does: of a device that joined since."""
        self.inbox.know(name, key)

    def expel(self, name: str) -> None:
        """From now on nothing proves a peer's name: its pipe is dropped, and what it still says."""
        self.disconnect(name)
        self.inbox.know(name, None)

    def disconnect(self, name: str) -> None:
        """Drop the pipe to a peer with whatever is queued for it or unacknowledged."""
        if name in self.pipes:
            self.pipes.drop(name)
            link, piped = self._links[name], self._piped.pop(name)
            link.straighten()
            # Who was heard of through another process's pipe is new already.
            link.forget() if link.peer == piped else link.restart()

    def send(self, name: str, message: messages.Message, values: Sequence[fields.Value] = ()) -> None:
        """Send a message to a peer; never blocks. What is meant for a peer that is gone is dropped.

        The values must stay as they are until the peer has acknowledged them.
        """
        if name not in self.pipes:
            log.debug("no pipe to %s: %s dropped", name, message.type)
            return
        frames, link = codec.encode(message, values), self._wake(name)
        if isinstance(message, messages.Ping | messages.Pong):
            link.say(frames, partial(self.pipes.hand_aside, name))
        else:
            # To the broker all goes in order: what a device ran, and what came of it.
            bulk_of = message.job if isinstance(message, messages.Tensors) and name != BROKER else None
            link.put(frames, sum(map(len, frames)), self._clock.now_s, bulk_of)

    def take_back(self, job: int, names: Iterable[str] | None = None) -> None:
        """Send these peers, or all, no more of a job's tensors than are under way."""
        for name in self._busy.keys() if names is None else self._busy.keys() & set(names):
            self._busy[name].take_back(job)

    def receive(self, timeout_s: float) -> Iterator[Received | Malformed | UnknownProcess]:
        """What has come in; waits up to `timeout_s` for the first, and yields no more than a bounded number.

        Returns earlier, and with nothing, where something is due: an acknowledgement, or a message once more.
        """
        self._clock.advance(PAUSE_S)
        now_s = self._clock.now_s
        due_s = [link.due_s(now_s) for name, link in self._busy.items() if name in self.pipes]
        wait_s = min([timeout_s, self.inbox.look(), *due_s])
        events = dict(self._poller.poll(math.ceil(wait_s * 1000)))
        self._clock.advance(wait_s + PAUSE_S)
        for peer, parts in self.inbox.take(events, 1000):
            source, relayed, frames = peer, False, [part.buffer for part in parts]
            try:
                if envelope.is_address(frames[0]):
                    source, relayed, frames = self._vouched_for(peer, frames), True, frames[1:]
                received = self._taken(source, frames, relayed)
            except SplitPlaceError as error:
                yield Malformed(source, fields.text(error))
                continue
            if received is not None:
                yield received
        for name, link in tuple(self._busy.items()):
            if name in self.pipes:
                link.tick(self._clock.now_s)
            if link.idle:
                self._busy.pop(name, None)

    def _vouched_for(self, peer: str, frames: Sequence[memoryview]) -> str:
        """Who sent what came through the broker, which had it proven."""
        if peer != BROKER:
            raise ContractError(f"{peer} hands on a message of another node's: only the broker may")
        if len(frames) < 2:
            raise ContractError("an address, and no message after it")
        return envelope.addressed(frames[0])

    def _taken(self, peer: str, frames: Sequence[memoryview], relayed: bool) -> Received | UnknownProcess | None:
        size_bytes = sum(map(len, frames))
        self.received_bytes += size_bytes
        if relayed and peer not in self.pipes:
            return None  # of one that is gone, or that this node was not told of yet: it says it again
        header = frames[0]
        if bytes(header[:1]) == b"{":  # from before envelopes: a hello, which says so
            codec.decode(frames)
            raise ContractError("not a message: no envelope before its header")
        sealed = envelope.decode(header)
        if not self._processes.is_peer(peer, sealed.sender):
            news = self._processes.pass_over(peer, sealed.sender)
            said = f"a process that is not {peer} speaks in its name: its key was copied, or it was given up before"
            return UnknownProcess(peer, said) if news else None
        link = self._wake(peer)
        deliver = link.take(sealed, size_bytes, self._clock.now_s, relayed)
        if self._piped.get(peer) == 0:
            self._piped[peer] = link.peer
        if not deliver or len(header) == envelope.SIZE_BYTES:
            return None
        return Received(peer, *codec.decode([header[envelope.SIZE_BYTES :], *frames[1:]], self._max_frame_bytes))

    def _wake(self, name: str) -> Route:
        """The link to a peer, which from now on is looked after."""
        link = self._links.get(name)
        if link is None:
            pipes = self.pipes
            relay = partial(pipes.hand_to_relay, name) if pipes.relays and name != BROKER else None
            link = Route(self.incarnation, partial(pipes.hand_over, name), relay, partial(pipes.reopen, name))
            self._links[name] = link
        self._busy[name] = link
        return link


def drain(descriptor: int) -> None:
    """Read all that wake-ups left in a pipe that does not block."""
    try:
        while os.read(descriptor, 4096):
            pass
    except BlockingIOError:
        return
