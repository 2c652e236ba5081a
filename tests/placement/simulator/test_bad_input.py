"""What a user can get wrong is answered with one clear line before the run; what a policy gets wrong, with its name."""

import json
import re
from types import SimpleNamespace

import numpy as np
import pytest
from pydantic import ValidationError

from splitplace.errors import SplitPlaceError, UsageError
from splitplace.placement.registry import parse_policy
from splitplace.placement.simulator.demands import DATA, load_demand
from splitplace.placement.simulator.mobility import load_mobility
from splitplace.placement.simulator.scenario import Constrain, Scenario
from splitplace.placement.simulator.shipped import load_fleet, load_scenario, units
from splitplace.placement.simulator.traces import write_parquet
from splitplace.records.action import Place
from splitplace.records.base import MAX_AMOUNT, MIN_AMOUNT

pytestmark = pytest.mark.base


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"workload": {"rate": 0}}, "rate"),
        ({"workload": {"rate": -1}}, "rate"),
        ({"workload": {"rate": "NaN"}}, "rate"),
        ({"workload": {"rate": 1, "utilisation": 0.5}}, "exactly one"),
        ({"workload": {"rate": 1, "load": 0.5}}, "exactly one"),
        ({"workload": {"load": 0, "rate": None}}, "load"),
        ({"workload": {"deadline_straddle": [0.8, 2.0]}}, "exactly one"),
        ({"wire": "jpeg"}, "wire"),
        ({"workload": {"batch": [5, 2]}}, "low <= high"),
        ({"workload": {"batch": [5, 10**13]}}, r"batch.*1000000000000"),
        ({"interval_s": -300}, "interval_s"),
        ({"intervalls": 3}, r"intervalls: no such key: did you mean intervals\?"),
        ({"workload": {"ratee": 3}}, r"workload.ratee: no such key: did you mean rate\?"),
        ({"work": {}}, r"work: no such key: did you mean workload\?"),
        ({"workload": {"interval_s": 5.0}}, r"workload.interval_s: no such key: it belongs before \[workload\]"),
        ({"events": [{"time": 1.0}]}, r"events.0.time: no such key: did you mean time_s\?"),
        (
            {"events": [{"time_s": 1.0, "device": "d", "kind": "join", "speed": 2.0}]},
            r"events.0: .*speed 2 beside join",
        ),
        ({"interval_s": 1e308}, "interval_s"),
        ({"interval_s": 1e-300}, "interval_s"),
        ({"intervals": 10**7}, "intervals"),
        ({"workload": {"mix": {"mnist": 1e308}}}, "mix.mnist"),
        ({"network": [{"time_s": 1, "bandwidth_factor": 1e305}]}, "network.0.bandwidth_factor"),
        ({"constrain": {"network": 1e-320}}, "constrain.network"),
        ({"tick": "interval", "precedence": "pipelined"}, "strict"),
        ({"startup_s": 1e400}, "startup_s"),
    ],
)
def test_a_scenario_that_cannot_be_meant(change, said):
    """Refused when it is read, by the name of the field."""
    document = load_scenario("paper-50").model_dump(mode="json", exclude_none=True)
    workload = document["workload"] | change.get("workload", {})
    text = json.dumps(document | change | {"workload": workload})
    with pytest.raises(SplitPlaceError, match=said):
        Scenario.parse(text, "scenario")


def test_more_cores_than_a_device_can_have():
    """Beyond what whole numbers of the tables hold; as a part of a core is."""
    scenario = load_scenario("paper-50").model_copy(update={"constrain": Constrain(cores=1e20)})
    with pytest.raises(SplitPlaceError, match=r"2 cores x 1e\+20 is no whole number of cores from 1 to 1000000"):
        units(scenario, load_fleet("azure50"))


@pytest.mark.parametrize("extreme", [MIN_AMOUNT, MAX_AMOUNT])
def test_all_that_a_device_may_be_at_once_is_simulated(world, by_hand, extreme):
    """The slowest and the largest that a file may state: no product or ratio of it is beyond all numbers."""
    rates = dict.fromkeys(("core_speed", "disk_bytes_per_s", "up_bytes_per_s", "down_bytes_per_s"), extreme)
    device = world.device(**rates, rtt_s=extreme, power_w=(extreme,) * 11, cost_usd_per_h=extreme)
    with np.errstate(all="raise", under="ignore"):
        run = by_hand(
            [(0, "a", 3, 1.0)], world.fleet(device), world.constants({"core_s": (1.0, 1.0)}), "layer+least-loaded"
        )
    assert run.metrics.tasks.arrived == 1


@pytest.mark.parametrize(
    ("loader", "name", "said"),
    [
        (load_scenario, "paper50", "paper-50"),
        (load_fleet, "azure", "azure50"),
        (load_fleet, "azure50:x", "NAME:N"),
        (load_fleet, "azure50:", "NAME:N"),
        (load_fleet, "azure50:100001", "N from 1 to 100000"),
        (load_fleet, "here/fleet.toml", "there is no file"),
        (load_scenario, "nowhere.toml", "there is no file"),
        (load_demand, "guessed", "measured, upstream"),
        (load_demand, "guessed", "a catalog's folder"),
        (load_mobility, "nowhere", "simulate trace"),
        (parse_policy, "random", "DECIDER+PLACER"),
        (parse_policy, "randm+random", "semantic"),
        (parse_policy, "random+randm", "least-loaded"),
        (parse_policy, "no_such_module:Class", "no_such_module"),
        (parse_policy, "json:NoSuchClass", "NoSuchClass"),
        (parse_policy, "../my_policy:Patient", "my_policy:Patient for the class Patient of my_policy.py"),
        (parse_policy, "layer+json:", "expected module:Class"),
        (parse_policy, "layer+mine.py:Mine", "expected module:Class"),
        (parse_policy, "json:JSONEncoder", "decide"),
    ],
)
def test_an_unknown_name_is_answered_with_what_is_valid(loader, name, said):
    """Exit 2, and what to say instead."""
    with pytest.raises(UsageError, match=re.escape(said)):
        loader(name)


def test_a_fleet_of_more_devices_than_can_be_made(world):
    """Of several entries that are each within the bound, too: it is said before any is made."""
    with pytest.raises(ValidationError, match="200000 devices, expected at most 100000"):
        world.fleet(world.device(name="a", count=100_000), world.device(name="b", count=100_000))


def test_a_fleet_by_a_path_with_a_colon(tmp_path):
    """As of a folder with a time in its name; as a path of Python's, or as text with N behind it."""
    path = tmp_path / "at 10:30" / "fleet.toml"
    path.parent.mkdir()
    path.write_bytes((DATA / "fleet.azure10.toml").read_bytes())
    assert load_fleet(path).name == load_fleet(str(path)).name == "azure10"
    assert sum(device.count for device in load_fleet(f"{path}:7").devices) == 7


def test_a_table_of_constants_is_called_one(tmp_path):
    """A scenario that is handed in as a demand."""
    (tmp_path / "evening.toml").write_text('name = "evening"\n', encoding="utf-8")
    with pytest.raises(SplitPlaceError, match=r"evening\.toml: not a demand of constants"):
        load_demand(str(tmp_path / "evening.toml"))


def test_a_fleet_that_can_hold_no_fragment(world, by_hand):
    """Named are the split, what it needs and what comes closest."""
    demand = world.constants({"core_s": (1.0,)}, memory_bytes=2000)
    with pytest.raises(SplitPlaceError, match=r"needs 2000 bytes, d comes closest with 1000"):
        by_hand([(0, "a", 1, 1)], world.fleet(world.device(memory_bytes=1000)), demand, "layer+random")


def test_a_fleet_whose_disks_hold_no_split(world, by_hand):
    """Images of 1 byte a fragment: the third of a chain finds no room on two bytes, nor any beside the swap space."""
    demand = world.constants({"core_s": (1.0, 1.0, 1.0)})
    fleet = world.fleet(world.device(disk_bytes=2))
    with pytest.raises(SplitPlaceError, match=r"a.constant.layer-3 needs 3 bytes, d comes closest with 2"):
        by_hand([(0, "a", 1, 1)], fleet, demand, "layer+random")
    roomy = world.fleet(world.device(disk_bytes=1001, memory_bytes=1000))
    assert by_hand([(0, "a", 1, 9)], roomy, demand, "layer+random").metrics.tasks.finished == 1
    with pytest.raises(SplitPlaceError, match="no disk"):
        by_hand([(0, "a", 1, 9)], roomy, demand, "layer+random", swap={"fraction": 1.0, "slowdown": 2.0})


def test_more_failures_than_can_be_drawn(world, by_hand):
    """An interval of the age of the universe, with a failure every ten seconds of it."""
    demand = world.constants({"core_s": (1.0,)})
    failures = {"mtbf_s": 9.0, "mttr_s": 1.0}
    with pytest.raises(SplitPlaceError, match=r"failures asked for .* raise failures.mtbf_s"):
        by_hand(
            [(0, "a", 1, 1)], world.fleet(world.device()), demand, "layer+random", failures=failures, interval_s=4e17
        )


def test_a_strategy_nobody_offers(world, by_hand):
    """A fixed decider says so before the run."""
    demand = world.constants({"core_s": (1.0,)})
    with pytest.raises(UsageError, match="no semantic split"):
        by_hand([(0, "a", 1, 1)], world.fleet(world.device()), demand, "semantic+random")


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ([(0, "a", 1, 1), (5, "a", "", 1)], "row 2: n"),
        ([("nan", "a", 1, 1)], "row 1: arrival_s"),
        ([(-1, "a", 1, 1)], "arrival_s"),
        ([(0, "a", 1, "inf")], "deadline_s"),
        ([(0, "a", 1, 1e308)], r"row 1: deadline_s is 1e\+308, expected 1e-09 to 1e\+30"),
        ([(0, "z", 1, 1)], "unknown application 'z'"),
        ([(0, "a", 1, 1), (0, "a", "many", 1)], "row 2: n is 'many', expected a number"),
        ([(0, "a", 0, 1)], r"row 1: n is 0.0, expected 1 to 1e\+12"),
        ([(0, "a", 1, 1), (0, "a", "1000.7", 1)], r"row 2: n is 1000.7, expected a whole number of images"),
        ([(0, "a", "1e30", 1)], r"row 1: n is 1e\+30, expected .* at most 1e\+12"),
    ],
)
def test_a_workload_trace_with_holes(world, by_hand, rows, said):
    """The row and the column are named."""
    with pytest.raises(SplitPlaceError, match=said):
        by_hand(rows, world.fleet(world.device()), world.constants({"core_s": (1.0,)}), "layer+random")


def test_a_workload_trace_without_tasks(world, by_hand):
    """A header and no rows: nothing arrives, as where all tasks come after the end."""
    for rows in ([], [(1e6, "a", 1, 1)]):
        run = by_hand(rows, world.fleet(world.device()), world.constants({"core_s": (1.0,)}), "layer+random")
        assert run.metrics.tasks.arrived == 0


@pytest.mark.sim
def test_a_mobility_trace_whose_steps_never_end(world, by_hand, tmp_path):
    """A run of 1000 s in steps of 1 µs would set the links a thousand million times; in shorter ones, without end."""
    for step_s in (1e-6, 1e-15):
        rows = {"time_s": [0.0, step_s], "device": ["d", "d"], "rtt_s": [0.0] * 2, "bytes_per_s": [1e6] * 2}
        write_parquet(tmp_path / "fine.parquet", rows, "")
        with pytest.raises(
            SplitPlaceError, match=rf"steps of {step_s:g} s in 1000 s, at most 10000000: give .* longer"
        ):
            by_hand(
                [(0, "a", 1, 1)], world.fleet(world.device()), world.constants({"core_s": (1.0,)}), "layer+random",
                mobility=str(tmp_path / "fine.parquet"),
            )  # fmt: skip


@pytest.mark.sim
def test_a_parquet_trace_that_lacks_a_column(tmp_path):
    """It is named, with those that there are: the file is Parquet."""
    write_parquet(tmp_path / "odd.parquet", {"time_s": [0.0, 1.0], "vehicle": ["a", "a"]}, "")
    with pytest.raises(
        SplitPlaceError, match=r"no columns 'device' among its own \(time_s, vehicle\), expected one each"
    ):
        load_mobility(str(tmp_path / "odd.parquet"))


@pytest.mark.sim
def test_a_mobility_trace_with_holes(tmp_path):
    """Device v1 lacks the second 1."""
    columns = {"time_s": [0, 0, 1], "device": ["v0", "v1", "v0"], "rtt_s": [0.0] * 3, "bytes_per_s": [1.0] * 3}
    write_parquet(tmp_path / "holes.parquet", columns, "")
    with pytest.raises(SplitPlaceError, match="v1 has no row at 1 s"):
        load_mobility(str(tmp_path / "holes.parquet"))


def test_a_policy_that_fails_before_the_run(world, by_hand, rogue, tmp_path, monkeypatch):
    """In its `init`, by its name; in its module or its constructor, as wrong usage."""
    broken = rogue()
    broken.init = lambda view: {}["x"]
    with pytest.raises(SplitPlaceError, match=r"policy rogue failed before the first interval: KeyError"):
        by_hand([(0, "a", 1, 1)], world.fleet(world.device()), world.constants({"core_s": (1.0,)}), broken)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "broken_policy.py").write_text("class No:\n    def __init__(self):\n        raise KeyError('no')\n")
    (tmp_path / "worse_policy.py").write_text("class No:\n  1 +\n")
    for target, said in (("broken_policy:No", "KeyError: 'no'"), ("worse_policy:No", "SyntaxError")):
        with pytest.raises(UsageError, match=said):
            parse_policy(target)


def test_a_placement_where_the_image_is_not(world, by_hand, rogue):
    """The second device's disk holds the first fragment only; who places the other there is told."""
    bad = SimpleNamespace(method="place", answer=lambda *_: [Place(0, 0, 1), Place(0, 1, 1)])
    fleet = world.fleet(world.device(name="ok"), world.device(name="tiny", disk_bytes=1))
    demand = world.constants({"core_s": (1.0, 1.0)})
    with pytest.raises(SplitPlaceError, match="tiny has no image of it on its disk"):
        by_hand([(0, "a", 1, 1)], fleet, demand, rogue(bad))
