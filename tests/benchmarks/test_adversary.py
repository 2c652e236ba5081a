"""`bench fair --adversaries`: a search for each row's worst case, on a landscape that is known."""

import json
import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from splitplace.benchmarks import adversary
from splitplace.benchmarks.adversary import Adversary, AdversaryResults, Reward, section
from splitplace.benchmarks.experiment import Experiment, load_experiment
from splitplace.benchmarks.knobs import Knob
from splitplace.cli import main
from splitplace.errors import SplitPlaceError, UsageError

TOML = """
name = "tiny"
about = "Tiny."
seeds = [1, 2]
intervals = 12

[[rows]]
name = "steady"
policies = ["layer+random"]

[[rows]]
name = "fragile"
policies = ["semantic+random"]

[[scenarios]]
name = "upstream-10"
demand = "upstream"
as_stated = true

[search]
setting = { scenario = "upstream-10", demand = "upstream" }
intervals = 12
seeds = [300]
judged = [1, 2, 3]
steps = 30
quick_steps = 1

[[search.knobs]]
path = "workload.rate"
low = 0.5
high = 8.0

[[search.knobs]]
path = "fleet"
choices = ["upstream-10", "azure10"]
"""
EXPERIMENT = Experiment.parse_toml(TOML, "tiny.toml")


def landscape(task):
    """A row that is always worth .6; one that loses by the distance of the rate from 4, and most on azure10."""
    point = json.loads(task.point_text)
    peak = math.exp(-abs(math.log(point["workload.rate"] / 4)))
    fragile = 0.8 - (0.5 if point["fleet"] == "azure10" else 0.1) * peak
    reward = {"steady": 0.6, "fragile": fragile}[task.row.name] + 1e-4 * (task.seed % 7)
    return Reward(point=point, row=task.row.name, seed=task.seed, reward=reward)


@pytest.fixture
def known(monkeypatch):
    """Points are worth what the landscape says; the list of those that were measured."""
    asked = []
    monkeypatch.setattr(adversary, "measure_point", lambda task: asked.append(task) or landscape(task))
    return asked


def search(path, steps=30):
    """All of it, in this process."""
    found = Adversary(path, EXPERIMENT, steps, 1, lambda line: None)
    found.run()
    return found


def test_the_worst_of_a_known_landscape_is_found(known, tmp_path):
    """Near the rate of 4 on azure10, where a row is .3 worth and the other .6; of the steady one, .2 behind at most."""
    fragile, steady = sorted(search(tmp_path / "r.json").worst(), key=lambda worst: worst.row)
    assert (fragile.best, fragile.point["fleet"]) == ("steady", "azure10")
    assert fragile.point["workload.rate"] == pytest.approx(4.0, rel=0.25)
    assert fragile.behind.mean == pytest.approx(0.3, abs=0.07)
    assert steady.best == "fragile" and 0.1 < steady.behind.mean <= 0.2


def test_what_was_found_is_judged_on_other_seeds(known, tmp_path):
    """And on all of them; the search sees its own alone."""
    (worst, _) = search(tmp_path / "r.json").worst()
    seeds = {task.seed for task in known if json.loads(task.point_text) == worst.point}
    assert seeds == {300, 1, 2, 3}
    assert {task.seed for task in known} == {300, 1, 2, 3}


def test_an_interrupted_search_goes_on_as_it_would_have(known, tmp_path):
    """The same draws: what is in the file is not measured again, and the end is the same."""
    whole = search(tmp_path / "whole.json")
    everything = len(known)
    found = AdversaryResults.parse((tmp_path / "whole.json").read_bytes(), "whole")
    part = found.model_copy(update={"rewards": found.rewards[: everything // 2]})
    (tmp_path / "part.json").write_text(part.model_dump_json())
    known.clear()
    again = search(tmp_path / "part.json")
    assert len(known) == everything - everything // 2
    assert [worst.point for worst in again.worst()] == [worst.point for worst in whole.worst()]


def test_a_point_where_a_row_cannot_be_run_is_never_its_worst(tmp_path, monkeypatch):
    """Nor is a row that is alone behind anybody."""

    def alone(task):
        found = landscape(task)
        return found.model_copy(update={"reward": None}) if task.row.name == "steady" else found

    monkeypatch.setattr(adversary, "measure_point", alone)
    assert search(tmp_path / "r.json", steps=3).worst() == []
    assert section((tmp_path / "r.json").read_bytes(), None).tables == []


def test_a_point_that_is_no_scenario_has_no_reward():
    """A row that lacks a split there, or a run that scores nothing."""
    rows = EXPERIMENT.rows
    point = {"workload.rate": 1.0, "fleet": "upstream-10"}
    ran = adversary.PointTask(EXPERIMENT.search.scenario(point), json.dumps(point), rows[0], 1, 12, None)
    assert 0 < adversary.measure_point(ran).reward < 1
    assert adversary.measure_point(replace(ran, intervals=1)).reward is None


def test_a_file_of_another_search_is_refused(known, tmp_path):
    """Its points are of other knobs."""
    search(tmp_path / "r.json", steps=1)
    other = Experiment.parse_toml(TOML.replace("high = 8.0", "high = 9.0"), "tiny.toml")
    with pytest.raises(UsageError, match="of another search"):
        Adversary(tmp_path / "r.json", other, 1, 1, lambda line: None)
    with pytest.raises(UsageError, match="has no table"):
        Adversary(tmp_path / "new.json", load_experiment("table4"), 1, 1, lambda line: None)


@given(st.floats(0.5, 8.0), st.integers(0, 1000))
def test_a_knob_stays_in_its_range(value, seed):
    """Whatever is drawn, and wherever a step starts."""
    rate, fleet = EXPERIMENT.search.knobs
    rng = np.random.default_rng(seed)
    assert 0.5 <= rate.drawn(rng) <= 8.0 and 0.5 <= rate.near(value, rng) <= 8.0
    assert fleet.near("azure10", rng) in fleet.choices


def test_a_knob_of_a_pair_turns_both():
    """Whole where the field is."""
    pair = Knob(path="workload.batch", low=10.0, high=100.0, times=(1.0, 4.0), whole=True)
    assert pair.field(12.4) == [12, 50]
    assert Knob(path="x", low=0.1, high=1.0).field(0.25) == 0.25


def test_points_of_the_fair_search_are_scenarios():
    """Each of some that are drawn can be loaded."""
    found, rng = load_experiment("fair").search, np.random.default_rng(0)
    for _ in range(20):
        scenario, _, _ = found.scenario({knob.path: knob.drawn(rng) for knob in found.knobs}).load()
        assert scenario.workload.mix.keys() == {"mnist", "fashionmnist", "tiny100"}
        low, high = scenario.workload.batch
        assert low < high <= 4 * low + 4


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("judged = [1, 2, 3]", "judged = [1, 300]", "judged on other seeds"),
        ("high = 8.0", "", "state low and high, or choices"),
        ("high = 8.0", "high = 0.25", "expected low < high"),
    ],
)
def test_a_search_that_cannot_be_is_refused(old, new, said):
    """In one line."""
    with pytest.raises(SplitPlaceError, match=said):
        Experiment.parse_toml(TOML.replace(old, new), "tiny.toml")


def test_the_command_searches_and_tells(known, tmp_path, capsys):
    """The few steps of --quick; both rows at their worst."""
    (tmp_path / "e.toml").write_text(TOML)
    call = ["bench", "fair", "--adversaries", "--experiment", str(tmp_path / "e.toml"), "--jobs", "1", "--quick"]
    with pytest.raises(SystemExit) as stop:
        main([*call, "--results", str(tmp_path / "r.json"), "--json"])
    document = json.loads(capsys.readouterr().out)
    assert (stop.value.code, document["steps"]) == (0, 1)
    assert {reward["row"] for reward in document["rewards"]} == {"steady", "fragile"}
