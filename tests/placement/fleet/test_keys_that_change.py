"""Peers that come and go: a key that is admitted later opens, an expelled one does not, whatever connection it has."""

import time
from types import SimpleNamespace

import pytest

from splitplace.placement.device.config import DeviceConfig
from splitplace.placement.device.host import DeviceRuntime
from splitplace.placement.protocol import fields, messages
from splitplace.placement.protocol.fields import BROKER
from splitplace.placement.protocol.keys import CurveAccess, curve_accesses, new_pair
from splitplace.placement.protocol.stream import StreamNode

PATIENCE_S = 240.0


def said(number):
    """Something that has a number."""
    return messages.Cancel(job=number)


def until(node, *others, holds, seconds=PATIENCE_S):
    """What a node hears until this holds of it, while the others go on."""
    found, end_s = [], time.monotonic() + seconds
    while not holds(found) and time.monotonic() < end_s:
        found += [(received.peer, received.message.job) for received in node.receive(0.01)]
        for other in others:
            list(other.receive(0.01))
    return found


@pytest.fixture
def pair():
    """Of nodes a and b: a does not know b yet, as of a machine that has not joined."""
    accesses = curve_accesses("ab")
    with StreamNode(accesses["a"].knowing("b", None)) as node, StreamNode(accesses["b"]) as peer:
        peer.connect("a", node.endpoint)
        yield SimpleNamespace(node=node, peer=peer, key=accesses["b"].public_key)


def test_who_is_admitted_later_gets_through(pair):
    """What it said before, too: a refusal is for now, and its connection is made anew."""
    pair.peer.send("a", said(1))
    assert until(pair.node, pair.peer, holds=lambda found: found, seconds=0.5) == []
    pair.node.admit("b", pair.key)
    assert until(pair.node, pair.peer, holds=lambda found: found) == [("b", 1)]


def test_who_is_expelled_is_not_heard_over_the_connection_that_it_has(pair):
    """Until it is admitted again: then what it says is new to the node."""
    pair.node.admit("b", pair.key)
    pair.peer.send("a", said(1))
    assert until(pair.node, pair.peer, holds=lambda found: found) == [("b", 1)]
    pair.node.expel("b")
    pair.peer.send("a", said(2))
    assert until(pair.node, pair.peer, holds=lambda found: found, seconds=1.0) == []


def test_a_name_is_of_one_key(pair):
    """Whoever joins in another's place is heard in that name, and the former is not."""
    pair.node.admit("b", pair.key)
    pair.peer.send("a", said(1))
    assert until(pair.node, pair.peer, holds=lambda found: found) == [("b", 1)]
    public, secret = new_pair()
    pair.node.expel("b")
    pair.node.admit("b", public)
    access = CurveAccess(public_key=public, secret_key=secret, peers={"a": pair.node.access.public_key})
    with StreamNode(access) as other:
        other.connect("a", pair.node.endpoint)
        pair.peer.send("a", said(2))
        other.send("a", said(3))
        assert until(pair.node, pair.peer, other, holds=lambda found: found) == [("b", 3)]
        assert until(pair.node, pair.peer, other, holds=lambda found: found, seconds=0.5) == []


def test_an_access_on_its_way_to_a_machine_has_no_secret():
    """The machine puts in its own; nothing else of it changes, and neither is shown where it is printed."""
    public, secret = new_pair()
    access = CurveAccess(public_key=public, peers={BROKER: new_pair()[0]})
    assert access.secret_key is None and CurveAccess.parse(access.model_dump_json(), "") == access
    at_home = access.at_home(secret, "::1")
    assert (at_home.secret_key, at_home.address, at_home.peers) == (secret, "tcp://[::1]:*", access.peers)
    assert secret not in repr(at_home)
    with pytest.raises(AssertionError, match="only the machine that has the secret"):
        StreamNode(access)


class NotedNode:
    """In place of a device's network: what it was told of peers."""

    def __init__(self):
        self.noted, self.unreachable, self.relayed = [], frozenset(), frozenset()

    def watch(self, descriptor):
        """Of no matter."""

    def send(self, peer, message, values=()):
        """Of no matter."""

    def __getattr__(self, name):
        return lambda *arguments: self.noted.append((name, *arguments))


def test_a_device_lets_go_of_a_key_that_it_was_told(tmp_path):
    """When the peer is gone; of a peer whose key came with its own configuration the pipe alone is dropped."""
    access = curve_accesses(["d", BROKER])["d"]
    config = DeviceConfig(
        name="d", catalog=str(tmp_path), threads=1, access=access, incarnation=1,
        broker_endpoint="tcp://127.0.0.1:1", broker_incarnation=2,
    )  # fmt: skip
    node, key = NotedNode(), new_pair()[0]
    device = DeviceRuntime(config, node, SimpleNamespace())
    told = fields.Peer(name="told", endpoint="tcp://127.0.0.1:3", incarnation=4, key=key)
    known = fields.Peer(name="known", endpoint="tcp://127.0.0.1:5", incarnation=6)
    device._order(messages.Peers(peers=(told, known)))
    assert node.noted == [
        ("admit", "told", key), ("connect", "told", "tcp://127.0.0.1:3"), ("expect", "told", 4),
        ("connect", "known", "tcp://127.0.0.1:5"), ("expect", "known", 6),
    ]  # fmt: skip
    node.noted.clear()
    for name in ("told", "known", "told"):
        device._order(messages.Gone(peer=name))
    assert node.noted == [("expel", "told"), ("disconnect", "known"), ("disconnect", "told")]
