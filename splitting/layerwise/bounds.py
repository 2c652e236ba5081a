"""Lower bounds that no plan can beat, found without looking at any plan.

They say how far from optimal a plan can be at most: `gap = value / bound - 1`. Each drops a part of the problem, so
that what is left is easy: transfers and memory (heaviest block, average), or which of the blocks that run in parallel
come before which (relaxed chain).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from splitplace.splitting.layerwise.hosts import Host, State, count_states, kinds, states, useful
from splitplace.splitting.layerwise.lattice import Bools, Floats, Lattice, Work, down_sets
from splitplace.splitting.layerwise.planner import Objective

SLACK = 1 + 1e-12
"""Sums of floats differ by their order; a bound must not come out higher by it."""

REGION_LIMIT = 1000
"""Down-sets of one region that are listed; the rest of the bound is linear in their number."""
MAX_WAYS = 1024
"""Ways to use unlike hosts that are looked at one by one."""

PRECISION = 1e-4
"""The relaxed chain's optimum is narrowed down to this share of itself; the lower end is the bound."""


def lower_bound(
    work: Work, hosts: Sequence[Host], fragments: int, objective: Objective, exactly: bool = False
) -> float:
    """The largest of the bounds that hold for this objective, seconds; for `fewest`, that of its bottleneck.

    Args:
        work: The network; all its down-sets are allowed, whatever the plan was searched among.
        hosts: The devices there are.
        fragments: Upper limit of the number of fragments.
        objective: `latency`, else the bottleneck is bounded.
        exactly: Whether all of `fragments` must be used; ties a latency to the hosts there are.
    """
    if objective == "latency":
        return _latency(work, hosts, fragments if exactly else 1)
    return relaxed_chain(work, hosts, fragments)


def heaviest(work: Work, hosts: Sequence[Host]) -> float:
    """Some host runs the heaviest block, at best the fastest."""
    return float(work.cost_s.max(initial=0)) / max(host.speed for host in hosts)


def average(work: Work, hosts: Sequence[Host], fragments: int) -> float:
    """All work spread without loss over the fastest hosts; each of them still copies what enters and leaves it."""
    fastest = sorted((host.speed for host in hosts), reverse=True)[:fragments]
    ends = work.copy_s_per_byte * (_task_bytes(work) + _answer_bytes(work))
    return float(work.cost_s.sum() + ends) / sum(fastest)


def _task_bytes(work: Work) -> float:
    return sum(flow.size_bytes for flow in work.flows if flow.producer == -1)


def _answer_bytes(work: Work) -> float:
    return sum(flow.size_bytes for flow in work.flows if work.n in flow.consumers)


def _latency(work: Work, hosts: Sequence[Host], used: int) -> float:
    """All work on the fastest hosts there are, one of them if that is allowed; the broker's hops; nothing in between.

    With `used` hosts forced, all but one may take a vanishing share, so the bound is still the fastest one's.
    """
    task, answer = _task_bytes(work), _answer_bytes(work)
    enter = min(task / host.down_bytes_per_s + host.rtt_s / 2 for host in hosts)
    leave = min(answer / host.up_bytes_per_s + host.rtt_s / 2 for host in hosts)
    between = (used - 1) * 2 * min(host.rtt_s / 2 for host in hosts)
    copies = work.copy_s_per_byte * (task + answer)
    return float(work.cost_s.sum() + copies) / max(host.speed for host in hosts) + enter + leave + between


@dataclass(frozen=True, eq=False)
class _Chain:
    """The relaxed network: M segments, M + 1 places between them where all that crosses is known."""

    cost_s: Floats
    """Seconds before each place, on a core of speed 1.0."""
    crossing_bytes: Floats
    fluid: Bools
    """Whether each segment may be cut inside."""


def relaxed_chain(work: Work, hosts: Sequence[Host], fragments: int) -> float:
    """The smallest bottleneck of a chain in which it is forgotten what runs in parallel to what.

    A block that every other block comes before or after (a separator) keeps its place. Between two separators blocks
    run in parallel to something: the down-sets of such a region stand in one row, ordered by cost, and any may follow
    any cheaper one though it does not hold it. A region with too many of them is a fluid that may be cut anywhere, for
    free. Memory is forgotten too; of hosts that can be used in too many ways, all but their speeds is. Every plan is a
    plan of this chain, so its optimum bounds theirs; what a place costs to copy and to send is kept. Solved by halving:
    a period is enough if some order of hosts covers the chain.
    """
    hosts = useful(hosts, fragments)
    low = max(heaviest(work, hosts), average(work, hosts, fragments))
    if count_states(hosts, fragments) > MAX_WAYS:
        return low
    network = _chain(work)
    groups = [group[0] for group in kinds(hosts)]
    searched = [state for state in states(hosts, fragments) if any(state)]

    def enough(period_s: float) -> bool:
        return _covers(network, work.copy_s_per_byte, groups, searched, period_s)

    if low <= 0 or enough(low):
        return low
    step = 0.01
    high = low * (1 + step)
    while not enough(high):
        low, step = high, step * 2
        high = low * (1 + step)
    while high - low > PRECISION * high:
        middle = (low + high) / 2
        low, high = (low, middle) if enough(middle) else (middle, high)
    return low


def _chain(work: Work) -> _Chain:
    ancestors = np.zeros((work.n, work.n), bool)
    for block, parents in enumerate(work.parents):
        for parent in parents:
            ancestors[block] |= ancestors[parent]
            ancestors[block, parent] = True
    separators = np.flatnonzero(ancestors.sum(axis=1) + ancestors.sum(axis=0) == work.n - 1)
    inside = [np.zeros(work.n, bool)]
    fluid: list[bool] = []
    for separator in separators[np.argsort(ancestors[separators].sum(axis=1))]:
        _append_region(work, inside, fluid, ancestors[separator])
        _append_region(work, inside, fluid, ancestors[separator] | (np.arange(work.n) == separator))
    _append_region(work, inside, fluid, np.ones(work.n, bool))
    cuts = Lattice(work, np.array(inside), complete=False)
    return _Chain(cuts.cost_s_N, cuts.boundary_bytes_N, np.array(fluid, bool))


def _append_region(work: Work, inside: list[Bools], fluid: list[bool], end: Bools) -> None:
    """The places up to `end`: by cost where they can be listed, else one fluid segment."""
    start = inside[-1]
    region = np.flatnonzero(end & ~start)
    if not len(region):
        return
    number = {int(block): i for i, block in enumerate(region)}
    parents = [frozenset(number[p] for p in work.parents[block] if p in number) for block in region]
    masks = down_sets(parents, REGION_LIMIT)
    if masks is None:
        inside.append(end)
        fluid.append(True)
        return
    rows = []
    for mask in masks[1:]:
        row = start.copy()
        row[[block for block, i in number.items() if mask >> i & 1]] = True
        rows.append(row)
    rows.sort(key=lambda row: float(work.cost_s[row].sum()))
    rows[-1] = end
    inside.extend(rows)
    fluid.extend([False] * len(rows))


def _covers(
    network: _Chain, copy_s_per_byte: float, hosts: Sequence[Host], searched: Sequence[State], period_s: float
) -> bool:
    """Whether hosts of these kinds, in some order, cover the chain with no stage longer than this.

    For every state: the places its hosts can come to an end at, and how far they come inside each fluid segment
    (farther is better there: nothing has to be copied).
    """
    at, copies = network.cost_s, network.crossing_bytes * copy_s_per_byte
    receives = [network.crossing_bytes <= period_s * host.down_bytes_per_s * SLACK for host in hosts]
    sends = [network.crossing_bytes <= period_s * host.up_bytes_per_s * SLACK for host in hosts]
    first = np.zeros(len(at), bool)
    first[0] = True
    reached = {(0,) * len(hosts): (first, np.full(len(at) - 1, -np.inf))}
    for state in searched:
        places, inner = np.zeros(len(at), bool), np.full(len(at) - 1, -np.inf)
        for kind, count in enumerate(state):
            if not count:
                continue
            former, former_inner = reached[(*state[:kind], count - 1, *state[kind + 1 :])]
            budget = period_s * hosts[kind].speed * SLACK
            starts = np.empty(2 * len(at) - 1)
            starts[0::2] = np.where(former & receives[kind], at - copies, -np.inf)
            starts[1::2] = former_inner
            starts = np.maximum.accumulate(starts)
            places |= (at + copies - starts[0::2] <= budget) & sends[kind]
            reach = np.minimum(starts[1::2] + budget, at[1:])
            inner = np.maximum(inner, np.where(network.fluid & (reach > at[:-1]), reach, -np.inf))
        if places[-1]:
            return True
        reached[state] = (places, inner)
    return False
