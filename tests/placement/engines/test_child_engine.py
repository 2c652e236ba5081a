"""A child that does not end, whatever is done to it, holds up nobody for long."""

import sys
import threading

import pytest

from splitplace.placement.device.config import DeviceConfig
from splitplace.placement.engines import child_engine
from splitplace.placement.engines.child_engine import ChildEngine
from splitplace.placement.protocol.keys import CurveAccess

PATIENCE_S = 240.0


class Stubborn(ChildEngine):
    """Children that pass over the end of their standard input; force takes until `let` is set."""

    def __init__(self):
        super().__init__()
        self.let = threading.Event()

    def _command(self, config):
        return [sys.executable, "-c", "import time; time.sleep(600)"]

    def _environment(self):
        return {}

    def _end(self, device, child):
        assert self.let.wait(PATIENCE_S)
        super()._end(device, child)


@pytest.fixture
def engine():
    """One, whose children are gone afterwards."""
    engine = Stubborn()
    yield engine
    engine.let.set()
    engine.stop("a", 0.0)


@pytest.fixture
def config(tmp_path):
    """Of a device."""
    key = "x" * 40
    return DeviceConfig(
        name="a", catalog=str(tmp_path), threads=1, access=CurveAccess(public_key=key, peers={"@broker": key}),
        incarnation=1, broker_endpoint="tcp://127.0.0.1:1", broker_incarnation=1,
    )  # fmt: skip


def test_what_force_does_not_end_is_left_to_a_thread(engine, config, monkeypatch, caplog):
    """`stop` returns and says so, the device can be launched again, and what was left is gone when it ends."""
    engine.launch(config)
    child = engine._children["a"]
    with monkeypatch.context() as patch:
        patch.setattr(child_engine, "FORCED_S", 0.01)
        engine.stop("a", 0.0)
    assert child.process.returncode is None and engine.health() == {}
    assert f"device a: its process {child.process.pid} has not ended" in caplog.text
    (ending,) = [thread for thread in threading.enumerate() if thread.name == "end-a"]
    engine.launch(config)
    assert engine._children["a"].process.pid != child.process.pid
    engine.let.set()
    ending.join(PATIENCE_S)
    assert child.process.returncode == -9 and child.stderr.closed


def test_a_child_is_ended_where_no_thread_is_to_be_had(engine, config, monkeypatch):
    """The broker's own loop ends them: it would end of that."""

    def start(thread):
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(child_engine, "FORCED_S", PATIENCE_S)
    engine.let.set()
    engine.launch(config)
    child = engine._children["a"]
    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", start)
        engine.stop("a", 0.0)
    assert child.process.returncode == -9 and child.stderr.closed


def test_what_force_ends_is_gone_when_stop_returns(engine, config, monkeypatch):
    """Nothing of it is left."""
    monkeypatch.setattr(child_engine, "FORCED_S", PATIENCE_S)
    engine.let.set()
    engine.launch(config)
    child = engine._children["a"]
    engine.stop("a", 0.0)
    assert child.process.returncode == -9 and child.stderr.closed
