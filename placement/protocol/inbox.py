"""Where a node hears: a socket that lets in whoever proves to be a known peer, in bounds; and what leads to another's.

Every message comes with what was proven on its connection: ZeroMQ's ZAP says it, and nothing in the message.
"""

import errno
import logging
from collections.abc import Iterator
from contextlib import contextmanager

import zmq

from splitplace.errors import ContractError, of_system
from splitplace.placement.protocol import fields, intake
from splitplace.placement.protocol.keys import Access, CurveAccess, PatientAuthenticator
from splitplace.placement.protocol.reliable import WINDOW_BYTES

log = logging.getLogger(__name__)
_AUTHENTICATOR_LOG = logging.getLogger(f"{__name__}.authenticator")
_AUTHENTICATOR_LOG.setLevel(logging.INFO)  # at DEBUG pyzmq writes the tokens that it sees

HEARTBEAT_S, SILENT_S = 2.0, 6.0
"""How often ZeroMQ asks over a connection, and how long there may be no answer before it is made anew: TCP by itself
would take minutes to notice that a broken road is whole again."""
TENSORS_SILENT_S, BROKEN_S = 60.0, 20.0
"""Where tensors go, over a slow road the question waits behind all that is under way: how long there may be no answer,
and how long nothing of what TCP sends may be taken in at the other end. A slow road takes in a little all the time."""
CONNECT_S = 3.0
"""After which an attempt to connect, or to prove who one is, is made anew, and who has proven nothing is cut off."""

MAX_SOCKETS = 2**16 - 1
"""Of a node, one a peer: ZeroMQ's own bound, where no other is set, is met by a fleet of a thousand devices."""


@contextmanager
def opening() -> Iterator[None]:
    """Say what ZeroMQ says of a system that gives no more files.

    Raises:
        OverloadedError: That.
    """
    try:
        yield
    except zmq.ZMQError as error:
        if error.errno in (errno.EMFILE, errno.ENFILE):
            raise of_system(OSError(error.errno, error.strerror), "a connection") from error
        raise


class Inbox:
    """Bound where its access says; its methods but `know` are for one thread.

    Args:
        access: Whose messages are accepted, and how it proves itself to those who connect.
        max_frame_bytes: A larger frame costs its sender the connection, before it is read.
        queued_messages: That ZeroMQ holds of one connection.

    Raises:
        OverloadedError: This process may open no more files.
    """

    @opening()
    def __init__(self, access: Access, max_frame_bytes: int, queued_messages: int):
        self.access = access
        self.names = access.names()
        """Each peer's name by what it proves."""
        self.context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self.context.max_sockets = MAX_SOCKETS
        self._authenticator = PatientAuthenticator(self.context, log=_AUTHENTICATOR_LOG)
        self._authenticator.start()
        self._socket = self.context.socket(zmq.PULL)
        access.guard(self._socket, self._authenticator)
        self._socket.setsockopt(zmq.MAXMSGSIZE, max_frame_bytes)
        self._socket.rcvhwm = queued_messages
        self._socket.setsockopt(zmq.HANDSHAKE_IVL, round(1000 * CONNECT_S))
        # What an honest peer has under way, and what it says again while this node is busy.
        most_bytes = 2 * WINDOW_BYTES + fields.MAX_TENSORS * max_frame_bytes
        counts = intake.counts_bytes(access.address)
        self.intake = intake.Intake(self._socket, most_bytes, HEARTBEAT_S) if counts else None
        self._socket.bind(access.address)
        self.endpoint = self._socket.get_string(zmq.LAST_ENDPOINT)

    def close(self) -> None:
        """Close it and its context, of which no other socket may be open any more."""
        self._socket.close(linger=0)
        if self.intake is not None:
            self.intake.close()
        self._authenticator.stop()
        self.context.term()

    def know(self, name: str, key: str | None) -> None:
        """From now on this key alone proves a peer's name; without one, nothing does."""
        assert isinstance(self.access, CurveAccess), "who has keys may come and go"
        self.access = self.access.knowing(name, key)
        self.access.admit(self._authenticator)
        self.names = self.access.names()

    def watched_by(self, poller: zmq.Poller) -> None:
        """Have it end its wait when something came in."""
        poller.register(self._socket, zmq.POLLIN)
        if self.intake is not None:
            poller.register(self.intake.events, zmq.POLLIN)

    def look(self) -> float:
        """Cut off whoever brings too much that is no message; answers after how many seconds it is to be done again."""
        if self.intake is None:
            return float("inf")
        self.intake.look(int(self.endpoint.rpartition(":")[2]))
        return intake.LOOK_S

    def take(self, events: dict[object, int], most: int) -> Iterator[tuple[str, list[zmq.Frame]]]:
        """What came in, by what the poller found: up to so many messages, each with the peer who proved to send it."""
        if self.intake is not None and self.intake.events in events:
            self.intake.hear()
        for _ in range(most if self._socket in events else 0):
            try:
                parts = self._socket.recv_multipart(flags=zmq.NOBLOCK, copy=False)
            except zmq.Again:
                return
            if self.intake is not None:
                self.intake.handed_over(parts)
            peer = self.names.get(str(parts[0].get("User-Id")))
            if peer is not None:  # else over a connection of before it was expelled
                yield peer, parts

    @opening()
    def pipe_to(self, name: str, endpoint: str, queued_messages: int, *, tensors: bool = True) -> "zmq.Socket[bytes]":
        """A socket that leads to a peer's inbox, as the same node, for tensors or for what is small alone.

        Raises:
            ContractError: An endpoint where no peer of this access listens, or that is none.
            OverloadedError: This process may open no more files.
        """
        socket = self.context.socket(zmq.PUSH)
        socket.sndhwm = queued_messages
        socket.linger = 0
        socket.setsockopt(zmq.HEARTBEAT_IVL, round(1000 * HEARTBEAT_S))
        socket.setsockopt(zmq.HEARTBEAT_TIMEOUT, round(1000 * (TENSORS_SILENT_S if tensors else SILENT_S)))
        if tensors:
            socket.setsockopt(zmq.TCP_MAXRT, round(1000 * BROKEN_S))
        socket.setsockopt(zmq.CONNECT_TIMEOUT, round(1000 * CONNECT_S))
        socket.setsockopt(zmq.HANDSHAKE_IVL, round(1000 * CONNECT_S))
        try:
            with opening():
                self.access.call(socket, name, endpoint)
        except zmq.ZMQError as error:
            socket.close()
            raise ContractError(
                f"{name} listens at {endpoint!r}, expected a place to connect to ({error}): it has to say another one"
            ) from error
        except BaseException:
            socket.close()
            raise
        return socket
