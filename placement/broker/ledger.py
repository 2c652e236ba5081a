"""What each device's memory holds, as the broker accounts for it: a resident fragment counts once a device."""

from dataclasses import dataclass, field

import numpy as np

from splitplace.placement.room import claimed_bytes
from splitplace.records.demand import Demand
from splitplace.records.device import Device
from splitplace.records.view import Bools, Floats, Fragments


@dataclass
class _Resident:
    bytes: float
    loaded: bool = False
    jobs: set[int] = field(default_factory=set)


class Ledger:
    """Memory by device row and fragment row.

    A fragment takes its profiled `fragment_bytes` when it is reserved for the first job on a device, not again for
    more jobs, and gives them back when it is evicted. `used <= capacity` holds at every moment.
    """

    def __init__(self, demand: Demand, devices: tuple[Device, ...], fragments: Fragments):
        self.capacity_bytes_D: Floats = np.array(
            [max(device.memory_bytes - demand.runtime_base_bytes(device), 0) for device in devices], np.float64
        )
        self._need_bytes_FD = fragments.memory_bytes_FD
        self._resident: list[dict[int, _Resident]] = [{} for _ in devices]
        self.peak_bytes_D: Floats = np.zeros(len(devices))
        none_D: Floats = np.zeros(len(devices))
        self._account = (none_D, none_D, 0.0)
        """Byte-seconds up to a moment, the bytes used since, and that moment. Replaced as a whole, never changed, so
        that whoever reads it, from whatever thread, sees one moment."""

    def used_bytes(self, device: int) -> float:
        """What the device's resident fragments take."""
        return sum(resident.bytes for resident in self._resident[device].values())

    def used_bytes_D(self) -> Floats:  # noqa: N802 - shape suffix
        """The same for every device."""
        return np.array([self.used_bytes(device) for device in range(len(self._resident))])

    @property
    def account_bytes_D(self) -> Floats:  # noqa: N802 - shape suffix
        """The same as of the last change; from any thread."""
        return self._account[1]

    def resident_FD(self) -> Bools:  # noqa: N802 - shape suffix
        """Which fragments hold memory where, loaded or on their way in."""
        table = np.zeros(self._need_bytes_FD.shape, bool)
        for device, held in enumerate(self._resident):
            table[list(held), device] = True
        return table

    def idle_FD(self) -> Bools:  # noqa: N802 - shape suffix
        """Which of them no job needs."""
        table = np.zeros(self._need_bytes_FD.shape, bool)
        for device, held in enumerate(self._resident):
            table[[row for row, resident in held.items() if not resident.jobs], device] = True
        return table

    def rows(self, device: int) -> tuple[int, ...]:
        """The fragments that hold memory on a device."""
        return tuple(self._resident[device])

    def reserve(self, job: int, fragment: int, device: int, now_s: float) -> bool:
        """Give a job the use of a fragment on a device; answers whether it must be loaded first."""
        held = self._resident[device]
        new = fragment not in held
        taken = claimed_bytes(float(self._need_bytes_FD[fragment, device]), shared_here=not new)
        if new:
            held[fragment] = _Resident(taken)
        held[fragment].jobs.add(job)
        used = self.used_bytes(device)
        capacity = self.capacity_bytes_D[device]
        assert used <= capacity, f"device {device} would hold {used:.0f} of {capacity:.0f}: check_actions let it pass"
        self._book(now_s)
        self.peak_bytes_D[device] = max(self.peak_bytes_D[device], used)
        return new

    def loaded(self, fragment: int, device: int) -> None:
        """The device has the fragment open."""
        if fragment in self._resident[device]:
            self._resident[device][fragment].loaded = True

    def is_loaded(self, fragment: int, device: int) -> bool:
        """Whether a job could run it now."""
        resident = self._resident[device].get(fragment)
        return resident is not None and resident.loaded

    def release(self, job: int) -> None:
        """The job needs nothing any more; its fragments stay until they are evicted."""
        for held in self._resident:
            for resident in held.values():
                resident.jobs.discard(job)

    def evict(self, fragment: int, device: int, now_s: float) -> bool:
        """Take an idle fragment's memory back; answers whether it held any."""
        resident = self._resident[device].get(fragment)
        if resident is None:
            return False
        assert not resident.jobs, f"fragment {fragment} on device {device} is in use by jobs {resident.jobs}"
        del self._resident[device][fragment]
        self._book(now_s)
        return True

    def forget(self, fragment: int, device: int, now_s: float) -> None:
        """The fragment never got there: its load failed."""
        self._resident[device].pop(fragment, None)
        self._book(now_s)

    def lost(self, device: int, now_s: float) -> None:
        """The device is gone with all it held."""
        self._resident[device].clear()
        self._book(now_s)

    def utilisation(self, now_s: float) -> float:
        """Mean over time and devices of used / capacity since the start; from any thread."""
        byte_seconds_D, used_D, since_s = self._account
        capacity = self.capacity_bytes_D * now_s
        known = capacity > 0
        held = byte_seconds_D + used_D * max(now_s - since_s, 0.0)
        return float((held[known] / capacity[known]).mean()) if known.any() else 0.0

    def _book(self, now_s: float) -> None:
        """After a change: what was used until now has been used for so long."""
        byte_seconds_D, used_D, since_s = self._account
        held_s = max(now_s - since_s, 0.0)
        self._account = (byte_seconds_D + used_D * held_s, self.used_bytes_D(), since_s + held_s)
