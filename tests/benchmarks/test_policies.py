"""`bench policies`: placers chosen on other seeds, cells that survive an interruption, and words for what came out."""

import json

import pytest

from splitplace.benchmarks import experiment_run
from splitplace.benchmarks import policies as bench
from splitplace.benchmarks.experiment import Experiment
from splitplace.benchmarks.experiment_file import ExperimentFile, ExperimentResults, TuningCell
from splitplace.benchmarks.experiment_run import run
from splitplace.benchmarks.grid import GridBound
from splitplace.benchmarks.policies_table import section
from splitplace.cli import main
from splitplace.errors import UsageError
from splitplace.provenance import collect
from tests.benchmarks.test_grid import cell

TOML = """
name = "tiny"
about = "Tiny."
loads = [0.5]
seeds = [1, 2]
tuning_seeds = [100]
intervals = 12

[[rows]]
name = "joint"
policies = ["joint"]

[[rows]]
name = "layer"
policies = ["layer+random", "layer+gathered"]

[[rows]]
name = "compressed"
policies = ["compressed+random"]
strategies = ["compressed"]

[[scenarios]]
name = "upstream-10"
demand = "upstream"
"""
EXPERIMENT = Experiment.parse_toml(TOML, "tiny.toml")
QUIET = {"say": lambda line: None}


def plain(results):
    """All of it in an order of its own, but for the clock and the time of day."""
    parts = results.model_dump(exclude={"provenance": True, "cells": {"__all__": {"timings"}}})
    return {name: sorted(map(str, part)) if isinstance(part, tuple | list) else part for name, part in parts.items()}


def succeed(call):
    """A command that is done."""
    with pytest.raises(SystemExit) as stop:
        main(call)
    assert stop.value.code == 0


def made_up(rewards, bound=0.9, load=0.5, scenario="upstream-10"):
    """Results by row: a reward a seed."""
    policies = {row.name: row.policies[0] for row in EXPERIMENT.rows}
    cells = [
        cell(row, seed, r, scenario, load).model_copy(update={"policy": policies.get(row, row)})
        for row, of in rewards.items()
        for seed, r in enumerate(of, start=1)
    ]
    bounds = [GridBound(scenario=scenario, load=load, seed=s, reward=bound) for s in range(1, 11)]
    seeds = tuple(range(1, 1 + max(map(len, rewards.values()))))
    experiment = EXPERIMENT.model_copy(update={"loads": (load,), "seeds": seeds})
    return ExperimentResults(
        experiment=experiment, tuning=(), cells=tuple(cells), bounds=tuple(bounds), provenance=collect()
    )


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """Everything, without an interruption; the file it is in."""
    path = tmp_path_factory.mktemp("whole") / "policies.json"
    run(path, EXPERIMENT, **QUIET)
    return path


def read(path):
    """What a file holds."""
    return ExperimentResults.parse(path.read_bytes(), str(path))


def test_rows_take_part_where_their_strategies_are(whole):
    """The published constants have no compressed models."""
    assert {each.row for each in read(whole).cells} == {"joint", "layer"}


def test_a_row_of_several_policies_is_judged_with_the_best_of_the_tuning_seeds(whole):
    """Of other seeds than those it is judged on; a row of one policy has nothing to choose."""
    found = read(whole)
    tried = {each.policy: each.reward for each in found.tuning}
    assert {each.seed for each in found.tuning} == {100} and set(tried) == set(EXPERIMENT.rows[1].policies)
    judged = {each.policy for each in found.cells if each.row == "layer"}
    assert judged == {max(tried, key=tried.get)} == {"layer+gathered"}
    assert {each.seed for each in found.cells} == {1, 2}


def test_of_equals_the_first_is_chosen(tmp_path):
    """By the mean over the tuning seeds, and nothing else."""
    file = ExperimentFile(tmp_path / "p.json", EXPERIMENT)
    for policy in EXPERIMENT.rows[1].policies:
        tried = TuningCell(row="layer", policy=policy, scenario="upstream-10", load=0.5, seed=100, reward=0.5)
        file.put(tried)
    assert file.chosen(EXPERIMENT.rows[1], ("upstream-10", 0.5)) == "layer+random"
    file.put(tried.model_copy(update={"reward": 0.51}))
    assert file.chosen(EXPERIMENT.rows[1], ("upstream-10", 0.5)) == "layer+gathered"


def test_nobody_exceeds_the_bound(whole):
    """Of the same seed."""
    found = read(whole)
    bounds = {each.seed: each.reward for each in found.bounds}
    assert all(each.reward <= bounds[each.seed] for each in found.cells)


@pytest.mark.parametrize("stop", [1, 3, 5])
def test_a_run_that_was_interrupted_ends_as_one_that_was_not(whole, tmp_path, monkeypatch, stop):
    """Whether it stopped while choosing, at a bound or while judging; what was measured is not measured again."""
    path, saved = tmp_path / "policies.json", []
    save = ExperimentFile.save

    def interrupted(self):
        saved.append(save(self))
        if len(saved) == stop:
            raise KeyboardInterrupt
        return saved[-1]

    monkeypatch.setattr(ExperimentFile, "save", interrupted)
    with pytest.raises(KeyboardInterrupt):
        run(path, EXPERIMENT, **QUIET)
    found = read(path)
    assert len(found.tuning) + len(found.bounds) + len(found.cells) == stop
    run(path, EXPERIMENT, **QUIET)
    assert plain(read(path)) == plain(read(whole))
    assert len(saved) == 2 + 2 + 4 + 1  # every cell once, and the end


def test_a_scenario_may_be_run_at_some_of_the_loads(tmp_path):
    """A burst of five times the tasks is asked for where fleets are at ease; the others are run at all."""
    more = TOML.replace("loads = [0.5]", "loads = [0.5, 0.9]")
    scenario = '\n[[scenarios]]\nname = "calm"\nscenario = "upstream-10"\ndemand = "upstream"\nloads = [0.5]\n'
    experiment = Experiment.parse_toml(more + scenario, "more.toml").only(["layer"])
    experiment = experiment.model_copy(update={"bounds": False})
    run(tmp_path / "p.json", experiment, **QUIET)
    found = {(each.scenario, each.load) for each in read(tmp_path / "p.json").cells}
    assert found == {("upstream-10", 0.5), ("upstream-10", 0.9), ("calm", 0.5)}


@pytest.mark.slow
def test_by_several_processes_as_by_one(whole, tmp_path):
    """The order in which cells end is nobody's business."""
    path = tmp_path / "policies.json"
    run(path, EXPERIMENT, jobs=2, **QUIET)
    assert plain(read(path)) == plain(read(whole))


def test_a_row_that_is_added_is_measured_and_no_other(whole, tmp_path):
    """Deciders come: the cells that there are stay as they are, to the byte of their timings."""
    path = tmp_path / "policies.json"
    path.write_bytes(whole.read_bytes())
    more = TOML.replace("[[scenarios]]", '[[rows]]\nname = "full"\npolicies = ["full+random"]\n\n[[scenarios]]')
    run(path, Experiment.parse_toml(more, "more.toml"), **QUIET)
    before, after = read(whole), read(path)
    assert {each.row for each in after.cells} == {"joint", "layer", "full"}
    assert [each for each in after.cells if each.row != "full"] == list(before.cells)


def test_a_placer_that_is_added_and_wins_is_judged(whole, tmp_path):
    """Its row's cells were of another policy."""
    path = tmp_path / "policies.json"
    run(path, Experiment.parse_toml(TOML.replace(', "layer+gathered"', ""), "few.toml"), **QUIET)
    assert {each.policy for each in read(path).cells} == {"joint", "layer+random"}
    run(path, EXPERIMENT, **QUIET)
    assert plain(read(path)) == plain(read(whole))


def test_some_rows_again_leave_the_others(whole, tmp_path, monkeypatch):
    """`--only joint --fresh` measures joint's cells and no other."""
    path, asked = tmp_path / "policies.json", []
    path.write_bytes(whole.read_bytes())
    work = experiment_run.measure_cell
    monkeypatch.setattr(experiment_run, "measure_cell", lambda task: asked.append(task.row.name) or work(task))
    run(path, EXPERIMENT, part=EXPERIMENT.only(["joint"]), fresh=True, **QUIET)
    assert asked == ["joint", "joint"]
    assert plain(read(path)) == plain(read(whole))


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("intervals = 12", "intervals = 13", "scenario upstream-10"),
        ('demand = "upstream"', 'demand = "upstream"\nfleet = "upstream-10:9"', "scenario upstream-10"),
        ('policies = ["joint"]', 'policies = ["joint"]\noptions = { joint = { beta = 0.5 } }', "row joint"),
        ("intervals = 12", 'intervals = 12\nstates = "measured-50"', "states"),
    ],
)
def test_a_file_of_another_setting_is_refused(whole, old, new, said):
    """Cells of two settings cannot be paired."""
    other = Experiment.parse_toml(TOML.replace(old, new, 1), "other.toml")
    with pytest.raises(UsageError, match=f"another {said}: give another --results, or --fresh"):
        run(whole, other, **QUIET)


@pytest.mark.parametrize(
    ("ours", "others", "word"),
    [
        ([0.80, 0.81, 0.82], {"layer": [0.70, 0.71, 0.721], "compressed": [0.6, 0.61, 0.621]}, "above all"),
        ([0.70, 0.71, 0.72], {"layer": [0.80, 0.81, 0.821]}, "below layer"),
        ([0.70, 0.81, 0.73], {"layer": [0.80, 0.71, 0.72]}, "a tie with layer"),
        ([0.80, 0.81, 0.82], {"layer": [0.70, 0.71, 0.721], "full": [0.8, 0.809, 0.821]}, "a tie with full"),
        ([0.8, 0.8, 0.8], {"layer": [0.80004, 0.8, 0.8]}, "all alike"),
    ],
)  # fmt: skip
def test_one_case_in_a_word(ours, others, word):
    """Above all only if above each; a tie is called one."""
    (judged,) = bench.judge(made_up({"joint": ours, **others}))
    assert judged.word == word


@pytest.mark.parametrize(
    ("rewards", "word"),
    [([0.899, 0.8992, 0.8991], "holds"), ([0.89, 0.8901, 0.8902], "does not hold"), ([0.89, 0.90, 0.899], "cannot")],
)
def test_close_to_the_bound_by_the_interval(rewards, word):
    """The lower end counts; where the margin lies within, it cannot be told."""
    said = bench.verdict(made_up({"joint": rewards, "layer": [0.1, 0.2, 0.3]}))
    claimed = said["joint at least the bound less 0.002 at a load of 0.5"]
    assert claimed.removeprefix("holds in 0 of 1; ").startswith(word)


def test_the_margin_goes_by_the_load():
    """As claimed: closer where fleets idle."""
    assert [bench.margin(load) for load in (0.25, 0.5, 0.75, 0.95)] == [0.002, 0.002, 0.010, 0.025]


def test_who_is_better_is_claimed_only_where_there_is_room():
    """A best other within .005 of the bound leaves nothing to win."""
    claim = "joint above every other where the bound leaves 0.005"
    close = made_up({"joint": [0.8999, 0.8998], "layer": [0.8970, 0.8975]})
    assert bench.verdict(close)[claim] == "not run"
    wide = made_up({"joint": [0.88, 0.8801, 0.8802], "layer": [0.87, 0.8702, 0.8701]})
    assert bench.verdict(wide)[claim] == "holds"
    behind = made_up({"joint": [0.87, 0.8701], "layer": [0.88, 0.8801]})
    assert bench.verdict(behind)[claim] == "holds in 0 of 1; does not hold in upstream-10 at 0.5"


def test_never_far_below_the_best():
    """By more than a thousandth for certain, or perhaps."""
    claim = "joint never below the best other by more than 0.001"
    for joint, word in (([0.8001, 0.8, 0.8002], "holds"), ([0.79, 0.7901, 0.7899], "does not hold")):
        said = bench.verdict(made_up({"joint": joint, "layer": [0.8, 0.8001, 0.8001]}))[claim]
        assert word in said


def test_a_case_without_ours_is_not_judged():
    """Rows may be measured without."""
    assert bench.judge(made_up({"layer": [0.1, 0.2]})) == []
    assert section(made_up({"layer": [0.1, 0.2]}).model_dump_json().encode(), None).tables == []


def test_what_is_not_run_yet_is_said_by_scenario_and_load():
    """A scenario of which nothing is there by its name alone."""
    found = made_up({"joint": [0.8, 0.8], "layer": [0.7, 0.7]})
    other = found.experiment.scenarios[0].model_copy(update={"name": "unequal", "demand": "measured"})
    more = found.experiment.model_copy(update={"loads": (0.5, 0.75), "scenarios": (*found.experiment.scenarios, other)})
    told = section(found.model_copy(update={"experiment": more}).model_dump_json().encode(), None)
    assert "Not run yet: upstream-10 at 0.75, unequal." in told.remarks
    whole = section(found.model_dump_json().encode(), None)
    assert not any(remark.startswith("Not run yet") for remark in whole.remarks)


def test_the_page_says_where_nobody_differs_and_where_few_tasks_are_scored():
    """Neither tells who is better."""
    found = made_up({"joint": [0.8, 0.8], "layer": [0.8, 0.8]})
    told = section(found.model_dump_json().encode(), None)
    assert any("Nobody's reward differs in upstream-10 at 0.5" in remark for remark in told.remarks)
    few = [each.model_copy(update={"scored": 0.4}) for each in found.cells]
    told = section(found.model_copy(update={"cells": tuple(few)}).model_dump_json().encode(), None)
    assert any("less than half of the tasks" in remark for remark in told.remarks)


def test_the_page_says_who_had_learned_nothing_before():
    """In the row's own place, and in a sentence; a learner that had a state, and rules, are told as they are."""
    found = made_up({"joint": [0.8, 0.8], "layer": [0.7, 0.7]})
    learner = [
        one.model_copy(update={"policy": "layer+daso", "trained": ()}) if one.row == "layer" else one
        for one in found.cells
    ]
    told = section(found.model_copy(update={"cells": tuple(learner)}).model_dump_json().encode(), None)
    assert told.tables[1][0]["layer"].endswith("(daso, untrained)") and "untrained" not in told.tables[1][0]["joint"]
    assert any(remark.startswith("Of layer, parts that learn before a run") for remark in told.remarks)
    trained = [one.model_copy(update={"trained": ("daso",)}) for one in learner]
    told = section(found.model_copy(update={"cells": tuple(trained)}).model_dump_json().encode(), None)
    assert "untrained" not in str(told.tables) + str(told.remarks)


def test_the_command_measures_shows_and_draws(tmp_path, capsys, monkeypatch):
    """From an experiment's file to a table, a document and a picture; a second call measures nothing."""
    (tmp_path / "tiny.toml").write_text(TOML)
    results = tmp_path / "out.json"
    call = ["bench", "policies", "--experiment", str(tmp_path / "tiny.toml"), "--results", str(results), "--jobs", "1"]
    succeed([*call, "--only", "joint", "layer"])
    assert "above every other" in capsys.readouterr().out
    monkeypatch.setattr(experiment_run, "measure_cell", lambda task: pytest.fail("measured again"))
    succeed([*call, "--json"])
    document = json.loads(capsys.readouterr().out)
    assert (document["results"], document["picture"]) == (str(results), str(results.with_suffix(".svg")))
    assert len(document["cells"]) == 4 and len(document["verdict"]) == 3
    assert b"joint" in results.with_suffix(".svg").read_bytes()


@pytest.mark.parametrize(
    ("option", "said"),
    [
        (["--only", "nobody"], "unknown row 'nobody'"),
        (["--scenarios", "nowhere"], "unknown scenario 'nowhere'"),
        (["--experiment", "nothing"], "no experiment 'nothing'"),
        (["--jobs", "0"], "--jobs 0: expected at least 1"),
        (["--quick"], "says not what is quick"),
    ],
)
def test_what_cannot_be_meant_is_one_line(tmp_path, capsys, option, said):
    """Before anything is measured."""
    (tmp_path / "tiny.toml").write_text(TOML)
    experiment = [] if "--experiment" in option else ["--experiment", str(tmp_path / "tiny.toml")]
    with pytest.raises(SystemExit) as stop:
        main(["bench", "policies", *experiment, "--results", str(tmp_path / "r.json"), *option])
    error = capsys.readouterr().err
    assert stop.value.code == 2 and said in error and len(error.splitlines()) == 1
