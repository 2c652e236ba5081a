"""The memory a plan may still give away, kept as its placements are taken: what makes every placer obey the limits."""

from dataclasses import dataclass

import numpy as np

from splitplace.records.action import Evict
from splitplace.records.view import NONE, Bools, Floats, View


@dataclass(frozen=True, eq=False)
class MemoryLedger:
    """Free bytes and loaded fragments of every device; a value: `take` answers the ledger after."""

    view: View
    free_bytes_D: Floats
    resident_FD: Bools
    busy_FD: Bools
    """Fragments that some placed container still needs there, in the view or in this plan: never evicted."""

    @staticmethod
    def of(view: View) -> "MemoryLedger":
        """The ledger of this moment."""
        busy_FD = np.zeros_like(view.devices.resident_FD)
        placed = view.containers.device_C != NONE
        busy_FD[view.containers.fragment_C[placed], view.containers.device_C[placed]] = True
        return MemoryLedger(view, view.devices.memory_free_bytes_D.copy(), view.devices.resident_FD.copy(), busy_FD)

    def need_bytes(self, fragment: int) -> Floats:
        """What one more container of the fragment takes on each device, shape D."""
        need: Floats = np.where(self.resident_FD[fragment], 0.0, self.view.fragments.memory_bytes_FD[fragment])
        return need

    def evictable_bytes(self, fragment: int) -> Floats:
        """What loaded fragments that nobody needs would give back on each device, `fragment` itself kept, shape D."""
        idle_FD = self.resident_FD & ~self.busy_FD
        idle_FD[fragment] = False
        total: Floats = (idle_FD * self.view.fragments.memory_bytes_FD).sum(axis=0)
        return total

    def fits(self, fragment: int) -> Bools:
        """The devices that answer and can hold one more container of the fragment, evictions counted, shape D."""
        possible: Bools = self.view.devices.up_D & (
            self.need_bytes(fragment) <= self.free_bytes_D + self.evictable_bytes(fragment)
        )
        return possible

    def take(self, fragment: int, device: int) -> tuple["MemoryLedger", list[Evict]]:
        """Give the fragment its memory on the device; the largest idle fragments go first where room must be made."""
        assert self.fits(fragment)[device], f"fragment {fragment} does not fit device {device}"
        free, resident, busy = self.free_bytes_D.copy(), self.resident_FD.copy(), self.busy_FD.copy()
        need = float(self.need_bytes(fragment)[device])
        evictions = []
        sizes = self.view.fragments.memory_bytes_FD[:, device]
        idle = np.flatnonzero(resident[:, device] & ~busy[:, device])
        for other in sorted((int(row) for row in idle if row != fragment), key=lambda row: -sizes[row]):
            if free[device] >= need:
                break
            free[device] += sizes[other]
            resident[other, device] = False
            evictions.append(Evict(other, device))
        free[device] -= need
        resident[fragment, device] |= self.view.devices.shares_fragments
        busy[fragment, device] = True
        return MemoryLedger(self.view, free, resident, busy), evictions
