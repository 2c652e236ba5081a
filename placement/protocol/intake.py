"""Bounds what a peer can make a node hold before it is a message: ZeroMQ bounds a frame, and no message's frames.

A message is handed over when its last frame is in; until then ZeroMQ keeps the others, and nobody sees them. What came
in on a connection is what the system counts (`tcp_info`, Linux); what was handed over of it, we count. Where more lies
between the two than any honest peer has under way, the connection is cut, and ZeroMQ forgets what came of the message.
A peer that did no wrong says it again over the next one.

ZeroMQ's own heartbeats come in as well, and are handed over to nobody: as many as there may have been are taken off.

Socket files are not looked at: who may connect to one may do all to this process that its user may.
"""

import logging
import socket
import struct
import sys
import time
from collections.abc import Iterator
from contextlib import suppress

import zmq
from zmq.utils.monitor import parse_monitor_message

log = logging.getLogger(__name__)

LOOK_S = 0.1
"""How often it is looked; in between a connection may bring what it can carry."""
_RECEIVED = struct.Struct("=128xQ")
"""`tcpi_bytes_received` in Linux's `struct tcp_info`."""
_CURVE_BYTES = 33
"""What CURVE adds to a frame (RFC 26 of ZeroMQ: a command's name, a nonce, a MAC, flags)."""


def wire_bytes(frame_bytes: int) -> int:
    """What a frame takes on an encrypted connection (ZMTP 3.1: flags and a length of one byte, or of eight)."""
    body = frame_bytes + _CURVE_BYTES
    return body + (2 if body <= 255 else 9)


HEARTBEAT_BYTES = wire_bytes(7)
"""A PING of ZMTP 3.1: its name and how long the sender waits for an answer."""


class Intake:
    """Watches the connections of an inbox.

    Args:
        inbox: Bound after this was made.
        most_bytes: That may have come in on a connection without having been handed over.
        heartbeat_s: How often a peer's ZeroMQ asks whether somebody is there. Twice as much is taken off as that takes,
            which is all that one who sends no message can get past the bound: 84 bytes each time.
    """

    def __init__(self, inbox: "zmq.Socket[bytes]", most_bytes: int, heartbeat_s: float):
        self.most_bytes = most_bytes
        self._off_bytes_per_s = 2 * HEARTBEAT_BYTES / heartbeat_s
        self._taken: dict[int, float] = {}
        """Bytes that were handed over or taken off, by the descriptor of their connection."""
        self._looked_s = time.monotonic()
        self.events = inbox.get_monitor_socket(zmq.EVENT_ACCEPTED | zmq.EVENT_DISCONNECTED)
        """Readable when a connection came or went: then `hear` is to be called, before messages are taken."""

    def close(self) -> None:
        """Before the inbox's context ends."""
        self.events.close(linger=0)

    def hear(self) -> set[int]:
        """Take in which connections there are; the descriptors of those that came or went."""
        changed = set()
        while self.events.poll(0):
            event = parse_monitor_message(self.events.recv_multipart())
            changed.add(int(event["value"]))
            self._taken.pop(int(event["value"]), None)
            if event["event"] == zmq.EVENT_ACCEPTED:
                self._taken[int(event["value"])] = 0
        return changed

    def cut(self, descriptor: int, port: int) -> None:
        """End the connection of this descriptor, if it is one to this port; what is queued for it goes with it."""
        for connection, _ in self.held(port):
            if connection.fileno() == descriptor:
                with suppress(OSError):  # it ended at this moment
                    connection.shutdown(socket.SHUT_RDWR)

    def handed_over(self, frames: "list[zmq.Frame]") -> None:
        """A message came in whole."""
        descriptor = frames[0].get(zmq.SRCFD)
        if descriptor in self._taken:
            self._taken[descriptor] += sum(wire_bytes(len(frame)) for frame in frames)

    def look(self, port: int) -> None:
        """Cut the connections to this port that hold too much, if it is time to look."""
        passed_s = time.monotonic() - self._looked_s
        if passed_s < LOOK_S:
            return
        for connection, held_bytes in self.held(port):
            self._taken[connection.fileno()] += self.taken_off(held_bytes, passed_s)
            if held_bytes > self.most_bytes:
                log.warning("a connection is cut: %d bytes came in that are no message yet", held_bytes)
                with suppress(OSError):  # it ended at this moment
                    connection.shutdown(socket.SHUT_RDWR)
        self._looked_s = time.monotonic()

    def taken_off(self, held_bytes: int, passed_s: float) -> float:
        """What heartbeats may have brought meanwhile, of the bytes that are held; below nothing, it is made up for."""
        return min(self._off_bytes_per_s * passed_s, held_bytes)

    def held(self, port: int) -> Iterator[tuple[socket.socket, int]]:
        """The connections to this port, and how many bytes came in on each that were not handed over."""
        for descriptor, taken in tuple(self._taken.items()):
            try:
                connection = socket.socket(fileno=descriptor)
            except OSError:  # closed meanwhile
                continue
            try:
                name = connection.getsockname()
                if isinstance(name, tuple) and name[1] == port:  # else another file has its number by now
                    info = connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _RECEIVED.size)
                    yield connection, round(_RECEIVED.unpack(info)[0] - taken)
            except OSError:  # it ended at this moment
                continue
            finally:
                connection.detach()  # it is ZeroMQ's to close


def counts_bytes(endpoint: str) -> bool:
    """Whether the system tells how much came in on a connection to there."""
    return endpoint.startswith("tcp://") and sys.platform == "linux"
