"""Chooses cuts and hosts: dynamic programming over the places to cut at, exact for the places it is given.

Every host takes at most one fragment, in any order, and may stay idle. A host computes one micro-batch while it
receives the next and sends the last, so its period is the longest of the three. Hosts that are alike are counted,
not named: a state is how many of each kind have been used.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Literal

import numpy as np

from splitplace.errors import InfeasibleError
from splitplace.records.device import Device
from splitplace.splitting.lattice import Floats, Lattice

Objective = Literal["bottleneck", "latency", "fewest"]
MAX_OPERATIONS = 2e9
"""Elementary steps after which planning over all down-sets is given up for one order: a few seconds."""


@dataclass(frozen=True)
class Host:
    """One device as planning sees it; without limits unless stated."""

    name: str
    speed: float = 1.0
    memory_bytes: float = float("inf")
    up_bytes_per_s: float = float("inf")
    down_bytes_per_s: float = float("inf")
    rtt_s: float = 0.0

    @staticmethod
    def of(device: Device) -> "Host":
        """The host that this single device is."""
        return Host(
            device.name,
            device.core_speed,
            float(device.memory_bytes),
            device.up_bytes_per_s,
            device.down_bytes_per_s,
            device.rtt_s,
        )

    @property
    def kind(self) -> tuple[float, ...]:
        """Equal for hosts between which a plan need not tell."""
        return (self.speed, self.memory_bytes, self.up_bytes_per_s, self.down_bytes_per_s, self.rtt_s)


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


def kinds(hosts: Sequence[Host]) -> list[list[Host]]:
    """The hosts, those alike together, in order of first appearance."""
    groups: dict[tuple[float, ...], list[Host]] = {}
    for host in hosts:
        groups.setdefault(host.kind, []).append(host)
    return list(groups.values())


def states(hosts: Sequence[Host], fragments: int) -> Iterator[tuple[int, ...]]:
    """Every count of used hosts by kind with at most `fragments` in all, fewest first."""
    counts = product(*(range(len(group) + 1) for group in kinds(hosts)))
    yield from sorted((state for state in counts if sum(state) <= fragments), key=sum)


def compute_s(lattice: Lattice, host: Host) -> Floats:
    """Seconds a slice (i, j) computes on this host, copies at its boundaries included; infinite where none is."""
    copy = lattice.work.copy_s_per_byte * lattice.boundary_bytes_N
    cost = lattice.cost_s_N[None, :] - lattice.cost_s_N[:, None] + copy[None, :] + copy[:, None]
    return np.where(_feasible(lattice, host), cost / host.speed, np.inf)


def stage_s(lattice: Lattice, host: Host) -> Floats:
    """Period of a slice (i, j) on this host."""
    crossing = lattice.boundary_bytes_N
    period = np.maximum(compute_s(lattice, host), (crossing / host.down_bytes_per_s)[:, None])
    return np.maximum(period, (crossing / host.up_bytes_per_s)[None, :])


def _feasible(lattice: Lattice, host: Host) -> np.ndarray:
    if host.memory_bytes == float("inf"):
        return lattice.before_NN
    return lattice.memory_bytes_NN <= host.memory_bytes


def plan(lattice: Lattice, hosts: Sequence[Host], fragments: int, objective: Objective, exactly: bool = False) -> Plan:
    """The best plan over the places of `lattice`.

    Args:
        lattice: Where cuts may go.
        hosts: The devices there are, each for one fragment at most.
        fragments: Upper limit of the number of fragments.
        objective: Smallest bottleneck, smallest latency, or fewest fragments (then smallest bottleneck). Of equally
            good plans by bottleneck, one that moves the fewest bytes.
        exactly: Use exactly `fragments` of them.

    Raises:
        InfeasibleError: No plan meets the memory limits.
    """
    groups = kinds(hosts)
    searched = [state for state in states(hosts, fragments) if any(state)]
    finals = [state for state in searched if sum(state) == fragments or not exactly]
    if objective == "latency":
        places, used = _smallest_latency(lattice, groups, searched, finals)
    else:
        stages = [stage_s(lattice, group[0]) for group in groups]
        best = _smallest_bottleneck(stages, searched)
        if objective == "fewest":
            fewest = min((sum(state) for state in finals if np.isfinite(best[state][-1])), default=0)
            finals = [state for state in finals if sum(state) == fewest]
        optimum = min((best[state][-1] for state in finals), default=np.inf)
        if not np.isfinite(optimum):
            raise _infeasible(lattice, hosts, fragments)
        places, used = _fewest_bytes(lattice, stages, searched, finals, optimum)
    left = [list(group) for group in groups]
    return _plan(lattice, places, [left[kind].pop(0) for kind in used])


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
        latency += computing[-1] + float(_hop_s(hosts[i - 1] if i else None, host, crossing[i]))
    latency += float(_hop_s(hosts[-1], None, crossing[-1]))
    return Plan(tuple(places), tuple(hosts), tuple(stages), tuple(computing), latency)


def _hop_s(source: Host | None, target: Host | None, size_bytes: Floats | float) -> Floats | float:
    """Seconds a tensor takes between two hosts; None is the broker, whose own link does not limit."""
    up = source.up_bytes_per_s if source else float("inf")
    down = target.down_bytes_per_s if target else float("inf")
    half_trips = (source.rtt_s if source else 0.0) / 2 + (target.rtt_s if target else 0.0) / 2
    return size_bytes / min(up, down) + half_trips


State = tuple[int, ...]


def _less(state: State, kind: int) -> State:
    return (*state[:kind], state[kind] - 1, *state[kind + 1 :])


def _empty(groups: int) -> State:
    return (0,) * groups


def _start(size: int) -> Floats:
    start = np.full(size, np.inf)
    start[0] = 0.0
    return start


def _smallest_bottleneck(stages: Sequence[Floats], searched: Sequence[State]) -> dict[State, Floats]:
    """For every state and place: the smallest longest stage of a chain that ends there with just these hosts."""
    size = len(stages[0])
    best = {_empty(len(stages)): _start(size)}
    for state in searched:
        reached = np.full(size, np.inf)
        for kind, stage in enumerate(stages):
            if state[kind]:
                former = best[_less(state, kind)]
                rows = np.flatnonzero(np.isfinite(former))
                if len(rows):
                    reached = np.minimum(reached, np.maximum(former[rows, None], stage[rows]).min(axis=0))
        best[state] = reached
    return best


def _fewest_bytes(
    lattice: Lattice, stages: Sequence[Floats], searched: Sequence[State], finals: Sequence[State], limit_s: float
) -> tuple[list[int], list[int]]:
    """Of the chains whose stages all keep the limit, one that carries the fewest bytes over its cuts."""
    allowed = [np.where(stage <= limit_s, lattice.boundary_bytes_N[:, None], np.inf) for stage in stages]
    best = {_empty(len(stages)): _start(lattice.size)}
    for state in searched:
        reached = np.full(lattice.size, np.inf)
        for kind, carried in enumerate(allowed):
            if state[kind]:
                former = best[_less(state, kind)]
                rows = np.flatnonzero(np.isfinite(former))
                if len(rows):
                    reached = np.minimum(reached, (former[rows, None] + carried[rows]).min(axis=0))
        best[state] = reached
    state = min(finals, key=lambda state: (best[state][-1], sum(state)))
    places, used = [lattice.size - 1], []
    while any(state):
        for kind, carried in enumerate(allowed):
            if not state[kind]:
                continue
            sums = best[_less(state, kind)] + carried[:, places[-1]]
            at = int(np.argmin(sums))
            if sums[at] <= best[state][places[-1]]:
                places.append(at)
                used.append(kind)
                state = _less(state, kind)
                break
    return places[::-1], used[::-1]


def _smallest_latency(
    lattice: Lattice, groups: Sequence[Sequence[Host]], searched: Sequence[State], finals: Sequence[State]
) -> tuple[list[int], list[int]]:
    """As above with sums, and the last host in the state: a hop's time depends on both its ends."""
    crossing = lattice.boundary_bytes_N
    costs = [compute_s(lattice, group[0]) for group in groups]
    ready: dict[tuple[State, int, int], Floats] = {}  # state, last kind (-1 the broker), next kind -> seconds to start
    done: dict[tuple[State, int], Floats] = {(_empty(len(groups)), -1): _start(lattice.size)}

    def starts(state: State, following: int) -> list[tuple[int, Floats]]:
        lasts = [-1] if not any(state) else [kind for kind, count in enumerate(state) if count]
        for last in lasts:
            if (state, last, following) not in ready:
                hop = _hop_s(groups[last][0] if last >= 0 else None, groups[following][0], crossing)
                ready[state, last, following] = done[state, last] + hop
        return [(last, ready[state, last, following]) for last in lasts]

    for state in searched:
        for kind, count in enumerate(state):
            if count:
                start = np.min([seconds for _, seconds in starts(_less(state, kind), kind)], axis=0)
                rows = np.flatnonzero(np.isfinite(start))
                ends = (start[rows, None] + costs[kind][rows]).min(axis=0) if len(rows) else np.full_like(start, np.inf)
                done[state, kind] = ends

    ends = {
        (state, kind): float(done[state, kind][-1] + _hop_s(groups[kind][0], None, crossing[-1]))
        for state in finals
        for kind, count in enumerate(state)
        if count
    }
    if not ends or not np.isfinite(min(ends.values())):
        raise _infeasible(lattice, [host for group in groups for host in group], sum(finals[-1]) if finals else 0)
    state, kind = min(ends, key=lambda end: (ends[end], sum(end[0])))
    places, used = [lattice.size - 1], []
    while kind >= 0:
        used.append(kind)
        choices = []
        for last, seconds in starts(_less(state, kind), kind):
            sums = seconds + costs[kind][:, places[-1]]
            choices.append((float(sums.min()), int(np.argmin(sums)), last))
        _, at, last = min(choices)
        places.append(at)
        state, kind = _less(state, kind), last
    return places[::-1], used[::-1]


def smallest_memory(lattice: Lattice, fragments: int) -> float:
    """The smallest memory limit, one for all hosts, that some chain of at most so many fragments meets."""
    searched = [(count,) for count in range(1, fragments + 1)]
    best = _smallest_bottleneck([lattice.memory_bytes_NN], searched)
    return float(min(best[state][-1] for state in searched))


def _infeasible(lattice: Lattice, hosts: Sequence[Host], fragments: int) -> InfeasibleError:
    count = min(fragments, len(hosts))
    largest = max(host.memory_bytes for host in hosts)
    if largest == float("inf"):
        return InfeasibleError(
            f"no {count} fragments: the network has {lattice.work.n} blocks that a cut can tell apart"
        )
    need = smallest_memory(lattice, count)
    return InfeasibleError(
        f"no split into at most {count} fragments fits: the largest device has {largest:.0f} bytes; the smallest limit "
        f"that would work on every device is {need:.0f} bytes; allow more fragments or a smaller micro-batch"
    )
