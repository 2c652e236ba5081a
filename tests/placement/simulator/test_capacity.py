"""What a fleet could sustain: closed forms, brute force on tiny fleets, and the simulator at and beyond it."""

from itertools import combinations, product

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from splitplace.errors import OverloadedError
from splitplace.placement.registry import parse_policy
from splitplace.placement.simulator.capacity import best_flow, capacity
from splitplace.placement.simulator.demands import load_demand
from splitplace.placement.simulator.run import simulate
from splitplace.placement.simulator.scenario import Failures, Workload
from splitplace.placement.simulator.setting import prepare
from splitplace.placement.simulator.shipped import load_fleet, load_scenario
from splitplace.records.action import Decide, Place
from splitplace.records.demand import EncodedInput

pytestmark = pytest.mark.sim

IMAGES = 1000


@pytest.fixture
def solved(world):
    """The capacity of a fleet for tasks of 1000 images in intervals of 100 s."""

    def solve(demand, *devices, flow=False, **changes):
        work = Workload(rate=1.0, batch=(IMAGES, IMAGES), deadline_intervals={"a": (1, 1)})
        chosen = world.scenario(**({"workload": work} | changes))
        return (best_flow if flow else capacity)(chosen, *prepare(chosen, world.fleet(*devices), demand))

    return solve


def test_cores_alone(world, solved):
    """Four cores of speed 1 and two of speed 3, 20 s a task: .5 tasks a second; cores are all of the bottleneck."""
    found = solved(
        world.constants({"core_s": (20.0,)}),
        world.device(count=4),
        world.device(name="fast", cores=2, core_speed=3.0),
        parallelism="inter",
    )
    assert found.tasks_per_interval == pytest.approx(100 * (4 + 6) / 20)
    assert found.bottleneck == "cores"
    assert found.limits == pytest.approx({"cores": 1.0, "uplinks": 0.0, "downlinks": 0.0, "memory": 0.0})
    assert found.used["cores"] == pytest.approx(1.0)
    assert found.splits == {"a.constant.layer-1": pytest.approx(1.0)}


def test_a_partial_micro_batch_takes_a_whole_one(world, solved):
    """1000 images by 400 are three micro-batches; of 1 to 1000, the mean is (400 + 800 + 600) / 1000."""
    demand = world.constants({"core_s": (10.0,)}, micro_batch=400)
    drawn = Workload(rate=1.0, batch=(1, IMAGES), deadline_intervals={"a": (1, 1)})
    assert solved(demand, world.device()).tasks_per_interval == pytest.approx(100 / 12.0)
    assert solved(demand, world.device(), workload=drawn).tasks_per_interval == pytest.approx(100 / (1.8 * 4.0))


def test_a_chain_is_gathered_where_links_are_scarce(world, solved):
    """Two devices, 10 + 10 s, 1 MB between them over 1 kB/s: gathered, .1 tasks a second, at most .002 apart."""
    demand = world.constants({"core_s": (10.0, 10.0), "output_bytes": (1e6, 0.0)})
    found = solved(demand, world.device(count=2, up_bytes_per_s=1e3), flow=True)
    assert found.capacity.tasks_per_interval == pytest.approx(100 * 0.1)
    assert 0.098 - 1e-9 <= found.stays_XG[0, 1].sum() <= 0.1 + 1e-9


@pytest.mark.parametrize(("inputs", "copies"), [("broadcast", 3), ("ring", 1)])
def test_the_brokers_card_sends_each_root_a_copy_or_the_first_one(world, solved, inputs, copies):
    """1000 bytes a copy over a card of 10 bytes/s."""
    demand = world.constants({"core_s": (1e-6,) * 3, "shape": "parallel", "input_bytes_per_sample": 1})
    found = solved(demand, world.device(count=3), inputs=inputs, broker_bytes_per_s=10.0)
    assert found.tasks_per_interval == pytest.approx(100 * 10.0 / (1000 * copies))
    assert found.bottleneck == "the broker's card, sending inputs"


def test_encoded_inputs_relieve_the_card_and_load_the_cores(world, solved):
    """A tenth of the bytes; a millisecond an image to decode makes 1 s of work a task 2 s."""
    demand = world.constants({"core_s": (1.0,), "input_bytes_per_sample": 10})
    encoded = {"a": EncodedInput(codec="png", bytes_per_sample=1, decode_s=1e-3)}
    raw = solved(demand, world.device(count=4), broker_bytes_per_s=5000.0)
    small = solved(demand, world.device(count=4), broker_bytes_per_s=5000.0, wire="encoded", encoded=encoded)
    assert (raw.tasks_per_interval, small.tasks_per_interval) == pytest.approx((100 * 0.5, 100 * 2.0))
    assert (raw.bottleneck, small.bottleneck) == ("the broker's card, sending inputs", "cores")


def test_cores_that_work_together_do_what_the_work_gains_by_them(world, solved):
    """Half of it on both of two cores of speed 3, which come to one of speed 4; and four of speed 1."""
    demand = world.constants({"core_s": (20.0,)}).model_copy(update={"parallel_share": 0.5})
    fast = world.device(name="fast", cores=2, core_speed=3.0)
    found = solved(demand, world.device(count=4), fast, parallelism="intra")
    assert found.tasks_per_interval == pytest.approx(100 * (4 + 4) / 20)


def test_what_goes_with_a_run_is_work_too(world, solved):
    """Ten micro-batches of 1 s, and half a second of speed 1 for each: 15 s, of a core of speed 2."""
    found = solved(world.constants({"core_s": (10.0,)}, micro_batch=100), world.device(core_speed=2.0), handover_s=0.5)
    assert found.tasks_per_interval == pytest.approx(100 * 2 / 15)


def test_memory_is_held_for_as_long_as_a_container_is_there(world, solved):
    """600 bytes for 5 s to load, then 10 s, of 1200 bytes: 2 at a time, .133 a second, though eight cores do .8."""
    demand = world.constants({"core_s": (10.0,), "weight_bytes": 500}, memory_bytes=600)
    small = world.device(cores=8, memory_bytes=1200, disk_bytes_per_s=100.0)
    found = solved(demand, small, parallelism="inter")
    assert found.tasks_per_interval == pytest.approx(100 * 2 / 15)
    assert found.bottleneck == "memory"
    shared = solved(demand, small, weights="shared", parallelism="inter")
    assert shared.tasks_per_interval == pytest.approx(100 * 0.8)


def test_devices_that_fail_count_for_the_time_that_they_are_there(world, solved):
    """Nine tenths of it."""
    demand = world.constants({"core_s": (10.0,)})
    found = solved(demand, world.device(), failures=Failures(mtbf_s=900.0, mttr_s=100.0))
    assert found.tasks_per_interval == pytest.approx(0.9 * 100 / 10)


def test_two_splits_are_mixed_where_each_wants_another_resource(world, solved):
    """5 cores and 2500 bytes/s; one split takes 3 s and 1000 bytes, the other 2 s and 2000: 1.25 + .625 a second."""
    found = solved(mixed_demand(world), *mixed_fleet(world), broker_bytes_per_s=2500.0)
    assert found.tasks_per_interval == pytest.approx(100 * 1.875)
    assert found.splits == pytest.approx({"a.constant.full-1": 2 / 3, "a.constant.semantic-2": 1 / 3})
    # Shadow prices 1/4 a core and 1/4000 a byte/s: 5/4 and 5/8 of 1.875.
    assert (found.limits["cores"], found.limits["broker_out"]) == pytest.approx((2 / 3, 1 / 3))
    assert found.bottleneck == "cores (67%), the broker's card, sending inputs (33%)"


def mixed_demand(world):
    """See above; the second split's branches take 1 s each."""
    return world.constants(
        {"core_s": (3.0,), "strategy": "full", "input_bytes_per_sample": 1},
        {"core_s": (1.0, 1.0), "strategy": "semantic", "shape": "parallel", "input_bytes_per_sample": 1},
    )


def mixed_fleet(world):
    """Two cores of speed 1, one of speed 3."""
    return world.device(count=2), world.device(name="fast", core_speed=3.0)


# ---- brute force


def best_by_brute_force(use_RP):
    """The largest sum of x >= 0 with use x <= 1: every corner of it, by its own linear system."""
    resources, patterns = use_RP.shape
    all_RV = np.hstack([use_RP, np.eye(resources)])
    best = 0.0
    for basis in combinations(range(patterns + resources), resources):
        square = all_RV[:, basis]
        if abs(np.linalg.det(square)) > 1e-9:
            x = np.linalg.solve(square, np.ones(resources))
            if (x >= -1e-9).all():
                best = max(best, sum(value for value, v in zip(x, basis, strict=True) if v < patterns))
    return best


@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    core_s=st.tuples(*[st.sampled_from([1.0, 3.0, 8.0])] * 3),
    between=st.sampled_from([1.0, 20.0]),
    inputs=st.sampled_from([1, 8]),
    card=st.sampled_from([2000.0, 20_000.0]),
    up=st.tuples(*[st.sampled_from([500.0, 9000.0])] * 2),
    speed=st.sampled_from([1.0, 4.0]),
    ring=st.booleans(),
)
def test_every_way_to_run_a_task_on_two_devices(world, solved, core_s, between, inputs, card, up, speed, ring):
    """A chain of two, or two branches: all 8 ways on 2 devices as columns, every corner of their mixtures looked at."""
    demand = world.constants(
        {"core_s": core_s[:2], "output_bytes": (between * IMAGES, 0.0), "input_bytes_per_sample": inputs},
        {
            "core_s": (core_s[2],) * 2, "strategy": "semantic", "shape": "parallel", "input_bytes_per_sample": inputs,
            "output_bytes": (IMAGES, IMAGES),
        },
    )  # fmt: skip
    speeds, sent = (1.0, speed), inputs * IMAGES
    columns = []
    for chain, where in product((True, False), product((0, 1), (0, 1))):
        cores, ups, downs, out = np.zeros(2), np.zeros(2), np.zeros(2), 0.0
        for device, seconds in zip(where, core_s[:2] if chain else (core_s[2],) * 2, strict=True):
            cores[device] += seconds / speeds[device]
        downs[where[0]] += sent
        out += sent
        if chain and where[0] != where[1]:
            ups[where[0]] += between * IMAGES
            downs[where[1]] += between * IMAGES
        if not chain:
            for device in where:
                ups[device] += IMAGES
            if not ring:
                downs[where[1]] += sent
                out += sent
            elif where[0] != where[1]:
                ups[where[0]] += sent
                downs[where[1]] += sent
        results = 0.0 if chain else 2.0 * IMAGES
        columns.append([*cores, *(ups / up), *(downs / 10_000.0), out / card, results / card])
    devices = [
        world.device(name=f"d{i}", core_speed=speeds[i], up_bytes_per_s=up[i], down_bytes_per_s=10_000.0)
        for i in range(2)
    ]
    found = solved(demand, *devices, broker_bytes_per_s=card, inputs="ring" if ring else "broadcast")
    assert found.tasks_per_interval / 100 == pytest.approx(best_by_brute_force(np.array(columns).T), rel=1e-6)


def test_devices_that_are_alike_are_one_column_and_the_same_capacity(world, solved):
    """Six hosts of two kinds, and the same with speeds a hair apart, so that each is a kind of its own."""
    demand = mixed_demand(world)
    alike = [world.device(name="a", count=3), world.device(name="b", core_speed=2.0, count=3)]
    apart = [world.device(name=f"{k}{i}", core_speed=k * (1 + 1e-9 * i)) for k in (1, 2) for i in range(3)]
    one, each = (solved(demand, *devices, broker_bytes_per_s=4e3, flow=True) for devices in (alike, apart))
    assert (one.rate_FG.shape[1], each.rate_FG.shape[1]) == (2, 6)
    assert one.capacity.tasks_per_interval == pytest.approx(each.capacity.tasks_per_interval, rel=1e-6)


# ---- the simulator


class StaticMix:
    """The best flow, task by task: split and devices by its rates, evenly by a low-discrepancy sequence."""

    name = "static-mix"

    def __init__(self, flow):
        self.flow = flow

    def init(self, view):
        """Remembers nothing."""

    def update(self, state, feedback):
        """Learns nothing."""

    def decide(self, state, view, rng):
        """By the splits' shares."""
        share_S = np.array([self.flow.capacity.splits.get(name, 0.0) for name in view.splits.references])
        tasks = [int(view.tasks.id_T[row]) for row in view.tasks.undecided]
        return [Decide(task, self.drawn(share_S, (task * 0.6180339887) % 1)) for task in tasks]

    def drawn(self, weights, u):
        """The entry at u, 0 to 1, of the weights' sum."""
        return int(np.searchsorted(np.cumsum(weights[:-1]) / weights.sum(), u, side="right"))

    def place(self, state, view, requests, rng):
        """By the fragments' rates on each device."""
        actions = []
        for request in requests:
            for f in request.fragments:
                task = int(view.tasks.id_T[request.task])
                rate_D = self.flow.rate_FG[f, self.flow.group_D] / np.bincount(self.flow.group_D)[self.flow.group_D]
                u = ((task + 0.37 * f) * 0.7548776662) % 1
                actions.append(Place(task, f, self.drawn(rate_D, u)))
        return actions


def offered(world, by_hand, solved, policy, load, intervals=4):
    """Tasks of 1000 images, one after another at equal distances; the run, and what is possible in its time."""
    flow = solved(mixed_demand(world), *mixed_fleet(world), broker_bytes_per_s=2500.0, flow=True)
    most = flow.capacity.tasks_per_interval * intervals
    rows = [(i * 100 * intervals / (load * most), "a", IMAGES, 1e6) for i in range(int(load * most))]
    chosen = StaticMix(flow) if policy == "static-mix" else policy
    fleet = world.fleet(*mixed_fleet(world))
    run = by_hand(rows, fleet, mixed_demand(world), chosen, intervals=intervals, broker_bytes_per_s=2500.0)
    return run.metrics.tasks, most


@pytest.mark.slow
def test_near_the_capacity_the_best_static_mix_keeps_up(world, by_hand, solved):
    """At .95 of it, of 712 tasks at most 25 (14 s of them) are under way at the end; one split alone falls behind."""
    found, _ = offered(world, by_hand, solved, "static-mix", 0.95)
    assert found.unfinished <= 25
    for alone in ("full+least-loaded", "semantic+least-loaded"):
        assert offered(world, by_hand, solved, alone, 0.95)[0].unfinished > 40


@pytest.mark.slow
@pytest.mark.parametrize("policy", ["static-mix", "full+least-loaded", "semantic+least-loaded", "random+random"])
def test_beyond_the_capacity_nobody_keeps_up(world, by_hand, solved, policy):
    """At 1.1 of it no policy finishes more than the capacity in the run's time."""
    found, most = offered(world, by_hand, solved, policy, 1.1)
    assert found.finished <= most
    assert found.unfinished >= 0.09 * found.arrived


@pytest.mark.slow
@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    rules=st.sampled_from(
        [
            {},
            {"place": "ready"},
            {"tick": "interval", "place": "ready"},
            {"precedence": "pipelined"},
            {"inputs": "ring"},
            {"parallelism": "intra"},
            {"parallelism": "inter"},
        ]
    ),
    weights=st.sampled_from(["container", "shared", "warm"]),
    card=st.sampled_from([None, 3000.0]),
    memory_bytes=st.sampled_from([300, 700]),
    up=st.sampled_from([500.0, 1e9]),
    policy=st.sampled_from(["layer+random", "semantic+least-loaded", "random+best-fit"]),
    seed=st.integers(0, 9),
)
def test_no_run_finishes_more_than_the_capacity(world, rules, weights, card, memory_bytes, up, policy, seed):
    """A flood of tasks each interval, whatever the rules, and whatever runs short: memory, links, cores."""
    chain = {"core_s": (2.0, 6.0), "output_bytes": (3e3, 1e3), "input_bytes_per_sample": 2, "weight_bytes": 100}
    branches = chain | {"core_s": (3.0, 3.0), "output_bytes": (1e3, 1e3), "shape": "parallel", "strategy": "semantic"}
    demand = world.constants(chain, branches, micro_batch=100, memory_bytes=memory_bytes)
    demand = demand.model_copy(update={"parallel_share": 0.5})
    link = {"up_bytes_per_s": up, "down_bytes_per_s": 2500.0, "disk_bytes_per_s": 50.0}
    fleet = world.fleet(
        world.device(memory_bytes=700, cores=2, **link),
        world.device(name="e", memory_bytes=1500, core_speed=3.0, **link),
    )
    workload = Workload(rate=40.0, batch=(2000, 2000), deadline_intervals={"a": (1, 1)})
    scenario = world.scenario(workload=workload, weights=weights, broker_bytes_per_s=card, **rules)
    most = 3 * capacity(scenario, *prepare(scenario, fleet, demand)).tasks_per_interval
    assert simulate(scenario, fleet, demand, parse_policy(policy), 3, seed).metrics.tasks.finished <= most * (1 + 1e-9)


def test_a_load_is_a_share_of_the_capacity(world, solved):
    """λ is that share of what could be sustained."""
    workload = Workload(load=0.75, batch=(IMAGES, IMAGES), deadline_straddle=(0.8, 2.0))
    fleet, demand = mixed_fleet(world), mixed_demand(world)
    chosen = world.scenario(workload=workload, broker_bytes_per_s=2500.0)
    run = simulate(chosen, world.fleet(*fleet), demand, parse_policy("full+random"), 2)
    assert run.rate == pytest.approx(0.75 * solved(demand, *fleet, broker_bytes_per_s=2500.0).tasks_per_interval)


def test_a_recorded_workload_has_the_capacity_of_its_tasks(world, tmp_path, solved):
    """Of 1000 and 3000 images: 4 s a task on average."""
    path = tmp_path / "trace.csv"
    path.write_text("arrival_s,application,n,deadline_s\n0,a,1000,9\n1,a,3000,9\n")
    found = solved(world.constants({"core_s": (2.0,)}), world.device(), workload=Workload(trace=str(path)))
    assert found.tasks_per_interval == pytest.approx(100 / 4.0)


def test_ten_thousand_devices_of_four_kinds_are_four_columns():
    """Of measured-50 with its own splits; 200 times the devices, 200 times the capacity."""
    scenario, demand = load_scenario("measured-50"), load_demand("measured")
    scenario = scenario.model_copy(update={"broker_bytes_per_s": None})
    small, large = (
        best_flow(scenario, *prepare(scenario, load_fleet(f"azure50:{count}"), demand)) for count in (50, 10_000)
    )
    assert large.rate_FG.shape == small.rate_FG.shape
    assert large.capacity.tasks_per_interval == pytest.approx(200 * small.capacity.tasks_per_interval)


@pytest.mark.parametrize("tick", ["event", "interval"])
def test_a_load_far_beyond_what_could_be_sustained_is_refused_where_the_run_is_long(world, tick):
    """Nearly all would wait, and every plan looks at all that wait; a short run, or a load that is near, is none."""
    demand, fleet = world.constants({"core_s": (10.0,)}), world.fleet(world.device())  # ten tasks an interval

    def run(load, intervals, **changes):
        chosen = world.scenario(workload=world.poisson(load * 10, IMAGES), tick=tick, **changes)
        return simulate(chosen, fleet, demand, parse_policy("layer+least-loaded"), intervals)

    with pytest.raises(OverloadedError, match=r"tasks in 400 intervals are (49\.|50).* expected at most 10 times in a"):
        run(50, 400)
    assert run(50, 3).metrics.tasks.arrived > 1000
    assert run(2, 30).metrics.tasks.arrived > 400
