"""`benchmarks/grid.py`: cells that hang on nothing else, measured by one process or several, and paired by seed."""

import math
import os
from itertools import count

import pytest
from hypothesis import given
from hypothesis import strategies as st

from splitplace.benchmarks import grid, grid_jobs
from splitplace.benchmarks.experiment import Experiment, load_experiment
from splitplace.benchmarks.experiment_run import taking_part
from splitplace.benchmarks.grid import CellTimings, GridCell, GridTask
from splitplace.benchmarks.grid_cells import GridCells
from splitplace.benchmarks.grid_row import GridRow
from splitplace.benchmarks.grid_scenario import GridScenario, shift_s
from splitplace.benchmarks.paired import holm, p_value
from splitplace.errors import SplitPlaceError, UsageError
from splitplace.placement.simulator.bound import reward_bound

SCENARIO = GridScenario(name="published", scenario="upstream-10", demand="upstream")
LAYER = GridRow(name="layer", policies=("layer+gathered",))


def task(row=LAYER, **changes):
    """A run of twelve intervals with the published constants: a tenth of a second."""
    fields = {"scenario": SCENARIO, "load": 0.5, "seed": 3, "intervals": 12, "row": row, "policy": row.policies[0]}
    return GridTask(**{**fields, **changes})


def figures(cell):
    """What a cell got, but for the clock."""
    return cell.model_dump(exclude={"timings"})


def cell(row, seed, reward, scenario="s", load=0.5):
    """One that nobody measured."""
    return GridCell(
        row=row, policy=f"{row}+p", scenario=scenario, load=load, seed=seed, reward=reward, scored=1.0, violation=0.0,
        accuracy=0.5, response_s=1.0, response_p95_s=2.0, energy_kwh=0.1,
        timings=CellTimings(decision_p50_s=0.0, decision_p95_s=0.0),
    )  # fmt: skip


def test_a_cell_measured_twice_is_the_same_but_for_the_clock():
    """Whichever process measured it, and when."""
    assert figures(grid.measure_cell(task())) == figures(grid.measure_cell(task()))


def test_another_seed_load_or_policy_is_another_cell():
    """Each of them counts."""
    semantic = GridRow(name="semantic", policies=("semantic+random",))
    found = [grid.measure_cell(each).reward for each in (task(), task(seed=4), task(load=0.9), task(semantic))]
    assert len(set(found)) == 4


def test_a_row_is_what_its_fields_say_and_not_what_it_is_called():
    """A field of a part changes what comes of it; another name alone does not."""
    joint, other = (GridRow(name=name, policies=("joint",)) for name in ("joint", "other"))
    careless = GridRow(name="joint", policies=("joint",), options={"joint": {"sla_weight": 0.0, "beta": 0.0}})
    got, named, changed = (grid.measure_cell(task(row, load=0.9)) for row in (joint, other, careless))
    assert figures(got) | {"row": ""} == figures(named) | {"row": ""}
    assert got.reward != changed.reward


def test_a_state_starts_as_the_row_says():
    """A field of the state of one part, by the part's name; a field that it has not is refused, and told where."""
    bandit = GridRow(name="mab", policies=("mab+gathered",), state={"mab": {"nothing": 1.0}})
    with pytest.raises(SplitPlaceError, match=r"published at a load of 0\.5, mab as mab\+gathered, seed 3: .*nothing"):
        grid.measure_cell(task(bandit))


def test_a_run_too_short_to_score_a_task_says_so():
    """Every deadline lies beyond one interval."""
    with pytest.raises(SplitPlaceError, match="in 1 intervals no task is scored: give more intervals"):
        grid.measure_cell(task(intervals=1))


def test_the_bound_is_that_of_the_same_tasks():
    """Rate, seed and intervals are those of the cells; no row exceeds it."""
    found = grid.measure_bound(task())
    scenario, fleet, demand = SCENARIO.load()
    assert found.reward == pytest.approx(reward_bound(grid.at_load(scenario, 0.5), fleet, demand, 12, 3), abs=1e-6)
    assert grid.measure_cell(task()).reward <= found.reward


def test_a_load_stands_in_place_of_the_scenarios_own():
    """The published code states a rate; the same scenario at a load has none."""
    scenario, _, _ = SCENARIO.load()
    assert scenario.workload.rate == 1.0
    workload = grid.at_load(scenario, 0.25).workload
    assert (workload.load, workload.rate, workload.utilisation) == (0.25, None, None)


@pytest.mark.parametrize("jobs", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_every_task_is_done_once_and_its_result_kept(jobs):
    """By this process, or by others."""
    kept, said = [], []
    grid_jobs.measure(math.sqrt, [1.0, 4.0, 9.0], jobs, kept.append, said.append, "roots")
    assert sorted(kept) == [1.0, 2.0, 3.0]
    assert [line.partition(",")[0] for line in said] == [f"roots: {number} of 3" for number in (1, 2, 3)]


def test_what_is_left_is_told_from_what_was_done(monkeypatch):
    """A minute a task by a clock of our own: two more take two minutes."""
    clock, said = count(0.0, 60.0), []
    monkeypatch.setattr(grid_jobs.time, "monotonic", lambda: next(clock))
    grid_jobs.measure(math.sqrt, [1.0, 4.0, 9.0], 1, lambda root: None, said.append, "roots")
    assert said[0] == "roots: 1 of 3, about 2 min left"
    assert said[-1] == "roots: 3 of 3, about 0 s left"


def test_an_error_ends_it_and_what_was_kept_stays():
    """The square root of a negative number is a ValueError."""
    kept = []
    with pytest.raises(ValueError, match="math domain error"):
        grid_jobs.measure(math.sqrt, [4.0, -1.0, 9.0], 1, kept.append, lambda line: None, "roots")
    assert kept == [2.0]


@pytest.mark.slow
def test_a_process_that_dies_is_one_line():
    """As by the system, where memory ran out."""
    with pytest.raises(SplitPlaceError, match=r"ended by itself .* fewer --jobs"):
        grid_jobs.measure(os._exit, [1, 1], 2, lambda nothing: None, lambda line: None, "deaths")


def test_the_environment_is_as_it_was(monkeypatch):
    """Only those who measure have one thread."""
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    monkeypatch.delenv("MKL_NUM_THREADS", raising=False)
    with grid_jobs._one_thread():
        assert (os.environ["OMP_NUM_THREADS"], os.environ["MKL_NUM_THREADS"]) == ("1", "1")
    assert os.environ["OMP_NUM_THREADS"] == "7" and "MKL_NUM_THREADS" not in os.environ


def test_rows_are_paired_on_the_seeds_that_all_of_them_have():
    """In the order of the seeds, whatever that of the cells."""
    cells = GridCells([cell("a", 2, 0.6), cell("a", 1, 0.5), cell("b", 1, 0.4), cell("b", 3, 0.1), cell("b", 2, 0.2)])
    assert cells.column(("s", 0.5), "a") == [0.5, 0.6]
    assert cells.column(("s", 0.5), "b") == [0.4, 0.2]
    assert cells.compare(("s", 0.5), "a")["b"].difference.mean == pytest.approx(0.25)


def test_a_difference_within_seeds_is_told_where_means_overlap():
    """Seeds differ by tenths, the rows by a thousandth in each."""
    pairs = [(seed, 0.1 * seed) for seed in range(1, 6)]
    rows = [*(cell("a", seed, base + 0.001 + seed * 1e-5) for seed, base in pairs), *(cell("b", *p) for p in pairs)]
    found = GridCells(rows).compare(("s", 0.5), "a")["b"]
    assert found.word == "above" and found.difference.low > 0
    assert GridCells(rows).compare(("s", 0.5), "b")["a"].word == "below"


def test_a_difference_that_changes_its_sign_is_none():
    """Level: one seed each way."""
    rows = [cell("a", 1, 0.5), cell("a", 2, 0.6), cell("b", 1, 0.6), cell("b", 2, 0.5)]
    assert GridCells(rows).compare(("s", 0.5), "a")["b"].word == "level"


def test_holm_as_r_has_it():
    """`p.adjust(c(.01, .04, .03, .005), "holm")` is .03, .06, .06, .02."""
    found = holm({"a": 0.01, "b": 0.04, "c": 0.03, "d": 0.005})
    assert found == pytest.approx({"a": 0.03, "b": 0.06, "c": 0.06, "d": 0.02})


@given(st.lists(st.floats(0, 1), min_size=1, max_size=8), st.floats(0.001, 0.999))
def test_holm_rejects_what_his_procedure_rejects(p_values, level):
    """Step down: the k-th smallest of m while it is at most level / (m - k + 1), and none after the first above."""
    ranked = sorted(range(len(p_values)), key=p_values.__getitem__)
    rejected = set()
    for k, row in enumerate(ranked):
        if p_values[row] * (len(p_values) - k) > level:
            break
        rejected.add(str(row))
    adjusted = holm({str(row): p for row, p in enumerate(p_values)})
    assert {name for name, p in adjusted.items() if p <= level} == rejected


@pytest.mark.parametrize(("differences", "expected"), [([], 1), ([0.3], 1), ([0.0, 0.0], 1), ([0.2, 0.2], 0)])
def test_p_values_where_there_is_no_width(differences, expected):
    """Nothing is told by one seed, nor by none that differs; a difference that never varies is certain."""
    assert p_value(differences) == expected


def test_a_p_value_by_hand():
    """Differences 1, 2, 3: t = 2 / (1 / √3) with two degrees of freedom, p = 1 - t / √(t² + 2)."""
    t = 2 * math.sqrt(3)
    assert p_value([1.0, 2.0, 3.0]) == pytest.approx(1 - t / math.sqrt(t**2 + 2))


GOOD = """
name = "e"
about = "Tiny."
loads = [0.5]
seeds = [1, 2]
tuning_seeds = [100]
intervals = 10

[[rows]]
name = "layer"
policies = ["layer+gathered", "layer+random"]

[[scenarios]]
name = "upstream-10"
demand = "upstream"
"""


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("seeds = [1, 2]", "seeds = [1, 1]", "seed 1 stands twice"),
        ("tuning_seeds = [100]", "tuning_seeds = [2]", "seed 2 stands twice"),
        ("tuning_seeds = [100]", "", "rows layer have several policies: give tuning_seeds"),
        ("loads = [0.5]", "loads = [0.5, 0.5]", "load 0.5 stands twice"),
        ("loads = [0.5]", "loads = [0]", "loads.0"),
        ("layer+random", "layer+nobody", "unknown placer 'nobody'"),
        ("layer+random", "layer", "'layer' is no policy"),
        ('"layer+random"]', '"layer+random"]\noptions = { gathered = { steps = 1 } }', "gathered has no option steps"),
        ('"layer+random"]', '"layer+random"]\noptions = { gobi = { steps = 1 } }', "gobi is in none of its policies"),
        ('"layer+random"]', '"layer+random"]\ncolour = 1', "rows.0.colour"),
        ('name = "upstream-10"', 'name = "nowhere"', "scenario nowhere: no scenario 'nowhere'"),
        ('demand = "upstream"', 'demand = "nothing"', "scenario upstream-10: no demand 'nothing'"),
        ('demand = "upstream"', 'demand = "upstream"\n[[scenarios]]\nname = "upstream-10"', "stands twice"),
        ("seeds = [1, 2]", "seeds = [1, 2", "not TOML"),
    ],
)  # fmt: skip
def test_an_experiment_that_cannot_be_is_refused_in_one_line(tmp_path, old, new, said):
    """Before anything runs; the line says where."""
    path = tmp_path / "e.toml"
    path.write_text(GOOD.replace(old, new))
    with pytest.raises(SplitPlaceError) as caught:
        load_experiment(str(path))
    assert said in str(caught.value) and "\n" not in str(caught.value)


def test_the_experiments_that_ship_are_experiments():
    """Every file is one, and quick ones are parts of the whole."""
    whole = load_experiment("policies")
    quick = whole.quickly()
    assert {each.name for each in quick.scenarios} < {each.name for each in whole.scenarios}
    assert quick.rows == whole.rows
    with pytest.raises(UsageError, match="no experiment 'nothing': expected one of"):
        load_experiment("nothing")


def test_of_an_experiment_some_rows_and_scenarios():
    """In its own order; an unknown name is told with those there are."""
    whole = load_experiment("policies")
    part = whole.only(["mab", "joint"], ["tight"])
    assert [row.name for row in part.rows] == ["joint", "mab"]
    assert [scenario.name for scenario in part.scenarios] == ["tight"]
    with pytest.raises(UsageError, match="unknown row 'ours': expected one of"):
        whole.only(["ours"])


def test_an_experiment_without_quick_says_so():
    """Rather than to run it whole."""
    experiment = Experiment.parse_toml(GOOD, "e.toml")
    with pytest.raises(UsageError, match="experiment e says not what is quick"):
        experiment.quickly()


def bandit(**changes):
    """The bandit with the published constants, where what it learns shows within a run."""
    row = GridRow(name="mab", policies=("mab+gathered",), **changes)
    return grid.measure_cell(task(row, intervals=20, load=0.9, details=True))


def test_a_frozen_part_learns_nothing_and_one_that_stops_nothing_more():
    """A bandit that never learns plays both arms in turn; where nothing shifts, nobody stops."""
    learning, frozen, stopping = bandit(), bandit(frozen=("mab",)), bandit(stops=("mab",))
    assert figures(learning) != figures(frozen)
    assert figures(learning) == figures(stopping)


def test_a_part_stops_when_the_scenario_shifts():
    """At the first of its phases or of its links' shifts."""
    shifting = GridScenario(
        name="shifting", scenario="upstream-10", demand="upstream", as_stated=True,
        changes={"workload": {"phases": [{"start": 20, "rate_factor": 2.0}]}, "network": [{"time_s": 9000.0}]},
    )  # fmt: skip
    assert shift_s(shifting.load()[0]) == 6000.0
    assert shift_s(SCENARIO.load()[0]) == math.inf
    row = GridRow(name="mab", policies=("mab+gathered",))
    stops = row.model_copy(update={"stops": ("mab",)})
    one, other = (grid.measure_cell(task(each, scenario=shifting, load=None, intervals=60)) for each in (row, stops))
    assert figures(one) != figures(other)


def test_an_untrained_part_starts_anew():
    """And is not told among those that were trained."""
    row = GridRow(name="mab", policies=("mab+random",))
    there = GridScenario(name="measured-50")
    known, anew = (
        grid.measure_cell(task(each, scenario=there, intervals=20))
        for each in (row, row.model_copy(update={"untrained": ("mab",)}))
    )
    assert (known.trained, anew.trained) == (("mab",), ())
    assert known.reward != anew.reward


def test_a_row_takes_part_on_fleets_that_it_can_take():
    """The exact placer, on ten devices."""
    small = GridRow(name="exact", policies=("layer+exact",), devices=10)
    assert taking_part([small], SCENARIO) == (small,)
    assert taking_part([small], SCENARIO.model_copy(update={"fleet": "upstream-10:11"})) == ()


def test_a_row_names_parts_that_it_has():
    """Of what is untrained, frozen or stops as well."""
    for field in ("untrained", "frozen", "stops"):
        with pytest.raises(ValueError, match="nobody is in none of its policies"):
            GridRow(name="mab", policies=("mab+random",), **{field: ("nobody",)})
