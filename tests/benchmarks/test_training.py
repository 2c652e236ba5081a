"""The benchmark of training, a few steps: a ratio comes out, and what was not trained says so."""

import json

import pytest

from splitplace import provenance
from splitplace.benchmarks import training
from splitplace.benchmarks.paired import Ratio
from splitplace.benchmarks.results_file import save
from splitplace.errors import SplitPlaceError
from splitplace.training.recipes.full import train_full


def speed(seconds, same):
    """Ours over the bare loop's, and that over itself."""
    return training.Speed(
        application="fashionmnist",
        batch_size=64,
        steps=10,
        threads=1,
        bare_images_per_s=100.0,
        seconds=seconds,
        noise=same,
    )


def results(low, accuracy, noise_high=1.01):
    """A results file with one accuracy."""
    ratio = Ratio(median=1.2, low=low, high=1.3, pairs=30)
    same = Ratio(median=1.0, low=0.99, high=noise_high, pairs=30)
    state = "not run" if accuracy is None else "run"
    cell = training.AccuracyCell(application="mnist", model="mobilenetv2", goal=0.992, state=state, accuracy=accuracy)
    return training.TrainingResults(
        model="mobilenetv2",
        speed=speed(ratio, same),
        cells=(cell,),
        provenance=provenance.collect(0),
    )


@pytest.mark.parametrize(
    ("low", "accuracy", "expected"),
    [(1.05, 0.993, [True, True]), (1.06, 0.991, [False, False]), (1.0, None, [True, "not run"])],
)
def test_claims_hold_by_the_interval_and_by_the_goal(low, accuracy, expected):
    """1 / .95 is 1.053 times the bare loop's seconds; an accuracy that was not measured is no verdict."""
    assert list(training.verdict(results(low, accuracy)).values()) == expected


def test_a_run_on_a_busy_machine_says_nothing_about_speed():
    """The baseline against itself differs by more than the bound allows, whatever the ratio."""
    for low in (1.0, 1.2):
        first, second = training.verdict(results(low, 0.993, noise_high=1.05)).values()
        assert first == "not known, too noisy: repeat on a quiet machine"
        assert second is True


def test_cells_without_a_finished_run_are_not_run(tmp_path):
    """For every application and model that is named."""
    cell = training._cell(tmp_path, "mnist", "mobilenetv2", 0.992)
    assert (cell.state, cell.accuracy) == ("not run", None)


def test_a_run_by_other_numbers_than_the_preset_s_is_refused(tmp_path, noise):
    """What stands there is no measurement of the recipe that ships."""
    train_full(
        noise, "mobilenetv2", preset="standard", epochs=1, samples=16, out=tmp_path / "noise.mobilenetv2.standard"
    )
    with pytest.raises(SplitPlaceError, match="was trained by other numbers than standard has now"):
        training._cell(tmp_path, "noise", "mobilenetv2", None)


@pytest.mark.slow
def test_an_accuracy_names_the_code_that_trained_it(tmp_path, noise):
    """Not the code that collects it, which may be a later one."""
    done = train_full(noise, "mobilenetv2", preset="standard", out=tmp_path / "noise.mobilenetv2.standard")
    stamp = done.path / "provenance.json"
    stamp.write_text(json.dumps(json.loads(stamp.read_text()) | {"commit": "an older one"}))
    cell = training._cell(tmp_path, "noise", "mobilenetv2", None)
    assert (cell.accuracy, cell.epochs, cell.commit) == (done.metrics.accuracy, 9, "an older one")


@pytest.mark.slow
def test_both_loops_are_timed_over_the_same_steps(noise):
    """Two rounds of one step on made-up images: both take time, and the bare loop against itself too."""
    fast = training.speed(noise, pairs=2, steps=1)
    assert fast.bare_images_per_s > 0
    assert (fast.batch_size * fast.steps, fast.seconds.pairs, fast.noise.pairs) == (64, 2, 2)


def test_a_speed_that_the_file_holds_is_not_measured_again(tmp_path, monkeypatch):
    """Of as many pairs; more pairs are measured."""
    ratio = Ratio(median=1.2, low=1.1, high=1.3, pairs=30)
    there, measured = speed(ratio, ratio), []
    save(tmp_path / "training.json", results(1.0, None).model_copy(update={"speed": there}))

    def measure(data, pairs, steps):
        measured.append(pairs)
        return speed(ratio.model_copy(update={"pairs": pairs}), ratio)

    monkeypatch.setattr(training, "speed", measure)
    monkeypatch.setattr(training, "fetch", lambda name: None)
    found = training.run(tmp_path / "training.json", tmp_path / "runs", pairs=30)
    assert (found.speed, measured) == (there, [])
    training.run(tmp_path / "training.json", tmp_path / "runs", pairs=31)
    assert measured == [31]


def test_an_accuracy_whose_run_is_elsewhere_is_kept(tmp_path):
    """With the commit that trained it; what neither the file nor the folder knows is not run."""
    ratio = Ratio(median=1.2, low=1.1, high=1.3, pairs=30)
    before = results(1.0, 0.993).model_copy(update={"speed": speed(ratio, ratio)})
    known = before.cells[0].model_copy(update={"commit": "an older one"})
    save(tmp_path / "training.json", before.model_copy(update={"cells": (known,)}))
    found = training.run(tmp_path / "training.json", tmp_path / "runs", pairs=30)
    assert [cell for cell in found.cells if cell.state == "run"] == [known]
    assert len(found.cells) == len(training.GOALS)
