"""Pipelines, joins, shared links and migration against sums done by hand."""

import numpy as np
import pytest

from splitplace.placement.simulator.costs import Costs
from splitplace.placement.simulator.engine import SimulationEngine
from splitplace.placement.simulator.scenario import DeviceEvent
from splitplace.placement.simulator.state import World
from splitplace.records.view import Fragments, Splits

pytestmark = pytest.mark.base


def responses(run):
    """Seconds by task."""
    return run.tasks["response_s"].tolist()


STAGES_S = (1.0, 3.0, 2.0)


@pytest.mark.parametrize(
    ("precedence", "grain", "expected"),
    [
        ("strict", 1, 10 * sum(STAGES_S)),
        ("pipelined", 1, sum(STAGES_S) + 9 * max(STAGES_S)),
        ("pipelined", 5, 5 * (sum(STAGES_S) + max(STAGES_S))),
    ],
)
def test_a_chain_strict_and_pipelined(world, by_hand, precedence, grain, expected):
    """Ten micro-batches through three devices: B Σs if strict, Σs + (B-1) max s if pipelined."""
    demand = world.constants({"core_s": tuple(10 * s for s in STAGES_S)}, micro_batch=100)
    fleet = world.fleet(world.device(count=3))
    rows = [(0, "a", 1000, 9)]
    run = by_hand(rows, fleet, demand, world.spread(), precedence=precedence, pipeline_grain=grain)
    assert responses(run) == pytest.approx([expected])


@pytest.mark.parametrize(
    ("precedence", "expected"),
    [("strict", 10 * (sum(STAGES_S) + 3 * 0.25)), ("pipelined", sum(STAGES_S) + 9 * max(STAGES_S) + 12 * 0.25)],
)
def test_handing_over_a_micro_batch_takes_a_device(world, by_hand, precedence, expected):
    """Half a second on a core of speed 1, a quarter on these, beside each of the runs above."""
    demand = world.constants({"core_s": tuple(20 * s for s in STAGES_S)}, micro_batch=100)
    fleet = world.fleet(world.device(count=3, core_speed=2.0))
    rows = [(0, "a", 1000, 9)]
    run = by_hand(rows, fleet, demand, world.spread(), precedence=precedence, handover_s=0.5)
    assert responses(run) == pytest.approx([expected])


def test_moving_bytes_takes_both_devices_and_only_where_they_move(world, by_hand):
    """8 bytes an image in, 4 on, 2 back, .01 s each on cores of speed 2: 1000 images."""
    demand = world.constants(
        {"core_s": (20.0, 20.0), "input_bytes_per_sample": 8, "output_bytes": (4e3, 2e3)}, micro_batch=1000
    )
    fleet = world.fleet(world.device(count=2, core_speed=2.0))
    rules = {"handover_s_per_byte": 0.01}
    apart = by_hand([(0, "a", 1000, 99)], fleet, demand, world.spread(), **rules)
    assert responses(apart) == pytest.approx([10.0 + (8 + 4) * 5.0 + 10.0 + (4 + 2) * 5.0], rel=1e-6)
    together = by_hand([(0, "a", 1000, 99)], fleet, demand, "layer+gathered", **rules)
    assert responses(together) == pytest.approx([10.0 + 8 * 5.0 + 10.0 + 2 * 5.0], rel=1e-6)


def test_parallel_fragments_join_at_the_slowest(world, by_hand):
    """Three branches of 1, 5 and 2 s on three devices answer after 5 s."""
    demand = world.constants({"core_s": (1.0, 5.0, 2.0), "shape": "parallel"}, micro_batch=1000)
    run = by_hand([(0, "a", 1000, 9)], world.fleet(world.device(count=3)), demand, world.spread())
    assert responses(run) == pytest.approx([5.0])


def diamond(count):
    """Trunk 0 (1 s) feeds 1 (2 s, 100 bytes) and 2 (5 s, 300 bytes), which both feed 3 (1 s), on `count` devices."""
    latency_FD = np.repeat([[1.0], [2.0], [5.0], [1.0]], count, axis=1)
    src, dst, size = np.array([(-1, 0, 0), (0, 1, 100), (0, 2, 300), (1, 3, 0), (2, 3, 0)]).T
    one, four = np.zeros(1, np.int64), np.zeros(4, np.int64)
    return Costs(
        applications=("a",),
        splits=Splits(("a.m.layer",), one, ("layer",), one, np.array([4]), np.array([0.5])),
        fragments=Fragments(four, four + 1, latency_FD, np.ones((4, count)), four, src, dst, size),
        load_s_FD=np.zeros((4, count)),
        output_bytes_F=four,
        runtime_base_bytes_D=np.zeros(count),
    )


def test_a_diamond_joins_when_both_branches_have_arrived(world):
    """One sample, uplink of 100 bytes/s: the 100 bytes share it and end after 2 s, the 300 after 4; then 5 and 1 s."""
    devices = world.fleet(world.device(count=4, up_bytes_per_s=100.0)).units()
    scenario = world.scenario(workload=world.poisson(1.0, 1))
    engine = SimulationEngine(World(scenario, devices, diamond(4), np.array([1]), np.array([0])))
    engine.arrive()
    engine.decide(0, 0, 0)
    for c in range(4):
        engine.place(c, c)
    engine.settle()
    while engine.step(1000.0):
        pass
    assert engine.containers.start_s == pytest.approx([0.0, 3.0, 5.0, 11.0 - 1.0])
    assert engine.tasks.finish_s == pytest.approx([11.0])


def test_two_transfers_share_an_uplink_and_the_rest_goes_to_the_longer(world, by_hand):
    """Outputs of 100 and 300 bytes leave one device of 10 bytes/s together: 20 s for one, 40 s for the other."""
    demand = world.constants({"core_s": (1.0,), "output_bytes": (1000.0,)}, micro_batch=10_000)
    rows = [(0, "a", 100, 99), (0, "a", 300, 99)]
    fleet = world.fleet(world.device(cores=2, up_bytes_per_s=10.0))
    run = by_hand(rows, fleet, demand, world.spread(), parallelism="inter")
    assert responses(run) == pytest.approx([10.0 + 20.0, 10.0 + 40.0])  # a micro-batch of 10,000 takes 10 s


def test_a_transfer_moves_at_its_slower_end(world, by_hand):
    """Uplink 1000, downlink 100 bytes/s: 1000 bytes take 10 s; each hop adds half the rtt of both ends."""
    demand = world.constants({"core_s": (1.0, 1.0), "output_bytes": (1000.0, 0.0)}, micro_batch=1000)
    devices = (
        world.device(name="from", up_bytes_per_s=1000.0, rtt_s=0.2),
        world.device(name="to", down_bytes_per_s=100.0, rtt_s=0.6),
    )
    run = by_hand([(0, "a", 1000, 99)], world.fleet(*devices), demand, world.spread())
    hops = 0.1 + 0.4 + 0.3
    assert responses(run) == pytest.approx([1.0 + 10.0 + 1.0 + hops])
    assert run.metrics.transfer_s.mean == pytest.approx(10.0 + hops)


def test_a_finite_broker_is_shared_by_broadcast_and_relieved_by_a_ring(world, by_hand):
    """1000 bytes to three devices from a card of 10 bytes/s: 300 s by broadcast; by ring 100 s, then on at 1000/s."""
    demand = world.constants(
        {"core_s": (1e-9,) * 3, "shape": "parallel", "input_bytes_per_sample": 1}, micro_batch=1000
    )
    fleet = world.fleet(world.device(count=3, up_bytes_per_s=1000.0, down_bytes_per_s=1000.0))
    rows = [(0, "a", 1000, 999)]
    broadcast = by_hand(rows, fleet, demand, world.spread(), broker_bytes_per_s=10.0)
    ring = by_hand(rows, fleet, demand, world.spread(), broker_bytes_per_s=10.0, inputs="ring")
    assert responses(broadcast) == pytest.approx([300.0])
    assert responses(ring) == pytest.approx([100.0 + 1.0 + 1.0])


def test_migration_keeps_whole_micro_batches_and_pays_for_the_state(world, by_hand):
    """10 micro-batches of 30 s; at 100 s three are done. 500 bytes of memory move at 10 bytes/s; seven remain."""
    demand = world.constants({"core_s": (300.0,)}, micro_batch=100, memory_bytes=500)
    fleet = world.fleet(world.device(count=2, up_bytes_per_s=10.0))
    run = by_hand([(0, "a", 1000, 999)], fleet, demand, world.spread(move_at=100.0))
    assert responses(run) == pytest.approx([100.0 + 50.0 + 7 * 30.0])
    assert run.metrics.migrate_s.mean == pytest.approx(50.0)
    assert run.fragments["device"].tolist() == [1]


def test_a_failed_device_loses_its_work_and_a_dead_parents_output_is_computed_again(world, by_hand):
    """Chain 0 -> 1, 10 s each. Device 0 fails at 12 s, its output handed on; device 1 at 15 s: both run again."""
    demand = world.constants({"core_s": (10.0, 10.0)}, micro_batch=1000)
    events = (
        {"time_s": 12.0, "device": "d-0", "kind": "fail"},
        {"time_s": 15.0, "device": "d-1", "kind": "fail"},
    )
    run = by_hand([(0, "a", 1000, 99)], world.fleet(world.device(count=3)), demand, world.spread(), events=events)
    assert responses(run) == pytest.approx([15.0 + 20.0])
    assert run.fragments["device"].tolist() == [2, 2]


def test_what_was_handed_on_survives_its_maker(world, by_hand):
    """Device 0 fails after its output has left: nothing is lost."""
    demand = world.constants({"core_s": (10.0, 10.0)}, micro_batch=1000)
    events = ({"time_s": 12.0, "device": "d-0", "kind": "fail"},)
    run = by_hand([(0, "a", 1000, 99)], world.fleet(world.device(count=2)), demand, world.spread(), events=events)
    assert responses(run) == pytest.approx([20.0])


def test_a_leaving_device_finishes_what_it_has_and_then_draws_no_power(world, by_hand):
    """It leaves at 5 s with 10 s of work: on for 10 s at 100 W, and the second task waits for the device that joins."""
    demand = world.constants({"core_s": (10.0,)}, micro_batch=1000)
    events = (
        {"time_s": 5.0, "device": "d-0", "kind": "leave"},
        {"time_s": 50.0, "device": "d-1", "kind": "join"},
    )
    policy = "layer+random"
    rows = [(0, "a", 1000, 99), (20, "a", 1000, 99)]
    run = by_hand(rows, world.fleet(world.device(count=2)), demand, policy, events=events, intervals=1)
    assert responses(run) == pytest.approx([10.0, 40.0])
    assert run.tasks["wait_s"].tolist() == pytest.approx([0.0, 30.0])
    assert run.metrics.energy_j == pytest.approx(100.0 * (10.0 + 50.0))


def test_memory_is_a_hard_limit_and_the_queue_moves_when_it_comes_free(world, by_hand):
    """Room for one container: three tasks of 10 s run one after another, each waiting for the one before."""
    demand = world.constants({"core_s": (10.0,)}, micro_batch=1000, memory_bytes=600)
    fleet = world.fleet(world.device(cores=4, memory_bytes=1000))
    run = by_hand([(0, "a", 1000, 99)] * 3, fleet, demand, "layer+least-loaded")
    assert responses(run) == pytest.approx([10.0, 20.0, 30.0])
    assert run.tasks["wait_s"].tolist() == pytest.approx([0.0, 10.0, 20.0])


def test_swap_slows_a_device_by_the_share_that_is_swapped(world, by_hand):
    """Three containers of 500 bytes on 1000: a third is swapped, 10 times slower, so the pace is 1 / (1 + 9/3)."""
    demand = world.constants({"core_s": (10.0,)}, micro_batch=1000, memory_bytes=500)
    fleet = world.fleet(world.device(cores=3, memory_bytes=1000))
    swap = {"fraction": 1.0, "slowdown": 10.0}
    run = by_hand([(0, "a", 1000, 99)] * 3, fleet, demand, "layer+random", swap=swap, parallelism="inter")
    assert responses(run) == pytest.approx([40.0] * 3)


@pytest.mark.parametrize(("weights", "loads"), [("container", 2), ("shared", 2), ("warm", 1)])
def test_weights_load_once_a_container_or_stay(world, by_hand, weights, loads):
    """Loading takes 5 s from the disk; a second task, later, pays for it again unless the weights stayed."""
    demand = world.constants({"core_s": (10.0,), "weight_bytes": 500}, micro_batch=1000)
    fleet = world.fleet(world.device(disk_bytes_per_s=100.0))
    rows = [(0, "a", 1000, 99), (50, "a", 1000, 99)]
    run = by_hand(rows, fleet, demand, "layer+random", weights=weights)
    assert sum(responses(run)) == pytest.approx(20.0 + 5.0 * loads)


def test_idle_warm_weights_give_way(world, by_hand):
    """Two applications of 600 bytes each on 1000: the second evicts the first, and both are answered."""
    split = {"core_s": (10.0,), "weight_bytes": 100}
    demand = world.constants(split, split | {"application": "b"}, micro_batch=1000, memory_bytes=600)
    rows = [(0, "a", 1000, 99), (50, "b", 1000, 99)]
    run = by_hand(rows, world.fleet(world.device(memory_bytes=1000)), demand, "layer+random", weights="warm")
    assert responses(run) == pytest.approx([10.0, 10.0])


def test_interval_tick_rounds_every_fragment_up(world, by_hand):
    """Three fragments of 10 s, seen at interval starts only: three intervals of 100 s; event by event, 30 s."""
    demand = world.constants({"core_s": (10.0, 10.0, 10.0)}, micro_batch=1000)
    fleet = world.fleet(world.device(count=3))
    ticked = by_hand([(0, "a", 1000, 999)], fleet, demand, "layer+random", tick="interval", place="ready")
    exact = by_hand([(0, "a", 1000, 999)], fleet, demand, "layer+random")
    assert responses(ticked) == pytest.approx([300.0])
    assert responses(exact) == pytest.approx([30.0])


def test_startup_and_scheduling_delay_hold_a_task_up(world, by_hand):
    """Images arrive after 30 s; each plan takes effect 2 s later: planned at 0 in vain, again at 30, placed at 32."""
    demand = world.constants({"core_s": (10.0,)}, micro_batch=1000)
    fleet = world.fleet(world.device())
    run = by_hand([(0, "a", 1000, 99)], fleet, demand, "layer+random", startup_s=30.0, scheduling_delay_s=2.0)
    assert responses(run) == pytest.approx([42.0])
    assert run.tasks["wait_s"].tolist() == pytest.approx([32.0])


@pytest.mark.parametrize("kind", ["fail", "leave"])
@pytest.mark.parametrize(("joins_s", "up"), [(None, 1), (20.0, 2), (30.0, 2), (50.0, 2)])
def test_who_goes_during_the_startup_comes_back_only_by_joining(world, by_hand, kind, joins_s, up):
    """Of two devices one goes at 10 s of 30: it takes no work and draws nothing (100 W) until it joins, if it does."""
    demand = world.constants({"core_s": (1.0,)}, micro_batch=1000)
    fleet = world.fleet(world.device(name="stays"), world.device(name="goes"))
    events = (DeviceEvent(time_s=10.0, device="goes", kind=kind),)
    if joins_s is not None:
        events += (DeviceEvent(time_s=joins_s, device="goes", kind="join"),)
    run = by_hand([(60, "a", 1000, 99)] * 20, fleet, demand, "layer+random", startup_s=30.0, events=events)
    assert len(set(run.fragments["device"].tolist())) == up
    assert run.intervals["devices_up"].tolist() == [up] * 10
    away_s = (1000.0 if joins_s is None else joins_s) - 10.0
    assert run.metrics.energy_j == pytest.approx(100.0 * (2000.0 - away_s))


def test_a_small_disk_takes_part_with_what_it_holds(world, by_hand):
    """Two fragments, images of a byte each; one disk holds only the first: the second always runs on the other."""
    demand = world.constants({"core_s": (5.0, 5.0)})
    fleet = world.fleet(world.device(name="small", disk_bytes=1), world.device(name="large"))
    run = by_hand([(0, "a", 1000, 99)] * 20, fleet, demand, "layer+random")
    where = {(int(f), int(d)) for f, d in zip(run.fragments["fragment"], run.fragments["device"], strict=True)}
    assert where == {(0, 0), (0, 1), (1, 1)}


@pytest.mark.parametrize(("speed", "ends_s"), [(0.5, 12.0), (0.0, 14.0), (2.0, 6.0)])
def test_a_slow_device_goes_on_with_what_it_has(world, by_hand, speed, ends_s):
    """At a half, not at all or twice as fast from 2 to 6 s: by then 4, 2 or all 10 s of the work are done."""
    demand = world.constants({"core_s": (10.0,)}, micro_batch=1000)
    events = (
        DeviceEvent(time_s=2.0, device="d", kind="slow", speed=speed),
        DeviceEvent(time_s=6.0, device="d", kind="slow"),
    )
    run = by_hand([(0, "a", 1000, 99)], world.fleet(world.device()), demand, "layer+random", events=events)
    assert responses(run) == pytest.approx([ends_s])


def test_a_slow_device_comes_back_as_slow_as_it_was(world, by_hand):
    """It fails and joins before the task: its 10 s of work take 20 at a half."""
    demand = world.constants({"core_s": (10.0,)}, micro_batch=1000)
    kinds = (("slow", 0.5), ("fail", 1.0), ("join", 1.0))
    events = tuple(
        DeviceEvent(time_s=at_s, device="d", kind=kind, speed=speed) for at_s, (kind, speed) in enumerate(kinds, 1)
    )
    fleet = world.fleet(world.device())
    run = by_hand([(30, "a", 1000, 99)], fleet, demand, "layer+random", startup_s=10.0, events=events)
    assert responses(run) == pytest.approx([20.0])
