"""The smallest latency: a sum instead of a maximum, and the last host in the state, as a hop depends on both ends.

Exact, by dynamic programming with a bound: what no rest of hosts could finish before a chain that is known is dropped.
"""

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from splitplace.splitting.layerwise.hosts import Host, State, feasible, hop_s, less
from splitplace.splitting.layerwise.lattice import Floats, Lattice, cheapest

Counts = npt.NDArray[np.int64]
SLACK = 1 + 1e-12
"""Sums of floats differ by their order; what is as good as the best must not be dropped by it."""


def smallest_latency(
    lattice: Lattice, hosts: Sequence[Host], searched: Sequence[State], finals: Sequence[State]
) -> tuple[list[int], list[int]]:
    """Places and kinds of hosts of the chain of smallest latency; empty if none fits.

    Args:
        lattice: Where cuts may go.
        hosts: One of each kind.
        searched: How many of each kind may be used, fewest first.
        finals: The ones among them that a chain may end with.
    """
    steps = _Steps(lattice, hosts)
    best_s = min((steps.in_order(order, finals) for order in _orders(hosts, searched)), default=np.inf)
    available, allowed_ends = np.max(searched, axis=0), frozenset(finals)
    left_s = {state: steps.left_s(available - np.array(state)) for state in [(0,) * len(hosts), *searched]}
    # Seconds until chains of these hosts, the last of them of this kind (-1: the broker), are done with each place.
    done: dict[tuple[State, int], Floats] = {((0,) * len(hosts), -1): steps.start}

    def starts(state: State, following: int) -> list[tuple[int, Floats]]:
        lasts = [kind for kind, count in enumerate(state) if count] or [-1]
        return [(last, done[state, last] + steps.hop[last, following]) for last in lasts]

    ends: dict[tuple[State, int], float] = {}
    for state in searched:
        for kind, count in enumerate(state):
            if not count:
                continue
            former = less(state, kind)
            start = np.min([seconds for _, seconds in starts(former, kind)], axis=0)
            start = np.where(start + left_s[former] <= best_s * SLACK, start, np.inf)
            done[state, kind] = steps.after(start, kind, left_s[state], best_s)
            if state in allowed_ends:
                ends[state, kind] = float(done[state, kind][-1] + steps.hop[kind, -1][-1])
                best_s = min(best_s, ends[state, kind])

    if not np.isfinite(best_s):
        return [], []
    state, kind = min(ends, key=lambda end: (ends[end], sum(end[0])))
    places, used = [lattice.size - 1], []
    while kind >= 0:
        used.append(kind)
        choices = []
        for last, seconds in starts(less(state, kind), kind):
            sums = np.where(steps.allowed[kind][:, places[-1]], seconds + steps.begin[kind], np.inf)
            choices.append((float(sums.min()), int(np.argmin(sums)), last))
        _, at, last = min(choices)
        places.append(at)
        state, kind = less(state, kind), last
    return places[::-1], used[::-1]


class _Steps:
    """What one more host adds to a chain.

    What a slice (i, j) computes is a part that i decides plus a part that j decides, so a step needs, for every j,
    only the cheapest i that may come before it.
    """

    def __init__(self, lattice: Lattice, hosts: Sequence[Host]):
        crossing, cost_s = lattice.boundary_bytes_N, lattice.cost_s_N
        copy_s = lattice.work.copy_s_per_byte * crossing
        self.rest_s, self.speeds = cost_s[-1] - cost_s, np.array([host.speed for host in hosts])
        self.allowed = [feasible(lattice, host) for host in hosts]
        self.begin = [(copy_s - cost_s) / host.speed for host in hosts]
        self.finish = [(copy_s + cost_s) / host.speed for host in hosts]
        ends = [*hosts, None]  # -1: the broker
        self.hop = {
            (a, b): np.asarray(hop_s(ends[a], ends[b], crossing))
            for a in range(-1, len(hosts))
            for b in range(-1, len(hosts))
        }
        self.start = np.where(np.arange(lattice.size) == 0, 0.0, np.inf)
        self.most_s = np.array([_most(lattice, host) for host in hosts])

    def after(self, start: Floats, kind: int, left_s: Floats | float = 0.0, best_s: float = np.inf) -> Floats:
        """Seconds to be done with each place, by one host that may start after each at these seconds.

        Infinite for places from which none could be ready by `best_s`, if all that is left takes `left_s` at least.
        """
        ready, finish = start + self.begin[kind], self.finish[kind]
        return cheapest(ready, self.allowed[kind], ready.min() + finish + left_s <= best_s * SLACK) + finish

    def left_s(self, left: Counts) -> Floats:
        """A bound of what is left after each place: the fastest hosts left take the most they can, without hops."""
        order = np.repeat(np.argsort(-self.speeds, kind="stable"), left[np.argsort(-self.speeds, kind="stable")])
        work = np.concatenate([[0.0], np.cumsum(self.most_s[order])])
        seconds = np.concatenate([[0.0], np.cumsum(self.most_s[order] / self.speeds[order])])
        return np.where(self.rest_s <= work[-1] * SLACK, np.interp(self.rest_s, work, seconds), np.inf)

    def in_order(self, order: Sequence[int], finals: Sequence[State]) -> float:
        """The smallest latency of chains of the first of these hosts in this order; infinite if none fits."""
        best_s, done, used = np.inf, self.start, [0] * len(self.speeds)
        for last, kind in pairwise([-1, *order]):
            done = self.after(done + self.hop[last, kind], kind)
            used[kind] += 1
            if tuple(used) in finals:
                best_s = min(best_s, float(done[-1] + self.hop[kind, -1][-1]))
        return best_s


def _most(lattice: Lattice, host: Host) -> float:
    """The most work, on a core of speed 1.0, that fits this host in one slice."""
    if host.memory_bytes == float("inf"):
        return float(lattice.cost_s_N[-1])
    slices = np.where(feasible(lattice, host), lattice.cost_s_N[None, :], 0.0).max(axis=1) - lattice.cost_s_N
    return float(slices.max(initial=0.0))


def _orders(hosts: Sequence[Host], searched: Sequence[State]) -> list[list[int]]:
    """Two orders of all hosts that are often good: the fastest first, and the largest first."""
    kinds = np.repeat(np.arange(len(hosts)), np.max(searched, axis=0)).tolist()
    by_speed = sorted(kinds, key=lambda kind: -hosts[kind].speed)
    return [by_speed, sorted(by_speed, key=lambda kind: -hosts[kind].memory_bytes)]
