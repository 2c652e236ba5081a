"""What a function is handed in Python, where anything may come, is refused in a line or means what it says."""

import logging

import numpy as np
import pytest

import splitplace as sp
from splitplace.placement.deciders.fixed import Layer
from splitplace.placement.joint.joint import Joint
from splitplace.placement.simulator.scenario import CpuLimit, Scenario, Workload

pytestmark = pytest.mark.base


def small(**changes) -> sp.Simulation:
    """Two intervals of random decisions."""
    asked = {
        "policy": "random+random",
        "scenario": "paper-50",
        "fleet": "azure50:4",
        "demand": "upstream",
        "intervals": 2,
    }
    return sp.simulate(**(asked | changes))


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"seed": "3"}, "--seed '3': expected a whole number, 0 or more"),
        ({"seed": None}, "--seed None: expected a whole number"),
        ({"seed": 1.0}, "--seed 1.0: expected a whole number"),
        ({"seed": float("nan")}, "--seed nan: expected a whole number"),
        ({"seed": True}, "--seed True: expected a whole number"),
        ({"intervals": 2.0}, "--intervals 2.0: expected a whole number, 1 to 1000000"),
        ({"rate": 0}, "--rate 0: expected 1e-15 to 1e+30"),
        ({"rate": float("nan")}, "--rate nan: expected 1e-15"),
        ({"load": "high"}, "--load 'high': expected a number"),
        ({"utilisation": True}, "--utilisation True: expected a number"),
        ({"scenario": 7}, "scenario 7: expected one by name, a TOML file, or a Scenario"),
        ({"fleet": []}, "fleet []: expected one by name, a TOML file, or a FleetSpec"),
        ({"demand": {}}, "demand {}: expected one by name, a file, a catalog, or a Demand"),
        ({"policy": None}, "'NoneType' is no policy: it lacks init, decide, place, update"),
        ({"policy": Layer()}, "'Layer' is no policy: it lacks place"),
        ({"policy": Joint}, "'Joint' is a class: give what it makes, Joint()"),
    ],
)
def test_a_simulation_of_what_is_none_of_its_kind(changes, said):
    """Wrong usage, by the option's name, before any work."""
    with pytest.raises(sp.UsageError) as raised:
        small(**changes)
    assert said in str(raised.value)


@pytest.mark.sim
@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"rate": "20"}, "--rate '20': expected a number, 1e-06 to 1e+06 requests a second"),
        ({"batch": 1.5}, "--batch 1.5: expected a whole number"),
        ({"accuracy": float("nan")}, "--accuracy nan: expected a share, 0 to 1"),
        ({"fleet": 7}, "fleet 7: expected one by name"),
        ({"catalog": 7}, "catalog 7: expected one by its folder"),
    ],
)
def test_advice_on_what_is_none_of_its_kind(changes, said):
    """Likewise."""
    asked = {"catalog": "upstream", "fleet": "azure50:3", "rate": 1.0, "deadline": 1.0}
    with pytest.raises(sp.UsageError) as raised:
        sp.advise(**(asked | changes))
    assert said in str(raised.value)


def test_a_seed_of_numpys_is_the_same_seed():
    """As it comes out of an array of seeds."""
    rows = [small(seed=seed).run.tasks["images"].tolist() for seed in (3, np.int64(3), np.uint8(3))]
    assert rows[0] == rows[1] == rows[2] != []


def test_another_load_for_recorded_tasks(tmp_path):
    """They bring their deadlines along: of others nothing is known, and the file and the option are named."""
    (tmp_path / "asked.csv").write_text("arrival_s,application,n,deadline_s\n1,mnist,10,5\n")
    scenario = Scenario(name="recorded", workload=Workload(trace=str(tmp_path / "asked.csv")))
    with pytest.raises(
        sp.UsageError, match=r"--rate: scenario recorded has the tasks of .*asked.csv, .* leave --rate out"
    ):
        small(scenario=scenario, rate=3)


@pytest.mark.parametrize(
    ("scenario", "mix", "left_out"),
    [
        ("mine", {"mnits": 1.0, "mnist": 1.0}, "left out of the mix: mnits; the demand offers mnist, fashionmnist"),
        ("mine", {"mnist": 1.0}, ""),
        ("paper-50", {"tiny100": 1.0, "mnist": 1.0}, ""),
    ],
)
def test_applications_of_a_mix_that_the_demand_lacks(scenario, mix, left_out, caplog):
    """Are told, for most often they are mistyped; but of scenarios that ship, which name those of several demands."""
    workload = Workload(rate=1.0, deadline_relative=(1.0, 2.0), mix=mix)
    with caplog.at_level(logging.WARNING):
        small(scenario=Scenario(name=scenario, workload=workload))
    assert left_out in caplog.text and ("left out" in caplog.text) == bool(left_out)


def test_tasks_of_a_file_that_come_after_the_end(tmp_path, caplog):
    """Are told: two intervals are shorter than many a recording, and than seconds since 1970."""
    path = tmp_path / "asked.csv"
    path.write_text("arrival_s,application,n,deadline_s\n3,mnist,9,5\n1764460800,mnist,9,5\n", encoding="utf-8")
    with caplog.at_level(logging.WARNING):
        done = small(scenario=Scenario(name="mine", workload=Workload(trace=str(path))))
    assert done.metrics.tasks.arrived == 1
    assert f"1 of 2 tasks of {path} come after the run's end at 600 s, the last at 1.76446e+09 s" in caplog.text


def test_a_limit_of_a_kind_that_no_device_has(caplog):
    """It changes nothing, and most often another kind is meant: the run says so."""
    scenario = sp.load_scenario("paper-50").model_copy(
        update={"cpu_limits": {"b2mz": CpuLimit(share=0.5, period_s=0.1)}}
    )
    with caplog.at_level(logging.WARNING):
        small(scenario=scenario)
    assert "cpu_limits of b2mz limit nobody: the fleet's kinds are b2ms" in caplog.text
