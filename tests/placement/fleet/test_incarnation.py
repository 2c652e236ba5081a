"""Which process a device is: one that has its key and is another is not heard, whether it lives or is left over."""

import logging
import os
import shutil
import signal
import time

import numpy as np
import pytest

from splitplace.inference.executor import Executor
from splitplace.placement import history as book
from splitplace.placement.broker.fleet import LiveFleet
from splitplace.placement.engines.local import LocalEngine
from splitplace.placement.protocol import codec, messages
from splitplace.placement.protocol.fields import BROKER
from splitplace.placement.protocol.keys import Accesses, curve_accesses, local_accesses, socket_folder
from splitplace.placement.protocol.stream import Malformed, Received, StreamNode, UnknownProcess
from tests.placement.fleet.conftest import InTurn, NoRelay
from tests.placement.fleet.test_fleet import WAIT_S, of_kind

PATIENCE_S = 240.0
FIRST, SECOND = 11, 12


def said(number):
    """Something that has a number."""
    return messages.Cancel(job=number)


def hear(node, *others, count=1):
    """So many of what a node receives, while the others go on."""
    found, end_s = [], time.monotonic() + PATIENCE_S
    while len(found) < count:
        assert time.monotonic() < end_s, f"{found}, expected {count}"
        found += node.receive(0.01)
        for other in others:
            assert list(other.receive(0.01)) == []
    return found


@pytest.fixture(params=["curve", "local"])
def accesses(request):
    """Of two nodes, as between machines or as on one."""
    folder = socket_folder()
    yield curve_accesses("ab") if request.param == "curve" else local_accesses("ab", folder)
    shutil.rmtree(folder)


def test_who_copied_a_key_is_not_heard_and_disturbs_nobody(accesses):
    """It is told of once; what the device says before and after arrives, over the same link."""
    with (
        StreamNode(accesses["a"]) as node,
        StreamNode(accesses["b"], incarnation=FIRST) as device,
        StreamNode(accesses["b"]) as copied,
    ):
        node.expect("b", FIRST)
        for one in (device, copied):
            one.connect("a", node.endpoint)
        node.connect("b", device.endpoint)
        device.send("a", said(0))
        assert [received.message for received in hear(node, device)] == [said(0)]
        for number in range(3):
            copied.send("a", said(90 + number))
        (told,) = hear(node, device, copied)
        assert isinstance(told, UnknownProcess) and told.peer == "b" and "key was copied" in told.error
        for number in range(1, 4):
            device.send("a", said(number))
        assert [received.message for received in hear(node, device, count=3)] == [said(1), said(2), said(3)]
        assert node._links["b"].peer == FIRST and not node.unreachable


def test_a_process_that_was_replaced_is_passed_over_in_silence(accesses):
    """As what it left in the network, or itself behind a link that was cut; the one that took its place is heard."""
    with (
        StreamNode(accesses["a"]) as node,
        StreamNode(accesses["b"], incarnation=FIRST) as former,
        StreamNode(accesses["b"], incarnation=SECOND) as device,
    ):
        for one in (former, device):
            one.connect("a", node.endpoint)
        node.expect("b", FIRST)
        former.send("a", said(0))
        assert [received.message for received in hear(node, former)] == [said(0)]
        node.expect("b", SECOND)
        former.send("a", said(1))
        device.send("a", said(2))
        assert [received.message for received in hear(node, former, device)] == [said(2)]
        former.send("a", said(3))
        device.send("a", said(4))
        assert [received.message for received in hear(node, former, device)] == [said(4)]


class NoEngine:
    """Launches nothing, and remembers what it was told to."""

    name, same_machine = "none", False

    def __init__(self):
        self.configs = []

    def accesses(self, names):
        """Keys made here."""
        return Accesses.of(names, same_machine=False)

    def launch(self, config):
        """Note it."""
        self.configs.append(config)

    def stop(self, device, timeout_s=5.0):
        """Nothing runs."""

    def events(self):
        """Nothing ends."""
        return []


class Words:
    """In place of a node: what devices say next, and what is said to them."""

    endpoint, incarnation = "tcp://127.0.0.1:1", 5

    def __init__(self):
        self.next, self.sent, self.expected = [], [], {}

    def receive(self, timeout_s):
        """All of it."""
        said, self.next = self.next, []
        return said

    def send(self, name, message, values=()):
        """Note it."""
        self.sent.append((name, message))

    def expect(self, name, incarnation):
        """Note it."""
        self.expected[name] = incarnation

    def connect(self, name, endpoint=""):
        """Nothing is there."""

    disconnect = connect

    def close(self):
        """Nothing is open."""


@pytest.fixture
def fleet(toy, tmp_path):
    """A broker's side of two devices, without any."""
    woken, wake = os.pipe()
    fleet = LiveFleet([toy.make_device(name) for name in "ab"], NoEngine(), tmp_path, {}, "auto", woken)
    fleet.node.close()
    fleet.relay.close()
    fleet.node, fleet.relay = Words(), NoRelay()
    yield fleet
    os.close(woken)
    os.close(wake)


def hello(endpoint="tcp://127.0.0.1:2"):
    """A device's first words."""
    return messages.Hello(
        protocol=messages.PROTOCOL, endpoint=endpoint, pid=1, cpu_share=1.0, cpu_share_method="none", rss_bytes=0
    )


def pong(sequence):
    """The answer to a ping, or to none."""
    return messages.Pong(
        sequence=sequence, rss_bytes=1, cpu_s=0.0, sent_bytes=0, received_bytes=0, held_bytes=0, containers=0,
        fragments=(),
    )  # fmt: skip


def say(fleet, *words, peer="a"):
    """What a device says is heard."""
    fleet.node.next = [Received(peer, message, {}) for message in words]
    return list(fleet.hear(0.0))


def test_each_launch_is_a_process_of_its_own(fleet):
    """With a number that it alone is told, and that its node expects from then on; others learn it with its place."""
    fleet.launch(0)
    fleet.launch(1)
    fleet.kill(0)
    fleet.launch(0)
    first, other, again = fleet.engine.configs
    assert len({first.incarnation, other.incarnation, again.incarnation}) == 3
    assert fleet.node.expected == {"a": again.incarnation, "b": other.incarnation}
    assert {config.broker_incarnation for config in fleet.engine.configs} == {fleet.node.incarnation}
    say(fleet, hello(), peer="a")
    say(fleet, hello(), peer="b")
    peers = {name: message.peers[0].incarnation for name, message in fleet.node.sent if message.type == "peers"}
    assert peers == {"a": other.incarnation, "b": again.incarnation}


def test_after_a_kill_nobody_is_the_device(fleet):
    """A hello that the dead process left in the network must not pass for its successor's: that is launched later."""
    fleet.launch(0)
    (config,) = fleet.engine.configs
    fleet.kill(0)
    assert fleet.node.expected["a"] != config.incarnation


def test_a_device_joins_once(fleet):
    """It cannot move itself elsewhere by saying hello again."""
    say(fleet, hello("tcp://127.0.0.1:2"), hello("tcp://127.0.0.1:3"))
    assert [change.kind for change in fleet.changes] == ["joined"]
    assert fleet.members["a"].hello.endpoint == "tcp://127.0.0.1:2"


def test_another_process_is_no_sign_of_life(fleet, caplog):
    """A device that is silent stays so, whoever speaks in its name; the log says that somebody did."""
    say(fleet, hello())
    fleet.members["a"].unanswered = 3
    fleet.node.next = [UnknownProcess("a", "a process that is not a speaks in its name")]
    with caplog.at_level(logging.WARNING):
        assert list(fleet.hear(0.0)) == []
    assert fleet.members["a"].unanswered == 3 and "speaks in its name" in caplog.text


def test_noise_in_a_devices_name_is_no_sign_of_life(fleet):
    """Who copied its key can make some without its number."""
    say(fleet, hello())
    fleet.members["a"].unanswered = 3
    fleet.node.next = [Malformed("a", "not a message: no envelope before its header")]
    assert list(fleet.hear(0.0)) == []
    assert fleet.members["a"].unanswered == 3


def test_a_pong_that_nobody_asked_for_is_not_kept(fleet):
    """One for each ping, whatever a device says of itself how often."""
    say(fleet, hello())
    fleet.check()
    (ping,) = [message for _, message in fleet.node.sent if message.type == "ping"]
    say(fleet, *[pong(ping.sequence)] * 1000, *(pong(ping.sequence + i) for i in range(1, 1000)), pong(0))
    assert len(fleet.members["a"].monitor._pongs) == 1


class Remembering(LocalEngine):
    """Knows what each device was told: whoever copied that knows its key."""

    def __init__(self):
        super().__init__()
        self.configs = {}

    def launch(self, config):
        """And start it."""
        self.configs[config.name] = config
        super().launch(config)


@pytest.mark.slow
def test_a_fleet_goes_on_beside_somebody_with_a_copied_key(start, toy, images, caplog):
    """He speaks to broker and devices in another's name; that one dies, and its next process is the device."""
    graph, x, engine = toy.chain(), images(20), Remembering()
    expected = Executor(graph.split, graph.models.__getitem__).run({"x": x}, toy.micro_batch)
    devices = [toy.make_device(name) for name in "ab"]
    with start(graph, devices=devices, placer=InTurn(), engine=engine) as broker:
        fleet = broker._running().fleet
        with StreamNode(engine.configs["b"].access) as copied:
            copied.connect(BROKER, fleet.node.endpoint)
            copied.connect("a", fleet.members["a"].hello.endpoint)
            copied.send(BROKER, hello(copied.endpoint))
            for job in range(30):
                if job == 15:
                    os.kill(engine.pid("b"), signal.SIGKILL)
                copied.send(BROKER, messages.Failed(job=job, fragment="f1", error="not so"))
                copied.send(BROKER, messages.Unreachable(peer="a"))
                copied.send("a", codec.tensors(job, "f1", "f2", 0, 0.0, {"f1.out": x[:4]}), [x[:4]])
                list(copied.receive(0.0))
                result = broker.submit("toy", x, 1000.0).result(WAIT_S)
                assert result.outcome.error is None
                np.testing.assert_allclose(result.logits, expected, rtol=1e-5, atol=1e-6)
        end_s = time.monotonic() + WAIT_S
        while len(of_kind(broker, book.DeviceUp)) < 3 and time.monotonic() < end_s:
            time.sleep(0.05)
        assert [event.device for event in of_kind(broker, book.DeviceUp)][2:] == ["b"]
        assert [event.device for event in of_kind(broker, book.DeviceDown)] == ["b"]
        assert broker.submit("toy", x, 1000.0).result(WAIT_S).outcome.error is None
    assert "a process that is not b speaks in its name" in caplog.text
