"""Nodes on this machine: who may speak to whom, and what a bad peer can do."""

import time

import numpy as np
import pytest

from splitplace.placement.protocol import messages
from splitplace.placement.protocol.stream import Keys, Malformed, Received, StreamNode

PING = messages.Ping(sequence=1)


def hear(node, seconds=120.0, count=1):
    """What a node receives until `count` messages came or the time is over."""
    found, end = [], time.monotonic() + seconds
    while len(found) < count and time.monotonic() < end:
        found += node.receive(0.1)
    return found


@pytest.fixture
def pair():
    """A node called `a` that knows `b`, and b's keys."""
    a, b = Keys.generate(), Keys.generate()
    with StreamNode(a, {b.public: "b"}, max_frame_bytes=2**20) as node:
        yield node, b


def speak(keys, to, message, values=(), key=None, raw=None):
    """Send from a short-lived node with these keys, and give it time to arrive."""
    node = StreamNode(keys, {})
    node.connect("a", to.endpoint, key or to.keys.public)
    if raw is None:
        node.send("a", message, values)
    else:
        node._outgoing["a"].send_multipart(raw)
    return node


def test_a_known_peer_is_heard_under_its_name(pair):
    """The name belongs to the proven key, not to anything the peer says."""
    node, keys = pair
    with speak(keys, node, PING):
        (received,) = hear(node)
    assert isinstance(received, Received)
    assert (received.peer, received.message) == ("b", PING)


def test_an_unknown_key_is_refused(pair):
    """A client whose key was not given to the node is not heard, while a known one is."""
    node, keys = pair
    with speak(Keys.generate(), node, PING), speak(keys, node, messages.Ping(sequence=2)):
        heard = hear(node)
        heard += hear(node, seconds=0.7)
    assert [received.message for received in heard] == [messages.Ping(sequence=2)]


def test_a_server_without_the_right_key_hears_nothing(pair):
    """The sender checks, too: who listens at the address must hold the secret of the expected key."""
    node, keys = pair
    with speak(keys, node, PING, key=Keys.generate().public):
        assert hear(node, seconds=0.7) == []


def test_a_message_in_the_clear_is_refused(pair):
    """Without CURVE there is no connection."""
    import zmq

    node, _ = pair
    context = zmq.Context()
    socket = context.socket(zmq.PUSH)
    socket.connect(node.endpoint)
    socket.send_multipart(messages.encode(PING))
    assert hear(node, seconds=0.7) == []
    context.destroy(linger=0)


def test_noise_of_a_known_peer_is_told_and_does_no_harm(pair):
    """A malformed message is reported with its sender; the next good one is heard."""
    node, keys = pair
    with speak(keys, node, None, raw=[b"noise"]) as peer:
        (bad,) = hear(node)
        assert isinstance(bad, Malformed) and bad.peer == "b" and "not a message" in bad.error
        peer.send("a", PING)
        (good,) = hear(node)
    assert good.message == PING


def test_an_oversized_frame_is_never_read(pair):
    """It costs the sender its connection; it may connect again."""
    node, keys = pair
    big = np.zeros((1, 2**20 + 1), np.uint8)
    with speak(keys, node, messages.tensors(0, "f0", "f1", 0, 0.0, {"x": big}), [big]):
        assert hear(node, seconds=0.7) == []
    with speak(keys, node, PING):
        assert len(hear(node)) == 1


def test_sending_to_nobody_does_not_block(pair):
    """A peer that is gone has its own news; the sender goes on."""
    node, keys = pair
    node.connect("gone", "tcp://127.0.0.1:1", keys.public)
    for _ in range(100):
        node.send("gone", PING)
    node.send("never-met", PING)
