"""What every engine does: launches a device runtime, tells when one ends, leaves nothing when it is to stop."""

import os
import signal
import time

import pytest

from splitplace.placement.device.config import DeviceConfig
from splitplace.placement.engines.engine import Exited, MachineJoined
from splitplace.placement.protocol import messages
from splitplace.placement.protocol.incarnations import draw_incarnation
from splitplace.placement.protocol.keys import CurveAccess
from splitplace.placement.protocol.stream import StreamNode
from tests.placement.engines.conftest import ENGINES

pytestmark = pytest.mark.slow
PATIENCE_S = 240.0


class Bench:
    """This test as the broker of an engine's devices."""

    def __init__(self, engine, catalog):
        self.engine, self.catalog = engine, catalog
        self.accesses = engine.accesses(("@broker", "a", "b"))
        self.node = StreamNode(self.accesses.by_name["@broker"])
        self.keys, self.exited, self.hellos = {}, [], {}
        self.incarnations = {}

    def config(self, name):
        """What the broker would launch, as another process each time."""
        access = self.accesses.by_name.get(name)
        if access is None:
            broker = self.accesses.by_name["@broker"].public_key
            access = CurveAccess(public_key=self.keys[name], peers={"@broker": broker})
        self.incarnations[name] = draw_incarnation()
        self.node.expect(name, self.incarnations[name])
        return DeviceConfig(
            name=name,
            catalog=str(self.catalog),
            threads=1,
            access=access,
            incarnation=self.incarnations[name],
            broker_endpoint=self.node.endpoint,
            broker_incarnation=self.node.incarnation,
        )

    def there(self, name):
        """Wait for a device's machine, where the engine has any."""
        if name not in self.accesses.by_name:
            self.until(lambda: name in self.keys)

    def up(self, name):
        """Launch it and wait for its hello."""
        self.there(name)
        self.hellos.pop(name, None)
        self.engine.launch(self.config(name))
        self.until(lambda: name in self.hellos)
        return self.hellos[name]

    def until(self, condition):
        """Take in what comes until this holds."""
        end_s = time.monotonic() + PATIENCE_S
        while not condition():
            assert time.monotonic() < end_s, f"{self.exited}, {self.hellos}, {self.keys}"
            for event in self.engine.events():
                if isinstance(event, MachineJoined):
                    self.keys[event.device] = event.key
                    self.node.admit(event.device, event.key)
                elif isinstance(event, Exited):
                    self.exited.append(event)
            for received in self.node.receive(0.05):
                if isinstance(received.message, messages.Hello):
                    self.hellos[received.peer] = received.message


@pytest.fixture(params=ENGINES)
def bench(request, tmp_path):
    """Of each engine."""
    with request.getfixturevalue(f"{request.param}_engine")() as engine:
        bench = Bench(engine, tmp_path)
        yield bench
        for name in "ab":
            engine.stop(name)
        bench.node.close()
        bench.accesses.close()


def test_a_device_that_is_launched_says_hello(bench, alive):
    """With the key and the number that it was launched with, and then it is healthy."""
    hello = bench.up("a")
    assert alive(hello.pid)
    bench.until(lambda: bench.engine.health() == {"a": True})


def test_a_device_that_is_stopped_is_gone(bench, alive):
    """And that is no event: it was asked for. Stopping it again is nothing."""
    pid = bench.up("a").pid
    bench.engine.stop("a")
    bench.until(lambda: not alive(pid))
    bench.engine.stop("a")
    bench.engine.stop("never launched")
    assert not bench.engine.health() and bench.exited == []


def test_a_stopped_process_is_ended_by_force(bench, alive):
    """SIGSTOP: it hears nothing."""
    pid = bench.up("a").pid
    os.kill(pid, signal.SIGSTOP)
    bench.engine.stop("a", timeout_s=0.0)
    bench.until(lambda: not alive(pid))


def test_a_device_that_is_killed_is_told_of_once(bench):
    """By name, with what it died of; its neighbour goes on."""
    pid = bench.up("a").pid
    bench.up("b")
    os.kill(pid, signal.SIGKILL)
    bench.until(lambda: bench.exited)
    assert [event.device for event in bench.exited] == ["a"] and "signal 9" in bench.exited[0].reason
    bench.until(lambda: bench.engine.health().get("b"))
    assert len(bench.exited) == 1


def test_a_device_that_ended_can_be_launched_again(bench):
    """As another process."""
    first = bench.up("a").pid
    os.kill(first, signal.SIGKILL)
    bench.until(lambda: bench.exited)
    bench.engine.stop("a", 0.0)
    assert bench.up("a").pid != first
    bench.until(lambda: bench.engine.health() == {"a": True})


def test_a_device_that_cannot_begin_says_why(bench):
    """The last line that it wrote is the reason."""
    bench.there("a")
    config = bench.config("a")
    bench.engine.launch(config.model_copy(update={"broker_endpoint": "ipc:///nowhere/at/all"}))
    bench.until(lambda: bench.exited)
    (exited,) = bench.exited
    assert exited.device == "a" and "expected" in exited.reason
