"""The broker's side of the fleet: launches devices, gives them access, hears from them, notices when one is gone."""

import logging
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

from splitplace.errors import ContractError, NotReadyError, unknown
from splitplace.inference.cpu_share import ShareMethod
from splitplace.inference.speed import median_error
from splitplace.placement.broker.meter import DeviceReport, Meter
from splitplace.placement.device.config import DeviceConfig
from splitplace.placement.engines.engine import Engine
from splitplace.placement.protocol import messages
from splitplace.placement.protocol.keys import Accesses
from splitplace.placement.protocol.stream import Malformed, Received, StreamNode
from splitplace.records.device import Device

log = logging.getLogger(__name__)

START_TIMEOUT_S = 120.0
PROBE_TIMEOUT_S = 120.0
PROBE_ROUNDS = (4, 8)
"""At least and at most. Each round probes every device once, one right after the other: a shared machine's own speed
drifts by a quarter within seconds, and a ratio taken within a round does not feel that."""
RATIO_ERROR = 0.04
"""Rounds go on until the standard error of every speed ratio is below this share of it. An emulated share that is off
by more is trimmed once: a device that pauses finds cold caches, and how much that costs differs between machines."""
MAX_TRIM = 1.25
PING_EVERY_S = 1.0
STOP_S = 5.0
"""How long the devices may take to end of themselves."""
SILENCE_S = 20.0
"""A device answers pings while it computes; one that says nothing for so long is lost."""


@dataclass(eq=False)
class Member:
    """One device of the fleet, as the broker knows it."""

    device: Device
    row: int
    cpu_share: float
    hello: messages.Hello | None = None
    core_speeds: list[float] = field(default_factory=list)
    """Measured by the probe, one a round."""
    trim: float = 1.0
    """What the emulated share is multiplied with, so that the measured speed is the stated one."""
    up: bool = False
    up_since_s: float = 0.0
    down_at_s: float | None = None
    silent_s: float = 0.0
    """How long the broker has listened without a word from it."""
    meter: Meter = field(default_factory=Meter)

    @property
    def name(self) -> str:
        """The device's name."""
        return self.device.name

    @property
    def core_speed(self) -> float:
        """The median over the rounds; only once the device is up."""
        return median(self.core_speeds)

    def ratios(self, first: "Member") -> list[float]:
        """Its speed over another device's, one a round."""
        return [mine / its for mine, its in zip(self.core_speeds, first.core_speeds, strict=True)]

    def off(self, first: "Member") -> float:
        """Its speed over another device's, measured over stated: 1.0 is right. The machine's own speed has no error."""
        return median(self.ratios(first)) / (self.cpu_share / first.cpu_share) if self.cpu_share < 1 else 1.0

    def report(self, first: "Member", memory_bytes: float, memory_peak_bytes: float, now_s: float) -> DeviceReport:
        """What it is and did so far; `first` is the device that speeds are held against."""
        assert self.hello is not None
        up_s = (now_s if self.down_at_s is None else self.down_at_s) - self.up_since_s
        return DeviceReport(
            name=self.name,
            up=self.up,
            cpu_share=self.cpu_share,
            cpu_share_method=self.hello.cpu_share_method,
            core_speed_stated=self.device.core_speed,
            core_speed_measured=self.core_speed,
            speed_ratio_measured=median(self.ratios(first)),
            fragments_run=self.meter.fragments_run,
            micro_batches_run=self.meter.micro_batches_run,
            busy_s=self.meter.busy_s,
            busy_share=min(self.meter.busy_s / max(up_s, 1e-9), 1.0),
            memory_bytes=memory_bytes,
            memory_peak_bytes=memory_peak_bytes,
            rss_bytes=self.meter.rss_bytes,
        )


@dataclass(frozen=True)
class Lost:
    """A device that no longer answers, and why."""

    member: Member
    reason: str


class LiveFleet:
    """Devices that are up, and the one node through which the broker talks to them. For one thread.

    Args:
        devices: Single devices (`Device.units`), each with a name of its own.
        engine: What launches them.
        catalog: Folder of the OCI image layout they read fragments from.
        cpu_shares: Emulated share of the machine by device name; 1.0 where not given.
        method: How the shares are kept.
        wake: A file descriptor that ends the wait of `hear`.
    """

    def __init__(
        self,
        devices: Sequence[Device],
        engine: Engine,
        catalog: Path,
        cpu_shares: Mapping[str, float],
        method: ShareMethod,
        wake: int,
    ):
        names = [device.name for device in devices]
        if len(set(names)) != len(names) or any(device.count != 1 for device in devices):
            raise ContractError(f"a fleet needs single devices with names of their own, got {names}")
        for name in cpu_shares:
            if name not in names:
                raise unknown("device", name, names)
        self.engine, self.catalog, self.method = engine, catalog, method
        self.members = {
            device.name: Member(device, row, cpu_shares.get(device.name, 1.0)) for row, device in enumerate(devices)
        }
        self._accesses = Accesses.of((messages.BROKER, *names), engine.same_machine)
        self.node = StreamNode(self._accesses.by_name[messages.BROKER])
        self.node.watch(wake)
        self.origin_s = self._heard_s = time.monotonic()
        self._pinged_s = 0.0
        self._sequence = 0

    def now_s(self) -> float:
        """The run's clock: 0 when every device was up."""
        return time.monotonic() - self.origin_s

    def on_clock(self, monotonic_s: float) -> float:
        """A device's time on the run's clock; devices of the local engine share the machine's monotonic clock."""
        return max(monotonic_s - self.origin_s, 0.0)

    def start(self, stopping: Callable[[], bool]) -> None:
        """Launch every device, wait until all answer, introduce them to each other, and probe them one by one.

        Raises:
            SplitPlaceError: A device did not come up; names it and says why.
        """
        for member in self.members.values():
            self.engine.launch(self._config(member))
        self._await("did not start", START_TIMEOUT_S, stopping, lambda member: member.hello is not None)
        peers = tuple(
            messages.Peer(name=member.name, endpoint=member.hello.endpoint)
            for member in self.members.values()
            if member.hello
        )
        for member in self.members.values():
            assert member.hello is not None
            self.node.connect(member.name, member.hello.endpoint)
            self.send(member.name, messages.Peers(peers=tuple(peer for peer in peers if peer.name != member.name)))
        self._measure(stopping)
        for member in self.members.values():
            member.up = True
        # The run begins: what came before is none of its time, nor silence of the devices that were up first.
        self.origin_s = time.monotonic()
        for member in self.members.values():
            member.up_since_s, member.silent_s = 0.0, 0.0
        self._heard_s = self.origin_s

    def _measure(self, stopping: Callable[[], bool]) -> None:
        """Probe all; trim the emulated shares that came out wrong, and probe again: what is reported is measured."""
        members = list(self.members.values())
        self._probe(members, stopping)
        wrong = [member for member in members if abs(member.off(members[0]) - 1) > RATIO_ERROR]
        for member in wrong:
            member.trim = min(max(1 / member.off(members[0]), 1 / MAX_TRIM), MAX_TRIM)
        if wrong:
            for member in members:
                member.core_speeds.clear()
            self._probe(members, stopping)

    def _probe(self, members: Sequence[Member], stopping: Callable[[], bool]) -> None:
        """Rounds until the devices' speeds relative to each other are known well enough, or enough is enough."""
        at_least, at_most = PROBE_ROUNDS
        for done in range(at_most):
            if done >= at_least and all(median_error(member.ratios(members[0])) < RATIO_ERROR for member in members):
                return
            for member in members:
                self.send(member.name, messages.ProbeOrder(trim=member.trim))
                self._await("did not answer the probe", PROBE_TIMEOUT_S, stopping, _probed(member, done + 1))

    def _config(self, member: Member) -> DeviceConfig:
        return DeviceConfig(
            name=member.name,
            catalog=str(self.catalog.resolve()),
            threads=member.device.cores,
            cpu_share=member.cpu_share,
            cpu_share_method=self.method,
            access=self._accesses.by_name[member.name],
            broker_endpoint=self.node.endpoint,
        )

    def _await(
        self, failure: str, timeout_s: float, stopping: Callable[[], bool], reached: Callable[[Member], bool]
    ) -> None:
        deadline_s = time.monotonic() + timeout_s
        while waiting := [member for member in self.members.values() if not reached(member)]:
            for event in self.engine.events():
                raise NotReadyError(f"device {event.device} {failure}: {event.reason}")
            if stopping() or time.monotonic() > deadline_s:
                raise NotReadyError(f"device {waiting[0].name} {failure} within {timeout_s:.0f} s")
            for received in self.node.receive(0.1):
                if isinstance(received, Malformed):
                    raise NotReadyError(f"device {received.peer} {failure}: {received.error}")
                self._greet(self.members[received.peer], received.message)

    def _greet(self, member: Member, message: messages.Message) -> None:
        if isinstance(message, messages.Hello):
            member.hello = message
            member.meter.rss_bytes = message.rss_bytes
        elif isinstance(message, messages.Probed):
            member.core_speeds.append(message.core_speed)

    def send(self, name: str, message: messages.Message, values: Sequence[messages.Array] = ()) -> None:
        """To a device; dropped if it is gone."""
        self.node.send(name, message, values)

    def hear(self, timeout_s: float) -> Iterable[tuple[Member, Received]]:
        """What the devices said; what is only about their health is taken in here."""
        for received in self.node.receive(timeout_s):
            member = self.members[received.peer]
            member.silent_s = 0.0
            if isinstance(received, Malformed):
                log.warning("%s sent no message of ours: %s", member.name, received.error)
            elif isinstance(received.message, messages.Pong):
                member.meter.rss_bytes = max(member.meter.rss_bytes, received.message.rss_bytes)
            elif member.up:
                yield member, received
        # A pause of our own (a plan that took long, a process that was stopped) is no silence of theirs.
        now_s = time.monotonic()
        for member in self.members.values():
            member.silent_s += min(now_s - self._heard_s, PING_EVERY_S)
        self._heard_s = now_s

    def check(self) -> list[Lost]:
        """Ping the devices now and then; those found gone since the last check. Call after `hear`."""
        now_s = time.monotonic()
        ended = {event.device: event.reason for event in self.engine.events()}
        if now_s - self._pinged_s > PING_EVERY_S:
            self._pinged_s = now_s
            self._sequence += 1
            for member in self.members.values():
                if member.up:
                    self.send(member.name, messages.Ping(sequence=self._sequence))
        lost = []
        for member in self.members.values():
            reason = ended.get(member.name)
            if reason is None and member.silent_s > SILENCE_S:
                reason = f"said nothing for {SILENCE_S:.0f} s"
            if member.up and reason is not None:
                member.up, member.down_at_s = False, self.now_s()
                self.node.disconnect(member.name)
                self.engine.stop(member.name, timeout_s=0.0)
                lost.append(Lost(member, reason))
        return lost

    def close(self) -> None:
        """End every device and leave nothing behind."""
        for name in self.members:
            self.send(name, messages.Stop())
        deadline_s = time.monotonic() + STOP_S  # of all together: devices that hang are not waited for one by one
        for name in self.members:
            self.engine.stop(name, max(deadline_s - time.monotonic(), 0.0))
        self.node.close()
        self._accesses.close()


def _probed(asked: Member, times: int) -> Callable[[Member], bool]:
    """Whether this device has answered the probe so often; nobody else is waited for."""
    return lambda member: member is not asked or len(member.core_speeds) == times
