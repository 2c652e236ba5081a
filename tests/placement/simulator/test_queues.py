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
    rules = {"discipline": "fifo", "parallelism": "inter"}
    run = by_hand(rows, fleet, world.constants({"core_s": (1.0,)}), "layer+random", intervals=500, **rules)
    waits = 2 * 0.7**2 / 1.7
    assert run.metrics.response_s.mean == pytest.approx(1 + waits / (2 - 1.4), rel=0.02)


@pytest.mark.parametrize(("parallel_share", "one_s"), [(0.0, 1.0), (0.8, 0.6), (1.0, 0.5)])
def test_all_cores_compute_one_micro_batch_after_another(world, by_hand, parallel_share, one_s):
    """Amdahl's law on two cores, for whoever is there; three take three times as long, whatever they gain."""
    fleet = world.fleet(world.device(cores=2))
    demand = world.constants({"core_s": (1.0,)}).model_copy(update={"parallel_share": parallel_share})
    alone = by_hand([(0, "a", 1000, 9)], fleet, demand, "layer+random", parallelism="intra")
    three = by_hand([(0, "a", 1000, 9)] * 3, fleet, demand, "layer+random", parallelism="intra")
    assert alone.tasks["response_s"].tolist() == pytest.approx([one_s])
    assert three.tasks["response_s"].tolist() == pytest.approx([3 * one_s] * 3)


def test_a_core_each_makes_no_task_faster(world, by_hand):
    """Three on two cores get two thirds of one each."""
    fleet = world.fleet(world.device(cores=2))
    demand = world.constants({"core_s": (1.0,)}).model_copy(update={"parallel_share": 0.8})
    alone = by_hand([(0, "a", 1000, 9)], fleet, demand, "layer+random", parallelism="inter")
    three = by_hand([(0, "a", 1000, 9)] * 3, fleet, demand, "layer+random", parallelism="inter")
    assert alone.tasks["response_s"].tolist() == pytest.approx([1.0])
    assert three.tasks["response_s"].tolist() == pytest.approx([1.5] * 3)


@pytest.mark.parametrize(("parallelism", "watts"), [("intra", 200.0), ("inter", 150.0)])
def test_whoever_computes_on_all_cores_draws_what_they_all_draw(world, by_hand, parallelism, watts):
    """100 W idle, 200 W with both of two cores busy; 1 s of work that gains nothing, in an interval of 100 s."""
    power_w = tuple(np.linspace(100.0, 200.0, 11))
    fleet, demand = world.fleet(world.device(cores=2, power_w=power_w)), world.constants({"core_s": (1.0,)})
    run = by_hand([(0, "a", 1000, 9)], fleet, demand, "layer+random", intervals=1, parallelism=parallelism)
    assert run.metrics.energy_j == pytest.approx(99 * 100.0 + watts)


def test_a_latecomer_slows_the_first_down_by_its_share(world, by_hand):
    """Shared core: A (3 s) alone for 1 s, then with B (1 s) at half speed each; B ends at 3 s, A at 4 s."""
    rows = [(0, "a", 3000, 9), (1, "a", 1000, 9)]
    run = by_hand(rows, world.fleet(world.device()), world.constants({"core_s": (1.0,)}), "layer+random")
    assert (run.tasks["arrival_s"] + run.tasks["response_s"]).tolist() == pytest.approx([4.0, 3.0])
