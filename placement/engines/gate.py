"""The gate of a fleet: a socket where machines join, hear what is to run on them, and have fragments from.

One thread of its own, so that a machine that pulls a gigabyte keeps no task waiting. Whoever connects has proven a key,
any key; who is behind it, and what may be said with it, is found by the roster. Nothing is kept of a key that is not
enrolled.
"""

import logging
import os
import threading
from collections.abc import Collection
from pathlib import Path

import zmq
from zmq.auth import CURVE_ALLOW_ANY
from zmq.auth.thread import ThreadAuthenticator

from splitplace.catalog.blobs import BlobStore
from splitplace.errors import ContractError, NotReadyError, SplitPlaceError
from splitplace.placement.device import joining
from splitplace.placement.engines.machines import Machines, dismissal
from splitplace.placement.engines.roster import Roster
from splitplace.placement.protocol import intake
from splitplace.placement.protocol.fields import text
from splitplace.placement.protocol.keys import bracketed
from splitplace.placement.protocol.listening_clock import PAUSE_S, ListeningClock
from splitplace.placement.protocol.stream import drain

log = logging.getLogger(__name__)
_AUTHENTICATOR_LOG = logging.getLogger(f"{__name__}.authenticator")
_AUTHENTICATOR_LOG.setLevel(logging.INFO)

AT_ONCE = 100
"""Messages that are taken in between two looks at what is to be told."""
QUEUED = 64
"""Messages that wait for a connection whose other end does not read: a device asks for `supply.AHEAD` pieces, 32."""
HEARTBEAT_S = 2.0
UNFINISHED_BYTES = 2**18
"""What may have come in on a connection and be no whole message yet: an honest machine says some hundred bytes."""


class Gate:
    """Open from its making until `close`.

    Args:
        roster: Who may be which device; is told the port.
        host: Address of this machine where it is to be found.
        catalog: Folder of the layout that holds the fragments.
        digests: Of the files that devices may have.

    Raises:
        NotReadyError: Nothing can listen there.
    """

    def __init__(self, roster: Roster, host: str, catalog: Path, digests: Collection[str]):
        self._woken, self._wake = os.pipe()
        os.set_blocking(self._woken, False)
        os.set_blocking(self._wake, False)
        self._clock = ListeningClock()
        self.machines = Machines(roster, self._notify, lambda: self._clock.now_s)
        self._roster, self._store, self._digests = roster, BlobStore(catalog), frozenset(digests)
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self._authenticator = ThreadAuthenticator(self._context, log=_AUTHENTICATOR_LOG)
        self._authenticator.start()
        self._authenticator.configure_curve(domain="*", location=CURVE_ALLOW_ANY)
        self._socket = self._context.socket(zmq.ROUTER)
        self._socket.linger = 500
        self._socket.sndhwm, self._socket.rcvhwm = QUEUED, 100
        self._socket.setsockopt(zmq.MAXMSGSIZE, joining.MAX_SAID_BYTES)
        self._socket.setsockopt(zmq.HANDSHAKE_IVL, 3000)
        self._socket.setsockopt(zmq.HEARTBEAT_IVL, round(1000 * HEARTBEAT_S))
        self._socket.setsockopt(zmq.HEARTBEAT_TIMEOUT, round(1000 * joining.SILENT_S))
        self._socket.setsockopt(zmq.TCP_MAXRT, round(1000 * joining.BROKEN_S))
        self._socket.curve_server, self._socket.ipv6 = True, ":" in host
        self._socket.curve_publickey, self._socket.curve_secretkey = (
            roster.public_key.encode(), roster.secret_key.encode(),
        )  # fmt: skip
        counts = intake.counts_bytes("tcp://")
        self._intake = intake.Intake(self._socket, UNFINISHED_BYTES, HEARTBEAT_S) if counts else None
        self._pulling: dict[str, int] = {}
        """The connection over which each key was given pieces last, by its descriptor."""
        try:
            self._bind(host)
        except zmq.ZMQError as error:
            self._close_socket()
            self._close_pipe()
            place = f"{host}, port {roster.port}" if roster.port else host
            raise NotReadyError(f"nothing can listen at {place}: {error}: name an address of this machine") from error
        endpoint = self._socket.get_string(zmq.LAST_ENDPOINT)
        self._port = int(endpoint.rpartition(":")[2])
        roster.listens(self._port)
        self.gate = joining.GateAddress(endpoint=endpoint, key=roster.public_key)
        self._stopping = False
        self._thread = threading.Thread(target=self._run, name="gate", daemon=True)
        self._thread.start()

    def _bind(self, host: str) -> None:
        self._socket.bind(f"tcp://{bracketed(host)}:{self._roster.port or '*'}")

    def close(self) -> None:
        """Nobody joins any more; machines keep knocking, for the next one in the same place."""
        self._stopping = True
        self._notify()
        self._thread.join()
        self._close_pipe()

    def _close_pipe(self) -> None:
        os.close(self._woken)
        os.close(self._wake)

    def _notify(self) -> None:
        try:
            os.write(self._wake, b"!")
        except BlockingIOError:  # a full pipe wakes as well
            return

    def _run(self) -> None:
        poller = zmq.Poller()
        poller.register(self._socket, zmq.POLLIN)
        poller.register(self._woken, zmq.POLLIN)
        if self._intake is not None:
            poller.register(self._intake.events, zmq.POLLIN)
        try:
            while not self._stopping:
                self._clock.advance(PAUSE_S)
                poller.poll(round(1000 * intake.LOOK_S))
                self._clock.advance(intake.LOOK_S + PAUSE_S)
                drain(self._woken)
                self._mind_connections()
                for _ in range(AT_ONCE):
                    try:
                        frames = self._socket.recv_multipart(flags=zmq.NOBLOCK, copy=False)
                    except zmq.Again:
                        break
                    self._take(frames)
                self._tell()
            self._tell()
        finally:
            self._close_socket()

    def _mind_connections(self) -> None:
        if self._intake is None:
            return
        changed = self._intake.hear()
        self._pulling = {key: number for key, number in self._pulling.items() if number not in changed}
        self._intake.look(self._port)

    def _close_socket(self) -> None:
        self._socket.close()
        if self._intake is not None:
            self._intake.close()
        self._authenticator.stop()
        self._context.term()

    def _take(self, frames: "list[zmq.Frame]") -> None:
        route, key = frames[0].bytes, str(frames[-1].get("User-Id"))
        if self._intake is not None:
            self._intake.handed_over(frames[1:])  # the first one was put before them here
        try:
            if len(frames) != 2:
                raise ContractError(f"{len(frames) - 1} frames, expected one")
            message = joining.said(frames[1].bytes)
        except SplitPlaceError as error:  # anybody may say anything: no line of the log for each
            log.debug("the gate heard no message of ours: %s", text(error)[:200])
            return
        if isinstance(message, joining.Want):
            told, data = self._piece(key, message)
            if data is not None:
                self._give_up_former(key, int(frames[1].get(zmq.SRCFD)))
            self._send(route, told, data)
        else:
            self.machines.hear(route, key, message)

    def _give_up_former(self, key: str, connection: int) -> None:
        """A device pulls over one connection at a time: what is queued for the one before goes with that."""
        former = self._pulling.get(key, connection)
        if self._intake is not None and former != connection:
            self._intake.cut(former, self._port)
        self._pulling[key] = connection

    def _tell(self) -> None:
        for route, told in self.machines.to_tell():
            self._send(route, told)

    def _send(self, route: bytes, told: joining.Told, data: bytes | None = None) -> None:
        frames = [route, told.model_dump_json().encode(), *([] if data is None else [data])]
        try:
            self._socket.send_multipart(frames, flags=zmq.NOBLOCK)
        except zmq.Again:  # it takes nothing in: it will say `Here` again
            log.debug("a machine does not read")

    def _piece(self, key: str, want: joining.Want) -> tuple[joining.Told, bytes | None]:
        """A piece of a fragment's file. Who asked holds all of them together against the digest."""
        if self._roster.device(key) is None:
            return dismissal(self._roster, key), None
        if want.digest not in self._digests:
            return joining.Missing(digest=want.digest, reason="no fragment of this fleet"), None
        try:
            handle = os.open(self._store.path(want.digest), os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
        except OSError as error:
            return joining.Missing(digest=want.digest, reason=text(error.strerror)), None
        try:
            total = os.fstat(handle).st_size
            data = os.pread(handle, joining.PIECE_BYTES, want.offset)
        except OSError as error:
            return joining.Missing(digest=want.digest, reason=text(error.strerror)), None
        finally:
            os.close(handle)
        if not data:
            return joining.Missing(digest=want.digest, reason=f"it has {total} bytes, none at {want.offset}"), None
        return joining.FilePiece(digest=want.digest, offset=want.offset, total=total), data
