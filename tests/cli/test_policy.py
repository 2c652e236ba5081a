"""`splitplace policy`, `simulate --state` and `bench placement` as a user calls them."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.conftest import called

SMALL = ("--scenario", "upstream-10", "--demand", "upstream")


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    """The installed command, in a process of its own."""
    code = "from splitplace.cli import main; main()"
    return subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True, timeout=300)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A short training on ten devices."""
    folder = tmp_path_factory.mktemp("states")
    done = run("policy", "train", *SMALL, "--runs", "2", "--intervals", "60", "--out", str(folder), "--json")
    assert done.returncode == 0, done.stderr
    document = json.loads(done.stdout)
    learned = document["learned"]
    for name in ("daso", "gobi", "daso-slots"):
        assert learned[name]["about"]["pairs"] > 20
        assert learned[name]["about"]["held_out_mse"] > 0
    assert learned["daso-tasks"]["about"]["plans"] > 20
    assert 0 < learned["mab"]["about"]["epsilon"] < 1
    assert set(document["left_out"]) == {"compressed", "gillis"}  # this demand has no compressed model
    return folder


@pytest.mark.slow
def test_training_leaves_states_traces_and_curves(trained: Path) -> None:
    """A file a part, a trace set a placer, figure 6's curves an interval."""
    import pyarrow.parquet as parquet
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    for part in ("mab", "daso", "gobi", "daso-slots", "daso-tasks"):
        assert (trained / f"{part}.safetensors").stat().st_size < 2**21
    table = parquet.read_table(trained / "traces.daso.parquet")
    assert set(table.column_names) == {"run", "objective", "x"}
    assert len(table.column("x")[0]) == 10 * 12
    curves = EventAccumulator(str(trained / "curves" / "mab"))
    curves.Reload()
    tags = set(curves.Tags()["scalars"])
    assert {"epsilon", "rho", "N/high-layer", "Q/low-semantic", "R_seconds/mnist"} <= tags
    epsilon = [event.value for event in curves.Scalars("epsilon")]
    assert epsilon[0] == 1.0
    assert epsilon == sorted(epsilon, reverse=True)
    assert len(epsilon) >= 55


@pytest.mark.slow
def test_a_trained_policy_runs_twice_the_same(trained: Path) -> None:
    """Identical but for the timings, and it says what was trained."""
    call = (
        "simulate",
        "--policy",
        "mab+daso",
        *SMALL,
        "--state",
        str(trained),
        "--intervals",
        "20",
        "--seed",
        "0",
        "--json",
    )
    runs = [run(*call) for _ in range(2)]
    documents = [json.loads(done.stdout) for done in runs]
    for document in documents:
        document["metrics"].pop("timings")
    assert documents[0] == documents[1]
    assert documents[0]["trained"] == ["mab", "daso"]
    assert "untrained" not in runs[0].stderr


@pytest.mark.slow
def test_policy_show_prints_r_q_and_n(trained: Path) -> None:
    """For people, and as JSON."""
    shown = called("policy", "show", str(trained)).stdout
    for words in (
        "mab: state of mab, for 10 devices",
        "R (layer response): mnist",
        "deadline < R, semantic: Q",
        "daso:",
    ):
        assert words in shown
    document = json.loads(called("policy", "show", str(trained / "mab.safetensors"), "--json").stdout)
    assert set(document["mab"]["values"]) == {"r", "q", "n"}


@pytest.mark.slow
def test_bench_placement_compares_and_goes_on_where_it_stopped(trained: Path, tmp_path: Path) -> None:
    """Every row on ten devices, the exact placer among them; a second call measures nothing again."""
    results = tmp_path / "placement.json"
    call = (
        "bench", "placement", *SMALL, "--state", str(trained), "--seeds", "2", "--intervals", "30", "--results",
        str(results), "--json",
    )  # fmt: skip
    first = run(*call)
    assert first.returncode == 0, first.stderr
    document = json.loads(first.stdout)
    assert {cell["row"] for cell in document["cells"]} >= {
        "daso",
        "daso, untrained, η = 100",
        "daso-tasks",
        "daso-tasks, no ascent",
        "gobi",
        "random",
        "exact",
    }
    assert all("DASO is " in words for words in document["verdict"].values())
    assert all("daso-tasks is " in words for words in document["verdict_tasks"].values())
    assert {cell["commit"] for cell in document["cells"]} == {document["provenance"]["commit"]}
    written = results.read_bytes()
    assert json.loads(run(*call).stdout)["cells"] == document["cells"]
    assert results.read_bytes() == written  # where it comes from stays what it was


def test_an_untrained_policy_says_so() -> None:
    """On stderr, and in the document; it runs all the same."""
    done = called("simulate", "--policy", "mab+daso", *SMALL, "--intervals", "2", "--untrained", "--json")
    assert "mab and daso started untrained" in done.stderr
    assert json.loads(done.stdout)["trained"] == []


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["simulate", "--policy", "mab+daso", *SMALL, "--state", "nowhere"], 2, "no folder nowhere"),
        (["simulate", "--policy", "mab+daso", *SMALL, "--state", "x", "--untrained"], 2, "exclude each other"),
        (["simulate", "--policy", "layer+exact", "--demand", "upstream"], 1, "up to 10 devices, got 50"),
        (["policy", "show", "nowhere"], 2, "expected a folder of saved states"),
        (["policy", "train", "--runs", "1"], 2, "--runs 1: expected 2 to 900"),
        (["policy", "train", *SMALL, "--runs", "2", "--intervals", "2"], 1, "nothing to learn from: in 2 intervals"),
        (["bench", "placement", "--seeds", "1"], 2, "2 to 100 seeds"),
        (["bench", "placement", "--decider", "nobody"], 2, "'nobody'"),
        (["bench", "placement", "--rows", "nobody"], 2, "unknown row 'nobody'"),
        (["bench", "placement", "--decider", "layer"], 2, "another setting"),
    ],
)
def test_one_clear_line(arguments: list[str], code: int, said: str) -> None:
    """Exit 2 for wrong usage, 1 for work that cannot be done; never a traceback."""
    done = called(*arguments)
    assert done.returncode == code
    assert said in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
