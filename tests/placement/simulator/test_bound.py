"""The bound on the reward: by hand, and no policy above it."""

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from splitplace.placement.deciders.oracle import Oracle
from splitplace.placement.placers.random import RandomPlacer
from splitplace.placement.policy import Composed
from splitplace.placement.registry import DECIDERS, parse_policy
from splitplace.placement.simulator.bound import reward_bound
from splitplace.placement.simulator.demands import load_demand
from splitplace.placement.simulator.run import simulate
from splitplace.placement.simulator.scenario import CpuLimit, NetworkShift, Workload
from splitplace.placement.simulator.shipped import load_fleet, load_scenario, scale
from splitplace.records.device import FleetSpec

pytestmark = pytest.mark.base


def one_task(world, tmp_path, deadline_s, **changes):
    """A chain of 10 and 5 s a 1000 images, or branches of 20 s: 1000 images at 100 bytes/s, an rtt of 2 s."""
    path = tmp_path / "trace.csv"
    path.write_text(f"arrival_s,application,n,deadline_s\n0,a,1000,{deadline_s}\n")
    chosen = world.scenario(workload=Workload(trace=str(path)), **changes)
    demand = world.constants(
        {"core_s": (10.0, 5.0), "input_bytes_per_sample": 1, "output_bytes": (7.0, 0.0), "top1": 1.0},
        {"core_s": (20.0, 20.0), "strategy": "semantic", "shape": "parallel", "top1": 1.0},
    )
    fleet = FleetSpec(name="two", devices=(world.device(down_bytes_per_s=100.0, rtt_s=2.0, count=2),))
    return chosen, fleet, demand


@pytest.mark.parametrize(
    ("deadline_s", "changes", "bound"),
    [
        (21.9, {}, 0.5),  # branches: 1 + 20 + 1
        (22.1, {}, 1.0),
        (24.9, {"scheduling_delay_s": 3.0}, 0.5),
        (25.1, {"scheduling_delay_s": 3.0}, 1.0),
        (19.9, {"network": (NetworkShift(time_s=50.0, bandwidth_factor=9.0, rtt_factor=0.5),)}, 1.0),  # chain
        (13.9, {"cpu_limits": {"k": CpuLimit(share=0.2, period_s=10.0)}}, 0.5),  # branches: 20 s less 8
        (14.1, {"cpu_limits": {"k": CpuLimit(share=0.2, period_s=10.0)}}, 1.0),
        (10.9, {"precedence": "pipelined"}, 0.5),
        (11.1, {"precedence": "pipelined"}, 1.0),
    ],
)
def test_the_bound_of_one_task(world, tmp_path, deadline_s, changes, bound):
    """Chain: 10 + 1 s in, 15 s, 1 s back; branches: 1 s, 20 s, 1 s. Just missed is worth p / 2, else (1 + p) / 2."""
    assert reward_bound(*one_task(world, tmp_path, deadline_s, **changes), intervals=2) == pytest.approx(bound)


def test_the_bound_is_of_the_scored_tasks_alone(world, tmp_path):
    """Two of a chain of 15 s each: one is due after the end, so only the one that cannot be met is left."""
    scenario, fleet, demand = one_task(world, tmp_path, 20.0)
    path = tmp_path / "trace.csv"
    path.write_text(path.read_text() + "0,a,1000,999\n")
    scenario = scenario.model_copy(update={"workload": Workload(trace=str(path))})
    assert reward_bound(scenario, fleet, demand, intervals=2) == pytest.approx(0.5)
    assert np.isnan(reward_bound(scenario.model_copy(update={"startup_s": 1.0}), fleet, demand, intervals=2))


@pytest.mark.slow
@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    decider=st.sampled_from(sorted(DECIDERS.shipped)),
    placer=st.sampled_from(["random", "least-loaded", "best-fit", "daso"]),
    size=st.integers(1, 6),
    utilisation=st.sampled_from([0.02, 0.3, 1.5]),
    slack=st.sampled_from([(0.05, 0.4), (0.3, 2.0)]),
    changes=st.sampled_from([{}, {"precedence": "pipelined"}, {"inputs": "ring"}, {"tick": "interval"}]),
    shift=st.sampled_from([(), (NetworkShift(time_s=15.0, bandwidth_factor=4.0, rtt_factor=0.5),)]),
    seed=st.integers(0, 99),
)
def test_no_policy_is_above_the_bound(decider, placer, size, utilisation, slack, changes, shift, seed):
    """The clairvoyant oracle among them, on small fleets, idle and overloaded, with any luck."""
    scenario = load_scenario("measured-50")
    workload = scenario.workload.model_copy(update={"utilisation": utilisation, "deadline_relative": slack})
    scenario = scenario.model_copy(update={"workload": workload, "startup_s": 3.0, "network": shift, **changes})
    fleet, demand = scale(load_fleet("azure50-fastnet"), size), load_demand("measured")
    run = simulate(scenario, fleet, demand, parse_policy(f"{decider}+{placer}"), 6, seed)
    if run.metrics.reward is not None:
        assert run.metrics.reward <= reward_bound(scenario, fleet, demand, 6, seed) + 1e-12


def test_the_bound_is_reached_where_nobody_is_in_the_way(world, by_hand):
    """One device, one task, no link: the oracle gets all there is."""
    demand = world.constants({"core_s": (4.0,), "top1": 0.5}, micro_batch=1000)
    run = by_hand([(0, "a", 1000, 5)], world.fleet(world.device()), demand, Composed(Oracle(), RandomPlacer()))
    assert run.metrics.reward == pytest.approx((1 + run.tasks["p"][0]) / 2)
