"""What an inbox holds of messages that are not whole yet, over real encrypted connections."""

import socket
import threading
import time
from contextlib import closing
from types import SimpleNamespace

import numpy as np
import pytest
import zmq

from splitplace.placement.protocol import codec, inbox, intake, messages
from splitplace.placement.protocol.keys import curve_accesses
from splitplace.placement.protocol.stream import StreamNode
from tests.placement.fleet.proxy import CHUNK, Proxy

PATIENCE_S = 240.0
PART_BYTES = 2**16


@pytest.fixture
def accesses():
    """Of two nodes that know each other."""
    return curve_accesses(("a", "b"))


def hear(node, count):
    """So many messages."""
    found, end_s = [], time.monotonic() + PATIENCE_S
    while len(found) < count:
        assert time.monotonic() < end_s, f"{len(found)} of {count} messages came"
        found += node.receive(0.1)
    return found


def held_bytes(node):
    """What came in and was not handed over, of all connections."""
    port = int(node.endpoint.rpartition(":")[2])
    return [held for _, held in node.inbox.intake.held(port)]


def test_a_message_without_end_is_cut_off(accesses, monkeypatch):
    """A known peer sends small frames, 64 MiB of them, as one message: it is cut long before; who behaves is heard."""
    monkeypatch.setattr(intake, "LOOK_S", 0.0)
    monkeypatch.setattr(inbox, "WINDOW_BYTES", 2**20)
    permits = threading.Semaphore(16)  # for the greeting; then chunk by chunk: no machine is too slow to look
    with (
        StreamNode(accesses["a"], max_frame_bytes=2 * PART_BYTES) as node,
        StreamNode(accesses["b"]) as good,
        closing(Proxy(node.endpoint, permits)) as road,
        zmq.Context() as context,
        context.socket(zmq.PUSH) as bad,
    ):
        bad.linger = 0
        accesses["b"].call(bad, "a", road.endpoint)
        bad.send_multipart([bytes(PART_BYTES)] * 1024)
        end_s, most, gone = time.monotonic() + PATIENCE_S, 0, False
        while not gone:
            permits.release()
            held = 0
            while not gone and held <= most:
                assert time.monotonic() < end_s, "it was never cut off"
                assert list(node.receive(0.0)) == []
                held = max(held_bytes(node), default=0)
                bound = node.inbox.intake.most_bytes - 2 * CHUNK
                gone = most > bound and held < most / 2  # near the bound, and then away
            most = max(most, held)
        good.connect("a", node.endpoint)
        good.send("a", messages.Ping(sequence=1))
        assert [received.message for received in hear(node, 1)] == [messages.Ping(sequence=1)]
    assert most < 1024 * PART_BYTES / 2


def test_an_honest_connection_never_comes_near_the_bound(accesses):
    """What was handed over is counted as it came, to the byte, at every size: only the greeting is left over."""
    with StreamNode(accesses["a"]) as node, StreamNode(accesses["b"]) as peer:
        peer.connect("a", node.endpoint)
        peer.send("a", messages.Ping(sequence=0))
        hear(node, 1)
        greetings = held_bytes(node)  # of two connections: pings have their own
        for size in (*range(200, 260), 0, 1, 2**16, 2**20):
            x = np.zeros((1, size), np.uint8)
            peer.send("a", messages.Failed(job=1, fragment="f0", error="x" * size)) if size < 300 else peer.send(
                "a", codec.tensors(1, "f0", "f1", 0, 0.0, {"x": x}), [x]
            )
        hear(node, 64)
        assert held_bytes(node) == greetings
    assert len(greetings) == 2 and 0 < min(greetings) <= max(greetings) < 1000


class Counted:
    """A connection of which a test says what comes in on it, at an intake whose clock it moves."""

    def __init__(self, monkeypatch, most_bytes=10_000, heartbeat_s=2.0):
        self.now_s, self.received, self.cut = 100.0, 0.0, False
        monkeypatch.setattr(intake.time, "monotonic", lambda: self.now_s)
        self.intake = intake.Intake(SimpleNamespace(get_monitor_socket=lambda _: None), most_bytes, heartbeat_s)
        self.intake._taken[self.fileno()] = 0
        self.intake.held = lambda port: [(self, round(self.received - self.intake._taken[self.fileno()]))]

    def fileno(self):
        """Its descriptor."""
        return 7

    def shutdown(self, how):
        """It is cut."""
        self.cut = True

    def comes(self, size_bytes, within_s):
        """So much comes in until then, and it is looked at it; answers what is held."""
        self.received += size_bytes
        self.now_s += within_s
        self.intake.look(1)
        return self.intake.held(1)[0][1]


def test_heartbeats_cut_no_connection_however_long_it_lives(monkeypatch):
    """A hundred days of them, many times what may be held: they are taken off as they come."""
    idle = Counted(monkeypatch)
    assert max(idle.comes(intake.HEARTBEAT_BYTES, 2.0) for _ in range(100_000)) <= intake.HEARTBEAT_BYTES
    assert idle.received > 100 * idle.intake.most_bytes and not idle.cut


def test_a_message_without_end_that_comes_slowly_is_cut_off_all_the_same(monkeypatch):
    """A second's silence is worth nothing later, and only as much is taken off as heartbeats may have brought."""
    slow = Counted(monkeypatch)
    for _ in range(1000):
        slow.comes(0, 1000.0)
    while not slow.cut:
        slow.comes(500, 1.0)
    assert slow.received <= slow.intake.most_bytes * 500 / (500 - intake.HEARTBEAT_BYTES) + 1000


def test_what_is_taken_off_is_what_zeromq_sends(accesses, monkeypatch):
    """Over a real connection that nobody says anything on: by the byte, and more of them than stay counted."""
    monkeypatch.setattr(inbox, "HEARTBEAT_S", 0.02)
    monkeypatch.setattr(intake, "LOOK_S", 0.0)
    with StreamNode(accesses["a"]) as node, StreamNode(accesses["b"]) as peer:
        peer.connect("a", node.endpoint)
        peer.send("a", messages.Ping(sequence=0))
        hear(node, 1)
        monkeypatch.setattr(node.inbox.intake, "taken_off", lambda held_bytes, passed_s: 0.0)
        before, end_s = sum(held_bytes(node)), time.monotonic() + PATIENCE_S
        while (came := sum(held_bytes(node)) - before) < 30 * intake.HEARTBEAT_BYTES:
            assert time.monotonic() < end_s, f"{came} bytes came"
            list(node.receive(0.01))
        assert came % intake.HEARTBEAT_BYTES == 0
        monkeypatch.undo()
        while max(held_bytes(node)) > 2 * intake.HEARTBEAT_BYTES:
            assert time.monotonic() < end_s, f"{held_bytes(node)} bytes stay counted"
            list(node.receive(0.01))


def test_another_file_that_has_a_connections_number_by_now_is_passed_over(accesses):
    """As a pair of sockets that have no name: it is none of this inbox's."""
    near, far = socket.socketpair()
    with StreamNode(accesses["a"]) as node, near, far:
        node.inbox.intake._taken[near.fileno()] = 0
        assert held_bytes(node) == []
        near.sendall(b"x")
        assert far.recv(1) == b"x"
