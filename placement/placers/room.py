"""Memory left on each device while a plan is made: the one limit that no placer may break."""

import numpy as np

from splitplace.records.action import Evict
from splitplace.records.view import NONE, Bools, View


class Room:
    """A ledger for one plan, starting from what the view shows.

    Weights that are loaded already cost nothing again. Idle ones (loaded, used by no container) give way, by an
    `Evict`, when a placement needs their memory. Two placements of one fragment on one device within the same plan
    are both counted in full: at worst one of them waits for the next plan, and no device is ever overrun.
    """

    def __init__(self, view: View):
        devices = view.devices
        self._memory_FD = view.fragments.memory_bytes_FD
        self._free_D = np.where(devices.up_D, devices.memory_free_bytes_D, -np.inf)
        self._resident_FD = devices.resident_FD
        self._shares = bool(devices.resident_FD.any())
        self._idle_FD = np.zeros(devices.resident_FD.shape, np.bool_)
        self._idle_bytes_D = np.zeros(len(self._free_D))
        if self._shares:
            placed = view.containers.device_C != NONE
            self._idle_FD = devices.resident_FD.copy()
            self._idle_FD[view.containers.fragment_C[placed], view.containers.device_C[placed]] = False
            self._idle_bytes_D = np.where(self._idle_FD, self._memory_FD, 0.0).sum(axis=0)

    def fits(self, fragment: int) -> Bools:
        """The devices that can take this fragment now, shape D."""
        need_D, room_D = self._memory_FD[fragment], self._free_D
        if self._shares:
            need_D = np.where(self._resident_FD[fragment], 0.0, need_D)
            room_D = room_D + self._idle_bytes_D
        fits_D: Bools = need_D <= room_D
        return fits_D

    def fits_on(self, fragment: int, device: int) -> bool:
        """Whether this device can take this fragment now."""
        return self._need(fragment, device) <= float(self._free_D[device] + self._idle_bytes_D[device])

    def take(self, fragment: int, device: int) -> list[Evict]:
        """Book the memory; what must be evicted first, if anything."""
        assert self.fits_on(fragment, device)
        need = self._need(fragment, device)
        if self._idle_FD[fragment, device]:
            self._idle_FD[fragment, device] = False
            self._idle_bytes_D[device] -= self._memory_FD[fragment, device]
        evicted = []
        while need > self._free_D[device]:
            idle = int(np.flatnonzero(self._idle_FD[:, device])[0])
            self._idle_FD[idle, device] = False
            self._idle_bytes_D[device] -= self._memory_FD[idle, device]
            self._free_D[device] += self._memory_FD[idle, device]
            evicted.append(Evict(idle, device))
        self._free_D[device] -= need
        return evicted

    def _need(self, fragment: int, device: int) -> float:
        return 0.0 if self._resident_FD[fragment, device] else float(self._memory_FD[fragment, device])
