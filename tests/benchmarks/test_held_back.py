"""A simulated fleet that starts as many tasks as a live broker would: against the simulator that starts all."""

import pytest

from splitplace.benchmarks.held_back import HeldBack
from splitplace.benchmarks.live_and_simulated import Overheads, simulated_stream
from splitplace.placement.broker.dispatch import ENOUGH_A_DEVICE
from splitplace.placement.registry import parse_policy
from splitplace.placement.simulator.demands import load_demand
from splitplace.placement.simulator.shipped import load_fleet
from splitplace.records.demand import Demand

NOTHING = Overheads(0.0, 0.0, 0.0)


def stream_of(strategy, rows, count=1):
    """What became of tasks of one split on so many equal hosts, and what a micro-batch takes through one."""
    measured = load_demand("measured")
    entry = next(each for each in measured.splits if each.split.strategy == strategy)
    demand = Demand(splits=(entry,), provenance=measured.provenance)
    host = load_fleet("azure10").units()[0]
    hosts = tuple(host.model_copy(update={"name": f"h{row}"}) for row in range(count))
    each_s = sum(entry.latency_s(fragment.name, host) for fragment in entry.split.fragments)
    rows = [(at_s, batches * entry.micro_batch) for at_s, batches in rows]
    policy = parse_policy(f"{strategy}+least-loaded")
    return simulated_stream(hosts, demand, policy, "pipelined", rows, NOTHING), each_s


def test_as_many_start_as_a_broker_starts():
    """Eight tasks of a hundred micro-batches at once on one device: two run, the others wait until one has ended."""
    found, each_s = stream_of("full", [(0.0, 100)] * 8)
    waiting = sorted(found["wait_s"].tolist())
    assert waiting[:ENOUGH_A_DEVICE] == pytest.approx([0.0] * ENOUGH_A_DEVICE, abs=1e-6)
    assert waiting[ENOUGH_A_DEVICE] > 100 * each_s
    assert 800 * each_s < max(found["response_s"]) < 900 * each_s  # the device idles at the begin alone


def test_short_ones_are_not_held_back():
    """A micro-batch each: all are started, since none makes another one wait for a quarter of a second."""
    found, each_s = stream_of("full", [(0.0, 1)] * 4)
    assert 3 * each_s < 0.25
    assert found["wait_s"].tolist() == pytest.approx([0.0] * 4, abs=1e-6)


@pytest.mark.slow
def test_one_at_a_time_nobody_waits():
    """A chain on two devices, each task long after the one before: as without anybody who holds back."""
    found, _ = stream_of("layer", [(1000.0 * row, 3) for row in range(3)], count=2)
    assert found["wait_s"].tolist() == pytest.approx([0.0] * 3, abs=1e-6)


def test_it_is_called_as_the_other():
    """Results say which policy ran."""
    measured = load_demand("measured")
    inner = parse_policy("full+least-loaded")
    assert HeldBack(inner, measured, load_fleet("azure10").units(), "strict").name == inner.name
