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
from splitplace.splitting.lattice import Bools, Floats, Lattice

Objective = Literal["bottleneck", "latency", "fewest"]
State = tuple[int, ...]
"""How many hosts of each kind have been used."""
UNLIMITED_S = 1e100
"""A period that every slice keeps which is one at all: those that are none, or do not fit, have an infinite one."""


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


def _feasible(lattice: Lattice, host: Host) -> Bools:
    if host.memory_bytes == float("inf"):
        return lattice.before_NN
    return lattice.memory_bytes_NN <= host.memory_bytes


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
    groups = kinds(hosts)
    searched = [state for state in states(hosts, fragments) if any(state)]
    finals = [state for state in searched if sum(state) == fragments or not exactly]
    if objective == "latency":
        places, used = _smallest_latency(lattice, groups, searched, finals)
        if not used:
            raise _infeasible(lattice, hosts, fragments, exactly)
    else:
        search = _Search(lattice, [group[0] for group in groups], searched, fragments)
        if objective == "fewest":
            reached = search.reach(UNLIMITED_S)
            fewest = min((sum(state) for state in finals if reached[state][-1]), default=0)
            finals = [state for state in finals if sum(state) == fewest]
        optimum = search.smallest_bottleneck(finals)
        if optimum is None:
            raise _infeasible(lattice, hosts, fragments, exactly)
        places, used = search.fewest_bytes(finals, optimum * (1 + slack))
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


def _less(state: State, kind: int) -> State:
    return (*state[:kind], state[kind] - 1, *state[kind + 1 :])


def _empty(groups: int) -> State:
    return (0,) * groups


def _start(size: int) -> Floats:
    start = np.full(size, np.inf)
    start[0] = 0.0
    return start


class _Search:
    """The bottleneck's dynamic programs, over the same states: which places can hosts so used come to an end at?"""

    def __init__(self, lattice: Lattice, hosts: Sequence[Host], searched: Sequence[State], fragments: int):
        self.lattice, self.searched = lattice, searched
        self.empty = _empty(len(hosts))
        self.stages = [stage_s(lattice, host) for host in hosts]
        self.speeds = [host.speed for host in hosts]
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
                if state[kind] and (rows := np.flatnonzero(reached[_less(state, kind)])).size:
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
        best = {self.empty: np.where(reached[self.empty], 0.0, np.inf)}
        for state in self.searched:
            sums = np.full(size, np.inf)
            for kind, stage in enumerate(self.stages):
                if state[kind] and (rows := np.flatnonzero(reached[_less(state, kind)])).size:
                    former = best[_less(state, kind)][rows] + carried[rows]
                    ends = np.where(stage[rows] <= period_s, former[:, None], np.inf).min(axis=0)
                    sums = np.minimum(sums, ends)
            best[state] = np.where(reached[state], sums, np.inf)
        state = min(finals, key=lambda state: (best[state][-1], sum(state)))
        places, used = [size - 1], []
        while any(state):
            for kind, stage in enumerate(self.stages):
                if not state[kind]:
                    continue
                sums = np.where(stage[:, places[-1]] <= period_s, best[_less(state, kind)] + carried, np.inf)
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
    """Sums instead of a maximum, and the last host in the state: a hop depends on both its ends. Empty if none fits.

    Places from which the fastest host could not finish before the best chain so far are dropped on the way.
    """
    total_s, fastest = lattice.cost_s_N[-1], max(group[0].speed for group in groups)
    best_s = np.inf
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
                rows = np.flatnonzero(start + (total_s - lattice.cost_s_N) / fastest < best_s)
                ends = (start[rows, None] + costs[kind][rows]).min(axis=0) if len(rows) else np.full_like(start, np.inf)
                done[state, kind] = ends
                if state in finals:
                    best_s = min(best_s, float(ends[-1] + _hop_s(groups[kind][0], None, crossing[-1])))

    ends = {
        (state, kind): float(done[state, kind][-1] + _hop_s(groups[kind][0], None, crossing[-1]))
        for state in finals
        for kind, count in enumerate(state)
        if count
    }
    if not np.isfinite(min(ends.values())):
        return [], []
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
