"""How long a request may take, whatever the server does: counted on a clock that moves where somebody waits."""

import io
import socket
import threading
from dataclasses import dataclass, field

import pytest

from splitplace.errors import NotReadyError, OverloadedError
from splitplace.placement.remote.address import read_address
from splitplace.placement.remote.exchange import (
    GRACE_S,
    LONGEST_PAUSE_S,
    NO_WAIT,
    PAUSE_S,
    TRY_S,
    HttpExchange,
    RemoteQuestion,
)

DEADLINE_S = 5.0
NEVER = float("inf")
HEAD = b"HTTP/1.1 %d X\r\ncontent-length: %d\r\n%s\r\n"


@dataclass
class FakeServer:
    """Answers each request by the pieces of a script, each after a while; time passes nowhere else."""

    script: list[tuple[float, bytes]]
    connect_s: float = 0.0
    now_s: float = 100.0
    asked: int = 0

    def clock(self) -> float:
        """Seconds."""
        return self.now_s

    def wait(self, wait_s: float, timeout_s: float) -> None:
        """As a socket does."""
        self.now_s += min(wait_s, timeout_s)
        if wait_s > timeout_s:
            raise TimeoutError("timed out")

    def connect(self, address: tuple[str, int], timeout: float, *source: object) -> "FakeSocket":
        """As `socket.create_connection`."""
        self.wait(self.connect_s, timeout)
        return FakeSocket(self, timeout)


@dataclass
class FakeSocket:
    """Of one connection to it."""

    server: FakeServer
    timeout_s: float
    coming: list[tuple[float, bytes]] = field(default_factory=list)

    def setsockopt(self, *option: int) -> None:
        """Nothing."""

    def settimeout(self, timeout_s: float) -> None:
        """Of what follows."""
        assert timeout_s > 0
        self.timeout_s = timeout_s

    def sendall(self, data: bytes) -> None:
        """Of a request whose head has come in, the answer begins to come."""
        if data.startswith((b"GET", b"POST")):
            self.server.asked += 1
            self.coming = list(self.server.script)

    def makefile(self, mode: str) -> io.BufferedReader:
        """What comes in."""
        return io.BufferedReader(FakeStream(self))

    def shutdown(self, how: int) -> None:
        """Nothing."""

    def close(self) -> None:
        """Nothing."""


class FakeStream(io.RawIOBase):
    """Of one answer."""

    def __init__(self, socket: FakeSocket):
        self.socket = socket

    def readable(self) -> bool:
        """It is."""
        return True

    def readinto(self, buffer) -> int:
        """The next piece, or a part of it."""
        wait_s, piece = self.socket.coming.pop(0) if self.socket.coming else (NEVER, b"")
        self.socket.server.wait(wait_s, self.socket.timeout_s)
        size = min(len(piece), len(buffer))
        buffer[:size] = piece[:size]
        if piece[size:]:
            self.socket.coming.insert(0, (0.0, piece[size:]))
        return size


class Pauses(threading.Event):
    """Where the exchange waits before it asks again."""

    def __init__(self, server: FakeServer):
        super().__init__()
        self.server = server
        self.waited: list[float] = []

    def wait(self, timeout=None):
        """Time passes."""
        self.waited.append(timeout)
        self.server.now_s += timeout
        return self.is_set()


@pytest.fixture
def exchange(monkeypatch):
    """Makes one with a server that does as the script says."""

    def make(server: FakeServer) -> HttpExchange:
        monkeypatch.setattr(socket, "create_connection", server.connect)
        return HttpExchange(read_address("http://127.0.0.1:1", None, None), None, server.clock, Pauses(server))

    return make


def piecewise(text: bytes, every_s: float) -> list[tuple[float, bytes]]:
    """A byte at a time."""
    return [(every_s, bytes([letter])) for letter in text]


@pytest.mark.parametrize(
    ("script", "connect_s"),
    [
        ([], 0.0),
        ([], NEVER),
        ([(0.0, HEAD % (200, 100, b"")), (0.0, b"x" * 50)], 0.0),
        (piecewise(HEAD % (200, 2, b"") + b"{}", 0.5), 0.0),
        ([(0.0, HEAD % (200, 100, b"")), *piecewise(b"x" * 100, 0.5)], 0.0),
    ],
    ids=["silent", "does not accept", "stops within an answer", "trickles its head", "trickles its answer"],
)
@pytest.mark.parametrize("kept", [False, True], ids=["new", "kept"])
def test_a_request_ends_soon_after_its_deadline(exchange, script, connect_s, kept):
    """Whatever the server leaves out, over a new connection or a kept one: by the deadline and the stated grace."""
    server = FakeServer([(0.0, HEAD % (200, 2, b"") + b"{}")])
    asking = exchange(server)
    if kept:
        assert asking.ask(RemoteQuestion("GET", "/"), server.now_s).body == b"{}" and len(asking._idle) == 1
    server.script, server.connect_s = script, connect_s
    begun_s = server.now_s
    with pytest.raises(NotReadyError, match="does not answer"):
        asking.ask(RemoteQuestion("POST", "/", [b"x"]), begun_s + DEADLINE_S)
    assert DEADLINE_S <= server.now_s - begun_s <= DEADLINE_S + GRACE_S + 0.01


def test_what_is_said_at_the_deadline_is_heard(exchange):
    """The server's own refusal, which has a way to go: within the grace."""
    said = b'{"error": "too late"}'
    server = FakeServer([(DEADLINE_S + GRACE_S / 2, HEAD % (429, len(said), b"") + said)])
    with pytest.raises(OverloadedError, match="too late"):
        exchange(server).ask(RemoteQuestion("GET", "/"), server.now_s + DEADLINE_S)


def test_a_large_answer_has_the_time_that_its_size_takes(exchange):
    """It began to come before the deadline and goes on coming, as fast as it must: it is not thrown away."""
    size = 2**21
    pieces = [(1.0, b"x" * 2**17)] * (size // 2**17)
    server = FakeServer([(0.0, HEAD % (200, size, b"")), *pieces])
    assert len(exchange(server).ask(RemoteQuestion("GET", "/"), server.now_s + DEADLINE_S).body) == size


def test_who_is_asked_once_is_given_up_as_a_silent_server(exchange):
    """A request without a deadline: a server that trickles holds it no longer than one that is silent."""
    server = FakeServer(piecewise(b"H" * 1000, TRY_S / 2))
    with pytest.raises(NotReadyError):
        exchange(server).ask(RemoteQuestion("GET", "/", wait_s=4.0), NO_WAIT)
    assert server.now_s - 100.0 <= TRY_S + 4.0 and server.asked == 1


@pytest.mark.parametrize("stated", [b"retry-after: 0\r\n", b"", b"retry-after: soon\r\n"])
def test_to_come_again_at_once_is_no_loop(exchange, stated):
    """A server that states 0, or nothing that can be read, is asked after pauses that grow."""
    said = b'{"error": "full"}'
    server = FakeServer([(0.0, HEAD % (429, len(said), stated) + said)])
    asking = exchange(server)
    with pytest.raises(OverloadedError, match="full"):
        asking.ask(RemoteQuestion("GET", "/"), server.now_s + 60.0)
    assert asking.closing.waited[:3] == [PAUSE_S, 2 * PAUSE_S, 4 * PAUSE_S]
    assert asking.closing.waited[-1] == LONGEST_PAUSE_S and server.asked <= 60.0 / LONGEST_PAUSE_S + 6


def test_to_come_again_after_a_while_is_done_as_stated(exchange):
    """Once a second, not sooner and not later."""
    said = b'{"error": "full"}'
    server = FakeServer([(0.0, HEAD % (429, len(said), b"retry-after: 1\r\n") + said)])
    asking = exchange(server)
    with pytest.raises(OverloadedError):
        asking.ask(RemoteQuestion("GET", "/"), server.now_s + 10.0)
    assert set(asking.closing.waited) == {1.0} and server.asked == 11
