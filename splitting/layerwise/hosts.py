"""Hosts as planning sees them: what a slice of the network costs on one, what a tensor between two, which are alike."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from splitplace.records.device import Device
from splitplace.splitting.layerwise.lattice import Bools, Floats, Lattice

State = tuple[int, ...]
"""How many hosts of each kind have been used."""


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


def kinds(hosts: Sequence[Host]) -> list[list[Host]]:
    """The hosts, those alike together, in order of first appearance."""
    groups: dict[tuple[float, ...], list[Host]] = {}
    for host in hosts:
        groups.setdefault(host.kind, []).append(host)
    return list(groups.values())


def useful(hosts: Sequence[Host], fragments: int) -> list[Host]:
    """The hosts without those that no plan of so many fragments needs.

    Where as many others are at least as good in everything, one of them is idle and can take the place: the plan is no
    worse. So the optimum is the same, and of hosts that differ in one thing only `fragments` are left.
    """
    alike: dict[tuple[float, ...], int] = {}
    several = []
    for host in hosts:
        alike[host.kind] = alike.get(host.kind, 0) + 1
        several += [host] if alike[host.kind] <= fragments else []
    good = np.array([(h.speed, h.memory_bytes, h.up_bytes_per_s, h.down_bytes_per_s, -h.rtt_s) for h in several])
    kept = []
    for i, host in enumerate(several):
        as_good = (good >= good[i]).all(axis=1)
        as_good[i:] &= (good[i:] != good[i]).any(axis=1)  # of hosts that are alike, the first ones count as better
        kept += [host] if np.count_nonzero(as_good) < fragments else []
    return kept


def count_states(hosts: Sequence[Host], fragments: int) -> int:
    """How many states there are, without listing them."""
    ways = [1] + [0] * fragments
    for group in kinds(hosts):
        ways = [sum(ways[max(0, used - len(group)) : used + 1]) for used in range(fragments + 1)]
    return sum(ways)


def states(hosts: Sequence[Host], fragments: int) -> Iterator[State]:
    """Every count of used hosts by kind with at most `fragments` in all, fewest first."""
    found: list[State] = [()]
    for group in kinds(hosts):
        found = [(*state, n) for state in found for n in range(min(len(group), fragments - sum(state)) + 1)]
    yield from sorted(found, key=sum)


def less(state: State, kind: int) -> State:
    """One host of this kind less."""
    return (*state[:kind], state[kind] - 1, *state[kind + 1 :])


def feasible(lattice: Lattice, host: Host) -> Bools:
    """The slices (i, j) that there are and that fit the host."""
    if host.memory_bytes == float("inf"):
        return lattice.before_NN
    return lattice.memory_bytes_NN <= host.memory_bytes


def compute_s(lattice: Lattice, host: Host) -> Floats:
    """Seconds a slice (i, j) computes on this host, copies at its boundaries included; infinite where none is."""
    copy = lattice.work.copy_s_per_byte * lattice.boundary_bytes_N
    cost = lattice.cost_s_N[None, :] - lattice.cost_s_N[:, None] + copy[None, :] + copy[:, None]
    return np.where(feasible(lattice, host), cost / host.speed, np.inf)


def stage_s(lattice: Lattice, host: Host) -> Floats:
    """Period of a slice (i, j) on this host."""
    crossing = lattice.boundary_bytes_N
    period = np.maximum(compute_s(lattice, host), (crossing / host.down_bytes_per_s)[:, None])
    return np.maximum(period, (crossing / host.up_bytes_per_s)[None, :])


def hop_s(source: Host | None, target: Host | None, size_bytes: Floats | float) -> Floats | float:
    """Seconds a tensor takes between two hosts; None is the broker, whose own link does not limit."""
    up = source.up_bytes_per_s if source else float("inf")
    down = target.down_bytes_per_s if target else float("inf")
    half_trips = (source.rtt_s if source else 0.0) / 2 + (target.rtt_s if target else 0.0) / 2
    return size_bytes / min(up, down) + half_trips
