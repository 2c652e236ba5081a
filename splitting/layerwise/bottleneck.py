"""The smallest bottleneck: which places can hosts so used come to an end at, with no stage longer than a period?"""

from collections.abc import Sequence

import numpy as np

from splitplace.splitting.layerwise.hosts import Host, State, less, stage_s
from splitplace.splitting.layerwise.lattice import Bools, Floats, Lattice, cheapest

UNLIMITED_S = 1e100
"""A period that every slice keeps which is one at all: those that are none, or do not fit, have an infinite one."""


class Search:
    """The bottleneck's dynamic programs, over the same states: which places can hosts so used come to an end at?"""

    def __init__(self, lattice: Lattice, hosts: Sequence[Host], searched: Sequence[State], fragments: int):
        self.lattice = lattice
        self.empty = (0,) * len(hosts)
        self.stages = [stage_s(lattice, host) for host in hosts]
        self.speeds = [host.speed for host in hosts]
        self.limit(searched, fragments)

    def limit(self, searched: Sequence[State], fragments: int) -> None:
        """Go on with these states only, of at most so many fragments."""
        self.searched = searched
        counts = np.max(searched, axis=0)
        unused = {state: [n - used for n, used in zip(counts, state, strict=True)] for state in [self.empty, *searched]}
        self.left_speed = {
            state: sum(sorted(np.repeat(self.speeds, rest), reverse=True)[: fragments - sum(state)])
            for state, rest in unused.items()
        }

    def reach(self, period_s: float) -> dict[State, Bools]:
        """The places that a chain of just these hosts can end at with no stage longer than this.

        Places from which not even all hosts left, without loss, could finish in time are dropped on the way.
        """
        allowed = [np.packbits(stage <= period_s, axis=1) for stage in self.stages]
        size, cost_s = self.lattice.size, self.lattice.cost_s_N
        start = np.zeros(size, bool)
        start[0] = True
        reached = {self.empty: start}
        for state in self.searched:
            ends = np.zeros(allowed[0].shape[1], np.uint8)
            for kind, ahead in enumerate(allowed):
                if state[kind] and (rows := np.flatnonzero(reached[less(state, kind)])).size:
                    ends |= np.bitwise_or.reduce(ahead[rows], axis=0)
            late = cost_s < cost_s[-1] - period_s * self.left_speed[state] * (1 + 1e-9)
            reached[state] = np.unpackbits(ends, count=size).astype(bool) & ~late
        return reached

    def smallest_bottleneck(self, finals: Sequence[State]) -> float | None:
        """The smallest period some chain keeps, exactly; None if memory allows no chain at all."""

        def enough(period_s: float) -> bool:
            reached = self.reach(period_s)
            return any(reached[state][-1] for state in finals)

        if not enough(UNLIMITED_S):
            return None
        low = float(self.lattice.cost_s_N[-1] / self.left_speed[self.empty])
        high, step = low, 0.01
        while not enough(high):
            low, step = high, step * 2
            high = max(low * (1 + step), 1e-12)
        # The optimum is the period of some slice: when few candidates are left, search among them.
        candidates = self._between(low, high)
        while len(candidates) > 1000 and high - low > 1e-9 * high:
            middle = (low + high) / 2
            low, high = (low, middle) if enough(middle) else (middle, high)
            candidates = candidates[(candidates >= low) & (candidates <= high)]
        first, last = 0, len(candidates) - 1
        while first < last:
            at = (first + last) // 2
            first, last = (first, at) if enough(float(candidates[at])) else (at + 1, last)
        return float(candidates[first])

    def _between(self, low: float, high: float) -> Floats:
        return np.unique(np.concatenate([stage[(stage >= low) & (stage <= high)] for stage in self.stages]))

    def fewest_bytes(self, finals: Sequence[State], period_s: float) -> tuple[list[int], list[int]]:
        """Of the chains that keep this period, one that carries the fewest bytes over its cuts, then the shortest."""
        carried, size = self.lattice.boundary_bytes_N, self.lattice.size
        reached = self.reach(period_s)
        allowed = [stage <= period_s for stage in self.stages]
        best = {self.empty: np.where(reached[self.empty], 0.0, np.inf)}
        for state in self.searched:
            sums = np.full(size, np.inf)
            for kind, ahead in enumerate(allowed):
                if state[kind] and reached[less(state, kind)].any():
                    sums = np.minimum(sums, cheapest(best[less(state, kind)] + carried, ahead))
            best[state] = np.where(reached[state], sums, np.inf)
        state = min(finals, key=lambda state: (best[state][-1], sum(state)))
        places, used = [size - 1], []
        while any(state):
            for kind, ahead in enumerate(allowed):
                if not state[kind]:
                    continue
                sums = np.where(ahead[:, places[-1]], best[less(state, kind)] + carried, np.inf)
                at = int(np.argmin(sums))
                if sums[at] <= best[state][places[-1]]:
                    places.append(at)
                    used.append(kind)
                    state = less(state, kind)
                    break
        return places[::-1], used[::-1]
