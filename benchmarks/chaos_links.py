"""The chaos bench's network: the processes of a fleet meet through it, and it can cut any of their connections.

Devices of one machine meet over socket files. Whenever one appears in the fleet's folder it is moved aside and another
takes its place, which hands every byte on, either way; who is at the two ends the kernel tells. A cut is a black hole:
nothing is handed on, and nothing is refused. What was under way stays so until the connection is whole again, or one of
its ends gives it up.
"""

import os
import queue
import selectors
import shutil
import socket
import struct
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

Ends = tuple[int, int]
"""The process that connected and the one that listens: all that is sent goes from the first to the second."""

LOOK_S = 0.002
"""How often it is looked for new socket files: nobody may be faster than we are."""
CHUNK, MOST_HELD = 2**20, 2**22
ASIDE = ".aside"


@dataclass(eq=False)
class _Side:
    """One of the two sockets of a connection, and what is still to be written to it."""

    socket: socket.socket
    held: bytearray = field(default_factory=bytearray)


@dataclass(eq=False)
class _Connection:
    ends: Ends
    sides: tuple[_Side, _Side]
    cut: bool = False


class SocketLinks(threading.Thread):
    """Moves between the processes that meet in a folder, in a thread of its own.

    Args:
        folder: Where the fleet makes its folders of socket files: its `TMPDIR`.
    """

    def __init__(self, folder: Path):
        super().__init__(name="links", daemon=True)
        self.folder = folder
        self.connected: frozenset[Ends] = frozenset()
        """Who is connected with whom."""
        self._selector = selectors.DefaultSelector()
        self._connections: set[_Connection] = set()
        self._cut: set[Ends] = set()
        self._taken: set[Path] = set()
        self._orders: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        self._ended = False

    def cut(self, ends: Iterable[Ends]) -> None:
        """When this returns nothing is handed on over these connections, nor those that take their place."""
        wanted = frozenset(ends)
        self._carry_out(lambda: self._change(self._cut | wanted))

    def heal(self, ends: Iterable[Ends]) -> None:
        """Hand on again, what was held up first."""
        wanted = frozenset(ends)
        self._carry_out(lambda: self._change(self._cut - wanted))

    def _carry_out(self, order: Callable[[], None]) -> None:
        """In its thread, and wait for that: what is sent next is to find it so."""
        done = threading.Event()
        self._orders.put(order)
        self._orders.put(done.set)
        while not done.wait(0.1) and self.is_alive():
            pass

    def close(self) -> None:
        """End; whatever goes through breaks."""
        self._orders.put(self._end)
        self.join()

    def run(self) -> None:
        """Until it is closed."""
        looked_s = 0.0
        while not self._ended:
            if time.monotonic() - looked_s > LOOK_S:
                self._take_new()
                looked_s = time.monotonic()
            for key, _ in self._selector.select(LOOK_S):
                key.data()
            while not self._orders.empty():
                self._orders.get()()
            self.connected = frozenset(connection.ends for connection in self._connections)

    def _end(self) -> None:
        self._ended = True
        for key in list(self._selector.get_map().values()):
            if isinstance(key.fileobj, socket.socket):
                key.fileobj.close()
        for connection in self._connections:
            for side in connection.sides:
                side.socket.close()
        self._selector.close()

    def _take_new(self) -> None:
        """Take the place of every socket file that was not there before."""
        with suppress(FileNotFoundError):  # a folder that has just gone
            for folder in self.folder.glob("splitplace-*-sockets-*"):
                for path in folder.iterdir():
                    if path not in self._taken and path.suffix != ASIDE and path.is_socket():
                        self._taken.add(path)
                        self._listen(path)

    def _listen(self, path: Path) -> None:
        aside, new = path.with_name(path.name + ASIDE), path.with_name(f"{path.name}.new")
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(str(new))
        listener.listen(64)
        listener.setblocking(False)
        path.rename(aside)
        new.rename(path)  # it listens already: nobody who finds it is refused
        self._selector.register(listener, selectors.EVENT_READ, lambda: self._accept(listener, aside))

    def _accept(self, listener: socket.socket, aside: Path) -> None:
        near, _ = listener.accept()
        far = socket.socket(socket.AF_UNIX)
        near.setblocking(False)
        far.setblocking(False)  # whoever was stopped takes nobody in, and is not waited for
        try:
            far.connect(str(aside))
        except OSError:  # it has ended
            near.close()
            far.close()
            return
        ends = _pid(near), _pid(far)
        connection = _Connection(ends, (_Side(near), _Side(far)), ends in self._cut)
        self._connections.add(connection)
        if not connection.cut:
            self._watch(connection)

    def _change(self, cut: set[Ends]) -> None:
        self._cut = cut
        for connection in self._connections:
            was_cut, connection.cut = connection.cut, connection.ends in cut
            if connection.cut:
                self._unwatch(connection)
            elif was_cut:
                self._watch(connection)

    def _unwatch(self, connection: _Connection) -> None:
        for side in connection.sides:
            with suppress(KeyError):
                self._selector.unregister(side.socket)

    def _watch(self, connection: _Connection) -> None:
        """Wait for what can be done: read where the other side's is not too much, write where there is something."""
        for side, other in (connection.sides, connection.sides[::-1]):
            events = selectors.EVENT_READ if len(other.held) < MOST_HELD else 0
            events |= selectors.EVENT_WRITE if side.held else 0
            known = self._selector.get_map().get(side.socket)
            if known is not None and known.events == events:
                continue
            if known is not None:
                self._selector.unregister(side.socket)
            if events:
                self._selector.register(side.socket, events, lambda: self._move(connection))

    def _move(self, connection: _Connection) -> None:
        if connection.cut or connection not in self._connections:
            return
        try:
            for side, other in (connection.sides, connection.sides[::-1]):
                with suppress(BlockingIOError):
                    if len(other.held) < MOST_HELD:
                        data = side.socket.recv(CHUNK)
                        if not data:
                            raise ConnectionError
                        other.held += data
                with suppress(BlockingIOError):
                    while other.held:
                        del other.held[: other.socket.send(other.held[:CHUNK])]
            self._watch(connection)
        except OSError:  # one side has ended: so has the other
            self._connections.discard(connection)
            self._unwatch(connection)
            for side in connection.sides:
                side.socket.close()


@contextmanager
def network() -> Iterator[SocketLinks]:
    """For all processes that are started meanwhile: their scratch folder is one that `SocketLinks` look after."""
    before, folder = os.environ.get("TMPDIR"), Path(tempfile.mkdtemp(prefix="links-"))
    links = SocketLinks(folder)
    links.start()
    os.environ["TMPDIR"] = str(folder)
    try:
        yield links
    finally:
        if before is None:
            del os.environ["TMPDIR"]
        else:
            os.environ["TMPDIR"] = before
        links.close()
        shutil.rmtree(folder)


def _pid(connected: socket.socket) -> int:
    """Of the process at the other end."""
    return int(struct.unpack("iII", connected.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))[0])
