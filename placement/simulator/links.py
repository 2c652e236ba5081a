"""Transfers that share the devices' links, exact at any instant, at O(log n) for each of n transfers between two nodes.

Every node has an uplink and a downlink. A link gives each of its transfers an equal share; a transfer moves at the
smaller share of its two ends. What one end leaves unused is not given to others: that is one step of max-min fairness,
exact where a transfer is held up on one side only, and needs just the two links of an event to be looked at.
Links of unlimited capacity (a broker's, unless a scenario states one) hold nobody up and are not tracked.

All transfers from one node to another move at the same rate. So each such route keeps a virtual time V, the bytes that
each of its transfers has moved: one of s bytes ends when V has grown by s, whatever happens meanwhile, and only the
smallest tag of a heap is ever looked at, as in `processors.py`. An event touches the routes of its two links, however
many transfers they carry.
"""

import heapq
import math

import numpy as np

from splitplace.records.view import Floats

Due = tuple[float, int, int]
"""When the next transfer of a route will end, the route's number and version."""


class SharedLinks:
    """N nodes; link i < N is the uplink of node i, link N + i its downlink."""

    def __init__(self, up_N: Floats, down_N: Floats):
        self.nodes = len(up_N)
        self.capacity = [float(x) for x in (*up_N, *down_N)]
        self._count = [0] * len(self.capacity)
        self._routes: list[dict[int, None]] = [{} for _ in self.capacity]
        """Of each tracked link, those that carry something."""
        self._bytes = [0.0] * len(self.capacity)
        self._rate_sum = [0.0] * len(self.capacity)
        self._clock = [0.0] * len(self.capacity)
        self._dirty: dict[int, None] = {}
        self._changed: dict[int, None] = {}
        """Roads whose transfers are others than at the last `settle`."""
        # Columns of the transfers; numbers are used again.
        self.payload: list[int] = []
        self._route: list[int] = []
        self._serial: list[int] = []
        """One for each start, so that those that end together end in the order they began; -1 once it is over."""
        self._started = 0
        self._free: list[int] = []
        # Columns of the routes; versions are never used again.
        self.version: list[int] = []
        self._index: dict[tuple[int, int], int] = {}
        self._ends: list[tuple[int, int]] = []
        self._heap: list[list[tuple[float, int, int]]] = []
        """Of (virtual time at its end, serial, transfer)."""
        self._size: list[int] = []
        self._virtual: list[float] = []
        self._since: list[float] = []
        self._rate: list[float] = []
        self._booked: list[float] = []
        """Of all its transfers together, as its links count it."""

    def start(self, src: int, dst: int, size: float, payload: int, now: float) -> int:
        """A transfer of `size` bytes from node to node begins; it gets its rate at the next `settle`."""
        if self._free:
            flow = self._free.pop()
        else:
            flow = len(self.payload)
            for column in (self.payload, self._route, self._serial):
                column.append(0)
        route = self._route_of(src, self.nodes + dst)
        self._advance(route, now)
        self._started += 1
        self.payload[flow], self._route[flow], self._serial[flow] = payload, route, self._started
        heapq.heappush(self._heap[route], (self._virtual[route] + size, self._started, flow))
        self._resize(route, 1)
        return flow

    def end(self, flow: int, now: float) -> None:
        """A transfer is over, or given up."""
        route = self._route[flow]
        self._advance(route, now)
        self._serial[flow] = -1
        self._resize(route, -1)
        self._free.append(flow)

    def over(self, route: int, now: float) -> list[int]:
        """The transfers that have moved all their bytes now, after an announcement of `settle` came true."""
        self._advance(route, now)
        heap, ended = self._heap[route], list[int]()
        self._drop_void(route)
        if heap:
            # The announced one ends by definition; rounding must not leave it a last 1e-9 bytes.
            self._virtual[route] = max(self._virtual[route], heap[0][0])
        while heap and heap[0][0] <= self._virtual[route]:
            _, serial, flow = heapq.heappop(heap)
            if self._serial[flow] == serial:
                ended.append(flow)
        return ended

    def ends(self, flow: int) -> tuple[int, int]:
        """The nodes a transfer goes from and to."""
        src, dst = self._ends[self._route[flow]]
        return src, dst - self.nodes

    def set_capacity(self, link: int, capacity: float) -> None:
        """A link's bytes/s from now on (finite before and after)."""
        assert math.isfinite(capacity) and math.isfinite(self.capacity[link])
        if capacity != self.capacity[link]:
            self.capacity[link] = capacity
            if self._count[link]:
                self._dirty[link] = None

    def moving(self) -> list[tuple[int, int, int, float]]:
        """The transfers under way: payload, the nodes from and to, bytes/s."""
        flows = (flow for flow, serial in enumerate(self._serial) if serial != -1)
        rates = ((flow, self._rate[self._route[flow]]) for flow in flows)
        return [(self.payload[flow], *self.ends(flow), rate) for flow, rate in rates if rate > 0]

    def shares(self) -> Floats:
        """How much of each link's capacity is in use, 0 of an unlimited one, shape 2N."""
        rate, capacity = np.array(self._rate_sum), np.array(self.capacity)
        shares: Floats = np.divide(rate, capacity, out=np.zeros(len(rate)), where=capacity > 0)
        return shares

    def settle(self, now: float) -> list[Due]:
        """New rates after everything that began, ended or changed at this instant; the routes with a new next end."""
        if not (self._dirty or self._changed):
            return []
        touched = dict(self._changed)
        for link in self._dirty:
            touched |= self._routes[link]
        due = []
        for route in touched:
            size = self._size[route]
            rate = min(map(self._share, self._ends[route])) if size else 0.0
            if rate == self._rate[route] and route not in self._changed:
                continue
            self._advance(route, now)
            self._rate[route] = rate
            self._book(route, size * rate, now)
            self.version[route] += 1
            if not size:
                self._virtual[route] = 0.0  # small numbers are exact ones
                self._heap[route].clear()
            elif rate > 0:
                self._drop_void(route)
                left = max(self._heap[route][0][0] - self._virtual[route], 0.0)
                due.append((now + left / rate, route, self.version[route]))
        self._dirty.clear()
        self._changed.clear()
        return due

    def moved_bytes(self, now: float) -> Floats:
        """Bytes that have passed each link up to now, shape 2N: uplinks, then downlinks."""
        rate, clock = np.array(self._rate_sum), np.array(self._clock)
        total: Floats = np.array(self._bytes) + rate * (now - clock)
        return total

    def _route_of(self, src: int, dst: int) -> int:
        route = self._index.setdefault((src, dst), len(self._ends))
        if route == len(self._ends):
            self._ends.append((src, dst))
            self._heap.append([])
            for counts in (self.version, self._size):
                counts.append(0)
            for column in (self._virtual, self._since, self._rate, self._booked):
                column.append(0.0)
        return route

    def _resize(self, route: int, by: int) -> None:
        """One transfer more or less on a route, and on its links."""
        self._size[route] += by
        self._changed[route] = None
        for link in self._ends[route]:
            if self.capacity[link] != math.inf:
                self._count[link] += by
                self._dirty[link] = None
                if self._size[route]:
                    self._routes[link][route] = None
                else:
                    self._routes[link].pop(route, None)

    def _share(self, link: int) -> float:
        return self.capacity[link] / self._count[link] if self._count[link] else self.capacity[link]

    def _advance(self, route: int, now: float) -> None:
        self._virtual[route] += self._rate[route] * (now - self._since[route])
        self._since[route] = now

    def _book(self, route: int, rate: float, now: float) -> None:
        for link in self._ends[route]:
            self._bytes[link] += self._rate_sum[link] * (now - self._clock[link])
            self._clock[link] = now
            self._rate_sum[link] += rate - self._booked[route]
        self._booked[route] = rate

    def _drop_void(self, route: int) -> None:
        heap = self._heap[route]
        while heap and self._serial[heap[0][2]] != heap[0][1]:
            heapq.heappop(heap)  # given up: its number may be another's by now
