"""Transfers that share the devices' links, exact at any instant, at O(log n) for each of n transfers between two nodes.

Every node has an uplink and a downlink. A link gives each of its transfers an equal share; a transfer moves at the
smaller share of its two ends. What one end leaves unused is not given to others: that is one step of max-min fairness,
exact where a transfer is held up on one side only, and needs just the two links of an event to be looked at.
Links of unlimited capacity (a broker's, unless a scenario states one) hold nobody up and are not tracked.

All transfers from one node to another move at the same rate. So each such route keeps a virtual time V, the bytes that
each of its transfers has moved: one of s bytes ends when V has grown by s, whatever happens meanwhile, and only the
smallest tag of a heap is ever looked at, as in `processors.py`. An event touches the routes of its two links, however
many transfers they carry.

The broker, the last node, has a route to every device. So each of its links, if limited, is a hub with a virtual time
of its own, by which those of its routes move that it holds up; an event at it touches none but those that it begins or
ceases to hold up, which the devices' shares tell, kept in order.
"""

import heapq
import math
from collections.abc import Iterable

import numpy as np

from splitplace.placement.simulator.hub import Entry, Hub
from splitplace.records.view import Floats, Ints

Due = tuple[float, int, int]
"""When the next transfer of a route will end, the route's number and version; or that of a hub, -1 - its link."""


class SharedLinks:
    """N nodes, the last one the broker; link i < N is the uplink of node i, link N + i its downlink."""

    def __init__(self, up_N: Floats, down_N: Floats):
        self.nodes = len(up_N)
        self.capacity = [float(x) for x in (*up_N, *down_N)]
        self._count = [0] * len(self.capacity)
        self._routes: list[dict[int, None]] = [{} for _ in self.capacity]
        """Of each tracked link, those that carry something."""
        self._bytes = [0.0] * len(self.capacity)
        self._rate_sum = [0.0] * len(self.capacity)
        self._clock = [0.0] * len(self.capacity)
        self._offered = [0.0] * len(self.capacity)
        """Bytes that each link could have carried, up to its last change."""
        self._changed_s = [0.0] * len(self.capacity)
        self._dirty: dict[int, None] = {}
        self._changed: dict[int, None] = {}
        """Routes whose transfers are others than at the last `settle`."""
        # Columns of the transfers; numbers are used again.
        self.payload: list[int] = []
        self._route: list[int] = []
        self._end_at: list[float] = []
        """Of its route's virtual time."""
        self._serial: list[int] = []
        """One for each start, so that those that end together end in the order they began; -1 once it is over."""
        self._started = 0
        self._free: list[int] = []
        # Columns of the routes; numbers are used again, versions never.
        self.version: list[int] = []
        self._index: dict[tuple[int, int], int] = {}
        self._unused: list[int] = []
        self._ends: list[tuple[int, int]] = []
        self._heap: list[list[tuple[float, int, int]]] = []
        """Of (virtual time at its end, serial, transfer)."""
        self._size: list[int] = []
        self._virtual: list[float] = []
        self._since: list[float] = []
        self._rate: list[float] = []
        self._booked: list[float] = []
        """Of all its transfers together, as its links count it; nothing while a hub holds it up."""
        self._held: dict[int, None] = {}
        """Those that a hub holds up."""
        self._offset: list[float] = []
        """From the hub's virtual time to the route's."""
        self._hub_of: list[int | None] = []
        """The end that is one."""
        self._stamp: list[int] = []
        self._hubs = {
            link: Hub() for link in (self.nodes - 1, 2 * self.nodes - 1) if math.isfinite(self.capacity[link])
        }

    def start(self, src: int, dst: int, size: float, payload: int, now: float) -> int:
        """A transfer of `size` bytes from node to node begins; it gets its rate at the next `settle`."""
        if self._free:
            flow = self._free.pop()
        else:
            flow = len(self.payload)
            for column in (self.payload, self._route, self._serial):
                column.append(0)
            self._end_at.append(0.0)
        route = self._route_of(src, self.nodes + dst)
        self._advance(route, now)
        self._started += 1
        self.payload[flow], self._route[flow], self._serial[flow] = payload, route, self._started
        self._end_at[flow] = self._virtual[route] + size
        heapq.heappush(self._heap[route], (self._end_at[flow], self._started, flow))
        self._resize(route, 1)
        return flow

    def end(self, flow: int, now: float) -> None:
        """A transfer is over, or given up."""
        route = self._route[flow]
        self._advance(route, now)
        self._serial[flow] = -1
        self._resize(route, -1)
        self._free.append(flow)

    def over(self, number: int, version: int, now: float) -> list[int]:
        """The transfers that have moved all their bytes now that an announcement of `settle` came true, if it holds."""
        if number >= 0:
            return self._over(number, now) if self.version[number] == version else []
        hub, ended = self._hubs[-1 - number], list[int]()
        if hub.version != version:
            return []
        hub.advance(now)
        self._drop(hub.ends)
        hub.virtual = max(hub.virtual, hub.ends[0][0])
        while hub.ends and hub.ends[0][0] <= hub.virtual:
            _, stamp, route = heapq.heappop(hub.ends)
            if self._stamp[route] == stamp:
                ended += self._over(route, now)
        return sorted(ended, key=self._serial.__getitem__)

    def _over(self, route: int, now: float) -> list[int]:
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

    def mark(self, flow: int) -> tuple[float, int]:
        """The virtual time of its route at which a transfer ends, and the route: the same while it is under way."""
        return self._end_at[flow], self._route[flow]

    def left_bytes(self, routes: Iterable[int], route_M: Ints, end_bytes_M: Floats, now: float) -> Floats:
        """What transfers with these marks have still to move; `routes` has each of theirs once."""
        virtual = np.zeros(len(self._virtual))
        for route in routes:
            self._advance(route, now)
            virtual[route] = self._virtual[route]
        result: Floats = np.maximum(end_bytes_M - virtual[route_M], 0.0)
        return result

    def ends(self, flow: int) -> tuple[int, int]:
        """The nodes a transfer goes from and to."""
        src, dst = self._ends[self._route[flow]]
        return src, dst - self.nodes

    def set_capacity(self, link: int, capacity: float, now: float) -> None:
        """A link's bytes/s from now on (finite before and after)."""
        assert math.isfinite(capacity) and math.isfinite(self.capacity[link])
        if capacity != self.capacity[link]:
            self._offered[link] += self.capacity[link] * (now - self._changed_s[link])
            self._changed_s[link] = now
            self.capacity[link] = capacity
            if self._count[link]:
                self._dirty[link] = None

    def moving(self) -> list[tuple[int, int, int, float]]:
        """The transfers under way: payload, the nodes from and to, bytes/s."""
        flows = (flow for flow, serial in enumerate(self._serial) if serial != -1)
        rates = ((flow, self._pace(self._route[flow])) for flow in flows)
        return [(self.payload[flow], *self.ends(flow), rate) for flow, rate in rates if rate > 0]

    def shares(self) -> Floats:
        """How much of each link's capacity is in use, 0 of an unlimited one, shape 2N."""
        rate, capacity = np.array(self._rate_sum), np.array(self.capacity)
        for route in self._held:
            rate[list(self._ends[route])] += self._size[route] * self._pace(route)
        shares: Floats = np.divide(rate, capacity, out=np.zeros(len(rate)), where=capacity > 0)
        return shares

    def settle(self, now: float) -> list[Due]:
        """New rates after everything that began, ended or changed at this instant; the routes with a new next end."""
        if not (self._dirty or self._changed):
            return []
        hubs = {link: self._hubs[link] for link in self._dirty if link in self._hubs}
        touched = dict(self._changed)
        for link in self._dirty:
            touched |= self._turned(link, now) if link in hubs else self._routes[link]
        due = []
        for route in touched:
            if (at := self._hub_of[route]) is not None:
                hubs[at] = self._hubs[at]
                if self._sort_in(route, hubs[at], now):
                    continue
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
                del self._index[self._ends[route]]
                self._unused.append(route)
            elif rate > 0:
                self._drop_void(route)
                left = max(self._heap[route][0][0] - self._virtual[route], 0.0)
                due.append((now + left / rate, route, self.version[route]))
        for link, hub in hubs.items():
            hub.advance(now)
            hub.version += 1
            self._drop(hub.ends)
            if hub.ends and hub.rate > 0:
                due.append((now + max(hub.ends[0][0] - hub.virtual, 0.0) / hub.rate, -1 - link, hub.version))
        self._dirty.clear()
        self._changed.clear()
        return due

    def _turned(self, link: int, now: float) -> dict[int, None]:
        """A hub has another share: the routes that it begins or ceases to hold up."""
        hub, turned = self._hubs[link], dict[int, None]()
        hub.advance(now)
        hub.rate = self._share(link)
        while hub.held and (hub.held[0][0] < hub.rate or self._void(hub.held[0])):
            turned[heapq.heappop(hub.held)[2]] = None
        while hub.free and (-hub.free[0][0] >= hub.rate or self._void(hub.free[0])):
            turned[heapq.heappop(hub.free)[2]] = None
        return turned

    def _sort_in(self, route: int, hub: Hub, now: float) -> bool:
        """Whether its hub holds a route up, by the shares of now; and into the heaps accordingly."""
        self._advance(route, now)
        hub.advance(now)
        self._stamp[route] += 1
        src, dst = self._ends[route]
        share = self._share(src if dst == self._hub_of[route] else dst)
        held = bool(self._size[route]) and hub.rate <= share
        if not held:
            if route in self._held:
                del self._held[route]
                self._since[route], self._rate[route] = now, 0.0
            if self._size[route]:
                self._push(hub.free, -share, route)
            return False
        if route not in self._held:
            self._book(route, 0.0, now)
            self.version[route] += 1
            self._held[route] = None
        self._offset[route] = self._virtual[route] - hub.virtual
        self._drop_void(route)
        self._push(hub.ends, self._heap[route][0][0] - self._offset[route], route)
        self._push(hub.held, share, route)
        return True

    def moved_bytes(self, now: float) -> Floats:
        """Bytes that have passed each link up to now, shape 2N: uplinks, then downlinks."""
        for route in self._held:
            self._advance(route, now)
        rate, clock = np.array(self._rate_sum), np.array(self._clock)
        total: Floats = np.array(self._bytes) + rate * (now - clock)
        return total

    def offered_bytes(self, now: float) -> Floats:
        """Bytes that each link could have carried up to now, shape 2N; infinite where it is unlimited."""
        capacity, since = np.array(self.capacity), now - np.array(self._changed_s)
        total: Floats = np.array(self._offered) + np.where(since > 0, capacity, 0.0) * since
        return total

    def _route_of(self, src: int, dst: int) -> int:
        if (src, dst) in self._index:
            return self._index[src, dst]
        if self._unused:
            route = self._unused.pop()
        else:
            route = len(self._ends)
            self._ends.append((src, dst))
            self._hub_of.append(None)
            self._heap.append([])
            for counts in (self.version, self._size, self._stamp):
                counts.append(0)
            for column in (self._virtual, self._since, self._rate, self._booked, self._offset):
                column.append(0.0)
        self._index[src, dst], self._ends[route] = route, (src, dst)
        self._hub_of[route] = next((link for link in (src, dst) if link in self._hubs), None)
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
        hub_link = self._hub_of[route]
        if hub_link is None or route not in self._held:
            self._virtual[route] += self._rate[route] * (now - self._since[route])
            self._since[route] = now
            return
        self._hubs[hub_link].advance(now)
        virtual = self._hubs[hub_link].virtual + self._offset[route]
        for end in self._ends[route]:
            self._bytes[end] += self._size[route] * (virtual - self._virtual[route])
        self._virtual[route] = virtual

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

    def _push(self, heap: list[Entry], key: float, route: int) -> None:
        heapq.heappush(heap, (key, self._stamp[route], route))
        if len(heap) > 4 * len(self._index) + 64:  # most are void by now
            heap[:] = [entry for entry in heap if not self._void(entry)]
            heapq.heapify(heap)

    def _pace(self, route: int) -> float:
        """Bytes/s of each of its transfers."""
        hub_link = self._hub_of[route] if route in self._held else None
        return self._rate[route] if hub_link is None else self._hubs[hub_link].rate

    def _void(self, entry: Entry) -> bool:
        return self._stamp[entry[2]] != entry[1]

    def _drop(self, heap: list[Entry]) -> None:
        while heap and self._void(heap[0]):
            heapq.heappop(heap)
