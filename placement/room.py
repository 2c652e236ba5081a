"""Memory left on each device while a plan is made: the one limit that no placer may break."""

import copy
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import overload

import numpy as np

from splitplace.records.action import Evict
from splitplace.records.view import Bools, Floats, Ints, View

ROUNDING = 1e-12
"""Relative; of bytes that are taken one after another."""


@overload
def claimed_bytes(need_bytes: float, shared_here: bool) -> float: ...
@overload
def claimed_bytes(need_bytes: Floats, shared_here: Bools) -> Floats: ...
def claimed_bytes(need_bytes: float | Floats, shared_here: bool | Bools) -> float | Floats:
    """Memory that a container takes from a device: what its fragment needs, or nothing of one that is shared and here.

    Args:
        need_bytes: `Fragments.memory_bytes_FD`; infinite where the device cannot hold it at all.
        shared_here: Whether tasks share loaded fragments, and this one is loaded, or on its way in, for another.
    """
    if isinstance(shared_here, np.ndarray):
        return np.where(shared_here, 0.0, need_bytes)
    return 0.0 if shared_here else need_bytes


@dataclass(frozen=True, eq=False)
class DeviceRoom:
    """What a ledger says of one device."""

    device: int
    free_bytes: float
    left_bytes: float
    fragments: tuple[Floats, Bools, Bools] | None
    """Where fragments are shared: what each takes, whether it is loaded, and whether it is idle."""


class Room:
    """A ledger for one plan, starting from what the view shows; `copy` it to try something and take it back.

    Where tasks share loaded fragments (`Devices.shares_fragments`), one that is loaded already costs nothing again,
    and idle ones (loaded, needed by no container) give way, by an `Evict`, when a placement needs their memory.
    """

    def __init__(self, view: View):
        devices = view.devices
        self._memory_FD = view.fragments.memory_bytes_FD
        self._free_D = np.where(devices.up_D, devices.memory_free_bytes_D, -np.inf)
        self._shares = devices.shares_fragments
        self._left_D, self._cost_FD = self._free_D, self._memory_FD
        """What would be free without anything idle, and what a fragment takes of that: nothing of one in use."""
        if self._shares:
            self._resident_FD, self._idle_FD = devices.resident_FD.copy(), devices.idle_FD.copy()
            self._left_D = self._free_D + np.where(self._idle_FD, self._memory_FD, 0.0).sum(axis=0)
            self._cost_FD = np.where(self._resident_FD & ~self._idle_FD, 0.0, self._memory_FD)

    def copy(self) -> "Room":
        """A ledger of its own with the same bookings."""
        other = copy.copy(self)
        other._free_D = other._left_D = self._free_D.copy()
        if self._shares:
            other._left_D, other._cost_FD = self._left_D.copy(), self._cost_FD.copy()
            other._resident_FD, other._idle_FD = self._resident_FD.copy(), self._idle_FD.copy()
        return other

    def device(self, device: int) -> DeviceRoom:
        """What it says of one device, to `restore`: cheaper than a copy of all."""
        columns = None
        if self._shares:
            loaded_F, idle_F = self._resident_FD[:, device].copy(), self._idle_FD[:, device].copy()
            columns = self._cost_FD[:, device].copy(), loaded_F, idle_F
        return DeviceRoom(device, float(self._free_D[device]), float(self._left_D[device]), columns)

    def restore(self, before: DeviceRoom) -> None:
        """Take back all that was booked on a device since then."""
        device = before.device
        self._free_D[device], self._left_D[device] = before.free_bytes, before.left_bytes
        if before.fragments is not None:
            self._cost_FD[:, device], self._resident_FD[:, device], self._idle_FD[:, device] = before.fragments

    def left_bytes(self, *fragments: int) -> Floats:
        """What would be left on each device after taking all of these and evicting all other idle ones, shape D.

        Negative where they do not fit; -inf where the device is down.
        """
        left_D: Floats = self._left_D - self._cost_FD[list(fragments)].sum(axis=0)
        return left_D

    def account(self, fragments_F: Ints, devices_A: Ints) -> tuple[Floats, Floats]:
        """Of some devices: what is left without anything idle, shape A, and what each fragment takes of it, (F, A).

        Several fragments fit a device if what they take is no more than what is left.
        """
        return self._left_D[devices_A], self._cost_FD[fragments_F[:, None], devices_A]

    def left_on(self, device: int, fragments: Iterable[int]) -> float:
        """The same of one device."""
        return float(self._left_D[device]) - sum(float(self._cost_FD[fragment, device]) for fragment in fragments)

    def free_bytes(self, device: int) -> float:
        """What is free on this device as things stand, nothing evicted; -inf where it is down."""
        return float(self._free_D[device])

    def need_bytes(self, fragment: int, device: int) -> float:
        """What this fragment would take there: nothing where it is loaded and shared."""
        shared_here = self._shares and bool(self._resident_FD[fragment, device])
        return claimed_bytes(float(self._memory_FD[fragment, device]), shared_here)

    def evict(self, fragment: int, device: int) -> bool:
        """Unload idle weights; answers whether there were any."""
        if not self._shares or not self._idle_FD[fragment, device]:
            return False
        self._idle_FD[fragment, device] = self._resident_FD[fragment, device] = False
        self._free_D[device] += self._memory_FD[fragment, device]
        return True

    def fits(self, *fragments: int) -> Bools:
        """The devices that can take all of these now, shape D."""
        result: Bools = self.left_bytes(*fragments) >= 0
        return result

    def may_hold(self, fragments: Sequence[int]) -> bool:
        """Whether all of these might find room somewhere; if not, there is none for them, however they are placed.

        Each fits some device, and all devices together have room for as many of the smallest as they are.
        """
        cost_FD = self._cost_FD[list(fragments)]
        if not (cost_FD <= self._left_D).any(axis=1).all():
            return False
        least_D = cost_FD.min(axis=0)
        if not (least_D > 0).all():
            return True
        return bool(np.floor(np.maximum(self._left_D, 0.0) * (1 + ROUNDING) / least_D).sum() >= len(fragments))

    def table(self, fragment_C: Ints) -> Bools:
        """The devices that can take each of these fragments now, shape (C, D); each is asked for by itself."""
        fragments, row_C = np.unique(fragment_C, return_inverse=True)
        result: Bools = np.stack([self.fits(fragment) for fragment in fragments.tolist()])[row_C]
        return result

    def fits_on(self, fragment: int, device: int) -> bool:
        """Whether this device can take this fragment now; looks at this device only."""
        return self.left_on(device, (fragment,)) >= 0

    def take(self, fragment: int, device: int) -> list[Evict]:
        """Book the memory; what must be evicted first, the largest idle fragments before smaller ones."""
        assert self.fits_on(fragment, device), f"fragment {fragment} does not fit device {device}"
        self._left_D[device] -= self._cost_FD[fragment, device]
        if not self._shares:
            return []
        self._cost_FD[fragment, device] = 0.0
        self._idle_FD[fragment, device] = False
        if self._resident_FD[fragment, device]:
            return []
        sizes_F = self._memory_FD[:, device]
        evicted = []
        for idle in sorted(np.flatnonzero(self._idle_FD[:, device]).tolist(), key=lambda row: -sizes_F[row]):
            if sizes_F[fragment] <= self._free_D[device]:
                break
            self.evict(idle, device)
            evicted.append(Evict(idle, device))
        self._free_D[device] -= sizes_F[fragment]
        self._resident_FD[fragment, device] = True
        return evicted
