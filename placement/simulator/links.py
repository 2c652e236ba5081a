"""Transfers that share the devices' links.

Every node has an uplink and a downlink. A link gives each of its transfers an equal share; a transfer moves at the
smaller share of its two ends. What one end leaves unused is not given to others: that is one step of max-min fairness,
exact where a transfer is held up on one side only, and needs just the two links of an event to be looked at.
Links of unlimited capacity (a broker's, unless a scenario states one) hold nobody up and are not tracked.
"""

import math

import numpy as np

from splitplace.records.view import Floats

Due = tuple[float, int, int]
"""When a transfer will end, its number and version."""


class SharedLinks:
    """N nodes; link i < N is the uplink of node i, link N + i its downlink."""

    def __init__(self, up_N: Floats, down_N: Floats):
        self.nodes = len(up_N)
        self.capacity = [float(x) for x in (*up_N, *down_N)]
        self._members: list[dict[int, None]] = [{} for _ in self.capacity]
        self._bytes = [0.0] * len(self.capacity)
        self._rate_sum = [0.0] * len(self.capacity)
        self._clock = [0.0] * len(self.capacity)
        self._dirty: dict[int, None] = {}
        self._free: list[int] = []
        # Columns of the transfers; numbers are used again, versions never.
        self.payload: list[int] = []
        self.version: list[int] = []
        self._src: list[int] = []
        self._dst: list[int] = []
        self._left: list[float] = []
        self._rate: list[float] = []
        self._since: list[float] = []

    def start(self, src: int, dst: int, size: float, payload: int, now: float) -> int:
        """A transfer of `size` bytes from node to node begins; it gets its rate at the next `settle`."""
        if self._free:
            flow = self._free.pop()
        else:
            flow = len(self.payload)
            for column in (self.payload, self.version, self._src, self._dst):
                column.append(0)
            for floats in (self._left, self._rate, self._since):
                floats.append(0.0)
        self.payload[flow] = payload
        self._src[flow], self._dst[flow] = src, self.nodes + dst
        self._left[flow], self._rate[flow], self._since[flow] = size, 0.0, now
        for link in (src, self.nodes + dst):
            if self.capacity[link] != math.inf:
                self._members[link][flow] = None
                self._dirty[link] = None
        return flow

    def end(self, flow: int, now: float) -> None:
        """A transfer is over, or given up."""
        self._set_rate(flow, 0.0, now)
        self.version[flow] += 1
        for link in (self._src[flow], self._dst[flow]):
            if flow in self._members[link]:
                del self._members[link][flow]
                self._dirty[link] = None
        self._free.append(flow)

    def ends(self, flow: int) -> tuple[int, int]:
        """The nodes a transfer goes from and to."""
        return self._src[flow], self._dst[flow] - self.nodes

    def set_capacity(self, link: int, capacity: float) -> None:
        """A link's bytes/s from now on (finite before and after)."""
        assert math.isfinite(capacity) and math.isfinite(self.capacity[link])
        if capacity != self.capacity[link]:
            self.capacity[link] = capacity
            if self._members[link]:
                self._dirty[link] = None

    def settle(self, now: float) -> list[Due]:
        """New rates after everything that began, ended or changed at this instant; the transfers with a new end."""
        if not self._dirty:
            return []
        touched: dict[int, None] = {}
        for link in self._dirty:
            touched |= self._members[link]
        self._dirty.clear()
        due = []
        for flow in touched:
            rate = min(self._share(self._src[flow]), self._share(self._dst[flow]))
            if rate != self._rate[flow]:
                self._set_rate(flow, rate, now)
                self.version[flow] += 1
                if rate > 0:
                    due.append((now + max(self._left[flow], 0.0) / rate, flow, self.version[flow]))
        return due

    def _share(self, link: int) -> float:
        members = self._members[link]
        return self.capacity[link] / len(members) if members else self.capacity[link]

    def _set_rate(self, flow: int, rate: float, now: float) -> None:
        old = self._rate[flow]
        self._left[flow] -= old * (now - self._since[flow])
        self._since[flow], self._rate[flow] = now, rate
        for link in (self._src[flow], self._dst[flow]):
            self._bytes[link] += self._rate_sum[link] * (now - self._clock[link])
            self._clock[link] = now
            self._rate_sum[link] += rate - old

    def moved_bytes(self, now: float) -> Floats:
        """Bytes that have passed each link up to now, shape 2N: uplinks, then downlinks."""
        rate, clock = np.array(self._rate_sum), np.array(self._clock)
        total: Floats = np.array(self._bytes) + rate * (now - clock)
        return total
