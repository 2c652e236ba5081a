"""A node of the fleet's network: one inbox, one outgoing pipe to each peer, and proof of who sent what on both.

Each node binds one PULL socket and connects one PUSH socket to each peer it sends to. The inbox accepts only peers that
prove who they are (`keys.py`); ZeroMQ's ZAP hands us what was proven with every message, so that a device can take
orders from the broker alone. Secrets live in memory: they reach a device through its standard input.
"""

import logging
import math
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Self

import zmq
from zmq.auth.thread import ThreadAuthenticator

from splitplace.errors import SplitPlaceError
from splitplace.placement.protocol import messages
from splitplace.placement.protocol.keys import Access

log = logging.getLogger(__name__)
_AUTHENTICATOR_LOG = logging.getLogger(f"{__name__}.authenticator")
_AUTHENTICATOR_LOG.setLevel(logging.INFO)  # at DEBUG pyzmq writes the tokens that it sees

QUEUED_MESSAGES = 20_000
"""Small messages that may wait for one peer; credits bound the large ones far below this."""


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


class StreamNode:
    """Sends to and receives from the peers it has access to; to be used by one thread.

    Args:
        access: How it proves itself, and whose messages are accepted.
        max_frame_bytes: A larger frame costs its sender the connection, before it is read.
    """

    def __init__(self, access: Access, max_frame_bytes: int = messages.MAX_FRAME_BYTES):
        self.access = access
        self._names = access.names()
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self._authenticator = ThreadAuthenticator(self._context, log=_AUTHENTICATOR_LOG)
        self._authenticator.start()
        self._inbox = self._context.socket(zmq.PULL)
        access.guard(self._inbox, self._authenticator)
        self._inbox.setsockopt(zmq.MAXMSGSIZE, max_frame_bytes)
        self._inbox.rcvhwm = QUEUED_MESSAGES
        self._inbox.bind(access.address)
        self.endpoint = self._inbox.get_string(zmq.LAST_ENDPOINT)
        self._outgoing: dict[str, zmq.Socket[bytes]] = {}
        self.sent_bytes = self.received_bytes = 0
        """Of messages, as handed to the network and as they came in."""
        self._poller = zmq.Poller()
        self._poller.register(self._inbox, zmq.POLLIN)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Drop what is queued and close every socket."""
        for socket in (*self._outgoing.values(), self._inbox):
            socket.close(linger=0)
        self._outgoing.clear()
        self._authenticator.stop()
        self._context.term()

    def watch(self, descriptor: int) -> None:
        """Also end `receive`'s wait when this file descriptor can be read."""
        self._poller.register(descriptor, zmq.POLLIN)

    def connect(self, name: str, endpoint: str) -> None:
        """Open the pipe to a peer that it has access to; again: nothing.

        Raises:
            ContractError: An endpoint where no peer of this access listens.
        """
        if name in self._outgoing:
            return
        socket = self._context.socket(zmq.PUSH)
        socket.sndhwm = QUEUED_MESSAGES
        socket.linger = 0
        try:
            self.access.call(socket, name, endpoint)
        except BaseException:
            socket.close()
            raise
        self._outgoing[name] = socket

    def disconnect(self, name: str) -> None:
        """Drop the pipe to a peer with whatever is queued for it."""
        socket = self._outgoing.pop(name, None)
        if socket is not None:
            socket.close(linger=0)

    def send(self, name: str, message: messages.Message, values: Sequence[messages.Array] = ()) -> None:
        """Queue a message for a peer; never blocks. What is meant for a peer that is gone is dropped."""
        socket = self._outgoing.get(name)
        if socket is None:
            log.debug("no pipe to %s: %s dropped", name, message.type)
            return
        try:
            frames = messages.encode(message, values)
            socket.send_multipart(frames, flags=zmq.NOBLOCK, copy=not values)
            self.sent_bytes += sum(map(len, frames))
        except zmq.Again:
            log.warning("%s does not read: %s dropped", name, message.type)

    def receive(self, timeout_s: float) -> Iterator[Received | Malformed]:
        """What has come in; waits up to `timeout_s` for the first, and yields no more than a bounded number."""
        self._poller.poll(math.ceil(timeout_s * 1000))
        for _ in range(1000):
            try:
                parts = self._inbox.recv_multipart(flags=zmq.NOBLOCK, copy=False)
            except zmq.Again:
                return
            self.received_bytes += sum(map(len, parts))
            peer = self._names[str(parts[0].get("User-Id"))]
            try:
                message, values = messages.decode([part.buffer for part in parts])
            except SplitPlaceError as error:
                yield Malformed(peer, messages.text(error))
                continue
            yield Received(peer, message, values)


def drain(descriptor: int) -> None:
    """Read all that wake-ups left in a pipe that does not block."""
    try:
        while os.read(descriptor, 4096):
            pass
    except BlockingIOError:
        return
