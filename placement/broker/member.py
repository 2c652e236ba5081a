"""One device of a live fleet as the broker's side of it knows it, and what may become of it."""

import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from statistics import median
from typing import Literal

from splitplace.errors import ContractError, unknown
from splitplace.placement.broker.meter import Meter
from splitplace.placement.broker.monitor import Monitor
from splitplace.placement.protocol import fields, messages
from splitplace.records.device import Device
from splitplace.records.fragment import FragmentSource

log = logging.getLogger(__name__)

HUSH_AFTER = 2
"""Pings in a row without a word, and whoever asks is told; nothing is taken from the device yet."""


@dataclass(eq=False)
class Member:
    """One device of the fleet, as the broker knows it."""

    device: Device
    row: int
    cpu_share: float
    hello: messages.Hello | None = None
    here: bool = True
    """Whether its machine is there, as far as is known: one that joins is not until it has."""
    key: str | None = None
    """Its public key, if that was made on its own machine."""
    due: bool = False
    """It came, and is to be launched: not before what was there under its name has been ended."""
    launched: bool = False
    """Whether a process of it was launched, and neither ended nor was killed since."""
    incarnation: int = 0
    """Of the process that was launched last: it alone is this device."""
    core_speeds: list[float] = field(default_factory=list)
    """Measured by the probe, one a round."""
    trim: float = 1.0
    """What the emulated share is multiplied with, so that the measured speed is the stated one."""
    unanswered: int = 0
    """Pings since its last word."""
    answered: int = 0
    """The last ping that it answered."""
    idle_s: float = float("-inf")
    """When it said last that it has nothing to compute, on the run's clock."""
    doubted: bool = False
    stuck: bool = False
    """It was doubted because it did nothing: its next run is a word for it, or the probe, once between two runs."""
    cleared_at: int = -1
    """Its runs when the probe last spoke for it."""
    runs: int = 0
    """Micro-batches that its process has run, by its last pong."""
    connected: bool = False
    """Whether a process of it said hello and is not known to have ended."""
    relayed: frozenset[str] = frozenset()
    """Devices to which what it sends goes through the broker, by its word."""
    loaded: Counter[FragmentSource] = field(default_factory=Counter)
    """Fragments, by where it had their files from."""
    registry_problem: str = ""
    """Why it had one from the broker, and not from the registry, since it had one from there."""
    meter: Meter = field(default_factory=Meter)
    monitor: Monitor = field(init=False)

    def __post_init__(self) -> None:
        self.monitor = Monitor(self.device.cores, self.cpu_share, self.device.power_w)

    @property
    def name(self) -> str:
        """The device's name."""
        return self.device.name

    @property
    def core_speed(self) -> float:
        """The median over the rounds; as stated, if it has not answered the probe yet."""
        return median(self.core_speeds) if self.core_speeds else self.device.core_speed

    @property
    def hushed(self) -> bool:
        """Whether it has been asked some times in a row, and has not said a word."""
        return self.unanswered > HUSH_AFTER

    def begin(self, hello: messages.Hello) -> None:
        """A process of it is up, and has done nothing yet."""
        self.hello, self.connected, self.unanswered, self.doubted = hello, True, 0, False
        self.stuck, self.runs, self.cleared_at, self.idle_s = False, 0, -1, float("-inf")
        self.monitor.forget()
        self.relayed = frozenset()
        self.meter.rss_bytes = hello.rss_bytes

    def ratios(self, first: "Member") -> list[float]:
        """Its speed over another device's, one a round."""
        rounds = zip(self.core_speeds, first.core_speeds, strict=False)  # a device that joined later has had fewer
        return [mine / its for mine, its in rounds] or [self.core_speed / first.core_speed]

    def had(self, message: messages.Loaded) -> None:
        """It has loaded a fragment."""
        self.loaded[message.source] += 1
        if message.source == "here":
            return
        if message.problem and message.problem != self.registry_problem:
            log.warning("%s has a fragment from the broker, not from the registry: %s", self.name, message.problem)
        elif self.registry_problem and not message.problem:
            log.info("%s has fragments from the registry again", self.name)
        self.registry_problem = message.problem

    def peer(self, hello: messages.Hello) -> fields.Peer:
        """Who it is to the other devices, by what its process said of itself."""
        return fields.Peer(name=self.name, endpoint=hello.endpoint, incarnation=self.incarnation, key=self.key)

    def off(self, first: "Member") -> float:
        """Its speed over another device's, measured over stated: 1.0 is right. The machine's own speed has no error."""
        return median(self.ratios(first)) / (self.cpu_share / first.cpu_share) if self.cpu_share < 1 else 1.0


@dataclass(frozen=True)
class Change:
    """What became of a device: it is up, or not, or may not be."""

    member: Member
    kind: Literal["joined", "gone", "doubted", "trusted"]
    reason: str = ""


def members_of(devices: Sequence[Device], cpu_shares: Mapping[str, float]) -> dict[str, Member]:
    """A fleet's devices by name, in their order.

    Args:
        devices: Single ones, each with a name of its own.
        cpu_shares: Emulated share of the machine by device name; 1.0 where not given.

    Raises:
        ContractError: They are not single, or not of different names.
        NotFoundError: A share of a device that is none of these.
    """
    names = [device.name for device in devices]
    if len(set(names)) != len(names) or any(device.count != 1 for device in devices):
        raise ContractError(f"a fleet needs single devices with names of their own, got {names}")
    for name in cpu_shares:
        if name not in names:
            raise unknown("device", name, names)
    return {device.name: Member(device, row, cpu_shares.get(device.name, 1.0)) for row, device in enumerate(devices)}
