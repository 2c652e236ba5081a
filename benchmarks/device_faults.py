"""A device that is killed, paused or slowed at a stated time: in a live fleet, and as a simulated fleet's events."""

import os
import signal
import threading
import time
from statistics import median
from typing import Literal, get_args

from splitplace.benchmarks.chaos_faults import Handle, send_signal
from splitplace.errors import NotReadyError, SplitPlaceError
from splitplace.inference.cpu_share import set_quota
from splitplace.placement.broker.broker import Broker
from splitplace.placement.broker.health import DOUBT_AFTER, PING_EVERY_S
from splitplace.placement.engines.local import LocalEngine
from splitplace.placement.history import DeviceUp
from splitplace.placement.simulator.scenario import DeviceEvent
from splitplace.records.base import Name, NonNegative, Positive, Record

FaultKind = Literal["killed", "paused", "slowed"]
KINDS: tuple[FaultKind, ...] = get_args(FaultKind)
SLOWED_TO = 0.5
"""Of its own speed."""
NOTICED_S = (DOUBT_AFTER + 0.5) * PING_EVERY_S
"""How long a device says nothing before a broker takes what it has to run elsewhere: so many of its questions stay
unanswered, of which the first comes half a turn after the pause began, in the mean."""
RETURNS = 3
PATIENCE_S = 120.0


class DeviceFault(Record):
    """What befalls a device."""

    kind: FaultKind
    device: Name
    at_s: NonNegative
    """After the first task had come."""
    lasts_s: Positive
    """Until it is there again, goes on, or is as fast as before."""


def simulated_events(fault: DeviceFault) -> tuple[DeviceEvent, ...]:
    """The same for a simulated device.

    One that is killed is gone at once, which its engine sees. One that is paused stands still; when that is noticed, if
    it is, what it has goes elsewhere, and it takes work again when it goes on.
    """

    def event(kind: Literal["join", "fail", "slow"], after_s: float, speed: float = 1.0) -> DeviceEvent:
        return DeviceEvent(time_s=fault.at_s + after_s, device=fault.device, kind=kind, speed=speed)

    if fault.kind == "killed":
        return event("fail", 0.0), event("join", fault.lasts_s)
    if fault.kind == "slowed":
        return event("slow", 0.0, SLOWED_TO), event("slow", fault.lasts_s)
    noticed = fault.lasts_s > NOTICED_S
    gone = (event("fail", NOTICED_S), event("join", fault.lasts_s)) if noticed else ()
    return event("slow", 0.0, 0.0), event("slow", fault.lasts_s), *gone


class FaultThread(threading.Thread):
    """Brings a fault about when it is time.

    Args:
        engine: That launched the device.
        fault: What, when and for how long.
        first_s: When the first task comes, on the monotonic clock.
        share: That the device has of its cores.
        cores: That it has.
    """

    def __init__(self, engine: LocalEngine, fault: DeviceFault, first_s: float, share: float, cores: int):
        super().__init__(name="fault", daemon=True)
        self._engine, self._fault, self._first_s = engine, fault, first_s
        self._share, self._cores = share, cores
        self._began_s = self._ended_s = 0.0
        self._error: SplitPlaceError | None = None
        self.start()

    def run(self) -> None:
        """Wait, do it, and undo it."""
        time.sleep(max(self._first_s + self._fault.at_s - time.monotonic(), 0.0))
        try:
            self._befall(self._engine.pid(self._fault.device))
        except SplitPlaceError as error:
            self._error = error

    def _befall(self, pid: int) -> None:
        kind = self._fault.kind
        with Handle(pid) as process:
            self._began_s = time.monotonic()
            if kind == "slowed":
                set_quota(pid, SLOWED_TO * self._share, self._cores)
            else:
                send_signal(process, signal.SIGKILL if kind == "killed" else signal.SIGSTOP)
            if kind == "killed":
                return
            time.sleep(self._fault.lasts_s)
            if kind == "slowed":
                set_quota(pid, self._share, self._cores)
            else:
                send_signal(process, signal.SIGCONT)
            self._ended_s = time.monotonic()

    def done(self) -> DeviceFault:
        """Wait for it; as it was. Of one that is killed nobody here says when it is there again.

        Raises:
            SplitPlaceError: It could not be brought about.
        """
        self.join()
        if self._error is not None:
            raise self._error
        changes = {"at_s": self._began_s - self._first_s}
        if self._ended_s:
            changes["lasts_s"] = self._ended_s - self._began_s
        return self._fault.model_copy(update=changes)


def seconds_to_return(broker: Broker, engine: LocalEngine, device: str) -> float:
    """From the kill of an idle fleet's device until it is up again: the median of some.

    Raises:
        NotReadyError: It did not come back.
    """
    found = list[float]()
    for _ in range(RETURNS):
        ups = _ups(broker, device)
        killed_s = broker.wall_s
        os.kill(engine.pid(device), signal.SIGKILL)
        until_s = time.monotonic() + PATIENCE_S
        while len(again := _ups(broker, device)) == len(ups):
            if time.monotonic() > until_s:
                raise NotReadyError(f"{device} was killed, and is not there again after {PATIENCE_S:g} s")
            time.sleep(0.01)
        found.append(again[-1] - killed_s)
    return median(found)


def _ups(broker: Broker, device: str) -> list[float]:
    return [event.at_s for event in broker.events if isinstance(event, DeviceUp) and event.device == device]
