"""`splitplace simulate` as a user calls it."""

import json
import subprocess
import sys

import pytest

from tests.cli.conftest import called

pytestmark = pytest.mark.base

CALL = ("simulate", "--policy", "random+random", "--fleet", "azure50", "--demand", "upstream", "--seed", "0")


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    """The installed command, in a process of its own."""
    code = "from splitplace.cli import main; main()"
    return subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True, timeout=300)


def test_a_run_in_which_no_task_is_scored(tmp_path):
    """Its rewards are no figures at all: why, and what to do, is said beside the table."""
    early = called(
        "simulate", "--policy", "random+random", "--scenario", "measured-50", "--rate", "5", "--intervals", "3"
    )
    assert early.returncode == 0
    assert "no task is scored: each came during start-up" in early.stderr
    (tmp_path / "none.csv").write_text("arrival_s,application,n,deadline_s\n")
    scenario = tmp_path / "none.toml"
    scenario.write_text(f'name = "none"\nfleet = "azure10"\n[workload]\ntrace = "{tmp_path / "none.csv"}"\n')
    empty = called("simulate", "--policy", "random+random", "--scenario", str(scenario), "--intervals", "3")
    assert empty.returncode == 0
    assert "none.csv has none before the run's end" in empty.stderr
    few = called("simulate", "--policy", "random+random", "--rate", "1e-9", "--intervals", "3")
    assert "no task is scored: none arrived; raise the load" in few.stderr


def test_a_recorded_load_is_nothing_to_raise(tmp_path):
    """Of a fleet that idles under the tasks of a file it is said that it does, and no more."""
    (tmp_path / "few.csv").write_text("arrival_s,application,n,deadline_s\n1,mnist,20,50\n")
    scenario = tmp_path / "few.toml"
    scenario.write_text(f'name = "few"\nfleet = "azure10"\n[workload]\ntrace = "{tmp_path / "few.csv"}"\n')
    done = called("simulate", "--policy", "random+random", "--scenario", str(scenario), "--intervals", "5")
    assert done.stderr == (
        "scenario few cannot tell policies apart: cores, links and the broker's card are busy for 0.0% of the time at "
        "most\n"
    )


def test_what_recorded_tasks_do_not_go_by_is_said(tmp_path):
    """A mix or phases beside a trace change nothing; deadlines, which `--rate` needs, are no mistake."""
    (tmp_path / "few.csv").write_text("arrival_s,application,n,deadline_s\n1,mnist,20,50\n")
    scenario = tmp_path / "few.toml"
    text = f'name = "few"\nfleet = "azure10"\n[workload]\ntrace = "{tmp_path / "few.csv"}"\n'
    call = ("simulate", "--policy", "random+random", "--scenario", str(scenario), "--intervals", "5")
    scenario.write_text(text + "deadline_straddle = [0.8, 2.0]\n")
    assert "without effect" not in called(*call).stderr
    scenario.write_text(
        text + "batch = [5, 5]\nmix = { mnist = 1.0 }\n[[workload.phases]]\nstart = 1\nrate_factor = 5.0\n"
    )
    said = f"without effect beside the tasks of {tmp_path / 'few.csv'}: phases, mix, batch of [workload]\n"
    assert said in called(*call).stderr


OWN = """
import os
from splitplace.placement.placers.random import RandomPlacer
class Loud(RandomPlacer):
    name = "loud"
    def place(self, state, view, requests, rng):
        print("placing", len(requests))
        os.chdir({folder!r})
        return super().place(state, view, requests, rng)
"""


@pytest.mark.sim
def test_a_policy_that_prints_and_goes_elsewhere(tmp_path, monkeypatch):
    """What it prints is on stderr beside --json, and files are where they were meant to be when the command began."""
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "loud_policy.py").write_text(OWN.format(folder=str(tmp_path / "elsewhere")))
    monkeypatch.chdir(tmp_path)
    call = ("simulate", "--policy", "random+loud_policy:Loud", "--demand", "upstream", "--intervals", "3")
    done = run(*call, "--json", "--trace-dir", "kept")
    document = json.loads(done.stdout)
    assert "placing" in done.stderr
    assert document["trace"] == [
        str(tmp_path / "kept" / f"{name}.parquet") for name in ("tasks", "fragments", "intervals")
    ]
    assert all((tmp_path / "kept" / f"{name}.parquet").is_file() for name in ("tasks", "fragments", "intervals"))
    assert "placing" in run(*call).stdout


def test_twice_the_same_but_for_the_timings():
    """One JSON document on stdout, on stderr that the paper's load says little; with the demand that ships."""
    asked = ("simulate", "--policy", "random+random", "--fleet", "azure50", "--intervals", "100", "--seed", "0")
    runs = [how(*asked, "--json") for how in (run, called)]
    documents = [json.loads(done.stdout) for done in runs]
    timings = [document["metrics"].pop("timings") for document in documents]
    assert documents[0] == documents[1]
    assert documents[0]["demand"] == "measured"
    assert documents[0]["metrics"]["tasks"]["arrived"] > 500
    assert timings[0]["wall_s"] > 0
    assert runs[0].stderr.count("\n") == 1 and "scenario paper-50 cannot tell policies apart" in runs[0].stderr


@pytest.mark.sim
def test_trace_and_picture(tmp_path):
    """Parquet files and an SVG where they were asked for, their absolute paths in the document."""
    done = called(*CALL, "--intervals", "3", "--trace-dir", str(tmp_path), "--plot", str(tmp_path / "a.svg"), "--json")
    document = json.loads(done.stdout)
    assert document["trace"] == [str(tmp_path / f"{name}.parquet") for name in ("tasks", "fragments", "intervals")]
    assert (tmp_path / "a.svg").read_text().startswith("<svg")


@pytest.mark.sim
def test_what_is_kept_of_a_run_says_what_its_numbers_stand_for(tmp_path):
    """Splits, applications, strategies, devices and fragments are told by the metadata of the files alone."""
    from pyarrow import parquet

    assert called(*CALL, "--intervals", "3", "--trace-dir", str(tmp_path)).returncode == 0
    tasks, fragments = (parquet.read_table(tmp_path / f"{name}.parquet") for name in ("tasks", "fragments"))
    names = json.loads(tasks.schema.metadata[b"splitplace"])
    split_of = {}
    for row in tasks.to_pylist():
        split_of[row["task"]] = row["split"]
        application, strategy = names["applications"][row["application"]], names["strategies"][row["strategy"]]
        assert names["splits"][row["split"]].startswith(f"{application}.constant.{strategy}-")
    ends = [*names["first_fragments"][1:], 10**6]
    assert fragments.num_rows
    for row in fragments.to_pylist():
        split = split_of[row["task"]]
        assert names["first_fragments"][split] <= row["fragment"] < ends[split]
        assert row["device"] < len(names["devices"]) == 50


@pytest.mark.sim
def test_a_load_is_a_share_of_what_the_fleet_could_sustain():
    """The document says what that is and what limits it, what was offered, and how busy everything was."""
    asked = ("--policy", "compressed+least-loaded", "--scenario", "measured-50", "--intervals", "10")
    document = json.loads(called("simulate", *asked, "--load", "0.75", "--json").stdout)
    capacity = document["capacity"]
    assert document["load"] == pytest.approx(0.75)
    assert document["rate"] == pytest.approx(0.75 * capacity["tasks_per_interval"])
    assert sum(capacity["limits"].values()) == pytest.approx(1.0)
    assert capacity["bottleneck"]
    assert set(document["utilisation"]) == {"cores", "uplinks", "downlinks", "broker_out", "broker_in", "memory"}
    table = called("simulate", *asked, "--load", "0.75").stdout
    assert "load: 0.75 of what the best policy could sustain" in table


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["--policy", "randm+random", "--demand", "upstream"], 2, "semantic"),
        (["--policy", "random+random", "--demand", "nowhere.json"], 2, "nowhere.json"),
        (["--policy", "random+random", "--demand", "upstream", "--rate", "0"], 2, "--rate 0: expected 1e-15 to 1e+30"),
        (["--policy", "random+random", "--rate", "1", "--load", "0.5"], 2, "--rate and --load exclude each other"),
        (["--policy", "random+random", "--demand", "upstream", "--intervals", "0"], 2, "--intervals"),
    ],
)
def test_one_clear_line(arguments, code, said):
    """On stderr, and nothing on stdout."""
    done = called("simulate", *arguments)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (code, "", 1)
    assert said in done.stderr


POLICY = """
from splitplace.placement.deciders.fixed import Layer
from splitplace.placement.placers.random import RandomPlacer

class Failing(RandomPlacer):
    name = "failing"
    def decide(self, state, view, rng):
        if view.tasks.undecided.size and ({when}):
            raise KeyError("[/no] idea")
        return Layer().decide(None, view, rng)
"""


@pytest.mark.parametrize(("when", "code"), [("view.now_s < 900", 0), ("True", 1)])
def test_a_policy_that_fails_plans_is_told_in_one_line(tmp_path, monkeypatch, when, code):
    """Of some: at the end, counted in the document, with the first reason. Of all: an error and no figures."""
    (tmp_path / "failing_policy.py").write_text(POLICY.format(when=when))
    monkeypatch.chdir(tmp_path)
    done = run("simulate", "--policy", "failing_policy:Failing", "--demand", "upstream", "--intervals", "8", "--json")
    assert (done.returncode, done.stderr.count("\n")) == (code, 1)
    if code:
        assert done.stdout == ""
        assert "policy failing failed every plan" in done.stderr and "KeyError: '[/no] idea'" in done.stderr
        return
    document = json.loads(done.stdout)
    assert document["metrics"]["failed_plans"] > 0 and document["metrics"]["tasks"]["finished"] > 0
    assert document["first_failed_plan"] == "in interval 0: KeyError: '[/no] idea'"
    count = document["metrics"]["failed_plans"]
    assert done.stderr == f"policy failing failed {count} plans, the first {document['first_failed_plan']}\n"
