"""`bench paper fig6`: curves of the bandit's training, seed by seed, and what the paper says of their ends."""

import json

import pytest

from splitplace.benchmarks import bandit_training as bench
from splitplace.benchmarks.experiment import load_experiment
from splitplace.cli import main
from splitplace.errors import UsageError
from splitplace.provenance import collect

TOML = """
name = "curves"
about = "Tiny."
curves = true
seeds = [1, 2]
intervals = 30

[[rows]]
name = "bandit"
policies = ["epsilon-greedy+gathered"]

[[scenarios]]
name = "published"
scenario = "upstream-10"
demand = "upstream"
as_stated = true
"""


def results(**ends):
    """One scenario, a seed an end; curves of two intervals."""
    seeds = range(len(next(iter(ends.values()))))
    names = {name: name.replace("_", "/").replace("0", "-") for name in ends}
    trainings = tuple(
        bench.TrainingCurves(scenario="s", seed=seed, curves={names[name]: (None, ends[name][seed]) for name in ends})
        for seed in seeds
    )
    experiment = load_experiment("fig6")
    return bench.BanditTrainingResults(experiment=experiment, trainings=trainings, provenance=collect())


def ends(low, high):
    """Q of semantic less that of layer where the deadline is below R, and the other way where it is not; by seed."""
    half = [0.5] * len(low)
    return results(
        Q_low0semantic=[0.5 + gap for gap in low], Q_low0layer=half,
        Q_high0layer=[0.5 + gap for gap in high], Q_high0semantic=half,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("low", "high", "words"),
    [
        ([0.3, 0.31, 0.29], [0.02, 0.021, 0.019], ["holds", "holds", "holds"]),
        ([-0.3, -0.31, -0.29], [0.02, -0.021, 0.0], ["does not hold", "cannot be told", "holds"]),
    ],
)
def test_what_the_paper_says_of_the_ends(low, high, words):
    """By the interval over seeds."""
    said = list(bench.verdict(ends(low, high)).values())
    assert [word in found for word, found in zip(words, said, strict=True)] == [True] * 3


def test_an_arm_that_was_never_played_tells_nothing():
    """Its Q is not known."""
    found = ends([0.3, 0.3], [0.1, 0.1])
    one = found.trainings[0].model_copy(update={"curves": {**found.trainings[0].curves, "Q/low-layer": (None, None)}})
    said = list(bench.verdict(found.model_copy(update={"trainings": (one, found.trainings[1])})).values())
    assert "cannot be told in s (an arm or a setting that was not met)" in said[0]


def test_settings_are_held_against_each_other_within_a_seed():
    """Each setting was met in two seeds of three, both in one alone: that is no interval."""
    found = ends([0.3, 0.3, 0.3], [0.02, 0.02, 0.02])
    lost = {0: "Q/low-layer", 2: "Q/high-layer"}
    trainings = [
        one.model_copy(update={"curves": one.curves | ({lost[one.seed]: (None, None)} if one.seed in lost else {})})
        for one in found.trainings
    ]
    said = list(bench.verdict(found.model_copy(update={"trainings": tuple(trainings)})).values())
    assert said[:2] == ["holds", "holds"] and "cannot be told in s (an arm or a setting" in said[2]


def test_a_policy_that_is_not_in_training_is_refused(tmp_path):
    """Its decider has no ε."""
    (tmp_path / "e.toml").write_text(TOML.replace("epsilon-greedy+gathered", "mab+gathered"))
    experiment = load_experiment(str(tmp_path / "e.toml"))
    with pytest.raises(UsageError, match=r"mab\+gathered: expected epsilon-greedy and a placer"):
        bench.run(tmp_path / "r.json", experiment, lambda line: None, experiment, 1, False)


def test_the_command_trains_draws_and_goes_on(tmp_path, capsys, monkeypatch):
    """ε falls from 1 and never rises; a second call trains nothing; another experiment's file is refused."""
    (tmp_path / "e.toml").write_text(TOML)
    call = ["bench", "paper", str(tmp_path / "e.toml"), "--results", str(tmp_path / "r.json"), "--jobs", "1"]
    with pytest.raises(SystemExit) as stop:
        main([*call, "--json"])
    document = json.loads(capsys.readouterr().out)
    assert stop.value.code == 0 and [one["seed"] for one in document["trainings"]] == [1, 2]
    for one in document["trainings"]:
        epsilon = one["curves"]["epsilon"]
        assert epsilon[0] == 1.0 and sorted(epsilon, reverse=True) == epsilon and epsilon[-1] < 1.0
        assert {"R_seconds/mnist", "N/low-layer", "Q/high-semantic"} <= set(one["curves"])
    assert b"R_seconds" in (tmp_path / "r.svg").read_bytes()
    monkeypatch.setattr(bench, "train_once", lambda task: pytest.fail("trained again"))
    with pytest.raises(SystemExit):
        main([*call, "--json"])
    assert json.loads(capsys.readouterr().out)["trainings"] == document["trainings"]
    (tmp_path / "e.toml").write_text(TOML.replace("intervals = 30", "intervals = 31"))
    with pytest.raises(SystemExit) as stop:
        main(call)
    assert stop.value.code == 2 and "says otherwise" in capsys.readouterr().err
