"""Fleets in which no two devices are alike: what is left out, how many ways there are, and what several orders find."""

from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from splitplace.splitting.layerwise import orders, planner
from splitplace.splitting.layerwise.hosts import Host, count_states, kinds, states, useful
from splitplace.splitting.layerwise.lattice import Flow, Lattice, Work, lattice

NUMBERS = st.sampled_from([0.5, 1.0, 1.5, 2.0, 3.0])


def chain(costs: list[float], sizes: list[float]) -> Lattice:
    """The places of a chain of blocks with a tensor between two."""
    n = len(costs)
    flows = [Flow(i - 1, (i,), sizes[i % len(sizes)]) for i in range(n + 1)]
    work = Work(
        tuple(frozenset([i - 1] if i else []) for i in range(n)),
        np.array(costs),
        np.array(costs) * 10,
        np.zeros(n),
        tuple(flows),
        0.01,
    )
    return lattice(work, 1000)


@st.composite
def fleets(draw: st.DrawFn, most: int = 6) -> list[Host]:
    """Up to so many hosts, few or none of them alike."""
    rows = draw(st.lists(st.tuples(NUMBERS, NUMBERS, NUMBERS, NUMBERS, NUMBERS), min_size=2, max_size=most))
    return [Host(f"d{i}", a, 30 * b, 4 * c, 4 * d, e / 10) for i, (a, b, c, d, e) in enumerate(rows)]


@given(fleets(), st.integers(1, 4))
def test_ways_are_counted_as_they_are_listed(hosts: list[Host], fragments: int) -> None:
    """The count, the list, and the list of all combinations agree."""
    everything = product(*(range(len(group) + 1) for group in kinds(hosts)))
    expected = {state for state in everything if sum(state) <= fragments}
    found = list(states(hosts, fragments))
    assert set(found) == expected and len(found) == len(expected) == count_states(hosts, fragments)
    assert [sum(state) for state in found] == sorted(sum(state) for state in found)


def test_hundreds_of_unlike_hosts_are_counted_without_being_listed() -> None:
    """C(200, 0) + ... + C(200, 3); of hosts that differ in speed alone, as many as fragments are looked at."""
    hosts = [Host(f"d{i}", 1 + i / 100) for i in range(200)]
    assert count_states(hosts, 3) == 1 + 200 + 19_900 + 1_313_400
    assert [host.name for host in useful(hosts, 3)] == ["d197", "d198", "d199"]


@settings(deadline=None, max_examples=30)
@given(
    fleets(),
    st.lists(NUMBERS, min_size=2, max_size=5),
    st.lists(NUMBERS, min_size=1, max_size=3),
    st.integers(1, 3),
    st.sampled_from(["bottleneck", "latency", "fewest"]),
)
def test_hosts_that_are_left_out_change_no_optimum(
    hosts: list[Host], costs: list[float], sizes: list[float], fragments: int, objective: planner.Objective
) -> None:
    """The plan over the useful hosts is as good as the best over every choice of hosts."""
    places = chain(costs, sizes)

    def best(some: list[Host]) -> float | None:
        try:
            found = planner.plan(places, some, fragments, objective)
        except planner.InfeasibleError:
            return None
        return (
            found.latency_s
            if objective == "latency"
            else len(found.hosts) * 1000 * (objective == "fewest") + found.bottleneck_s
        )

    values = [
        best([host for host, used in zip(hosts, choice, strict=True) if used])
        for choice in product([0, 1], repeat=len(hosts))
        if 0 < sum(choice) <= fragments
    ]
    expected = min((value for value in values if value is not None), default=None)
    found = best(hosts)
    assert found == expected or found == pytest.approx(expected)


@settings(deadline=None, max_examples=30)
@given(
    fleets(),
    st.lists(NUMBERS, min_size=2, max_size=5),
    st.lists(NUMBERS, min_size=1, max_size=3),
    st.integers(1, 3),
    st.sampled_from(["bottleneck", "latency"]),
)
def test_one_order_is_searched_exactly(
    hosts: list[Host], costs: list[float], sizes: list[float], fragments: int, objective: str
) -> None:
    """Over all orders of the hosts the best of them is the optimum, and every chain keeps to its order and memory."""
    places = chain(costs, sizes)
    counts = list(range(1, min(fragments, len(hosts), len(costs)) + 1))
    try:
        exact = planner.plan(places, hosts, fragments, objective)  # type: ignore[arg-type]  # two of the three
    except planner.InfeasibleError:
        exact = None
    found = []
    for order in orders.orders(hosts, 40):
        if objective == "latency":
            at, used = orders.smallest_latency(places, order, counts)
        else:
            at, used = orders.smallest_bottleneck(places, order, counts, 0.0)
        if not used:
            continue
        assert [order.index(host) for host in used] == sorted(order.index(host) for host in used)
        slices = zip(at, at[1:], used, strict=False)
        assert all(places.memory_bytes_NN[i, j] <= host.memory_bytes for i, j, host in slices)
        made = planner.evaluate(places, at, used)
        found.append(made.latency_s if objective == "latency" else made.bottleneck_s)
    assert bool(found) == (exact is not None)
    if exact is not None:
        value = exact.latency_s if objective == "latency" else exact.bottleneck_s
        assert min(found) >= value * (1 - 1e-9)
        if len(hosts) <= 3:
            assert min(found) == pytest.approx(value, rel=1e-5)


def test_a_fleet_of_too_many_ways_is_planned_and_said_to_be_not_exact(monkeypatch: pytest.MonkeyPatch) -> None:
    """With room for few ways, several orders are tried: no worse than twice the optimum here, and not called exact."""
    rng = np.random.default_rng(3)
    hosts = [Host(f"d{i}", *rng.uniform(0.5, 2, 2) * [1, 100], *rng.uniform(5, 50, 2)) for i in range(9)]
    places = chain(rng.uniform(0.5, 2, 12).tolist(), [1.0, 3.0, 2.0])
    exact = planner.plan(places, hosts, 4, "bottleneck")
    assert planner.countable(places, hosts, 4)
    monkeypatch.setattr(planner, "MAX_STATES", 10)
    assert not planner.countable(places, hosts, 4)
    found = planner.plan(places, hosts, 4, "bottleneck")
    assert exact.bottleneck_s <= found.bottleneck_s * (1 + 1e-9) and found.bottleneck_s <= 2 * exact.bottleneck_s
    assert len(planner.plan(places, hosts, 4, "bottleneck", exactly=True).hosts) == 4
