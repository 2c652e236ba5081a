"""How long a reply may take, by a clock that the test turns: nothing here waits."""

import itertools
import socket

import pytest

from splitplace.catalog.layout_writer import LayoutWriter
from splitplace.distribution.connections import DrippingError, RegistryConnection, Response
from splitplace.distribution.downloads import download
from splitplace.distribution.replies import Reply, SlowError
from splitplace.distribution.repository import Repository
from splitplace.distribution.transport import Transport
from splitplace.errors import SplitPlaceError
from tests.distribution.conftest import NO_WAIT, REFERENCE, push_to, repository

HEAD = b"HTTP/1.1 200 OK\r\nContent-Length: 100000000\r\n\r\n"


class Dripping:
    """A socket from which so many bytes come in a second, `now`."""

    def __init__(self, head, head_bytes_per_s, body_bytes_per_s):
        self.now, self.head = 0.0, head
        self.head_bytes_per_s, self.body_bytes_per_s = head_bytes_per_s, body_bytes_per_s

    def makefile(self, mode, buffering):
        """As a socket has it: this is its own file."""
        return self

    def settimeout(self, seconds):
        """It never takes more than a second."""
        assert 0 < seconds <= 60

    def close(self):
        """Nothing to do."""

    def readinto(self, buffer):
        """A second later."""
        self.now += 1
        data = self.head[: self.head_bytes_per_s] if self.head else bytes(self.body_bytes_per_s)
        self.head = self.head[len(data) :]
        size = min(len(data), len(buffer))
        buffer[:size] = data[:size]
        return size


def reply(drip):
    """Its head read."""
    response = Response(drip, clock=lambda: drip.now)
    response.begin()
    return Reply("http://127.0.0.1/x", response)


def test_a_head_that_drips():
    """A letter a second: after a minute it is over."""
    drip = Dripping(HEAD[:-2] + b"X-More: and more and more\r\n\r\n", 1, 1)
    with pytest.raises(DrippingError):
        reply(drip)
    assert drip.now == 60


def test_a_document_that_drips():
    """A minute for the head and for what follows together."""
    drip = Dripping(HEAD, 2, 1000)
    with pytest.raises(SlowError, match=r"http://127.0.0.1/x: the connection ended in the middle .it came too slowly."):
        reply(drip).read_whole(10**9)
    assert drip.now == 60


@pytest.mark.parametrize(("bytes_per_s", "lasts_s"), [(64 * 2**10, 1000), (32 * 2**10, 120), (100, 61)])
def test_a_blob_has_its_time_by_its_size(bytes_per_s, lasts_s):
    """64 KiB/s may go on and on; half of it has used up its minute after two."""
    drip = Dripping(HEAD, len(HEAD), bytes_per_s)
    found = reply(drip)
    found.response.at_pace()
    try:
        while drip.now < 1000:
            found.read(2**20)
        assert lasts_s == 1000
    except SlowError:
        assert abs(drip.now - lasts_s) <= 2


def test_a_blob_that_drips_is_no_progress(small_registry, catalog, tmp_path):
    """Each answer is ended for being slow: as often as patience has it, though each brought some bytes."""
    registry = small_registry()
    push_to(registry.host, catalog)
    registry.seen.clear()
    clock = itertools.count(0, 35).__next__
    place = repository(registry.host)
    place = Repository(Transport(registry.host, patience=NO_WAIT, clock=clock), place.reference)
    model = catalog.fragments(REFERENCE)[0].manifest.layers[0]
    with pytest.raises(SlowError, match="run the same command again to go on"):
        download(place, LayoutWriter(tmp_path / "new").blobs, model, lambda size: None)
    assert len(registry.seen) == NO_WAIT.attempts


def test_what_is_sent_has_its_time_by_pieces():
    """64 KiB each, with a minute of its own, whatever the reply before has left."""
    calls = []

    class Noting(socket.socket):
        def sendall(self, data):
            calls.append((len(data), self.gettimeout()))

    connection = RegistryConnection("127.0.0.1")
    with Noting() as connection.sock:
        connection.sock.settimeout(1)
        connection.send(bytes(2**20 + 1))
    assert calls == [(2**16, 60.0)] * 16 + [(1, 60.0)]


@pytest.mark.parametrize("size", [b"-5", b"-1"])
def test_a_chunk_of_negative_size(size):
    """Refused in one line; -1 is not read to whatever end."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        theirs.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + size + b"\r\n" + bytes(100_000))
        theirs.shutdown(socket.SHUT_WR)
        response = Response(ours)
        response.begin()
        with pytest.raises(SplitPlaceError, match="states a chunk of a negative size"):
            Reply("http://127.0.0.1/x", response).read_whole(10**6)
