"""Which devices are looked at: in a large fleet those where a task would be done first, which is enough."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from splitplace.placement.joint import offers
from splitplace.placement.joint.joint import Joint
from splitplace.placement.plan import plan
from splitplace.records.action import Place

pytestmark = pytest.mark.base

SEMANTIC = 1


def large(view, seed: int, tasks: int, devices: int):
    """A fleet with devices of several speeds, on some of which a tree runs."""
    rng = np.random.default_rng(seed)
    taken = rng.choice(devices, devices // 2, replace=False).tolist()
    now = view(
        memory_bytes=(190.0,) * devices, deadlines_s=(40.0,) * (len(taken) + tasks), shares_fragments=False,
        used_bytes=tuple(40.0 * (device in taken) for device in range(devices)),
        split=(SEMANTIC,) * len(taken) + (-1,) * tasks,
        containers=tuple((task, fragment, device) for task, device in enumerate(taken) for fragment in (2, 3)),
    )  # fmt: skip
    speeds = rng.choice([1.0, 1.3, 2.0], devices)
    return replace(
        now, interval_s=1.0, fragments=replace(now.fragments, latency_s_FD=now.fragments.latency_s_FD * speeds)
    )


def placements(now) -> list[Place]:
    """Of a plan."""
    actions, _ = plan(Joint(), now, Joint().init(now), np.random.default_rng(0))
    return [action for action in actions if isinstance(action, Place)]


@settings(max_examples=10, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(seed=st.integers(0, 99), tasks=st.integers(1, 40))
def test_looking_at_a_part_of_a_large_fleet_is_enough(view, monkeypatch, seed, tasks):
    """The plan is that of looking at all of it, also after more placements than devices were looked out for at once."""
    now = large(view, seed, tasks, 100)
    with monkeypatch.context() as changed:
        changed.setattr(offers, "AHEAD", 8)
        some = placements(now)
    assert some == placements(now)
    assert len(some) >= tasks


def test_what_fits_none_of_them_is_looked_for_everywhere(view, monkeypatch):
    """The only device with room for both parts is the slowest of a hundred."""
    monkeypatch.setattr(offers, "AHEAD", 8)
    now = view(memory_bytes=(10.0,) * 99 + (100.0,), deadlines_s=(90.0,), shares_fragments=False)
    slow = np.append(np.ones(99), 2.0)
    now = replace(now, fragments=replace(now.fragments, latency_s_FD=now.fragments.latency_s_FD * slow))
    assert {action.device for action in placements(now)} == {99}
