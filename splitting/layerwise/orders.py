"""Plans for more unlike hosts than can be counted: exact for one order of the hosts, the best of several orders.

Of hosts that all differ, the ways to use them double with each. In one order, where a host may be left out but never
overtakes another, they do not: what matters is how many have been used, so the work grows with hosts x fragments. The
optimum over all orders is not promised; `bounds.lower_bound` says how far away it can be at most.
"""

from collections.abc import Sequence

import numpy as np

from splitplace.splitting.layerwise.hosts import Host, feasible, hop_s, stage_s
from splitplace.splitting.layerwise.lattice import Bools, Floats, Lattice, cheapest

SHORTLIST = 24
"""Hosts that are looked at, or as many as fragments must be used."""

PRECISION = 1e-6
"""The smallest period of an order is narrowed down to this share of itself."""

Chain = tuple[list[int], list[Host]]
"""The places of the cuts, and the host of each slice between them; empty if none fits."""


def shortlist(hosts: Sequence[Host], fragments: int) -> list[Host]:
    """The hosts that come first by speed, by memory or by links, taken in turns."""
    ranks = [
        sorted(hosts, key=lambda host: -host.speed),
        sorted(hosts, key=lambda host: -host.memory_bytes),
        sorted(hosts, key=lambda host: -min(host.up_bytes_per_s, host.down_bytes_per_s)),
    ]
    in_turns = [host for row in zip(*ranks, strict=True) for host in row]
    return list(dict.fromkeys(in_turns))[: max(SHORTLIST, fragments)]


def orders(hosts: Sequence[Host], tries: int) -> list[list[Host]]:
    """Orders that are often good (fastest or largest first or last), then some by chance, always the same."""
    by_speed = sorted(hosts, key=lambda host: -host.speed)
    by_memory = sorted(hosts, key=lambda host: -host.memory_bytes)
    found = [by_speed, by_memory, by_speed[::-1], by_memory[::-1]]
    rng = np.random.default_rng(0)
    found += [[hosts[i] for i in rng.permutation(len(hosts))] for _ in range(tries - len(found))]
    return found[:tries]


def smallest_bottleneck(
    lattice: Lattice, order: Sequence[Host], counts: Sequence[int], slack: float, limit_s: float = np.inf
) -> Chain:
    """The chain of smallest bottleneck in this order, then one of few bytes within the slack; none above the limit.

    Args:
        lattice: Where cuts may go.
        order: The hosts, in the order in which they may be used.
        counts: How many hosts a chain may have.
        slack: Share of the smallest bottleneck that may be given up for fewer bytes over the cuts.
        limit_s: A period that is known already; only smaller ones are of interest.
    """
    stages = [stage_s(lattice, host) for host in order]
    most = max(counts)

    def reach(period_s: float) -> Bools:
        return _reach([stage <= period_s for stage in stages], most)

    def enough(reached: Bools) -> bool:
        return any(reached[-1, count, -1] for count in counts)

    high = min(limit_s, float(np.max([stage[np.isfinite(stage)].max(initial=0.0) for stage in stages])))
    if not enough(reach(high)):
        return [], []
    low = float(lattice.cost_s_N[-1]) / sum(sorted((host.speed for host in order), reverse=True)[:most])
    while high - low > PRECISION * high:
        middle = (low + high) / 2 if high < 4 * low else (low * high) ** 0.5 if low else high / 4
        low, high = (low, middle) if enough(reach(middle)) else (middle, high)
    period_s = high * (1 + slack)
    return _walk_back(lattice, order, [stage <= period_s for stage in stages], counts)


def fewest(lattice: Lattice, order: Sequence[Host], most: int) -> int | None:
    """The fewest hosts in this order that the network fits; None if none does."""
    reached = _reach([np.isfinite(stage_s(lattice, host)) for host in order], most)[-1, :, -1]
    return int(np.flatnonzero(reached)[0]) if reached.any() else None


def _reach(allowed: Sequence[Bools], most: int) -> Bools:
    """[h, c, j]: whether c of the first h hosts can come to an end at place j."""
    size = len(allowed[0])
    reached = np.zeros((len(allowed) + 1, most + 1, size), bool)
    reached[0, 0, 0] = True
    for h, ahead in enumerate(allowed):
        packed = np.packbits(ahead, axis=1)
        reached[h + 1] = reached[h]
        for count in range(1, min(h + 1, most) + 1):
            rows = np.flatnonzero(reached[h, count - 1])
            if rows.size:
                ends = np.bitwise_or.reduce(packed[rows], axis=0)
                reached[h + 1, count] |= np.unpackbits(ends, count=size).astype(bool)
    return reached


def _walk_back(lattice: Lattice, order: Sequence[Host], allowed: Sequence[Bools], counts: Sequence[int]) -> Chain:
    """From the end to the start, at each host by the place that the fewest bytes cross."""
    reached = _reach(allowed, max(counts))
    count = next(count for count in counts if reached[-1, count, -1])
    places, used = [lattice.size - 1], []
    for h in range(len(order), 0, -1):
        if not count or reached[h - 1, count, places[-1]]:
            continue
        starts = np.flatnonzero(reached[h - 1, count - 1] & allowed[h - 1][:, places[-1]])
        places.append(int(starts[np.argmin(lattice.boundary_bytes_N[starts])]))
        used.append(order[h - 1])
        count -= 1
    return places[::-1], used[::-1]


def smallest_latency(lattice: Lattice, order: Sequence[Host], counts: Sequence[int]) -> Chain:
    """The chain of smallest latency in this order: a hop depends on both its ends, so the last host is kept as well."""
    crossing, most = lattice.boundary_bytes_N, max(counts)
    copy_s = lattice.work.copy_s_per_byte * crossing
    begin = [(copy_s - lattice.cost_s_N) / host.speed for host in order]
    finish = [(copy_s + lattice.cost_s_N) / host.speed for host in order]
    allowed = [feasible(lattice, host) for host in order]
    start = np.where(np.arange(lattice.size) == 0, 0.0, np.inf)
    # [count, h]: seconds until `count` hosts, the last of them order[h], are done with each place.
    done: dict[tuple[int, int], Floats] = {}

    def arrivals(count: int, h: int) -> tuple[list[int], Floats]:
        """The hosts that may have come before, and the seconds at which each place arrives from them."""
        if count == 1:
            return [-1], np.stack([start + hop_s(None, order[h], crossing)])
        lasts = [last for last in range(h) if (count - 1, last) in done]
        return lasts, np.stack([done[count - 1, last] + hop_s(order[last], order[h], crossing) for last in lasts])

    for h in range(len(order)):
        for count in range(1, min(h + 1, most) + 1):
            _, seconds = arrivals(count, h)
            done[count, h] = cheapest(seconds.min(axis=0) + begin[h], allowed[h]) + finish[h]
    ends = [
        (float(seconds[-1] + hop_s(order[h], None, crossing[-1])), count, h)
        for (count, h), seconds in done.items()
        if count in counts
    ]
    best_s, count, h = min(ends, default=(np.inf, 0, -1))
    if not np.isfinite(best_s):
        return [], []
    places, used = [lattice.size - 1], []
    while count:
        lasts, seconds = arrivals(count, h)
        sums = np.where(allowed[h][:, places[-1]], seconds.min(axis=0) + begin[h], np.inf)
        used.append(order[h])
        places.append(int(np.argmin(sums)))
        h, count = lasts[int(np.argmin(seconds[:, places[-1]]))], count - 1
    return places[::-1], used[::-1]
