"""Deadlines around what splits take alone."""

import numpy as np
import pytest

from splitplace.errors import SplitPlaceError
from splitplace.placement.registry import parse_policy
from splitplace.placement.simulator.deadlines import deadlines
from splitplace.placement.simulator.demands import build
from splitplace.placement.simulator.run import simulate
from splitplace.placement.simulator.scenario import Workload

pytestmark = pytest.mark.base

CHAIN = {"core_s": (10.0, 20.0), "output_bytes": (50_000.0, 0.0), "input_bytes_per_sample": 1}
SMALL = {"core_s": (6.0,), "strategy": "compressed", "input_bytes_per_sample": 1}
BRANCHES = {"core_s": (4.0, 8.0), "strategy": "semantic", "shape": "parallel", "input_bytes_per_sample": 1}


def ends(world, device, *splits, memory_bytes=1, parallel_share=0.0, **changes):
    """The shortest and the longest deadline of 1000 images, for a range of exactly fastest to slowest."""
    scenario = world.scenario(workload=Workload(rate=1.0, deadline_straddle=(1.0, 1.0)), **changes)
    demand = world.constants(*splits, memory_bytes=memory_bytes).model_copy(update={"parallel_share": parallel_share})
    costs = build(demand, (device,), threads=scenario.threads)
    zeros = np.zeros(2, np.int64)
    return deadlines(scenario, (device,), costs, zeros, zeros + 1000, np.array([0.0, 1.0])).tolist()


def test_the_fastest_and_the_slowest_split_are_the_ends(world):
    """A chain of 30 s gathered on its device, a compressed model of 6 s; 1000 bytes in at 1000 bytes/s, rtt of 1 s."""
    device = world.device(down_bytes_per_s=1000.0, up_bytes_per_s=1000.0, rtt_s=1.0)
    assert ends(world, device, CHAIN, SMALL) == pytest.approx([1 + 0.5 + 6 + 0.5, 1 + 0.5 + 30 + 0.5])


def test_what_does_not_fit_on_one_device_is_taken_apart(world):
    """Room for one fragment: the chain's 50 kB pass between hosts, 50 s and a round trip."""
    device = world.device(memory_bytes=10, down_bytes_per_s=1000.0, up_bytes_per_s=1000.0, rtt_s=1.0)
    assert ends(world, device, CHAIN, memory_bytes=6) == pytest.approx([1.5 + 30 + 51 + 0.5] * 2)


@pytest.mark.parametrize(("cores", "gathered_s"), [(1, 2 + 12.0), (2, 2 + 8.0)])
def test_branches_side_by_side_as_far_as_there_are_cores(world, cores, gathered_s):
    """4 and 8 s on one core or two, both inputs over one downlink: a device each is as quick but for one core."""
    device = world.device(cores=cores, down_bytes_per_s=1000.0)
    assert ends(world, device, BRANCHES, parallelism="inter") == pytest.approx([min(gathered_s, 1 + 8.0)] * 2)


def test_all_cores_of_the_median_device_compute_in_turns(world):
    """Two cores that share four fifths of all work: a chain of 30 s in 18, gathered; the ends follow."""
    device = world.device(cores=2)
    found = ends(world, device, CHAIN, SMALL, parallel_share=0.8, parallelism="intra")
    assert found == pytest.approx([6 * 0.6, 30 * 0.6])


def test_the_brokers_card_is_counted(world):
    """Both branches' inputs at 100 bytes/s: 20 s, wherever they run."""
    assert ends(world, world.device(cores=2), BRANCHES, broker_bytes_per_s=100.0) == pytest.approx([28.0] * 2)


def test_alone_on_an_idle_fleet_the_longest_deadline_is_met_and_nothing_meets_much_less(world, by_hand):
    """The engine's own response of the slowest split, gathered, is what the deadline says."""
    device = world.device(down_bytes_per_s=1000.0, up_bytes_per_s=1000.0, rtt_s=1.0)
    run = by_hand([(0, "a", 1000, 1e3)], world.fleet(device), world.constants(CHAIN, SMALL), "layer+random")
    assert run.tasks["response_s"].tolist() == pytest.approx(ends(world, device, CHAIN, SMALL)[1:])


def test_a_run_draws_them_between_the_ends(world):
    """Uniform, of a thousand tasks."""
    workload = Workload(rate=1000.0, batch=(1000, 1000), deadline_straddle=(0.5, 2.0))
    run = simulate(
        world.scenario(workload=workload), world.fleet(world.device()), world.constants(CHAIN, SMALL),
        parse_policy("layer+random"), 1,
    )  # fmt: skip
    found = run.tasks["deadline_s"]
    assert (found.min(), found.max()) == pytest.approx((3.0, 60.0), abs=1.0)
    assert found.mean() == pytest.approx(31.5, abs=2.0)


def test_one_way_to_state_deadlines():
    """Two are refused when the workload is read."""
    with pytest.raises((SplitPlaceError, ValueError), match="exactly one of deadline_intervals"):
        Workload(rate=1.0, deadline_straddle=(0.5, 2.0), deadline_relative=(0.5, 2.0))
