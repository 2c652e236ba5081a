"""The exact placer against brute force, and its limits."""

import itertools
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from splitplace.errors import SplitPlaceError
from splitplace.placement.placers.exact import Exact
from splitplace.placement.policy import PlacementRequest
from splitplace.records.action import Place, Wait

pytestmark = pytest.mark.sim

CHAIN, BRANCHES = (0, 1), (2, 3)
SERVICE, MEMORY = (10.0, 5.0, 2.0, 2.0), (60, 30, 20, 20)


def brute_force(memory, backlog, requests):
    """The least of T + mean load over all placements of all requests; None if they do not all fit."""
    containers = [f for request in requests for f in request.fragments]
    best = None
    for devices in itertools.product(range(len(memory)), repeat=len(containers)):
        load, used = list(backlog), [0] * len(memory)
        for fragment, device in zip(containers, devices, strict=True):
            load[device] += SERVICE[fragment]
            used[device] += MEMORY[fragment]
        if all(u < m for u, m in zip(used, memory, strict=True)):
            cost = max(load) + sum(load) / len(load)
            best = cost if best is None else min(best, cost)
    return best


@settings(max_examples=25, deadline=None)
@given(
    memory=st.lists(st.integers(1, 20).map(lambda tens: 10.0 * tens + 1), min_size=1, max_size=3),
    backlog=st.lists(st.integers(0, 20), min_size=3, max_size=3),
    chains=st.lists(st.booleans(), min_size=1, max_size=2),
)
def test_it_finds_the_optimum(view, memory, backlog, chains):
    """Against every placement there is; where all fit, nobody waits, and the bound is the optimum."""
    backlog = [float(b) for b in backlog[: len(memory)]]
    requests = [
        PlacementRequest(row, 0 if chain else 1, CHAIN if chain else BRANCHES) for row, chain in enumerate(chains)
    ]
    now = view(memory_bytes=tuple(memory), deadlines_s=(9.0,) * len(chains), shares_fragments=False)
    now = replace(now, devices=replace(now.devices, backlog_s_D=np.array(backlog)))
    optimum = brute_force(memory, backlog, requests)
    found = Exact().solve(now, requests)
    waits = any(isinstance(action, Wait) for action in found.actions)
    assert waits == (optimum is None)
    assert found.bound_s <= found.objective_s + 1e-6
    if optimum is not None:
        assert found.objective_s == pytest.approx(optimum)
        assert found.bound_s == pytest.approx(optimum)


def test_shared_fragments_are_paid_for_once(view):
    """Two chains need 90 bytes where tasks share a loaded fragment, and do not fit where they do not."""
    requests = [PlacementRequest(0, 0, CHAIN), PlacementRequest(1, 0, CHAIN)]
    rng = np.random.default_rng(0)
    shared = view(memory_bytes=(91.0,), deadlines_s=(9.0, 9.0))
    assert all(isinstance(a, Place) for a in Exact().place(None, shared, requests, rng))
    apart = view(memory_bytes=(91.0,), deadlines_s=(9.0, 9.0), shares_fragments=False)
    kinds = [type(a).__name__ for a in Exact().place(None, apart, requests, rng)]
    assert sorted(kinds) == ["Place", "Place", "Wait", "Wait"]


def test_it_refuses_a_large_fleet_and_takes_no_request(view):
    """Eleven devices are too many; nothing to place is nothing to solve."""
    with pytest.raises(SplitPlaceError, match="up to 10 devices, got 11"):
        Exact().init(view(memory_bytes=(9.0,) * 11))
    assert Exact().place(None, view(), [], np.random.default_rng(0)) == []


def test_a_device_that_is_down_gets_nothing(view):
    """Even if it is the only one with room."""
    now = view(memory_bytes=(100.0, 10.0), up=(False, True), deadlines_s=(9.0,))
    actions = Exact().place(None, now, [PlacementRequest(0, 0, CHAIN)], np.random.default_rng(0))
    assert actions == [Wait(100, 0), Wait(100, 1)]
