import json

import pytest
import torch

from splitplace.cli import main
from splitplace.errors import UsageError
from splitplace.training.network import as_network
from splitplace.training.preset import load_preset
from splitplace.training.recipes.compressed import pick, pick_compressed, train_compressed
from splitplace.training.recipes.full import train_full

TINY = {"epochs": 1, "samples": 32}


@pytest.fixture(scope="module")
def preset():
    """The quick preset, with batches small enough for 32 images."""
    quick = load_preset("quick")
    small = {"batch_size": 16}
    return quick.model_copy(
        update={"full": quick.full.changed(**small), "compressed": quick.compressed.changed(**small, ratios=(0.5, 0.9))}
    )


@pytest.fixture(scope="module")
def full(data, preset, tmp_path_factory):
    """A full model after two steps, a quarter of the images kept for validation."""
    out = tmp_path_factory.mktemp("runs") / "full"
    return train_full(data, "mobilenetv2", preset=preset, validation_share=0.25, out=out, **TINY)


@pytest.fixture(scope="module")
def picked(data, preset, full, tmp_path_factory):
    """Two ratios trained, one picked."""
    return pick_compressed(data, full, preset=preset, folder=tmp_path_factory.mktemp("runs"), **TINY)


def test_a_compressed_run_is_one_smaller_fragment_that_loads_back(data, full, picked):
    """With exactly the accuracy it states, under the reference of its ratio."""
    half, tenth = picked.tried
    assert [run.config.request.reference for run in picked.tried] == [
        "squares.mobilenetv2.compressed-50",
        "squares.mobilenetv2.compressed-90",
    ]
    assert full.metrics.params > 3 * half.metrics.params > 9 * tenth.metrics.params
    split = half.load()
    assert [(f.name, f.classes) for f in split.fragments] == [("compressed", (0, 1, 2, 3))]
    with torch.no_grad():
        answers = as_network(split)(torch.from_numpy(data.x_test_NCHW)).argmax(1)
    assert int((answers == torch.from_numpy(data.y_test_N)).sum()) == round(half.metrics.accuracy * half.metrics.n)


def test_validation_images_are_those_the_full_model_kept(data, full, picked):
    """A quarter of every class, the same for both, and never trained on."""
    train, validation = data.training_rows(0.25)
    assert set(train) | set(validation) == set(range(96))
    assert [int((data.y_train_N[validation] == c).sum()) for c in range(4)] == [6, 6, 6, 6]
    for run in (full, *picked.tried):
        assert run.config.request.recipe.validation_share == 0.25
        assert run.metrics.validation_accuracy is not None


def test_the_largest_ratio_that_loses_little_on_validation_is_picked(picked):
    """Held-out accuracy has no say; where every ratio loses too much, the smallest is taken."""

    def having(run, validation, test):
        metrics = run.metrics.model_copy(update={"validation_accuracy": validation, "accuracy": test})
        return type(run)(run.path, run.config, metrics)

    small, large = picked.tried
    assert pick([having(small, 0.9, 0.9), having(large, 0.89, 0.1)], 0.89).config.request.ratio == 0.9
    assert pick([having(small, 0.9, 0.1), having(large, 0.88, 0.9)], 0.89).config.request.ratio == 0.5
    assert pick([having(small, 0.5, 0.1), having(large, 0.6, 0.9)], 0.89).config.request.ratio == 0.5


def test_a_ratio_is_not_picked_on_images_the_full_model_saw(data, preset, tmp_path):
    """Says what to do instead."""
    full = train_full(data, "mobilenetv2", preset=preset, out=tmp_path / "full", **TINY)
    with pytest.raises(UsageError, match=r"kept none: give --ratio, or train the full model with --validation"):
        pick_compressed(data, full, preset=preset, folder=tmp_path)
    with pytest.raises(UsageError, match=r"ratio 2: expected the share of channels"):
        train_compressed(data, full, 2.0, preset=preset, out=tmp_path / "run")


def test_a_ratio_that_is_no_share_is_refused_before_any_is_trained(data, preset, full, tmp_path):
    """Of several to pick from, the last may be wrong."""
    with pytest.raises(UsageError, match=r"ratio 0\.333: expected the share of channels"):
        pick_compressed(data, full, ratios=(0.25, 0.333), preset=preset, folder=tmp_path, **TINY)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_a_compressed_run_is_exported_from_the_command_line(capsys, image_folder, tmp_path):
    """Full model, pruning, fine-tuning and catalog in three commands."""

    def splitplace(*tokens):
        with pytest.raises(SystemExit, match="0"):
            main([*tokens, "--json"])
        return json.loads(capsys.readouterr().out)

    own = ["train", "shades", "--path", str(image_folder), "--epochs", "1"]
    full = splitplace(*own, "--out", str(tmp_path / "full"))
    half = splitplace(
        *own, "--strategy", "compressed", "--ratio", "0.5", "--full", full["run"], "--out", str(tmp_path / "half")
    )
    assert (half["strategy"], half["ratio"]) == ("compressed", 0.5)
    exported = splitplace("export", half["run"], "--catalog", str(tmp_path / "catalog"))
    assert exported["reference"] == "shades.mobilenetv2.compressed-50"
    assert len(exported["fragments"]) == 1
