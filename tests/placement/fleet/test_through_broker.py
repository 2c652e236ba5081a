"""Devices that do not reach each other: what the broker knows of it, what policies are shown, and tasks that go on."""

import os
import tempfile
import time
from types import SimpleNamespace

import numpy as np
import pytest

from splitplace.benchmarks.chaos_links import network
from splitplace.inference.executor import Executor
from splitplace.placement import history as book
from splitplace.placement.broker.deciding import live_view
from splitplace.placement.broker.fleet import LiveFleet
from splitplace.placement.broker.setup import Setup
from splitplace.placement.protocol import fields, messages
from tests.placement.fleet.conftest import InTurn, NoRelay
from tests.placement.fleet.test_fleet import of_kind
from tests.placement.fleet.test_incarnation import NoEngine, Words, hello, say

PATIENCE_S = 240.0


class NotedRelay(NoRelay):
    """In place of a relay: what it was told."""

    def __init__(self):
        self.noted = []

    def meet(self, device, endpoint=""):
        """A device is there."""
        self.noted.append(("meet", device, endpoint))

    def part(self, device):
        """It is gone."""
        self.noted.append(("part", device))


@pytest.fixture
def fleet(toy, tmp_path):
    """A broker's side of three devices that are up, without any."""
    woken, wake = os.pipe()
    fleet = LiveFleet([toy.make_device(name) for name in "abc"], NoEngine(), tmp_path, {}, "auto", woken)
    fleet.node.close()
    fleet.relay.close()
    fleet.node, fleet.relay = Words(), NotedRelay()
    for row, name in enumerate("abc"):
        fleet.launch(row)
        say(fleet, hello(f"tcp://127.0.0.1:{row + 1}"), peer=name)
    yield fleet
    os.close(woken)
    os.close(wake)


def relayed(fleet):
    """To whom each device goes through the broker."""
    return {name: set(member.relayed) for name, member in fleet.members.items() if member.relayed}


def reroute(fleet, src, dst, through=True):
    """A device says by which way it goes."""
    assert say(fleet, messages.Rerouted(peer=dst, relayed=through), peer=src) == []


def test_what_devices_say_of_their_ways_is_known(fleet):
    """Of devices of this fleet, and of others than themselves; it is no event of the fleet's state."""
    reroute(fleet, "a", "b")
    reroute(fleet, "b", "a")
    reroute(fleet, "b", "c")
    for nobody in ("a", "d", fields.BROKER):
        reroute(fleet, "a", nobody)
    assert relayed(fleet) == {"a": {"b"}, "b": {"a", "c"}}
    reroute(fleet, "b", "a", through=False)
    assert relayed(fleet) == {"a": {"b"}, "b": {"c"}}


def test_who_is_gone_is_handed_nothing_on(fleet):
    """Neither it nor the others go through the broker to each other then; what says hello is a device anew."""
    assert fleet.relay.noted == [("meet", name, f"tcp://127.0.0.1:{row + 1}") for row, name in enumerate("abc")]
    reroute(fleet, "a", "b")
    reroute(fleet, "b", "a")
    reroute(fleet, "c", "a")
    fleet.kill(0)
    assert fleet.relay.noted[3:] == [("part", "a")] and relayed(fleet) == {}
    reroute(fleet, "a", "b")  # a last word, late
    assert relayed(fleet) == {}
    fleet.launch(0)
    say(fleet, hello("tcp://127.0.0.1:9"), peer="a")
    assert fleet.relay.noted[4:] == [("meet", "a", "tcp://127.0.0.1:9")]


def test_each_launch_says_where_the_relay_is(fleet):
    """With the number of the broker's process."""
    assert [config.relay for config in fleet.engine.configs] == [fleet.relay.endpoint] * 3


def test_a_policy_is_shown_who_goes_through_the_broker(fleet, toy):
    """Pairs, who sends first; nothing where all go directly."""
    devices = tuple(toy.make_device(name) for name in "abc")
    setup = Setup(toy.demand_of(toy.chain()), devices, "pipelined", 4, 100.0)

    def shown():
        return live_view(setup, setup.first(), tuple(fleet.members.values()), [], 1.0, 1.0).links.relayed_DD

    assert shown() is None
    reroute(fleet, "a", "c")
    assert np.argwhere(shown()).tolist() == [[0, 2]]


# With processes.


@pytest.fixture
def cuttable(start, toy, images, monkeypatch):
    """A chain's fleet of two devices, whose connections may be cut."""
    graph, x = toy.chain(), images(40)
    expected = Executor(graph.split, graph.models.__getitem__).run({"x": x}, toy.micro_batch)
    with network() as links:
        monkeypatch.setattr(tempfile, "tempdir", str(links.folder))  # this process has asked for its folder before
        with start(graph, devices=[toy.make_device(name) for name in "ab"], placer=InTurn()) as broker:
            checks = []

            def check():
                """A task is answered right; answers whether nothing of it was handed on."""
                before = handed_on()
                result = broker.submit("toy", x, 1000.0).result(PATIENCE_S)
                assert result.outcome.error is None
                np.testing.assert_allclose(result.logits, expected, rtol=1e-5, atol=1e-6)
                checks.append(result)
                return handed_on() == before

            def handed_on():
                return broker._running().fleet.relay.handed_on

            yield SimpleNamespace(broker=broker, links=links, check=check, checks=checks, handed_on=handed_on)


def until(broker, holds):
    """Wait for what the status says of the two devices' ways; answers with it."""
    end_s = time.monotonic() + PATIENCE_S
    while not holds(found := tuple(device.through_broker for device in broker.status().devices)):
        assert time.monotonic() < end_s, found
        time.sleep(0.02)
    return found


def directly(cuttable):
    """Wait for a task of which nothing is handed on: a device that does not run for a second is one cut off."""
    until(cuttable.broker, lambda found: not any(found))
    end_s = time.monotonic() + PATIENCE_S
    while not cuttable.check():
        assert time.monotonic() < end_s


@pytest.mark.slow
@pytest.mark.parametrize("both_ways", [True, False], ids=["both ways", "one way"])
def test_a_chain_is_answered_over_a_link_that_is_cut(cuttable, both_ways):
    """Through the broker, and the status says so; then directly again, and nothing more is handed on."""
    broker = cuttable.broker
    directly(cuttable)
    a, b = (device.pid for device in broker.status().devices)
    ends = {(a, b), (b, a)} if both_ways else {(a, b)}
    cuttable.links.cut(ends)
    cuttable.check()
    assert until(broker, all) == (("b",), ("a",))
    assert not cuttable.check()
    cuttable.links.heal(ends)
    directly(cuttable)
    assert len(of_kind(broker, book.Finish)) == len(cuttable.checks)
