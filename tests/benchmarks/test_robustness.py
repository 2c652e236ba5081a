"""`bench robustness`: what is lost against right knowledge, within a seed."""

import json

import pytest

from splitplace.benchmarks import robustness as bench
from splitplace.benchmarks.experiment import Experiment, load_experiment
from splitplace.benchmarks.experiment_file import ExperimentResults
from splitplace.benchmarks.grid import GridTask, measure_cell
from splitplace.cli import main
from splitplace.errors import SplitPlaceError
from splitplace.provenance import collect
from tests.benchmarks.test_grid import LAYER, cell

TOML = """
name = "tiny"
about = "Tiny."
loads = [0.5]
seeds = [1, 2]
intervals = 12
bounds = false

[[rows]]
name = "joint"
policies = ["joint"]

[[scenarios]]
name = "known"
scenario = "upstream-10"
demand = "upstream"

[[scenarios]]
name = "wrong"
scenario = "upstream-10"
demand = "upstream"
right = "known"
changes.mistakes = { profiles = 8.0, devices = 0.5 }
"""
EXPERIMENT = Experiment.parse_toml(TOML, "tiny.toml")


def made_up(known, wrong):
    """Results of these rewards, a seed each."""
    sides = {"known": known, "wrong": wrong}
    cells = [cell("joint", seed, r, scenario) for scenario, of in sides.items() for seed, r in enumerate(of, start=1)]
    experiment = EXPERIMENT.model_copy(update={"seeds": tuple(range(1, 1 + max(len(known), len(wrong))))})
    return ExperimentResults(experiment=experiment, tuning=(), cells=tuple(cells), bounds=(), provenance=collect())


def test_a_seed_that_is_not_the_experiments_is_not_judged():
    """A file may hold it: of a run that asked for more, or for others."""
    results = made_up([0.8, 0.7, 0.9], [0.8, 0.7, 0.1])
    fewer = results.experiment.model_copy(update={"seeds": (1, 2)})
    (loss,) = bench.losses(results.model_copy(update={"experiment": fewer}))
    assert loss.lost.mean == pytest.approx(0.0)


@pytest.mark.parametrize(
    ("known", "wrong", "word"),
    [
        ([0.8, 0.7, 0.6], [0.799, 0.6991, 0.5992], "holds"),
        ([0.8, 0.7, 0.6], [0.7, 0.601, 0.5], "does not hold at a load of 0.5"),
        ([0.8, 0.7, 0.6], [0.8, 0.68, 0.59], "cannot be told at a load of 0.5"),
    ],
)
def test_the_loss_is_paired_by_seed(known, wrong, word):
    """Seeds differ by far more than what is lost."""
    results = made_up(known, wrong)
    (loss,) = bench.losses(results)
    assert loss.lost.mean == pytest.approx(sum(known) / 3 - sum(wrong) / 3)
    assert bench.verdict(results) == {"joint loses at most 0.01 in wrong": word}


def test_a_side_that_was_not_measured_is_no_loss():
    """Nor are seeds that only one side has."""
    assert bench.losses(made_up([], [0.5])) == []
    (loss,) = bench.losses(made_up([0.8, 0.7], [0.75]))
    assert loss.lost.mean == pytest.approx(0.05)


def test_cells_are_of_the_tasks_that_arrive_from_then_on():
    """A window of half the run has other figures; one that starts at the end has no task, and says so."""
    scenario = EXPERIMENT.scenarios[0]

    def measured(start):
        late = scenario.model_copy(update={"from_interval": start})
        return measure_cell(GridTask(late, 0.5, 1, 12, LAYER, "layer+gathered"))

    assert measured(0).reward != measured(6).reward
    assert measured(0).energy_kwh == measured(6).energy_kwh
    with pytest.raises(SplitPlaceError, match="no task is scored"):
        measured(12)


def test_changes_reach_into_tables_and_are_held_against_the_scenarios_form():
    """Of `workload` the batch alone; a field that there is not is refused with the scenario's name."""
    known = EXPERIMENT.scenarios[0]
    before, after = known, known.model_copy(update={"changes": {"workload": {"batch": [10, 20]}}})
    workload = after.load()[0].workload
    assert workload.batch == (10, 20) and workload.rate == before.load()[0].workload.rate
    with pytest.raises(SplitPlaceError, match=r"the changes of scenario known.*colour"):
        known.model_copy(update={"changes": {"colour": 1}}).load()


def test_what_it_is_held_against_is_there():
    """A name of no scenario is refused."""
    with pytest.raises(SplitPlaceError, match="scenarios wrong: right must name one of known, wrong"):
        Experiment.parse_toml(TOML.replace('right = "known"', 'right = "nowhere"'), "tiny.toml")


def test_of_the_experiment_that_ships_both_sides_differ_in_what_is_known():
    """A side that is wrong and one that is right have fleet, window and intervals in common, and a tenth fails."""
    experiment = load_experiment("robustness")
    named = {scenario.name: scenario for scenario in experiment.scenarios}
    for wrong in (scenario for scenario in experiment.scenarios if scenario.right):
        right = named[wrong.right]
        assert (wrong.scenario, wrong.from_interval) == (right.scenario, right.from_interval)
        (one, fleet, _), (other, _, _) = wrong.load(), right.load()
        assert one != other
        assert {event.device for event in one.events} == {event.device for event in other.events}
        devices = [device.name for device in fleet.units()]
        assert {event.device for event in one.events} <= set(devices)
        if one.events:
            assert 0.1 <= len(one.events) / len(devices) <= 0.13


def test_the_command_measures_and_tells(tmp_path, capsys):
    """Both sides, no bound, and the loss."""
    (tmp_path / "tiny.toml").write_text(TOML)
    with pytest.raises(SystemExit) as stop:
        main(["bench", "robustness", "--experiment", str(tmp_path / "tiny.toml"), "--results",
              str(tmp_path / "r.json"), "--jobs", "1", "--json"])  # fmt: skip
    document = json.loads(capsys.readouterr().out)
    assert stop.value.code == 0
    assert (len(document["cells"]), document["bounds"], document["tuning"]) == (4, [], [])
    assert list(document["verdict"]) == ["joint loses at most 0.01 in wrong"]
