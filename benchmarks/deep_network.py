"""A made-up network of a thousand blocks and eight unlike devices: what planning is timed on, and its work counted."""

import numpy as np

from splitplace.splitting.layerwise.bounds import lower_bound
from splitplace.splitting.layerwise.cutting import MAX_DOWN_SETS
from splitplace.splitting.layerwise.hosts import Host
from splitplace.splitting.layerwise.lattice import Flow, Work, lattice
from splitplace.splitting.layerwise.planner import Objective, plan, smallest_memory

DEVICES = 8
OBJECTIVES: tuple[Objective, ...] = ("bottleneck", "latency", "fewest")


def deep(n: int = 1000) -> Work:
    """Modules of two parallel branches, joined, between residual stages: more down-sets than blocks."""
    rng = np.random.default_rng(0)
    parents: list[frozenset[int]] = [frozenset()]
    while len(parents) < n:
        last, block = len(parents) - 1, len(parents)
        if block % 16 == 5 and block + 5 <= n:
            branches = [{last}, {block}, {last}, {block + 2}, {block + 1, block + 3}]
            parents += [frozenset(above) for above in branches]
        else:
            parents.append(frozenset({last, last - 3} if block % 5 == 0 else {last}))
    readers = [tuple(c for c in range(n) if block in parents[c]) for block in range(n - 1)]
    flows = [Flow(-1, (0,), 1e6), *(Flow(block, c, float(rng.uniform(1e4, 1e6))) for block, c in enumerate(readers))]
    return Work(
        parents=tuple(parents),
        cost_s=rng.uniform(0.5e-3, 2e-3, n),
        weight_bytes=rng.uniform(0, 2e5, n),
        inner_bytes=np.zeros(n),
        flows=(*flows, Flow(n - 1, (n,), 4e3)),
        copy_s_per_byte=1e-10,
    )


def unlike_hosts(work: Work, limited: bool) -> list[Host]:
    """Eight devices of which no two are alike; with a memory limit that forces six of them, or without one."""
    memory = smallest_memory(lattice(work, MAX_DOWN_SETS), 6) * 1.05 if limited else float("inf")
    return [
        Host(f"h{i}", 1 + 0.1 * i, memory * (1 + 0.05 * (i % 3)), 1e8 * (1 + i % 2), 1e8, 1e-3 * (1 + i % 4))
        for i in range(DEVICES)
    ]


def planned(work: Work, hosts: list[Host], objective: Objective) -> None:
    """Down-sets, plan and lower bound, as `splitplace split` asks for them."""
    places = lattice(work, MAX_DOWN_SETS)
    assert places.complete, "every place of the network can be planned over"
    plan(places, hosts, DEVICES, objective)
    lower_bound(work, hosts, DEVICES, objective)
