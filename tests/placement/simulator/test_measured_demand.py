"""A measured demand through the simulator: a tree with a shared trunk, costed by its profiles."""

import numpy as np
import pytest

from splitplace.placement.broker.setup import view_at_rest
from splitplace.placement.registry import parse_policy
from splitplace.placement.simulator.demands import DATA, build, load_demand
from splitplace.placement.simulator.reference import unloaded_s
from splitplace.placement.simulator.run import simulate
from splitplace.placement.simulator.scenario import Workload
from splitplace.placement.simulator.shipped import load_fleet, load_scenario
from splitplace.placement.tables import links_table
from splitplace.provenance import collect
from splitplace.records.demand import Demand, SplitDemand
from splitplace.records.evaluation import Evaluation
from splitplace.records.fragment import Fragment, TensorSpec
from splitplace.records.profile import DeviceFingerprint, Latency, MemoryIncrement, Profile
from splitplace.records.split import Edge, Merge, Split
from splitplace.records.threads import UNMEASURED_SHARE

pytestmark = pytest.mark.base

PROVENANCE = collect()
IMAGE = TensorSpec(name="image", dtype="float32", shape=("batch", 25))
FEATURES = TensorSpec(name="features", dtype="float32", shape=("batch", 50))


def logits(name, count):
    """A sink's answer."""
    return TensorSpec(name=name, dtype="float32", shape=("batch", count))


def fragment(row, name, takes, gives, classes=()):
    """A fragment of 1000 bytes of weights."""
    digest = f"sha256:{row:064d}"
    return Fragment(
        name=name,
        inputs=(takes,),
        outputs=(gives,),
        classes=classes,
        params=1,
        flops_per_sample=1,
        weight_bytes=1000,
        digest=digest,
    )


def profile(part, kind, latency_s, core_speed, threads=1):
    """Measured at a micro-batch of 10, with 0.5 s to load."""
    return Profile(
        fragment=part.name,
        digest=part.digest,
        device=DeviceFingerprint(kind=kind, cpu="c", architecture="a", cores=1, onnxruntime="1", threads=threads),
        core_speed=core_speed,
        load_s=0.5,
        runtime_base_bytes=100,
        memory=(MemoryIncrement(micro_batch=10, fragment_bytes=400),),
        latency=(Latency(batch_size=10, median_s=latency_s, p10_s=latency_s, p90_s=latency_s, runs=3),),
        input_bytes_per_sample=1,
        output_bytes_per_sample=1,
        provenance=PROVENANCE,
    )


@pytest.fixture(scope="module")
def demand():
    """Trunk (1 s a micro-batch at speed 1), then leaves of 2 and 3 s; the trunk measured on the kind `fast` as well."""
    trunk = fragment(0, "trunk", IMAGE, FEATURES)
    left = fragment(1, "left", FEATURES, logits("left", 2), (0, 1))
    right = fragment(2, "right", FEATURES, logits("right", 1), (2,))
    split = Split(
        application="a",
        model="m",
        strategy="layer",
        fragments=(trunk, left, right),
        edges=(
            Edge(src="input", dst="trunk", tensor="image", bytes_per_sample=100),
            Edge(src="trunk", dst="left", tensor="features", bytes_per_sample=200),
            Edge(src="trunk", dst="right", tensor="features", bytes_per_sample=200),
        ),
        merge=Merge(kind="concat", class_order=(0, 1, 2)),
    )
    profiles = (
        profile(trunk, "k", 1.0, 1.0),
        profile(trunk, "fast", 0.2, 2.0),
        profile(left, "k", 2.0, 1.0),
        profile(right, "k", 3.0, 1.0),
    )
    evaluation = Evaluation(dataset="d", sha256="0" * 64, n=100, top1=0.75, seed=0, source="by hand")
    entry = SplitDemand(split=split, micro_batch=10, profiles=profiles, evaluation=evaluation)
    return Demand(splits=(entry,), provenance=PROVENANCE)


def test_costs_by_the_devices_own_kind_or_scaled(world, demand):
    """A slow device takes 1 / core_speed of the profile; one of a measured kind takes what was measured on it."""
    units = (world.device(name="slow", core_speed=0.5), world.device(name="own", kind="fast", core_speed=2.0))
    costs = build(demand, units)
    np.testing.assert_allclose(costs.fragments.latency_s_FD, [[2.0, 0.2], [4.0, 1.0], [6.0, 1.5]])
    np.testing.assert_allclose(costs.load_s_FD, [[1.0, 0.5], [1.0, 0.25], [1.0, 0.25]])
    assert costs.runtime_base_bytes_D.tolist() == [100, 100]
    assert costs.output_bytes_F.tolist() == [0, 8, 4]


def test_a_device_of_several_cores_takes_what_the_fragment_gains_by_them(world, demand):
    """The trunk was measured on one thread and two of the kind `fast`; of the others a share is stated, or none."""
    entry = demand.splits[0]
    more = (*entry.profiles, profile(entry.split.by_name["trunk"], "fast", 0.12, 2.0, threads=2))
    changed = entry.model_copy(update={"profiles": more, "parallel_share": {"left": 0.5}})
    units = tuple(world.device(name=f"c{c}", kind="fast", core_speed=2.0, cores=c) for c in (1, 2, 4))
    costs = build(demand.model_copy(update={"splits": (changed,)}), units)
    # Of .2 s, .16 are parallel: .04 + .16 / 4.
    others = 1.5 * np.array([1.0, 1 - UNMEASURED_SHARE / 2, 1 - UNMEASURED_SHARE * 3 / 4])
    expected = [[0.2, 0.12, 0.08], [1.0, 0.75, 0.625], others]
    np.testing.assert_allclose(costs.fragments.latency_s_FD, expected)
    one_each = build(demand.model_copy(update={"splits": (changed,)}), units, threads=lambda device: 1)
    np.testing.assert_allclose(one_each.fragments.latency_s_FD, [[0.2] * 3, [1.0] * 3, [1.5] * 3])


def test_a_broker_shows_the_very_costs_that_the_simulator_has(world, demand):
    """By the default rule of how a device computes, on both sides."""
    units = tuple(world.device(name=f"c{c}", cores=c) for c in (1, 4))
    scenario = world.scenario(workload=world.poisson(1.0, 1))
    costs, here = build(demand, units, threads=scenario.threads), view_at_rest(demand, units, 60.0)
    np.testing.assert_array_equal(here.fragments.latency_s_FD, costs.fragments.latency_s_FD)
    assert here.devices.servers_D.tolist() == [scenario.servers(device) for device in units] == [1, 1]


def test_a_lone_task_takes_the_longest_path(world, demand, tmp_path):
    """25 images, three micro-batches: load and input, trunk 3 s, features twice over one uplink, leaf 9 s, result."""
    path = tmp_path / "trace.csv"
    path.write_text("arrival_s,application,n,deadline_s\n0,a,25,99\n")
    fleet = world.fleet(world.device(count=3, up_bytes_per_s=1000.0, down_bytes_per_s=1000.0, rtt_s=0.1))
    scenario = world.scenario(workload=Workload(trace=str(path)))
    run = simulate(scenario, fleet, demand, world.spread(), 1)
    input_s, features_s, result_s = 2.5 + 0.05, 2 * 5.0 + 0.1, 0.1 + 0.05
    expected = input_s + 3.0 + features_s + 9.0 + result_s
    assert run.tasks["response_s"].tolist() == pytest.approx([expected])
    devices = fleet.units()
    alone = unloaded_s(build(demand, devices), 0, np.array([25]), 0, links_table(devices))
    # What deadlines are stated by leaves out that the two tensors share the trunk's uplink.
    assert alone.tolist() == pytest.approx([expected - 5.0])


def test_accuracy_is_drawn_from_the_evaluation(world, demand):
    """Binomial(n, 0.75) / n: many tasks of 1000 images average 0.75, and none answers a fraction of an image."""
    workload = Workload(rate=50.0, batch=(1000, 1000), deadline_intervals={"a": (1, 2)})
    scenario = world.scenario(workload=workload, interval_s=10_000.0)
    run = simulate(scenario, world.fleet(world.device(count=40)), demand, parse_policy("layer+random"), 5)
    p = run.tasks["p"][run.tasks["finished"]]
    assert len(p) > 100
    assert p.mean() == pytest.approx(0.75, abs=4 * np.sqrt(0.75 * 0.25 / 1000 / len(p)))
    np.testing.assert_allclose(p * 1000, np.rint(p * 1000), atol=1e-9)


def test_a_demand_file_reads_back(demand, tmp_path):
    """As `splitplace catalog demand` writes it."""
    path = tmp_path / "demand.json"
    path.write_text(demand.model_dump_json(exclude_defaults=True))
    assert load_demand(str(path)) == demand


@pytest.mark.parametrize("fleet", ["azure50", "azure10", "pi-lab"])
def test_the_shipped_demand_fits_the_shipped_fleets(fleet):
    """Every split stays on offer, evaluated, in at most 200 kB; each application has all four strategies."""
    shipped = load_demand("measured")
    costs = build(shipped, load_fleet(fleet).units())
    assert costs.splits.references == tuple(entry.split.reference for entry in shipped.splits)
    assert not np.isnan(costs.splits.top1_S).any()
    assert len((DATA / "demand.measured.json").read_bytes()) <= 200_000
    offered = {(entry.split.application, entry.split.strategy) for entry in shipped.splits}
    strategies = ("layer", "semantic", "compressed", "full")
    assert offered == {(application, strategy) for application in costs.applications for strategy in strategies}
    first = [next(e for e in shipped.splits if e.split.application == a) for a in costs.applications]
    assert [entry.split.variant for entry in first] == ["4"] * len(first)


@pytest.mark.parametrize("utilisation", [0.3, 0.6, 0.8, 0.95])
def test_measured_50_is_loaded_as_it_says(utilisation):
    """All tasks as their layer splits, spread at random: the scarcer resource, the links, is busy for about ρ."""
    scenario = load_scenario("measured-50")
    workload = scenario.workload.model_copy(update={"load": None, "utilisation": utilisation})
    scenario = scenario.model_copy(update={"workload": workload})
    busy = []
    run = simulate(
        scenario,
        load_fleet("azure50"),
        load_demand("measured"),
        parse_policy("layer+random"),
        60,
        watch=lambda view, _: busy.append(view.devices.net_D.mean()),
    )
    assert run.metrics.tasks.arrived == pytest.approx(60 * run.rate, rel=0.15)
    assert np.mean(busy[30:]) <= 1.0
    assert np.mean(busy[30:]) == pytest.approx(utilisation, abs=0.2)
