"""Each device's memory: who claims it, which weights are loaded, and what swapping does to its pace."""

from typing import Literal

import numpy as np

from splitplace.placement.room import claimed_bytes
from splitplace.placement.simulator.scenario import Swap
from splitplace.records.view import Floats

Mode = Literal["container", "shared", "warm"]


class Memory:
    """D devices; `room` is what fragments may use, the runtime's base left out."""

    def __init__(self, room_D: Floats, memory_FD: Floats, mode: Mode, swap: Swap | None):
        self.physical: list[float] = room_D.tolist()
        limit_D = room_D * (1 + swap.fraction) if swap else room_D
        self.limit_D = limit_D
        self._limit: list[float] = limit_D.tolist()
        self._need_FD = memory_FD
        self._shared = mode != "container"
        self._warm = mode == "warm"
        self._swap = swap
        self.used = [0.0] * len(room_D)
        self._byte_s = [0.0] * len(room_D)
        self._clock = [0.0] * len(room_D)
        self._users: dict[tuple[int, int], int] = {}
        self.loaded_s: dict[tuple[int, int], float] = {}
        """When the weights of (fragment, device) are, or will be, loaded; shared weights only."""
        self.resident_FD = np.zeros(memory_FD.shape, np.bool_)
        self.idle_FD = np.zeros(memory_FD.shape, np.bool_)

    def fill(self) -> None:
        """Load, before anything runs, as many fragments as each device has room for: a fleet that has long been asked.

        Where not all fit, each device begins with another one, so that together they hold as many as they can.
        """
        assert self._warm and not self._users, "what is loaded stays loaded, and nothing is"
        fragments = len(self._need_FD)
        for device, room in enumerate(self.physical):
            for fragment in ((row + device) % fragments for row in range(fragments)):
                if self.used[device] + self._need_FD[fragment, device] <= room:
                    self._add(device, float(self._need_FD[fragment, device]), 0.0)
                    self._users[fragment, device] = 0
                    self.loaded_s[fragment, device] = 0.0
                    self.resident_FD[fragment, device] = self.idle_FD[fragment, device] = True

    def need(self, fragment: int, device: int) -> float:
        """What a container of this fragment would claim here."""
        shared_here = self._shared and (fragment, device) in self._users
        return claimed_bytes(float(self._need_FD[fragment, device]), shared_here)

    def fits(self, fragment: int, device: int) -> bool:
        """Whether it would fit."""
        return self.used[device] + self.need(fragment, device) <= self._limit[device]

    def claim(self, fragment: int, device: int, now: float) -> None:
        """A container is placed."""
        self._add(device, self.need(fragment, device), now)
        if self._shared:
            key = (fragment, device)
            self._users[key] = self._users.get(key, 0) + 1
            self.resident_FD[key], self.idle_FD[key] = True, False

    def release(self, fragment: int, device: int, now: float) -> None:
        """A container is gone."""
        if not self._shared:
            self._add(device, -float(self._need_FD[fragment, device]), now)
            return
        self._users[fragment, device] -= 1
        if not self._users[fragment, device]:
            self.idle_FD[fragment, device] = True
            if not self._warm:
                self.evict(fragment, device, now)

    def idle(self, fragment: int, device: int) -> bool:
        """Whether its weights are loaded and used by no container."""
        return bool(self.idle_FD[fragment, device])

    def evict(self, fragment: int, device: int, now: float) -> None:
        """Idle weights are unloaded."""
        key = (fragment, device)
        assert self._users.pop(key) == 0
        self.loaded_s.pop(key, None)
        self.resident_FD[key] = self.idle_FD[key] = False
        self._add(device, -float(self._need_FD[key]), now)

    def wipe(self, device: int, now: float) -> None:
        """A device without containers loses whatever it had loaded."""
        for fragment in np.flatnonzero(self.resident_FD[:, device]):
            self.evict(int(fragment), device, now)

    def pace(self, device: int) -> float:
        """Speed left by swapping: of u bytes in use, the (u - m)/u beyond memory are `slowdown` times slower."""
        used, physical = self.used[device], self.physical[device]
        if self._swap is None or used <= physical:
            return 1.0
        return 1.0 / (1.0 + (self._swap.slowdown - 1.0) * (used - physical) / used)

    def mean_utilisation(self, now: float) -> float:
        """Mean over time and devices of the memory in use over the memory there is, up to now."""
        for device in range(len(self.used)):
            self._add(device, 0.0, now)
        room = np.array(self.physical) * now
        return float(np.mean(np.divide(self._byte_s, room, out=np.zeros(len(room)), where=room > 0)))

    def _add(self, device: int, size: float, now: float) -> None:
        self._byte_s[device] += self.used[device] * (now - self._clock[device])
        self._clock[device] = now
        self.used[device] += size
