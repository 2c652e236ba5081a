"""The devices as queues, exact at any instant, at O(log n) an event.

Sharing: each device is an egalitarian processor-sharing queue with c servers, in which no job gets more than one.
With n jobs each runs at min(1, c/n). A device keeps a virtual time V with dV/dt = that rate, so a job that needs s
seconds ends when V has grown by s, whatever happens meanwhile: only the smallest tag of a heap is ever looked at
(Parekh & Gallager 1993, eq. 10, with equal weights). For c = 1 and Poisson arrivals the mean response is E[s]/(1-ρ).

FIFO: the same with at most c jobs admitted, the others in order of arrival behind them (M/D/1 and M/M/c for c servers).

What a server is says the scenario: all cores together, which take one micro-batch at a time (c = 1), or a core each.

A device under a CPU limit (the kernel's quota: a share of a period) computes at its machine's full speed until the
period's quota is used up. Who works on without a rest gets the share, which is what profiles have; after a rest of
G = (1 - share) x period or more the quota is there at once, and the work that follows is done up to G sooner. It is a
token bucket (Turner 1986) in seconds gained: a second of rest fills in one, up to G; a service of s seconds takes out
at most (1 - share) s.

State is kept as columns, one list a field: reading one number from a list costs a third of reading it from an array.
"""

import heapq
from collections import deque
from collections.abc import Sequence

import numpy as np

from splitplace.placement.simulator.scenario import CpuLimit
from splitplace.records.view import Floats, Ints


class Processors:
    """D devices that run jobs named by integers; a job's service is in seconds of one server of its device."""

    def __init__(self, servers_D: Ints, power_w_D11: Floats, fifo: bool, cpu_limits: Sequence[CpuLimit | None] = ()):
        count = len(servers_D)
        self.servers = [int(c) for c in servers_D]
        self.on = [True] * count
        self.pace = [1.0] * count
        """Below 1 while a device swaps or is slowed: virtual time passes that much slower; at 0 it stands still."""
        self.running = [0] * count
        self.version = [0] * count
        """Of the next completion announced: an older announcement is void."""
        self.busy_s = [0.0] * count
        self.energy_j = [0.0] * count
        self.on_s = [0.0] * count
        self._clock = [0.0] * count
        self._virtual = [0.0] * count
        self._heap: list[list[tuple[float, int]]] = [[] for _ in range(count)]
        self._queue: list[deque[tuple[int, float]]] = [deque() for _ in range(count)]
        self._fifo = fifo
        self._tag: dict[int, float] = {}
        self._limits = {device: limit for device, limit in enumerate(cpu_limits) if limit}
        self._gain_s = {device: limit.gain_s for device, limit in self._limits.items()}
        """What the next work is done sooner, of devices under a CPU limit."""
        # Watts with k servers busy, and so that share of the cores: SPECpower's curve, linear between its points.
        points = np.linspace(0.0, 1.0, 11)
        curves: dict[tuple[int, bytes], list[float]] = {}
        self._watts: list[list[float]] = []
        for servers, power in zip(self.servers, power_w_D11, strict=True):
            key = (servers, power.tobytes())
            if key not in curves:
                curves[key] = np.interp(np.arange(servers + 1) / servers, points, power).tolist()
            self._watts.append(curves[key])

    def advance(self, device: int, now: float) -> None:
        """Bring one device's clock, energy and work done up to now."""
        elapsed = now - self._clock[device]
        if elapsed <= 0:
            return
        self._clock[device] = now
        if not self.on[device]:
            return
        running, servers = self.running[device], self.servers[device]
        if running:
            busy = running if running < servers else servers
            self.busy_s[device] += busy * elapsed
            self._virtual[device] += elapsed * self.pace[device] * busy / running
        else:
            busy = 0
            if device in self._gain_s:
                self._gain_s[device] = min(self._gain_s[device] + elapsed, self._limits[device].gain_s)
        self.energy_j[device] += self._watts[device][busy] * elapsed
        self.on_s[device] += elapsed

    def start(self, device: int, job: int, service_s: float, now: float) -> None:
        """A job arrives."""
        self.advance(device, now)
        if self._fifo and self.running[device] >= self.servers[device]:
            self._queue[device].append((job, service_s))
        else:
            self._admit(device, job, service_s)

    def _admit(self, device: int, job: int, service_s: float) -> None:
        if device in self._gain_s:
            gained_s = min(self._gain_s[device], self._limits[device].spare * service_s)
            self._gain_s[device] -= gained_s
            service_s -= gained_s
        tag = self._virtual[device] + service_s
        self._tag[job] = tag
        heapq.heappush(self._heap[device], (tag, job))
        self.running[device] += 1

    def remove(self, device: int, job: int, now: float) -> float:
        """A job leaves before its end; the seconds it still needed."""
        self.advance(device, now)
        for entry in self._queue[device]:
            if entry[0] == job:
                self._queue[device].remove(entry)
                return entry[1]
        left = self._tag.pop(job) - self._virtual[device]
        self._one_less(device)
        return max(left, 0.0)

    def tag_s(self, job: int) -> float | None:
        """The virtual time of its device at which a job ends, the same for as long as it runs; None before."""
        return self._tag.get(job)

    def left_s(self, device_N: Ints, tag_s_N: Floats, now: float) -> Floats:
        """Seconds that jobs with these tags, on these devices, still need."""
        for device in np.flatnonzero(np.bincount(device_N)).tolist():
            self.advance(device, now)
        left_s: Floats = tag_s_N - np.array(self._virtual)[device_N]
        return np.maximum(left_s, 0.0)

    def runs(self, job: int) -> bool:
        """Whether a job has a part of its device's servers."""
        return job in self._tag

    def finish(self, device: int, now: float) -> list[int]:
        """The jobs that end now, after an announcement of `next_s` came true."""
        self.advance(device, now)
        heap, ended = self._heap[device], []
        self._drop_void(device)
        if heap:
            # The announced job ends by definition; rounding must not leave it a last 1e-17 s.
            self._virtual[device] = max(self._virtual[device], heap[0][0])
        while heap and heap[0][0] <= self._virtual[device]:
            tag, job = heapq.heappop(heap)
            if self._tag.get(job) == tag:
                del self._tag[job]
                ended.append(job)
                self._one_less(device)
        return ended

    def next_s(self, device: int) -> float | None:
        """When the next job ends if nothing else happens; None if none runs, or the device stands still."""
        self._drop_void(device)
        heap, running, servers = self._heap[device], self.running[device], self.servers[device]
        if not heap or not self.pace[device]:
            return None
        rate = self.pace[device] * (1.0 if running <= servers else servers / running)
        return self._clock[device] + max(heap[0][0] - self._virtual[device], 0.0) / rate

    def _one_less(self, device: int) -> None:
        self.running[device] -= 1
        queue = self._queue[device]
        if queue and self.running[device] < self.servers[device]:
            self._admit(device, *queue.popleft())

    def _drop_void(self, device: int) -> None:
        heap = self._heap[device]
        while heap and self._tag.get(heap[0][1]) != heap[0][0]:
            heapq.heappop(heap)

    def set_pace(self, device: int, pace: float, now: float) -> None:
        """How fast a device computes from now on, 1 being its own speed."""
        self.advance(device, now)
        self.pace[device] = pace

    def switch(self, device: int, on: bool, now: float) -> None:
        """On or off from now on; a device that is off draws nothing."""
        self.advance(device, now)
        self.on[device] = on

    def totals(self, now: float) -> tuple[Floats, Floats, Floats]:
        """Server-seconds done, joules and seconds on of each device up to now, three arrays of shape D."""
        for device in range(len(self.servers)):
            self.advance(device, now)
        return np.array(self.busy_s), np.array(self.energy_j), np.array(self.on_s)
