"""Nodes and devices over real connections that are reset or stalled."""

import threading
import time
from contextlib import closing

import numpy as np
import pytest

from splitplace.placement.protocol import codec, inbox, listening_clock, messages
from splitplace.placement.protocol.keys import curve_accesses
from splitplace.placement.protocol.listening_clock import PAUSE_S, ListeningClock
from splitplace.placement.protocol.stream import StreamNode
from tests.placement.fleet.proxy import Proxy

PATIENCE_S = 240.0


@pytest.fixture
def pair():
    """Two nodes that know each other, each reached over a road of its own."""
    accesses = curve_accesses(("a", "b"))
    with StreamNode(accesses["a"]) as a, StreamNode(accesses["b"]) as b:
        to_a, to_b = Proxy(a.endpoint), Proxy(b.endpoint)
        a.connect("b", to_b.endpoint)
        b.connect("a", to_a.endpoint)
        yield a, b, to_a, to_b
        to_a.close()
        to_b.close()


def until(reached, *nodes):
    """Let the nodes listen until it is so; gives what they received."""
    end_s, found = time.monotonic() + PATIENCE_S, []
    while not reached(found):
        assert time.monotonic() < end_s, "it never came about"
        for node in nodes:
            found += [(node, received) for received in node.receive(0.01)]
    return found


@pytest.mark.slow
def test_connections_that_are_reset_lose_and_repeat_nothing(pair):
    """Tensors of 256 KiB one way and small messages the other, 12 resets of both roads."""
    a, b, *roads = pair
    heard = []
    for number in range(240):
        x = np.full((1, 2**16), number, np.float32)
        a.send("b", codec.tensors(number, "f0", "f1", 0, 0.0, {"x": x}), [x])
        b.send("a", messages.Credit(job=number, src="f0", dst="f1", count=1))
        if number % 20 == 10:
            for road in roads:
                road.reset()
        heard += until(lambda found: True, a, b)
        for node in (a, b):
            heard += [(node, received) for received in node.receive(0.005)]
    heard += until(lambda found: len(heard) + len(found) >= 480, a, b)
    assert [r.message.job for node, r in heard if node is a] == list(range(240))
    assert [(r.message.job, r.values["x"][0, -1]) for node, r in heard if node is b] == [(i, i) for i in range(240)]


@pytest.mark.slow
def test_a_stalled_road_is_noticed_and_what_waited_arrives(pair):
    """The sender finds its peer unreachable; once the road is whole, all comes, once, and it is reachable."""
    a, b, _, to_b = pair
    a.send("b", messages.Cancel(job=0))
    until(lambda found: found, a, b)
    to_b.stall()
    a.send("b", messages.Cancel(job=1))
    heard = until(lambda found: a.unreachable, a, b)
    assert (heard, a.unreachable, b.unreachable) == ([], {"b"}, frozenset())
    to_b.heal()
    heard = until(lambda found: found and not a.unreachable, a, b)
    assert [r.message.job for _, r in heard] == [1]


@pytest.mark.slow
def test_a_road_on_which_little_comes_through_is_not_made_anew():
    """Or what is large would begin again each time, and never arrive."""
    accesses, permits = curve_accesses(("a", "b")), threading.Semaphore(1000)
    x = np.ones((1, 2**22), np.float32)
    with StreamNode(accesses["a"]) as a, StreamNode(accesses["b"]) as b, closing(Proxy(b.endpoint, permits)) as to_b:
        a.connect("b", to_b.endpoint)
        b.connect("a", a.endpoint)
        a.send("b", messages.Cancel(job=0))
        until(lambda found: found, a, b)
        while permits.acquire(blocking=False):
            continue
        a.send("b", codec.tensors(1, "f0", "f1", 0, 0.0, {"x": x}), [x])
        begun_s = time.monotonic()
        while time.monotonic() < begun_s + inbox.HEARTBEAT_S + inbox.SILENT_S + 1.0:
            permits.release()
            next_s = time.monotonic() + 0.2
            assert until(lambda found, next_s=next_s: found or time.monotonic() > next_s, a, b) == []
        permits.release(10_000)
        assert [r.message.job for _, r in until(lambda found: found, a, b)] == [1]
        assert to_b.connections == 1


def test_pings_do_not_wait_behind_tensors(pair):
    """Over a slow road they would for many seconds, and who is asked whether it lives would be taken to be silent."""
    a, b, _, to_b = pair
    a.send("b", messages.Cancel(job=0))
    until(lambda found: found, a, b)
    to_b.stall_these()
    x = np.ones((1, 2**20), np.float32)
    a.send("b", codec.tensors(1, "f0", "f1", 0, 0.0, {"x": x}), [x])
    a.send("b", messages.Ping(sequence=7))
    (heard,) = until(lambda found: found, a, b)
    assert heard[1].message == messages.Ping(sequence=7)


def test_what_a_node_did_not_listen_to_nobody_was_late_with(monkeypatch):
    """A stop of 20 s counts as a moment; what it waited for counts in full."""
    now_s = [100.0]
    monkeypatch.setattr(listening_clock.time, "monotonic", lambda: now_s[0])
    clock = ListeningClock()
    now_s[0] += 20.0
    clock.advance(PAUSE_S)
    assert clock.now_s == PAUSE_S
    now_s[0] += 1.0
    clock.advance(1.0 + PAUSE_S)
    assert clock.now_s == PAUSE_S + 1.0


def test_a_peer_at_another_endpoint_is_connected_to_anew():
    """A device that came back listens elsewhere; who connects to the same again changes nothing."""
    accesses = curve_accesses(("a", "b"))
    with StreamNode(accesses["a"]) as a:
        with StreamNode(accesses["b"]) as b:
            a.connect("b", b.endpoint)
            a.send("b", messages.Cancel(job=0))
            until(lambda found: found, b)
        with StreamNode(accesses["b"]) as again:
            a.connect("b", again.endpoint)
            a.connect("b", again.endpoint)
            again.connect("a", a.endpoint)
            a.send("b", messages.Cancel(job=1))
            ((_, received),) = until(lambda found: found, a, again)
    assert received.message.job == 1
