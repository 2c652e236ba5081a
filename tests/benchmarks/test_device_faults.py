"""A device that is killed, paused or slowed: as a simulated fleet's events, and brought about in a live one."""

import signal
import time

import pytest

from splitplace.benchmarks import chaos_splits
from splitplace.benchmarks.device_faults import (
    NOTICED_S,
    SLOWED_TO,
    DeviceFault,
    FaultThread,
    seconds_to_return,
    simulated_events,
)
from splitplace.benchmarks.live_and_simulated import no_collections, streamed
from splitplace.benchmarks.ray_links import NodeNetwork
from splitplace.benchmarks.shaped_links import NamespaceEngine, shaped
from splitplace.catalog.demand import demand
from splitplace.catalog.reader import Catalog
from splitplace.errors import NotReadyError, SplitPlaceError
from splitplace.placement.broker.broker import Broker
from splitplace.placement.engines.local import LocalEngine
from splitplace.placement.history import DeviceDown, DeviceUp, Send
from splitplace.placement.registry import parse_policy

RATE = 200_000.0
"""Bytes/s of a slow link."""


def fault(kind, at_s=0.0, lasts_s=1.0):
    """Of the first device."""
    return DeviceFault(kind=kind, device="device-0", at_s=at_s, lasts_s=lasts_s)


def told(kind, lasts_s):
    """When the simulated device does what, from 10 s on."""
    return [(event.time_s - 10.0, event.kind, event.speed) for event in simulated_events(fault(kind, 10.0, lasts_s))]


def test_what_is_simulated_of_each_fault():
    """Gone and back; slower and as before; standing still, and given up for the time being where that is noticed."""
    assert told("killed", 3.0) == [(0.0, "fail", 1.0), (3.0, "join", 1.0)]
    assert told("slowed", 3.0) == [(0.0, "slow", SLOWED_TO), (3.0, "slow", 1.0)]
    short = [(0.0, "slow", 0.0), (NOTICED_S / 2, "slow", 1.0)]
    assert told("paused", NOTICED_S / 2) == short
    long = [(0.0, "slow", 0.0), (4.0, "slow", 1.0), (NOTICED_S, "fail", 1.0), (4.0, "join", 1.0)]
    assert told("paused", 4.0) == long


class Launched:
    """In place of an engine: it knows of no device, or of this one process."""

    def __init__(self, pid=None):
        self._pid = pid

    def pid(self, device):
        """As an engine."""
        if self._pid is None:
            raise NotReadyError(f"no device {device}")
        return self._pid


def test_what_cannot_be_brought_about_is_told():
    """Whoever waits for the fault hears of it, not the thread alone."""
    thread = FaultThread(Launched(), fault("killed"), time.monotonic(), 0.5, 1)
    with pytest.raises(NotReadyError, match="no device device-0"):
        thread.done()


def test_garbage_of_before_is_not_looked_at_meanwhile(monkeypatch):
    """Frozen first, and let go after, whatever happens."""
    called = []
    for name in ("collect", "freeze", "unfreeze"):
        monkeypatch.setattr(
            f"splitplace.benchmarks.live_and_simulated.gc.{name}", lambda name=name: called.append(name)
        )
    with pytest.raises(ZeroDivisionError), no_collections():
        assert called == ["collect", "freeze"]
        raise ZeroDivisionError
    assert called == ["collect", "freeze", "unfreeze"]


@pytest.fixture(scope="module")
def fleet(tmp_path_factory):
    """Two devices, and a chain to run on them."""
    folder = tmp_path_factory.mktemp("fleet")
    chaos_splits.write(folder / "catalog", folder / "wholes", seed=0, applications=("chain",))
    reader = Catalog(folder / "catalog")
    (reference,) = reader.references()
    devices = tuple(chaos_splits.fleet(2).units())
    return devices, demand(reader, [reference], chaos_splits.MICRO_BATCH), folder / "catalog"


def live(fleet, stream, engine=None, what=None):
    """What came of a stream."""
    shares = {device.name: 1.0 for device in fleet[0]}
    return streamed(*fleet, parse_policy("layer+least-loaded"), "pipelined", stream, shares, engine, what)


@pytest.mark.slow
def test_a_device_that_is_killed_comes_back_and_all_is_answered(fleet):
    """It goes down once; `streamed` itself holds that every task was answered."""
    found = live(fleet, [(0.1 * row, 64) for row in range(20)], what=fault("killed", 0.5))
    (down,) = (event for event in found.events if isinstance(event, DeviceDown))
    assert (down.device, found.fault.lasts_s) == ("device-0", 1.0)
    assert f"signal {signal.SIGKILL.value}" in down.reason
    assert found.fault.at_s >= 0.5


@pytest.mark.slow
def test_a_device_that_is_paused_goes_on(fleet):
    """As long as it was to be, at least, and all is answered."""
    found = live(fleet, [(0.1 * row, 64) for row in range(10)], what=fault("paused", 0.2, 0.5))
    assert found.fault.lasts_s >= 0.5
    assert len(found.outcomes) == 10


@pytest.mark.slow
def test_how_long_a_killed_device_is_away_is_until_it_is_up_again(fleet):
    """By the history: each kill has its end and its return."""
    engine = LocalEngine()
    devices, costs, catalog = fleet
    with Broker(devices, costs, catalog, parse_policy("layer+least-loaded"), engine) as broker:
        away_s = seconds_to_return(broker, engine, "device-0")
        ups = [event for event in broker.events if isinstance(event, DeviceUp) and event.device == "device-0"]
        downs = [event for event in broker.events if isinstance(event, DeviceDown)]
    assert len(downs) == 3
    assert len(ups) == 4
    assert 0 < away_s <= max(up.at_s for up in ups)


@pytest.mark.slow
def test_what_goes_through_a_shaped_link_takes_as_long_as_that_takes(fleet):
    """Where this user may have such links: the input, less what an idle link lets through at once; else told so."""
    try:
        network = shaped([device.name for device in fleet[0]], RATE)
    except NotReadyError as error:
        assert "\n" not in str(error)
        return
    try:
        found = live(fleet, [(0.0, 256)], NamespaceEngine(network))
    finally:
        network.close()
    size_bytes = sum(event.bytes for event in found.events if isinstance(event, Send) and event.device == "device-0")
    (outcome,) = found.outcomes
    assert size_bytes > 131_072
    assert outcome.response_s > (size_bytes - 131_072) / RATE


def test_a_kernel_without_tbf_is_told_and_leaves_nothing(monkeypatch):
    """Made, and not to be shaped: whoever asks hears why, and the network is closed."""
    closed = []

    def no(*_):
        raise NotReadyError("tc qdisc: no tbf")

    monkeypatch.setattr(NodeNetwork, "_make", lambda self: None)
    monkeypatch.setattr(NodeNetwork, "close", lambda self: closed.append(self))
    monkeypatch.setattr(NodeNetwork, "limit", no)
    with pytest.raises(NotReadyError, match="no tbf"):
        shaped(["one"], RATE)
    assert len(closed) == 1


def test_a_process_without_a_quota_is_not_slowed():
    """Its share is not the kernel's to keep: told so."""
    thread = FaultThread(Launched(1), fault("slowed"), time.monotonic(), 0.5, 1)
    with pytest.raises(SplitPlaceError, match="process 1 has no cgroup"):
        thread.done()
