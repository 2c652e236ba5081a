"""What a device says of where it listens: a place at which nobody can be met costs that device alone."""

import os
from types import SimpleNamespace

import pytest

from splitplace.errors import ContractError, SplitPlaceError
from splitplace.placement.broker.fleet import LiveFleet
from splitplace.placement.device.config import DeviceConfig
from splitplace.placement.device.host import DeviceRuntime
from splitplace.placement.protocol import fields, messages
from splitplace.placement.protocol.fields import BROKER
from splitplace.placement.protocol.keys import curve_accesses
from splitplace.placement.protocol.stream import Received, StreamNode
from tests.placement.fleet.test_incarnation import NoEngine, hello

PATIENCE_S = 240.0
NO_PLACES = ["ipc:///x", "tcp://x", "tcp://a:b"]
"""Of another kind than this fleet's, without a port, and with none that is a number."""


@pytest.fixture
def fleet(toy, tmp_path):
    """A broker's side of two devices, with its sockets and without any device."""
    woken, wake = os.pipe()
    fleet = LiveFleet([toy.make_device(name) for name in "ab"], NoEngine(), tmp_path, {}, "auto", woken)
    for row in range(2):
        fleet.launch(row)
    yield fleet
    fleet.node.close()
    fleet.relay.close()
    os.close(woken)
    os.close(wake)


def hear(fleet, monkeypatch, *words):
    """What devices say comes in."""
    monkeypatch.setattr(fleet.node, "receive", lambda timeout_s: [Received(peer, said, {}) for peer, said in words])
    return list(fleet.hear(0.0))


@pytest.mark.parametrize("endpoint", NO_PLACES)
def test_a_hello_from_nowhere_ends_no_broker(fleet, monkeypatch, caplog, endpoint):
    """It is told of and passed over; another device is welcome, and so is this one once it says where it is."""
    assert hear(fleet, monkeypatch, ("a", hello(endpoint)), ("b", hello("tcp://127.0.0.1:2"))) == []
    assert "a says hello and cannot be answered" in caplog.text and endpoint in caplog.text
    assert [member.connected for member in fleet.members.values()] == [False, True]
    assert [(change.member.name, change.kind) for change in fleet.check()] == [("b", "joined")]
    hear(fleet, monkeypatch, ("a", hello("tcp://127.0.0.1:3")))
    assert [(change.member.name, change.kind) for change in fleet.check()] == [("a", "joined")]


@pytest.mark.parametrize("endpoint", NO_PLACES)
def test_a_relay_that_is_told_of_no_place_goes_on(fleet, caplog, endpoint):
    """What was for there is dropped."""
    fleet.relay.meet("a", endpoint)
    assert fleet.relay._pipe("a") is None and "nothing can be handed on to a" in caplog.text
    fleet.relay.check()


def test_a_relay_that_has_failed_ends_the_broker_with_the_reason(fleet, monkeypatch):
    """Devices that need it would wait for ever, and nobody would know why; and it can be closed still."""
    fleet.check()

    def fails(*_):
        raise OSError("no more of something")

    monkeypatch.setattr(fleet.relay, "_let_go", fails)
    fleet.relay.part("a")
    fleet.relay.join(PATIENCE_S)
    with pytest.raises(SplitPlaceError, match=r"the relay has ended \(OSError\('no more of something'\)\)") as told:
        fleet.check()
    assert isinstance(told.value.__cause__, OSError)


@pytest.mark.parametrize("endpoint", NO_PLACES)
def test_a_hello_from_nowhere_before_the_run_begins_is_passed_over(fleet, endpoint):
    """As the first devices come up."""
    fleet._greet(Received("a", hello(endpoint), {}), {})
    assert not fleet.members["a"].connected and not fleet.changes


@pytest.mark.parametrize("endpoint", NO_PLACES)
def test_a_node_says_what_is_no_place(endpoint):
    """And keeps the pipe that it has."""
    with StreamNode(curve_accesses("ab")["a"]) as node:
        node.connect("b", "tcp://127.0.0.1:2")
        pipe = node.pipes.direct["b"]
        with pytest.raises(ContractError, match=f"b listens at '{endpoint}', expected"):
            node.connect("b", endpoint)
        assert node.pipes.direct["b"] is pipe and not pipe.closed


@pytest.mark.parametrize("endpoint", NO_PLACES)
def test_a_device_that_is_told_of_no_place_goes_on(tmp_path, endpoint):
    """It tells the broker, and meets the next."""
    accesses, told = curve_accesses(("d", "x", "y", BROKER)), []
    config = DeviceConfig(
        name="d", catalog=str(tmp_path), threads=1, access=accesses["d"], incarnation=1,
        broker_endpoint="tcp://127.0.0.1:1", broker_incarnation=2,
    )  # fmt: skip
    with StreamNode(accesses["d"]) as node:
        device = DeviceRuntime(config, node, SimpleNamespace())
        device._refuse = lambda peer, error: told.append((peer, error))
        places = {"x": endpoint, "y": "tcp://127.0.0.1:3"}
        peers = (fields.Peer(name=name, endpoint=place, incarnation=4) for name, place in places.items())
        device._order(messages.Peers(peers=tuple(peers)))
        ((peer, error),) = told
        assert peer == BROKER and endpoint in error and list(node.pipes.direct) == ["y"]
