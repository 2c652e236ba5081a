"""Chooses cuts and hosts: dynamic programming over the places to cut at, exact for the places it is given.

Every host takes at most one fragment, in any order, and may stay idle. A host computes one micro-batch while it
receives the next and sends the last, so its period is the longest of the three. Hosts that are alike are counted,
not named: a state is how many of each kind have been used.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from splitplace.errors import InfeasibleError
from splitplace.splitting.layerwise import orders
from splitplace.splitting.layerwise.bottleneck import UNLIMITED_S, Search
from splitplace.splitting.layerwise.hosts import Host, count_states, hop_s, kinds, states, useful
from splitplace.splitting.layerwise.latency import smallest_latency
from splitplace.splitting.layerwise.lattice import Lattice

Objective = Literal["bottleneck", "latency", "fewest"]

SLACK = 0.03
"""Share of the smallest bottleneck that a split gives up for fewer bytes over its cuts, unless it is told another:
costs are not known better than this."""


MAX_STATES = 4096
"""Ways to use the hosts that are looked at one by one; of more, the best of several orders is taken."""
MAX_STEPS = 10**9
"""The same, times the pairs of places: seconds of work."""
ORDER_STEPS = 2 * 10**8
MAX_ORDERS = 32


@dataclass(frozen=True)
class Plan:
    """The places of the cuts, from 0 to the last, and the host of each slice between them."""

    places: tuple[int, ...]
    hosts: tuple[Host, ...]
    stage_s: tuple[float, ...]
    """Period of each fragment: the longest of receiving, computing and sending one micro-batch."""
    compute_s: tuple[float, ...]
    latency_s: float
    """One micro-batch end to end, transfers included."""

    @property
    def bottleneck_s(self) -> float:
        """The longest stage: the time between two micro-batches of a full pipeline."""
        return max(self.stage_s)


def plan(
    lattice: Lattice,
    hosts: Sequence[Host],
    fragments: int,
    objective: Objective,
    exactly: bool = False,
    slack: float = 0.0,
) -> Plan:
    """The best plan over the places of `lattice`.

    Args:
        lattice: Where cuts may go.
        hosts: The devices there are, each for one fragment at most.
        fragments: Upper limit of the number of fragments.
        objective: Smallest bottleneck, smallest latency, or fewest fragments (then smallest bottleneck). Of equally
            good plans by bottleneck, one that moves the fewest bytes.
        exactly: Use exactly `fragments` of them.
        slack: Share of the smallest bottleneck that may be given up for fewer bytes over the cuts.

    Raises:
        InfeasibleError: No plan meets the memory limits.
    """
    if exactly and fragments > min(len(hosts), lattice.work.n):
        raise InfeasibleError(
            f"exactly {fragments} fragments: got {len(hosts)} devices for them and {lattice.work.n} blocks that a cut "
            "can tell apart; ask for fewer"
        )
    hosts = useful(hosts, fragments)
    if not countable(lattice, hosts, fragments):
        return _plan_in_order(lattice, hosts, fragments, objective, exactly, slack)
    groups = kinds(hosts)
    searched = [state for state in states(hosts, fragments) if any(state)]
    finals = [state for state in searched if sum(state) == fragments or not exactly]
    if objective == "latency":
        places, used = smallest_latency(lattice, [group[0] for group in groups], searched, finals)
        if not used:
            raise _infeasible(lattice, hosts, fragments, exactly)
    else:
        search = Search(lattice, [group[0] for group in groups], searched, fragments)
        if objective == "fewest":
            reached = search.reach(UNLIMITED_S)
            fewest = min((sum(state) for state in finals if reached[state][-1]), default=0)
            finals = [state for state in finals if sum(state) == fewest]
            if finals:
                search.limit([state for state in searched if sum(state) <= fewest], fewest)
        optimum = search.smallest_bottleneck(finals)
        if optimum is None:
            raise _infeasible(lattice, hosts, fragments, exactly)
        places, used = search.fewest_bytes(finals, optimum * (1 + slack))
    left = [list(group) for group in groups]
    return _plan(lattice, places, [left[kind].pop(0) for kind in used])


def countable(lattice: Lattice, hosts: Sequence[Host], fragments: int) -> bool:
    """Whether all ways to use these hosts can be looked at, so that a plan is the optimum over them."""
    count = count_states(useful(hosts, fragments), fragments)
    return count <= MAX_STATES and count * lattice.size**2 <= MAX_STEPS


def _plan_in_order(
    lattice: Lattice, hosts: Sequence[Host], fragments: int, objective: Objective, exactly: bool, slack: float
) -> Plan:
    """The best over several orders of the most useful hosts."""
    chosen = orders.shortlist(hosts, fragments)
    most = min(fragments, len(chosen), lattice.work.n)
    counts = [most] if exactly else list(range(1, most + 1))
    tries = int(np.clip(ORDER_STEPS // (len(chosen) * most * lattice.size**2 + 1), 4, MAX_ORDERS))
    tried = orders.orders(chosen, tries)
    if objective == "fewest":
        found = [count for order in tried if (count := orders.fewest(lattice, order, most)) is not None]
        counts = [most if exactly else min(found)] if found else counts
    best: Plan | None = None
    for order in tried:
        if objective == "latency":
            places, used = orders.smallest_latency(lattice, order, counts)
        else:
            limit_s = best.bottleneck_s if best else np.inf
            places, used = orders.smallest_bottleneck(lattice, order, counts, slack, limit_s)
        if used:
            made = _plan(lattice, places, used)
            value = _value(made, objective)
            best = made if best is None or value < _value(best, objective) else best
    if best is None:
        raise _infeasible(lattice, hosts, fragments, exactly)
    return best


def _value(plan: Plan, objective: Objective) -> float:
    return plan.latency_s if objective == "latency" else plan.bottleneck_s


def evaluate(lattice: Lattice, places: Sequence[int], hosts: Sequence[Host]) -> Plan:
    """The plan with these cuts, however they were chosen; memory limits are not looked at."""
    return _plan(lattice, list(places), list(hosts))


def _plan(lattice: Lattice, places: Sequence[int], hosts: Sequence[Host]) -> Plan:
    computing, stages, latency = [], [], 0.0
    crossing = lattice.boundary_bytes_N[list(places)]
    for i, host in enumerate(hosts):
        copies = lattice.work.copy_s_per_byte * (crossing[i] + crossing[i + 1])
        cost = lattice.cost_s_N[places[i + 1]] - lattice.cost_s_N[places[i]] + copies
        computing.append(float(cost / host.speed))
        moving = (float(crossing[i] / host.down_bytes_per_s), float(crossing[i + 1] / host.up_bytes_per_s))
        stages.append(max(computing[-1], *moving))
        latency += computing[-1] + float(hop_s(hosts[i - 1] if i else None, host, crossing[i]))
    latency += float(hop_s(hosts[-1], None, crossing[-1]))
    return Plan(tuple(places), tuple(hosts), tuple(stages), tuple(computing), latency)


def smallest_memory(lattice: Lattice, fragments: int, exactly: bool = False) -> float:
    """The smallest memory limit, one for all hosts, that some chain of at most (or exactly) so many fragments meets."""
    reached, fewest = np.where(np.arange(lattice.size) == 0, 0.0, np.inf), np.inf
    for count in range(1, fragments + 1):
        reached = np.maximum(reached[:, None], lattice.memory_bytes_NN).min(axis=0)
        if count == fragments or not exactly:
            fewest = min(fewest, float(reached[-1]))
    return fewest


def _infeasible(lattice: Lattice, hosts: Sequence[Host], fragments: int, exactly: bool) -> InfeasibleError:
    count = min(fragments, len(hosts), lattice.work.n)
    need = smallest_memory(lattice, count, exactly)
    return InfeasibleError(
        f"no split into {'exactly' if exactly else 'at most'} {count} fragments fits: the largest device has "
        f"{max(host.memory_bytes for host in hosts):.0f} bytes; the smallest limit that would work, on every device, "
        f"is {need:.0f} bytes; allow more fragments or a smaller micro-batch"
    )
