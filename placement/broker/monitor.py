"""The broker's side of the Resource Monitor (paper §3): what each device and each fragment on it uses, by its pongs."""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from splitplace.placement.broker.meter import LOOK_BACK_S
from splitplace.placement.protocol import fields, messages
from splitplace.records.device import Device
from splitplace.records.fleet_status import ResourceUse
from splitplace.records.view import Utilisation

LOADS_11 = np.linspace(0.0, 1.0, 11)
"""Of the points of a power curve."""
STALE_S = 2 * LOOK_BACK_S
"""What was heard so long ago says nothing of now."""


@dataclass(frozen=True)
class DeviceMeasured:
    """Of one device, as of its last pong."""

    at_s: float
    device: ResourceUse
    fragments: dict[str, ResourceUse]
    """By digest."""


@dataclass(eq=False)
class Monitor:
    """Of one device.

    Args:
        cores: That it has.
        cpu_share: Of each of them that it may use, where its speed is emulated.
        power_w: What it draws at 0, 10, ... 100 % CPU.
    """

    cores: int
    cpu_share: float
    power_w: tuple[float, ...] = (0.0,) * 11
    energy_j: float = 0.0
    """An estimate, nothing measures it: its power curve at the CPU that it used from pong to pong, since the broker
    began. Of a time when it did not answer there is none."""
    _last: DeviceMeasured | None = None
    _pongs: deque[tuple[float, messages.Pong]] = field(default_factory=deque)

    def heard(self, at_s: float, pong: messages.Pong) -> None:
        """A pong came in; sums are since its process started."""
        if self._pongs and pong.cpu_s < self._pongs[-1][1].cpu_s:
            self._pongs.clear()  # of another process
        if self._pongs:
            last_s, last = self._pongs[-1]
            if at_s > last_s:
                cpu = (pong.cpu_s - last.cpu_s) / ((at_s - last_s) * self.cores * self.cpu_share)
                self.energy_j += self.power_at(min(cpu, 1.0)) * (at_s - last_s)
        self._pongs.append((at_s, pong))
        while len(self._pongs) > 2 and self._pongs[1][0] <= at_s - LOOK_BACK_S:
            self._pongs.popleft()
        since_s, before = self._pongs[0]
        past = {fragment.digest: fragment for fragment in before.fragments}
        elapsed_s = at_s - since_s
        self._last = DeviceMeasured(
            at_s,
            self._use(before, pong, pong.rss_bytes, elapsed_s),
            {
                fragment.digest: self._use(past.get(fragment.digest), fragment, fragment.resident_bytes, elapsed_s)
                for fragment in pong.fragments
            },
        )

    def forget(self) -> None:
        """The process is gone."""
        self._pongs.clear()
        self._last = None

    def measured(self, now_s: float) -> DeviceMeasured | None:
        """What it uses now; none if it has not said so lately. From any thread."""
        last = self._last
        return last if last is not None and now_s - last.at_s <= STALE_S else None

    def power_at(self, cpu: float) -> float:
        """Watts that it draws at a share of its CPU, between the points of its curve."""
        return float(np.interp(cpu, LOADS_11, self.power_w))

    def _use(
        self,
        before: "messages.Pong | fields.FragmentUsage | None",
        now: "messages.Pong | fields.FragmentUsage",
        memory_bytes: int,
        elapsed_s: float,
    ) -> ResourceUse:
        """Sums of two moments as rates between them; without a former one, from nothing."""

        def rate(name: str) -> float:
            if elapsed_s <= 0:
                return 0.0
            then = (getattr(before, name) or 0) if before is not None else 0
            return max((getattr(now, name) or 0) - then, 0) / elapsed_s

        return ResourceUse(
            cpu=min(rate("cpu_s") / (self.cores * self.cpu_share), 1.0),
            memory_bytes=memory_bytes,
            sent_bytes_per_s=rate("sent_bytes"),
            received_bytes_per_s=rate("received_bytes"),
            disk_read_bytes_per_s=None if now.disk_read_bytes is None else rate("disk_read_bytes"),
            decoding=min(rate("decode_s"), 1.0),
        )


def utilisation(
    devices: Sequence[Device], measured: Sequence[DeviceMeasured | None], rows: Sequence[dict[str, int]]
) -> Utilisation:
    """What a policy is shown of it; nothing of a device that has not answered lately.

    Args:
        devices: As stated: what shares are of.
        measured: Of each device.
        rows: The fragment row of each digest that a device holds.
    """
    whole_D4, pairs, shares = np.zeros((len(devices), 4)), list[tuple[int, int]](), list[tuple[float, ...]]()
    for row, (device, found) in enumerate(zip(devices, measured, strict=True)):
        if found is None:
            continue
        whole_D4[row] = _shares(device, found.device)
        for digest, use in found.fragments.items():
            if digest in rows[row]:
                pairs.append((rows[row][digest], row))
                shares.append(_shares(device, use))
    pairs_U2, part_U4 = np.array(pairs, np.int64).reshape(-1, 2), np.array(shares).reshape(-1, 4)
    return Utilisation(*whole_D4.T, *pairs_U2.T, *part_U4.T)


def _shares(device: Device, use: ResourceUse) -> tuple[float, float, float, float]:
    net = max(use.sent_bytes_per_s / device.up_bytes_per_s, use.received_bytes_per_s / device.down_bytes_per_s)
    disk = (use.disk_read_bytes_per_s or 0.0) / device.disk_bytes_per_s
    return use.cpu, use.memory_bytes / device.memory_bytes, min(net, 1.0), min(disk, 1.0)
