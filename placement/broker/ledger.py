"""What each device's memory holds, as the broker accounts for it: a resident fragment counts once a device."""

from dataclasses import dataclass, field

import numpy as np

from splitplace.placement.room import claimed_bytes
from splitplace.records.view import Bools, Floats


@dataclass
class Resident:
    """A fragment that holds memory on a device."""

    bytes: float
    loaded: bool = False
    jobs: set[int] = field(default_factory=set)


@dataclass
class Ledger:
    """Memory by device row and fragment row.

    A fragment takes its profiled `fragment_bytes` when it is reserved for the first job on a device, not again for
    more jobs, and gives them back when it is evicted. `used <= capacity` holds at every moment.
    """

    capacity_bytes: tuple[float, ...]
    """Of each device, the runtime's base taken off."""
    held: list[dict[int, Resident]] = field(default_factory=list)
    peak_bytes: list[float] = field(default_factory=list)
    account: tuple[tuple[float, ...], tuple[float, ...], float] = ((), (), 0.0)
    """Byte-seconds up to a moment, the bytes used since, and that moment. Replaced as a whole, never changed, so that
    whoever reads it, from whatever thread, sees one moment."""

    def __post_init__(self) -> None:
        if not self.held:
            none = (0.0,) * len(self.capacity_bytes)
            self.held, self.peak_bytes, self.account = [{} for _ in none], list(none), (none, none, 0.0)

    def used_bytes(self, device: int) -> float:
        """What the device's resident fragments take."""
        return sum(resident.bytes for resident in self.held[device].values())

    def used_bytes_D(self) -> Floats:  # noqa: N802 - shape suffix
        """The same for every device."""
        return np.array([self.used_bytes(device) for device in range(len(self.held))])

    def resident_FD(self, fragments: int) -> Bools:  # noqa: N802 - shape suffix
        """Which fragments hold memory where, loaded or on their way in."""
        table = np.zeros((fragments, len(self.held)), bool)
        for device, held in enumerate(self.held):
            table[list(held), device] = True
        return table

    def idle_FD(self, fragments: int) -> Bools:  # noqa: N802 - shape suffix
        """Which of them no job needs."""
        table = np.zeros((fragments, len(self.held)), bool)
        for device, held in enumerate(self.held):
            table[[row for row, resident in held.items() if not resident.jobs], device] = True
        return table

    def fits(self, needs: dict[tuple[int, int], float]) -> bool:
        """Whether these (fragment, device) with the bytes they need could all be reserved now."""
        more = [0.0] * len(self.held)
        for (fragment, device), need_bytes in needs.items():
            more[device] += claimed_bytes(need_bytes, fragment in self.held[device])
        return all(
            self.used_bytes(device) + extra <= self.capacity_bytes[device] for device, extra in enumerate(more) if extra
        )

    def reserve(self, job: int, fragment: int, device: int, need_bytes: float, now_s: float) -> bool:
        """Give a job the use of a fragment on a device; answers whether it must be loaded first."""
        held = self.held[device]
        new = fragment not in held
        if new:
            held[fragment] = Resident(need_bytes)
        held[fragment].jobs.add(job)
        used, capacity = self.used_bytes(device), self.capacity_bytes[device]
        assert used <= capacity, f"device {device} would hold {used:.0f} of {capacity:.0f}: check_actions let it pass"
        self._book(now_s)
        self.peak_bytes[device] = max(self.peak_bytes[device], used)
        return new

    def loaded(self, fragment: int, device: int) -> None:
        """The device has the fragment open."""
        if fragment in self.held[device]:
            self.held[device][fragment].loaded = True

    def is_loaded(self, fragment: int, device: int) -> bool:
        """Whether a job could run it now."""
        resident = self.held[device].get(fragment)
        return resident is not None and resident.loaded

    def release(self, job: int, fragment: int, device: int) -> None:
        """The job does not need it any more; it stays until it is evicted."""
        if fragment in self.held[device]:
            self.held[device][fragment].jobs.discard(job)

    def evict(self, fragment: int, device: int, now_s: float) -> bool:
        """Forget an idle fragment; answers whether it was there and idle."""
        resident = self.held[device].get(fragment)
        if resident is None or resident.jobs:
            return False
        self.forget(fragment, device, now_s)
        return True

    def forget(self, fragment: int, device: int, now_s: float) -> None:
        """The fragment is not there, or never got there."""
        self.held[device].pop(fragment, None)
        self._book(now_s)

    def lost(self, device: int, now_s: float) -> None:
        """The device is gone with all it held."""
        self.held[device].clear()
        self._book(now_s)

    def utilisation(self, now_s: float) -> float:
        """Mean over time and devices of used / capacity since the start; from any thread."""
        byte_seconds, used, since_s = self.account
        held_s = max(now_s - since_s, 0.0)
        shares = [
            (before + now * held_s) / (capacity * now_s)
            for before, now, capacity in zip(byte_seconds, used, self.capacity_bytes, strict=True)
            if capacity * now_s > 0
        ]
        return sum(shares) / len(shares) if shares else 0.0

    def _book(self, now_s: float) -> None:
        """After a change: what was used until now has been used for so long."""
        byte_seconds, used, since_s = self.account
        held_s = max(now_s - since_s, 0.0)
        now = tuple(self.used_bytes(device) for device in range(len(self.held)))
        passed = tuple(before + bytes_ * held_s for before, bytes_ in zip(byte_seconds, used, strict=True))
        self.account = passed, now, since_s + held_s
