"""`bench paper`: the paper's claims in words, its sweeps spelled out, and what a cell keeps besides its reward."""

import json

import numpy as np
import pyarrow.parquet as pq
import pytest
from safetensors import safe_open

from splitplace.benchmarks import experiment_run, trained_states
from splitplace.benchmarks import paper as bench
from splitplace.benchmarks.cell_detail import ApplicationDetail, CellDetail
from splitplace.benchmarks.experiment import Experiment, load_experiment
from splitplace.benchmarks.experiment_file import ExperimentResults
from splitplace.benchmarks.experiment_text import document_of, experiment_of, shipped
from splitplace.benchmarks.grid import GridTask, measure_cell
from splitplace.benchmarks.grid_cells import GridCells
from splitplace.benchmarks.grid_row import GridRow
from splitplace.benchmarks.grid_scenario import GridScenario, TrainedOn
from splitplace.benchmarks.paper_claim import PaperClaim
from splitplace.benchmarks.paper_table import _named, section
from splitplace.benchmarks.trained_states import states_of
from splitplace.cli import main
from splitplace.errors import NotFoundError, SplitPlaceError
from splitplace.provenance import collect
from tests.benchmarks.test_grid import LAYER, SCENARIO, cell

FIGURES = ["table4", *(f"fig{number}" for number in (6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19))]
TOML = """
name = "tiny"
about = "Tiny."
seeds = [1, 2, 3]
intervals = 24
details = true

[[rows]]
name = "L"
policies = ["layer+gathered"]

[[rows]]
name = "S"
policies = ["semantic+random"]

[[sweeps]]
name = "rates"
scenario = "upstream-10"
demand = "upstream"
as_stated = true
points = [{ at = 1.0 }, { at = 3.0, changes.workload.rate = 3.0 }]

[[columns]]
figure = "response_intervals"
title = "response"
panel = true
by_application = true

[[columns]]
figure = "violation:cifar100"
title = "late, cifar100"

[printed.L]
response_intervals = 9.97

[[claims]]
said = "chains are slower"
printed = "9.97 against 1.48 intervals"
row = "L"
over = ["S"]
figure = "response_s"
"""


@pytest.fixture
def tiny(tmp_path):
    """An experiment's file."""
    path = tmp_path / "tiny.toml"
    path.write_text(TOML)
    return path


CLAIM = PaperClaim(said="a above b", row="a", over=("b",))


def held(rewards, claim=CLAIM, scenarios=("s",)):
    """The words of a claim; rewards by row and scenario, a seed each."""
    cells = [
        cell(row, seed, reward, scenario)
        for (row, scenario), of in rewards.items()
        for seed, reward in enumerate(of, start=1)
    ]
    return of_cells(cells, claim, scenarios)


def of_cells(cells, claim, scenarios=("s",)):
    """The same of cells; the scenarios are a series."""
    places = [GridScenario(name=name, series="all", at=float(at)) for at, name in enumerate(scenarios)]
    rows = [{"name": name, "policies": ["layer+random"]} for name in dict.fromkeys(cell.row for cell in cells)]
    document = {"name": "e", "about": "E.", "loads": [0.5], "seeds": [1, 2, 3, 4, 5], "intervals": 5, "rows": rows}
    document |= {"scenarios": [json.loads(place.model_dump_json()) for place in places]}
    document |= {"claims": [json.loads(claim.model_dump_json())]}
    experiment = Experiment.parse(json.dumps(document), "e")
    found = ExperimentResults(experiment=experiment, tuning=(), cells=tuple(cells), bounds=(), provenance=collect())
    return bench.held(found)


def detailed(row, seed, scenario, **numbers):
    """A cell with these figures of its detail."""
    others = {name: 1.0 for name in CellDetail.model_fields if name not in ("applications", "tasks")}
    detail = CellDetail(**{**others, **numbers}, tasks=3, applications=())
    return cell(row, seed, 0.5, scenario).model_copy(update={"detail": detail})


@pytest.mark.parametrize(
    ("a", "b", "word"),
    [
        ([0.8, 0.81, 0.79], [0.7, 0.711, 0.69], "holds"),
        ([0.7, 0.711, 0.69], [0.8, 0.81, 0.79], "does not hold"),
        ([0.8, 0.7, 0.75], [0.7, 0.8, 0.74], "cannot be told"),
        ([0.8, 0.8, 0.8], [0.8, 0.8, 0.8], "cannot be told"),
    ],
)  # fmt: skip
def test_a_claim_of_two_rows_in_a_word(a, b, word):
    """By the differences within seeds; where nobody differs, nothing is told."""
    (one,) = held({("a", "s"): a, ("b", "s"): b})
    assert one.word == word


def test_a_claim_over_several_goes_by_the_row_that_is_closest():
    """It holds over all of them or not at all, and says which."""
    rewards = {("a", "s"): [0.8, 0.81, 0.79], ("b", "s"): [0.5, 0.511, 0.49], ("c", "s"): [0.85, 0.861, 0.84]}
    (one,) = held(rewards, PaperClaim(said="a above all", row="a", over=("b", "c")))
    assert (one.word, one.other) == ("does not hold", "c")
    assert one.difference.mean == pytest.approx(-0.0503, abs=1e-3)


def test_of_equal_rows_nothing_is_told_whoever_else_differs():
    """A row that is not in the claim has no say in it."""
    rewards = {("a", "s"): [0.8, 0.81, 0.79], ("b", "s"): [0.8, 0.81, 0.79], ("c", "s"): [0.5, 0.51, 0.49]}
    (one,) = held(rewards, PaperClaim(said="a above b", row="a", over=("b",)))
    assert (one.word, one.why) == ("cannot be told", "nobody differs")


@pytest.mark.slow
def test_of_true_claims_over_many_rows_hardly_any_is_refuted():
    """Fifteen others as good as the row, five seeds: at most one in twenty is, by chance."""
    rng, others = np.random.default_rng(7), tuple("bcdefghijklmnop")
    cases = tuple(f"s{number}" for number in range(100))
    rewards = {(row, case): rng.normal(0.5, 0.05, 5).tolist() for case in cases for row in ("a", *others)}
    words = [one.word for one in held(rewards, PaperClaim(said="a above all", row="a", over=others), cases)]
    assert len(words) == 100 and words.count("does not hold") <= 5


def test_of_false_claims_over_many_rows_most_are_refuted():
    """One of fifteen is clearly better: the same rule sees it."""
    rng, others = np.random.default_rng(8), tuple("bcdefghijklmnop")
    rewards = {(row, "s"): rng.normal(0.9 if row == "k" else 0.5, 0.02, 5).tolist() for row in ("a", *others)}
    (one,) = held(rewards, PaperClaim(said="a above all", row="a", over=others))
    assert (one.word, one.other) == ("does not hold", "k")


def test_a_relative_move_is_a_share_of_what_was_there():
    """The other falls by more, but the row by the larger share."""
    rewards = {("a", "s"): [0.2, 0.21, 0.19], ("a", "t"): [0.1, 0.104, 0.096],
               ("b", "s"): [0.8, 0.81, 0.79], ("b", "t"): [0.6, 0.611, 0.59]}  # fmt: skip
    fields = {"said": "a falls less", "row": "a", "over": ("b",), "since": 0.0, "to": 1.0}
    (one,) = held(rewards, PaperClaim(**fields), ("s", "t"))
    assert one.word == "holds"
    (one,) = held(rewards, PaperClaim(**fields, relative=True), ("s", "t"))
    assert one.word == "does not hold" and one.difference.mean == pytest.approx(-0.25, abs=0.01)
    rewards["b", "s"] = [0.0, 0.0, 0.0]
    (one,) = held(rewards, PaperClaim(**fields, relative=True), ("s", "t"))
    assert (one.word, one.why) == ("cannot be told", "no share of nothing: b")


@pytest.mark.parametrize(("execute", "word"), [(9.0, "holds"), (2.0, "does not hold")])
def test_a_move_beside_the_rows_other_moves(execute, word):
    """What is added to one part of a response, less what is added to the rest of it."""
    claim = PaperClaim(said="it executes", row="a", figure="execute_s", beside="wait_s+transfer_s", since=0.0, to=1.0)
    at = {"s": (1.0, 1.0, 1.0), "t": (1.0 + execute, 2.0, 3.0)}
    cells = [
        detailed("a", seed, case, execute_s=e + noisy * seed / 100, wait_s=w, transfer_s=t)
        for noisy, (case, (e, w, t)) in enumerate(at.items())
        for seed in (1, 2, 3)
    ]
    (one,) = of_cells(cells, claim, ("s", "t"))
    assert one.word == word and one.difference.mean == pytest.approx(execute - 3.0, abs=0.03)


def test_a_row_that_finishes_nothing_does_not_answer_fastest():
    """It has no response, in the claim and in the table."""
    cells = [cell(row, seed, 0.1) for row in "ab" for seed in (1, 2, 3)]
    cells[0] = cells[0].model_copy(update={"response_s": None})
    (one,) = of_cells(cells, PaperClaim(said="a faster", row="a", over=("b",), figure="response_s", direction="below"))
    assert (one.word, one.why) == ("cannot be told", "nobody finished: a")
    assert not cells[0].has("response_s") and cells[1].has("response_s")


def test_a_claim_of_a_move_is_held_where_it_says():
    """In the series that end in the scenarios that it names."""
    rewards = {("a", "s"): [0.8, 0.81, 0.79], ("a", "t"): [0.7, 0.712, 0.69]}
    fields = {"said": "a falls", "row": "a", "direction": "below", "since": 0.0, "to": 1.0}
    assert len(held(rewards, PaperClaim(**fields, where=("t",)), ("s", "t"))) == 1
    assert held(rewards, PaperClaim(**fields, where=("elsewhere",)), ("s", "t")) == []


def test_the_table_says_who_started_untrained():
    """A learner among the row's parts that had no state; a rule has nothing to learn."""
    policies = {"learner": "mab+daso", "rule": "layer+random"}
    cells = [
        cell(row, seed, 0.1, load=None).model_copy(update={"policy": policy, "trained": ("mab",)})
        for row, policy in policies.items()
        for seed in (1, 2)
    ]
    table = GridCells(cells)
    rows = [GridRow(name=name, policies=(policy,)) for name, policy in policies.items()]
    assert [_named(table, ("s", None), row) for row in rows] == ["learner (untrained: daso)", "rule"]


def test_a_claim_along_a_series_is_of_the_move():
    """Of the row itself, of the row beside another's move, and of another row at the place before."""
    rewards = {("a", "s"): [0.8, 0.81, 0.79], ("a", "t"): [0.7, 0.712, 0.69],
               ("b", "s"): [0.8, 0.811, 0.79], ("b", "t"): [0.3, 0.312, 0.29]}  # fmt: skip
    falls = PaperClaim(said="a falls", row="a", direction="below", since=0.0, to=1.0)
    (one,) = held(rewards, falls, ("s", "t"))
    assert (one.word, one.where) == ("holds", "all") and one.difference.mean == pytest.approx(-0.0993, abs=1e-3)
    (less,) = held(rewards, PaperClaim(said="less than b", row="a", over=("b",), since=0.0, to=1.0), ("s", "t"))
    assert less.word == "holds" and less.difference.mean == pytest.approx(0.4, abs=1e-2)
    (other,) = held(rewards, PaperClaim(said="b there", row="a", row_since="b", since=0.0, to=1.0), ("s", "t"))
    assert other.difference.mean == pytest.approx(-0.0997, abs=1e-3)


@pytest.mark.parametrize(
    ("rewards", "word"),
    [([0.5, 0.51, 0.49], "holds"), ([0.7, 0.71, 0.69], "does not hold"), ([0.5, 0.6, 0.7], "cannot be told")],
)
def test_a_claim_of_a_number_goes_by_the_whole_interval(rewards, word):
    """Within a fifth of .5, or not, or across the edge."""
    claim = PaperClaim(said="a near a half", row="a", near=0.5, within=0.2)
    (one,) = held({("a", "s"): rewards, ("a", "t"): [0.0, 0.0, 0.0]}, claim.model_copy(update={"where": ("s",)}), "st")
    assert one.word == word


def test_a_claim_is_held_over_the_rows_that_took_part():
    """Where some did not, it says without whom."""
    rewards = {("a", "s"): [0.8, 0.81, 0.79], ("b", "s"): [0.5, 0.511, 0.49]}
    (one,) = held(rewards, PaperClaim(said="a above all", row="a", over=("b", "c", "d")))
    assert (one.word, one.other) == ("holds", "b")
    assert one.why.endswith("to b; without c, d")


def test_a_claim_of_rows_that_were_not_measured_is_not_run():
    """It has no word anywhere."""
    assert held({("a", "s"): [0.8, 0.81, 0.79]}) == []


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"row": "a"}, "say over which rows"),
        ({"row": "a", "since": 1.0}, "state both since and to"),
        ({"row": "a", "over": ["b"], "near": 1.0}, "near is of the row's own figure"),
        ({"row": "a", "over": ["b"], "since": 1.0, "to": 2.0, "row_since": "c"}, "row_since goes with since"),
        ({"row": "a", "over": ["b"], "relative": True}, "relative and beside are of a move"),
        ({"row": "a", "over": ["b"], "since": 1.0, "to": 2.0, "beside": "wait_s"}, "beside is of its own move"),
    ],
)
def test_a_claim_thnoisyays_nothing_is_refused(fields, said):
    """In one line that says which."""
    with pytest.raises(SplitPlaceError, match=said):
        PaperClaim.parse(json.dumps({"said": "nothing"} | fields), "claim")


def test_every_table_and_figure_is_in_one_experiment():
    """By its name or by what an experiment shows; another name is told which there are."""
    assert all(experiment_of(name) in shipped() for name in FIGURES)
    with pytest.raises(NotFoundError, match="no experiment 'fig99': expected one of table4, fig6, fig7,"):
        experiment_of("fig99")


@pytest.mark.parametrize("name", sorted({experiment_of(name) for name in FIGURES}))
def test_claims_and_columns_are_of_rows_and_figures_that_there_are(name):
    """A misspelt one would never hold."""
    experiment = load_experiment(name)
    rows = {row.name for row in experiment.rows}
    places = {scenario.at for scenario in experiment.scenarios}
    found = measure_cell(GridTask(SCENARIO, 0.5, 1, 12, LAYER, "layer+gathered", details=True))
    for claim in experiment.claims:
        assert {claim.row, *claim.over, claim.row_since or claim.row} <= rows
        assert {claim.since, claim.to} - {None} <= places
        assert found.has(claim.figure) and (not claim.beside or found.has(claim.beside))
    for column in experiment.columns:
        assert found.has(column.figure) or column.figure.endswith(":tiny100")
    assert set(experiment.printed) <= rows
    assert all(found.has(figure) for of in experiment.printed.values() for figure in of)


def test_a_sweep_is_its_points(tiny):
    """Each has what all have in common, and what is its own; the series has them at their places."""
    experiment = load_experiment(str(tiny))
    assert [scenario.name for scenario in experiment.scenarios] == ["rates-1", "rates-3"]
    assert [scenario.load()[0].workload.rate for scenario in experiment.scenarios] == [1.0, 3.0]
    assert experiment.cases == [(scenario, None) for scenario in experiment.scenarios]


def test_policies_trained_right_there_are_trained_on_the_point(tmp_path):
    """With its changes and options; two settings that are the same have their states in common."""
    text = TOML.replace("as_stated = true\n", "as_stated = true\ntrained_here = true\n")
    (tmp_path / "e.toml").write_text(text)
    one, three = (scenario.trained for scenario in load_experiment(str(tmp_path / "e.toml")).scenarios)
    assert three.changes == {"workload": {"rate": 3.0}} and one.changes == {}
    assert states_of(one) == states_of(TrainedOn(scenario="upstream-10", demand="upstream")) != states_of(three)


def test_a_training_is_as_long_as_the_experiment_says(tmp_path, monkeypatch):
    """Where runs that go on make its tasks pile up, runs are as short as those that it is trained for."""
    monkeypatch.setattr(trained_states, "FOLDER", tmp_path)
    trained = TrainedOn(scenario="upstream-10", demand="upstream", intervals=2)
    trained_states.train_states(trained, [GridRow(name="M", policies=("mab+random",))], lambda _: None)
    with safe_open(states_of(trained) / "mab.safetensors", "np") as state:
        assert json.loads(state.metadata()["splitplace"])["about"]["intervals"] == 2


def test_an_experiment_like_another_has_its_rows(tmp_path):
    """Some of them, in the order that is asked for; its own claims and scenarios only."""
    path = tmp_path / "e.toml"
    path.write_text('name = "e"\nabout = "E."\nlike = "table4"\nrows_named = ["M+D", "MC"]\n'
                    '[[scenarios]]\nname = "paper-50"\nas_stated = true\n')  # fmt: skip
    experiment = load_experiment(str(path))
    assert [row.name for row in experiment.rows] == ["M+D", "MC"]
    assert (experiment.seeds, experiment.claims) == (load_experiment("table4").seeds, ())


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ('name = "rates"', "", "expected sweeps that are tables with a name"),
        ("{ at = 1.0 }", "{ }", "expected sweeps that are tables with a name and points, each with its at"),
        ("{ at = 1.0 }", "1", "expected sweeps"),
        ("about =", 'like = "nothing"\nabout =', "like 'nothing': expected one of"),
        ("about =", 'like = "table4"\nrows_named = ["nobody"]\nabout =', "unknown row 'nobody'"),
        ("as_stated = true", "", "give loads"),
        ("as_stated = true", 'as_stated = true\nrows = ["nobody"]', "scenarios have the rows nobody"),
    ],
)
def test_a_file_that_cannot_be_is_refused_in_one_line(tiny, old, new, said):
    """It says what was expected."""
    tiny.write_text(TOML.replace(old, new, 1))
    with pytest.raises(SplitPlaceError) as caught:
        load_experiment(str(tiny))
    assert said in str(caught.value) and "\n" not in str(caught.value)


def test_a_scenarios_options_are_of_every_row_that_has_the_part():
    """Others stay as they are: weights of eq. 10 are DASO's."""
    row = load_experiment("table4").only(["M+D"]).rows[0]
    policy = row.policy("mab+daso", {"daso": {"alpha": 0.25}, "gobi": {"alpha": 0.1}})
    assert (policy.placer.alpha, row.policy("mab+daso").placer.alpha) == (0.25, 0.5)


def test_what_a_cell_keeps_adds_up():
    """Of a run by hand: the parts of the response, applications that had a task, chains alone."""
    found = measure_cell(GridTask(SCENARIO, 0.5, 3, 12, LAYER, "layer+gathered", details=True))
    detail = found.detail
    parts = detail.wait_s + detail.execute_s + detail.transfer_s + detail.migrate_s
    assert parts == pytest.approx(found.response_s, abs=1e-5)
    assert sum(one.tasks for one in detail.applications) == detail.tasks
    assert detail.layer_share == 1.0
    assert found.figure("response_intervals") == pytest.approx(found.response_s / 300)
    assert measure_cell(GridTask(SCENARIO, 0.5, 3, 12, LAYER, "layer+gathered")).detail is None


def test_a_figure_is_found_by_its_name():
    """Of the cell, of its detail, of an application; another name is a KeyError."""
    mnist = ApplicationDetail(application="mnist", tasks=3, reward=0.1, violation=0.2, accuracy=0.3,
                              response_s=20.0, layer_share=0.5)  # fmt: skip
    numbers = {name: 1.0 for name in CellDetail.model_fields if name not in ("applications", "tasks", "interval_s")}
    detail = CellDetail(**numbers, tasks=3, interval_s=10.0, applications=(mnist,))
    one = cell("a", 1, 0.7).model_copy(update={"detail": detail})
    assert one.figure("reward") == 0.7 and one.figure("layer_share:mnist") == 0.5
    assert one.figure("response_intervals:mnist") == 2.0
    assert not one.has("reward:cifar100") and not one.has("nothing") and not cell("a", 1, 0.7).has("wait_s")


def test_the_command_measures_tells_and_draws(tiny, tmp_path, capsys, monkeypatch):
    """A table with what is printed, a picture, and the cells as Parquet; a second call measures nothing."""
    results = tmp_path / "out.json"
    call = ["bench", "paper", str(tiny), "--results", str(results), "--jobs", "1", "--json"]
    with pytest.raises(SystemExit) as stop:
        main(call)
    first = json.loads(capsys.readouterr().out)
    assert stop.value.code == 0 and len(first["cells"]) == 12
    assert first["verdict"] == {"chains are slower (printed: 9.97 against 1.48 intervals)": "holds"}
    table = pq.read_table(results.with_suffix(".parquet"))
    assert table.num_rows == 12 and set(table.column("row").to_pylist()) == {"L", "S"}
    assert "violation:cifar100" in table.column_names
    assert json.loads(table.schema.metadata[b"splitplace"])["commit"] == first["provenance"]["commit"]
    assert b"rates" in results.with_suffix(".svg").read_bytes()
    told = section(results.read_bytes(), results)
    assert "(9.970)" in told.tables[0][0]["response"] and told.tables[0][1]["rates-1"] == "S"
    assert list(told.tables[1][0])[1:] == [f"response, {name}" for name in ("cifar100", "fashionmnist", "mnist")]
    monkeypatch.setattr(experiment_run, "measure_cell", lambda task: pytest.fail("measured again"))
    with pytest.raises(SystemExit):
        main(call)
    assert json.loads(capsys.readouterr().out)["cells"] == first["cells"]


def test_document_of_a_file_that_is_no_text(tmp_path):
    """One line."""
    (tmp_path / "x.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(SplitPlaceError, match="not TOML"):
        document_of(tmp_path / "x.toml")
