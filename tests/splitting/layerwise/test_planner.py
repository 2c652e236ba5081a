"""The planner against brute force: every chain of down-sets, every choice and order of hosts."""

from collections.abc import Iterator, Sequence
from itertools import pairwise, permutations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from splitplace.errors import InfeasibleError
from splitplace.splitting.layerwise.bounds import lower_bound
from splitplace.splitting.layerwise.hosts import Host
from splitplace.splitting.layerwise.lattice import Flow, Work, down_sets, lattice
from splitplace.splitting.layerwise.planner import Objective, Plan, plan, smallest_memory

FOUR_LAYERS = Work(
    parents=(frozenset(), frozenset({0}), frozenset({1}), frozenset({2})),
    cost_s=np.ones(4),
    weight_bytes=np.full(4, 10.0),
    inner_bytes=np.zeros(4),
    flows=tuple(Flow(i - 1, (i,), 4.0) for i in range(5)),
)


@st.composite
def works(draw: st.DrawFn, largest: int = 7) -> Work:
    """A random DAG; every block but the last feeds some later one, and carries bytes to it."""
    n = draw(st.integers(1, largest))
    parents = [
        frozenset(draw(st.sets(st.integers(0, block - 1), min_size=0, max_size=3))) if block else frozenset()
        for block in range(n)
    ]
    for block in range(n - 1):
        if not any(block in above for above in parents):
            parents[-1] |= {block}
    numbers = st.integers(1, 20)
    readers = [tuple(c for c in range(n) if block in parents[c]) for block in range(n)]
    roots = tuple(block for block in range(n) if not parents[block])
    flows = [Flow(-1, roots, float(draw(numbers)))]
    flows += [
        Flow(block, (*readers[block], *((n,) if block == n - 1 else ())), float(draw(numbers))) for block in range(n)
    ]
    return Work(
        parents=tuple(parents),
        cost_s=np.array([float(draw(numbers)) for _ in range(n)]),
        weight_bytes=np.array([float(draw(numbers)) for _ in range(n)]),
        inner_bytes=np.array([float(draw(st.integers(0, 9))) for _ in range(n)]),
        flows=tuple(flows),
        copy_s_per_byte=draw(st.sampled_from([0.0, 0.125])),
    )


hosts_of = st.lists(
    st.builds(
        Host,
        name=st.just("h"),
        speed=st.sampled_from([0.5, 1.0, 2.0]),
        memory_bytes=st.sampled_from([40.0, 80.0, float("inf")]),
        up_bytes_per_s=st.sampled_from([1.0, 8.0, float("inf")]),
        down_bytes_per_s=st.sampled_from([1.0, 8.0, float("inf")]),
        rtt_s=st.sampled_from([0.0, 3.0]),
    ),
    min_size=1,
    max_size=4,
)


def chains(work: Work, length: int) -> Iterator[list[int]]:
    """Every chain of `length` + 1 nested down-sets from nothing to all, as bit masks."""
    masks = down_sets(work.parents, 10**6)
    assert masks is not None

    def grow(path: list[int]) -> Iterator[list[int]]:
        if len(path) == length:
            yield [*path, masks[-1]] if path[-1] != masks[-1] else []
            return
        for mask in masks:
            if mask != path[-1] and mask & path[-1] == path[-1] and mask != masks[-1]:
                yield from grow([*path, mask])

    yield from (chain for chain in grow([0]) if chain)


def crossing(work: Work, mask: int) -> float:
    """Bytes made before a cut and wanted behind it."""
    return sum(
        flow.size_bytes
        for flow in work.flows
        if (flow.producer == -1 or mask >> flow.producer & 1) and any(not mask >> c & 1 for c in flow.consumers)
    )


def memory(work: Work, before: int, after: int) -> float:
    """Weights and peak live activations of a slice, by running it block by block."""
    own = [block for block in range(work.n) if (after & ~before) >> block & 1]
    held = [
        f
        for f in work.flows
        if (f.producer == -1 or before >> f.producer & 1) and any(not before >> c & 1 for c in f.consumers)
    ]
    peak = 0.0
    for step, block in enumerate(own):
        done = own[:step]
        live = {flow.producer: flow for flow in held if flow.producer != -1}
        total = sum(flow.size_bytes for flow in held)
        for flow in work.flows:
            made = flow.producer in done and flow.producer not in live
            if made and any(consumer not in done and not before >> consumer & 1 for consumer in flow.consumers):
                total += flow.size_bytes
        total += sum(flow.size_bytes for flow in work.flows if flow.producer == block) + work.inner_bytes[block]
        peak = max(peak, total)
    return peak + sum(work.weight_bytes[own])


def brute_force(work: Work, hosts: Sequence[Host], fragments: int, objective: Objective, exactly: bool) -> float | None:
    """The best value over everything there is; None if nothing is feasible. For `fewest`: 1e6 x count + bottleneck."""
    best = None
    for count in range(1, min(fragments, len(hosts)) + 1):
        if exactly and count != fragments:
            continue
        for chain in chains(work, count):
            bytes_ = [crossing(work, mask) for mask in chain]
            slices = list(pairwise(chain))
            cost = [
                sum(work.cost_s[b] for b in range(work.n) if (after & ~before) >> b & 1)
                + work.copy_s_per_byte * (bytes_[i] + bytes_[i + 1])
                for i, (before, after) in enumerate(slices)
            ]
            need = [memory(work, before, after) for before, after in slices]
            for chosen in permutations(hosts, count):
                if any(need[i] > host.memory_bytes for i, host in enumerate(chosen)):
                    continue
                value = _value(objective, chosen, cost, bytes_)
                best = value if best is None else min(best, value)
    return best


def _value(objective: Objective, chosen: Sequence[Host], cost: list[float], bytes_: list[float]) -> float:
    if objective != "latency":
        stages = [
            max(cost[i] / h.speed, bytes_[i] / h.down_bytes_per_s, bytes_[i + 1] / h.up_bytes_per_s)
            for i, h in enumerate(chosen)
        ]
        return max(stages) + (1e6 * len(chosen) if objective == "fewest" else 0)
    total = bytes_[0] / chosen[0].down_bytes_per_s + chosen[0].rtt_s / 2
    for i, host in enumerate(chosen):
        total += cost[i] / host.speed
        if i + 1 < len(chosen):
            after = chosen[i + 1]
            total += bytes_[i + 1] / min(host.up_bytes_per_s, after.down_bytes_per_s) + (host.rtt_s + after.rtt_s) / 2
    return total + bytes_[-1] / chosen[-1].up_bytes_per_s + chosen[-1].rtt_s / 2


def value(objective: Objective, found: Plan) -> float:
    """What `brute_force` minimises, of a plan."""
    if objective == "latency":
        return found.latency_s
    return found.bottleneck_s + (1e6 * len(found.hosts) if objective == "fewest" else 0)


@pytest.mark.parametrize("objective", ["bottleneck", "latency", "fewest"])
@settings(max_examples=40, deadline=None)
@given(work=works(), hosts=hosts_of, fragments=st.integers(1, 4), exactly=st.booleans())
def test_the_optimum_is_brute_forces(
    objective: Objective, work: Work, hosts: list[Host], fragments: int, exactly: bool
) -> None:
    """On random DAGs and heterogeneous hosts: the same optimum, or infeasible for both; and no bound above it."""
    expected = brute_force(work, hosts, fragments, objective, exactly)
    places = lattice(work, 10**6)
    if expected is None:
        with pytest.raises(InfeasibleError):
            plan(places, hosts, fragments, objective, exactly)
        return
    found = plan(places, hosts, fragments, objective, exactly)
    assert value(objective, found) == pytest.approx(expected)
    bound = lower_bound(work, hosts, fragments, objective, exactly)
    assert bound <= (found.latency_s if objective == "latency" else found.bottleneck_s) * (1 + 1e-9)


@settings(max_examples=15, deadline=None)
@given(work=works(largest=12), fragments=st.integers(2, 3))
def test_the_optimum_is_brute_forces_on_larger_graphs(work: Work, fragments: int) -> None:
    """Twelve blocks, equal hosts."""
    masks = down_sets(work.parents, 10**6)
    if masks is None or len(masks) > 200:
        return  # brute force would take minutes
    hosts = [Host(f"h{i}", memory_bytes=120.0) for i in range(fragments)]
    expected = brute_force(work, hosts[:fragments], fragments, "bottleneck", False)
    if expected is None:
        with pytest.raises(InfeasibleError):
            plan(lattice(work, 10**6), hosts, fragments, "bottleneck")
    else:
        assert plan(lattice(work, 10**6), hosts, fragments, "bottleneck").bottleneck_s == pytest.approx(expected)


@settings(max_examples=40, deadline=None)
@given(work=works(), fragments=st.integers(1, 4))
def test_the_smallest_memory_is_enough_and_one_byte_less_is_not(work: Work, fragments: int) -> None:
    """At the limit a plan exists; one byte under it, none, and the error names the limit."""
    places = lattice(work, 10**6)
    need = smallest_memory(places, fragments)
    fits = plan(places, [Host(f"h{i}", memory_bytes=need) for i in range(fragments)], fragments, "bottleneck")
    assert len(fits.hosts) <= fragments
    with pytest.raises(InfeasibleError, match=f"{need:.0f} bytes"):
        plan(places, [Host(f"h{i}", memory_bytes=need - 1) for i in range(fragments)], fragments, "bottleneck")


def test_slow_hosts_stay_idle() -> None:
    """Two hosts of 1 s a layer and two of 10 s, four layers: the best bottleneck is 2 s, with the slow ones idle."""
    hosts = [Host("slow-0", 0.1), Host("fast-0"), Host("slow-1", 0.1), Host("fast-1")]
    found = plan(lattice(FOUR_LAYERS, 100), hosts, 4, "bottleneck")
    assert found.bottleneck_s == pytest.approx(2.0)
    assert sorted(host.name for host in found.hosts) == ["fast-0", "fast-1"]
    assert lower_bound(FOUR_LAYERS, hosts, 4, "bottleneck") == pytest.approx(2.0, rel=1e-4)


def test_exactly_uses_every_fragment() -> None:
    """With `exactly`, a plan has the number of fragments asked for, though fewer were as good."""
    hosts = [Host("a", 0.1), Host("b"), Host("c", 0.1), Host("d")]
    assert len(plan(lattice(FOUR_LAYERS, 100), hosts, 4, "bottleneck", exactly=True).hosts) == 4


def test_one_order_when_there_are_too_many_down_sets() -> None:
    """Beyond the limit the places are the prefixes of one order, and the lattice says so."""
    wide = Work(
        parents=(*(frozenset[int]() for _ in range(12)), frozenset(range(12))),
        cost_s=np.ones(13),
        weight_bytes=np.zeros(13),
        inner_bytes=np.zeros(13),
        flows=(*(Flow(i, (12,), 1.0) for i in range(12)), Flow(12, (13,), 1.0)),
    )
    assert lattice(wide, 5000).complete and lattice(wide, 5000).size == 2**12 + 1
    narrow = lattice(wide, 100)
    assert not narrow.complete and narrow.size == 14
    found = plan(narrow, [Host("a"), Host("b")], 2, "bottleneck")
    assert found.bottleneck_s == pytest.approx(7.0)


@settings(max_examples=30, deadline=None)
@given(work=works())
def test_prefix_memory_is_that_of_running_block_by_block(work: Work) -> None:
    """The memory of every slice of the one order equals a simulation's."""
    places = lattice(work, 1)
    for i in range(places.size):
        for j in range(i + 1, places.size):
            before, after = (1 << i) - 1, (1 << j) - 1
            assert places.memory_bytes_NN[i, j] == pytest.approx(memory(work, before, after))


@settings(max_examples=30, deadline=None)
@given(work=works(), fragments=st.integers(1, 4))
def test_slack_buys_fewer_bytes_and_no_more_than_it_allows(work: Work, fragments: int) -> None:
    """With slack the bottleneck stays within it, and no more bytes cross the cuts than without."""
    places = lattice(work, 10**6)
    hosts = [Host(f"h{i}") for i in range(fragments)]
    best = plan(places, hosts, fragments, "bottleneck")
    loose = plan(places, hosts, fragments, "bottleneck", slack=0.25)
    assert loose.bottleneck_s <= best.bottleneck_s * 1.25 * (1 + 1e-9)
    carried = [sum(places.boundary_bytes_N[list(found.places)]) for found in (loose, best)]
    assert carried[0] <= carried[1]
