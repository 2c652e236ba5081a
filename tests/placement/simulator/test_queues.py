"""Simulated queues against the formulas of queueing theory, within 2 %."""

import numpy as np
import pytest

from splitplace.placement.registry import parse_policy
from splitplace.placement.simulator.run import simulate

pytestmark = pytest.mark.base


def mean_response(world, scenario, demand, cores, intervals):
    """Mean response of a one-fragment split on one device."""
    fleet = world.fleet(world.device(cores=cores))
    run = simulate(scenario, fleet, demand, parse_policy("layer+random"), intervals)
    # Without the first tenth, while the empty device fills up.
    rows = run.tasks["finished"] & (run.tasks["arrival_s"] > 10 * intervals)
    return float(run.tasks["response_s"][rows].mean())


@pytest.mark.slow
@pytest.mark.parametrize("rho", [0.5, 0.7])
def test_md1_shared(world, rho):
    """M/D/1 under processor sharing: s / (1 - ρ), whatever the service distribution."""
    service_s = 1.0
    scenario = world.scenario(workload=world.poisson(rate=100 * rho / service_s, n=1000))
    found = mean_response(world, scenario, world.constants({"core_s": (service_s,)}, micro_batch=1000), 1, 400)
    assert found == pytest.approx(service_s / (1 - rho), rel=0.02)


@pytest.mark.slow
@pytest.mark.parametrize("rho", [0.5, 0.7])
def test_md1_in_order(world, rho):
    """M/D/1 first come, first served: s + ρ s / 2 (1 - ρ) (Pollaczek-Khinchine)."""
    scenario = world.scenario(workload=world.poisson(rate=100 * rho, n=1000), discipline="fifo")
    found = mean_response(world, scenario, world.constants({"core_s": (1.0,)}, micro_batch=1000), 1, 400)
    assert found == pytest.approx(1 + rho / (2 * (1 - rho)), rel=0.02)


def exponential_rows(rho, count, seed=1):
    """Poisson arrivals of tasks whose images, and so service, are exponential with a mean of 1 s."""
    rng = np.random.default_rng(seed)
    arrivals = np.cumsum(rng.exponential(1 / rho, count))
    sizes = np.maximum(np.rint(rng.exponential(1000, count)), 1).astype(int)
    return [(float(t), "a", int(n), 1e3) for t, n in zip(arrivals, sizes, strict=True)]


@pytest.mark.slow
def test_mm1_shared(world, by_hand):
    """M/M/1 under processor sharing: 1 / (μ - λ)."""
    rows = exponential_rows(0.5, 60_000)
    fleet = world.fleet(world.device())
    run = by_hand(rows, fleet, world.constants({"core_s": (1.0,)}), "layer+random", intervals=1300)
    assert run.metrics.tasks.finished == 60_000
    assert run.metrics.response_s.mean == pytest.approx(2.0, rel=0.02)


@pytest.mark.slow
def test_mm2_in_order(world, by_hand):
    """M/M/2 first come, first served at ρ = 0.7: Erlang's C gives 1 + C / (2 - λ) with C = 2ρ²/(1+ρ)."""
    rows = exponential_rows(1.4, 60_000)
    fleet = world.fleet(world.device(cores=2))
    run = by_hand(rows, fleet, world.constants({"core_s": (1.0,)}), "layer+random", intervals=500, discipline="fifo")
    waits = 2 * 0.7**2 / 1.7
    assert run.metrics.response_s.mean == pytest.approx(1 + waits / (2 - 1.4), rel=0.02)


def test_two_cores_do_not_make_one_task_faster(world, by_hand):
    """A fragment runs on one core at most; three on two cores get two thirds of one each."""
    fleet = world.fleet(world.device(cores=2))
    demand = world.constants({"core_s": (1.0,)})
    alone = by_hand([(0, "a", 1000, 9)], fleet, demand, "layer+random")
    three = by_hand([(0, "a", 1000, 9)] * 3, fleet, demand, "layer+random")
    assert alone.tasks["response_s"].tolist() == pytest.approx([1.0])
    assert three.tasks["response_s"].tolist() == pytest.approx([1.5] * 3)


def test_a_latecomer_slows_the_first_down_by_its_share(world, by_hand):
    """Shared core: A (3 s) alone for 1 s, then with B (1 s) at half speed each; B ends at 3 s, A at 4 s."""
    rows = [(0, "a", 3000, 9), (1, "a", 1000, 9)]
    run = by_hand(rows, world.fleet(world.device()), world.constants({"core_s": (1.0,)}), "layer+random")
    assert (run.tasks["arrival_s"] + run.tasks["response_s"]).tolist() == pytest.approx([4.0, 3.0])
