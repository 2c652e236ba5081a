import json
import shutil
from dataclasses import replace

import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from splitplace.errors import IntegrityError, SplitPlaceError, UsageError
from splitplace.export.convert.onnx_export import to_onnx
from splitplace.training import run as runs
from splitplace.training.network import as_network
from splitplace.training.preset import load_preset
from splitplace.training.recipes import carry_out
from splitplace.training.recipes.full import train_full
from splitplace.training.recipes.grouping import numbered, parse_groups
from splitplace.training.recipes.semantic import train_semantic
from splitplace.training.run import Run

TINY = {"epochs": 1, "samples": 32}


@pytest.fixture(scope="module")
def preset():
    """The quick preset, with batches small enough for 32 images and trunks that stay the full model's."""
    quick = load_preset("quick")
    small = {"batch_size": 16}
    return quick.model_copy(
        update={
            "full": quick.full.changed(**small),
            "semantic": quick.semantic.changed(**small, freeze_trunk=True),
        }
    )


@pytest.fixture(scope="module")
def full(data, preset, tmp_path_factory):
    """A full model after two steps."""
    return train_full(data, "mobilenetv2", preset=preset, out=tmp_path_factory.mktemp("runs") / "full", **TINY)


@pytest.fixture(scope="module")
def nested(data, preset, full, tmp_path_factory):
    """A 2,2 tree of it after two steps."""
    out = tmp_path_factory.mktemp("runs") / "nested"
    return train_semantic(data, full, tree=(2, 2), preset=preset, out=out, **TINY)


def logits(run, data):
    """What the loaded run answers."""
    with torch.no_grad():
        return as_network(run.load())(torch.from_numpy(data.x_test_NCHW))


def test_a_run_folder_holds_config_metrics_weights_and_provenance(full):
    """And TensorBoard's events, and nothing half-written beside it."""
    assert sorted(entry.name for entry in full.path.iterdir()) == [
        "config.json",
        "logs",
        "metrics.json",
        "model.safetensors",
        "provenance.json",
    ]
    assert list((full.path / "logs").glob("events*"))
    assert [entry.name for entry in full.path.parent.iterdir()] == ["full"]
    assert json.loads((full.path / "provenance.json").read_text())["seed"] == 0


def scalars(folder):
    """What TensorBoard would draw, by name."""
    events = EventAccumulator(str(folder)).Reload()
    return {name: [event.value for event in events.Scalars(name)] for name in events.Tags()["scalars"]}


@pytest.mark.slow
def test_tensorboard_has_loss_learning_rate_and_held_out_accuracy_of_every_stage(data, preset, full, tmp_path):
    """Of the branches alone, too, whose training is over when that of the tree begins."""
    few = preset.semantic.changed(batch_size=2, branch_epochs=1)
    slow = preset.model_copy(update={"semantic": few})
    run = train_semantic(data, full, preset=slow, out=tmp_path / "run", **TINY)
    for folder in (run.path / "logs", run.path / "logs" / "branches"):
        found = scalars(folder)
        assert {"train_loss", "learning_rate", "held_out_accuracy"} <= set(found)
    assert scalars(run.path / "logs")["held_out_accuracy"] == pytest.approx([run.metrics.accuracy])


def test_a_run_knows_which_classes_it_confuses(full, data):
    """Rows are right classes, columns answers; held against what the loaded model answers, image by image."""
    answers = logits(full, data).argmax(1).tolist()
    expected = [[0] * 4 for _ in range(4)]
    for right, answer in zip(data.y_test_N.tolist(), answers, strict=True):
        expected[right][answer] += 1
    assert [list(row) for row in full.metrics.confusion] == expected
    assert full.metrics.accuracy_by_class == tuple(expected[c][c] / sum(expected[c]) for c in range(4))


def test_the_confusions_of_a_run_can_be_drawn(full, tmp_path):
    """The same picture twice; every class by name."""
    for name in ("one.svg", "two.svg"):
        full.plot_confusion(tmp_path / name)
    drawing = (tmp_path / "one.svg").read_text()
    assert all(f"<!-- {name} -->" in drawing for name in full.config.class_names)
    assert drawing == (tmp_path / "two.svg").read_text()


def test_a_run_of_too_many_classes_has_no_confusions_to_draw(full, tmp_path):
    """Says how many there may be."""
    bare = replace(full, metrics=full.metrics.model_copy(update={"confusion": ()}))
    with pytest.raises(UsageError, match="no confusion matrix there, only of at most 200 classes"):
        bare.plot_confusion(tmp_path / "one.svg")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("asked", "variant"),
    [
        ({}, "2"),
        ({"trunk": "replicated"}, "2-roots"),
        ({"method": "splitnet", "groups": "learned"}, "2-splitnet"),
        ({"method": "scratch", "groups": "random"}, "2-scratch-random"),
        ({"groups": "[[0, 1], [2, 3]]"}, "2-groups72b51f"),
        ({"overlap": 0.125}, "2-overlap12_5"),
    ],
)
def test_a_reference_tells_a_split_from_its_twin(nested, asked, variant):
    """By what is not the default: an export never takes the place of another recipe's or grouping's."""
    request = nested.config.request.model_copy(update={"tree": (2,), "groups": "features", **asked})
    assert request.reference == f"squares.mobilenetv2.semantic-{variant}"


def test_the_accuracy_of_a_run_is_that_of_the_loaded_model(full, nested, data):
    """Reloaded from disk, both runs answer the held-out images exactly as often right as their metrics say."""
    for run in (full, nested):
        right = (logits(run, data).argmax(1) == torch.from_numpy(data.y_test_N)).sum()
        assert int(right) == round(run.metrics.accuracy * run.metrics.n)


@pytest.mark.slow
def test_a_reloaded_run_gives_identical_logits(data, preset, full, monkeypatch, tmp_path):
    """To the bit: what was in memory when the run was saved, and what is rebuilt from its folder."""
    kept = []
    save = runs.save
    monkeypatch.setattr(
        runs, "save", lambda path, request, split, *rest: kept.append(split) or save(path, request, split, *rest)
    )
    done = train_semantic(data, full, tree=(2, 2), preset=preset, out=tmp_path / "again", **TINY)
    with torch.no_grad():
        before = as_network(kept[0])(torch.from_numpy(data.x_test_NCHW))
    assert torch.equal(logits(done, data), before)


def test_a_finished_run_is_reused(full, data, preset):
    """The same request at the same place trains nothing: the weights stay the very file."""
    before = (full.path / "model.safetensors").stat().st_mtime_ns
    again = train_full(data, "mobilenetv2", preset=preset, out=full.path, **TINY)
    assert again.metrics == full.metrics
    assert (full.path / "model.safetensors").stat().st_mtime_ns == before


def test_the_same_seed_trains_the_same_weights(data, preset, full, tmp_path):
    """One seed sets weights, order and augmentation."""
    again = train_full(data, "mobilenetv2", preset=preset, out=tmp_path / "again", **TINY)
    assert again.config.weights_sha256 == full.config.weights_sha256


def test_another_request_at_the_same_place_is_refused(full, data, preset):
    """Nothing is overwritten; the difference is named."""
    with pytest.raises(SplitPlaceError, match=r"holds another run \(seed: 0, asked for 1\): choose another --out"):
        train_full(data, "mobilenetv2", preset=preset, seed=1, out=full.path, **TINY)


def test_the_shortest_difference_between_requests_is_named(data, full, nested, preset):
    """How a tree is trained, not every number of the two recipes."""
    with pytest.raises(SplitPlaceError, match=r"holds another run \(method: distil, asked for scratch\): choose"):
        train_semantic(data, full, tree=(2, 2), method="scratch", preset=preset, out=nested.path, **TINY)


def test_a_folder_that_is_no_run_is_not_overwritten(data, tmp_path):
    """A user's files are safe."""
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(SplitPlaceError, match="is no RUN folder and not empty"):
        train_full(data, out=tmp_path)


@pytest.mark.slow
def test_images_that_a_network_resizes_are_spoken_of(make_squares, preset, tmp_path, caplog):
    """What VGG's five pools leave nothing of."""
    data = make_squares(size=28)
    small = replace(data, x_train_NCHW=data.x_train_NCHW[:, :, :16, :16], x_test_NCHW=data.x_test_NCHW[:, :, :16, :16])
    train_full(small, "vgg11", preset=preset, out=tmp_path / "run", **TINY)
    assert "model vgg11 takes no 16x16 images: it resizes them to 32x32" in caplog.text


@pytest.mark.slow
def test_a_timm_name_with_a_tag_can_be_exported(data, preset, tmp_path):
    """The config keeps the name, references have it without its dot."""
    run = train_full(data, "test_resnet.r160_in1k", preset=preset, out=tmp_path / "run", **TINY)
    assert run.config.request.model == "test_resnet.r160_in1k"
    assert to_onnx(run.load()).split.reference == run.config.request.reference == "squares.test_resnet-r160_in1k.full"


@pytest.mark.slow
def test_an_interrupted_run_can_be_run_again(data, preset, tmp_path, monkeypatch):
    """Stopped between training and the end, nothing that looks finished stands there, and the next try finishes."""
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(carry_out, "finish", lambda *args: (_ for _ in ()).throw(KeyboardInterrupt))
        train_full(data, preset=preset, out=tmp_path / "run", **TINY)
    with pytest.raises(SplitPlaceError, match="no complete run"):
        Run.open(tmp_path / "run")
    assert train_full(data, preset=preset, out=tmp_path / "run", **TINY).metrics.n == 32


def copied(run, folder):
    """A copy of a run that a test may damage."""
    return shutil.copytree(run.path, folder / "copy")


def test_damaged_weights_are_refused_by_hash(full, tmp_path):
    """Naming the file."""
    folder = copied(full, tmp_path)
    data = bytearray((folder / "model.safetensors").read_bytes())
    data[-1] ^= 1
    (folder / "model.safetensors").write_bytes(data)
    with pytest.raises(IntegrityError, match=r"model\.safetensors: got sha256 .*, expected .*: train it again"):
        Run.open(folder).load()


def test_a_run_of_another_version_is_refused(full, tmp_path):
    """Before a field is looked at that the other version has; says which side is older, and what to do."""
    folder = copied(full, tmp_path)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"format": 9, "new": 1}))
    with pytest.raises(SplitPlaceError, match="of format 9, and this splitplace, which is older, reads 4: update"):
        Run.open(folder)
    (folder / "config.json").write_text(json.dumps(config | {"format": 2}))
    with pytest.raises(SplitPlaceError, match="of format 2, older than 4, which this splitplace reads: train it again"):
        Run.open(folder)


def test_a_config_that_does_not_fit_its_weights_is_refused(full, tmp_path):
    """A stage the network does not have."""
    folder = copied(full, tmp_path)
    config = json.loads((folder / "config.json").read_text())
    config["parts"][0]["stages"][3] = "blocks77"
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(IntegrityError, match="mobilenetv2 has no stage blocks77"):
        Run.open(folder).load()


def test_a_nested_tree_predicts_every_class_once(nested):
    """Merge and fragments agree, for trunk, two inner branches and four leaves."""
    split = nested.load()
    assert [f.name for f in split.fragments] == ["trunk", "g0", "g0-0", "g0-1", "g1", "g1-0", "g1-1"]
    assert sorted(split.merge.class_order) == [0, 1, 2, 3]
    assert split.merge.class_order == tuple(c for f in split.fragments for c in f.classes)
    assert (split.strategy, split.variant, split.merge.kind) == ("semantic", "2x2", "concat")
    assert split.input_spec.dtype == "uint8"


def test_a_frozen_trunk_is_the_full_model_s(full, nested):
    """To the bit, running statistics too."""
    whole = full.load().fragments[0].module.state_dict()
    trunk = nested.load().fragments[0].module.state_dict()
    assert all(torch.equal(value, whole[key]) for key, value in trunk.items())
    assert len(trunk) > 10


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"tree": (5,)}, "has 5 groups, expected at most 4"),
        ({"tree": (2, 2, 2), "cuts": ("blocks3", "blocks5")}, "has 8 groups"),
        ({"tree": (2, 2), "cuts": ("blocks3",)}, "2 levels needs 2 cuts, got 1"),
        ({"cuts": ("blocks99",)}, "no cut before 'blocks99'"),
        ({"groups": [[0, 1], [1, 2, 3]]}, "every class"),
    ],
)
def test_a_tree_that_does_not_fit_is_refused_before_training(data, full, preset, tmp_path, options, message):
    """One line, and no folder left."""
    with pytest.raises(UsageError, match=message):
        train_semantic(data, full, preset=preset, out=tmp_path / "run", **options)
    assert not (tmp_path / "run").exists()


def test_a_split_of_a_split_is_refused(data, nested, preset, tmp_path):
    """The teacher must be a full model."""
    with pytest.raises(UsageError, match="strategy semantic, expected full"):
        train_semantic(data, nested, preset=preset, out=tmp_path / "run")


def test_a_teacher_of_other_data_is_refused(make_squares, full, preset, tmp_path):
    """Held-out images of the teacher could be training images here."""
    with pytest.raises(UsageError, match=r"was trained on other data .*: got held-out images of sha256"):
        train_semantic(make_squares(n_test=16), full, preset=preset, out=tmp_path / "run")


def test_a_teacher_of_other_training_images_is_refused(data, full, preset, tmp_path):
    """Same held-out images, another part for training: the teacher could have learned what validates the student."""
    fewer = replace(data, x_train_NCHW=data.x_train_NCHW[:-4], y_train_N=data.y_train_N[:-4])
    with pytest.raises(UsageError, match=r"was trained on other data .*: got training images of sha256"):
        train_semantic(fewer, full, preset=preset, out=tmp_path / "run")


def test_a_loss_that_is_not_finite_stops_and_says_where(data, preset, tmp_path):
    """An absurd learning rate ends in one line, not in a model."""
    wild = preset.model_copy(update={"full": preset.full.model_copy(update={"learning_rate": 1e30})})
    with pytest.raises(SplitPlaceError, match=r"the loss is (nan|inf) at step \d+ of"):
        train_full(data, preset=wild, epochs=4, out=tmp_path / "run")
    assert not (tmp_path / "run" / "config.json").exists()


@pytest.mark.parametrize("steps", [1, *(pytest.param(steps, marks=pytest.mark.slow) for steps in (2, 4))])
def test_few_steps_train_too(data, preset, tmp_path, steps):
    """Down to one, and where the warm-up is a single step."""
    done = train_full(data, preset=preset, epochs=1, samples=16 * steps, out=tmp_path / "run")
    assert done.metrics.final_loss > 0


def test_groups_are_written_as_lists():
    """Classes between commas, groups between slashes."""
    assert parse_groups("0, 1,2/3,4") == [["0", "1", "2"], ["3", "4"]]
    assert parse_groups("consecutive") == "consecutive"
    with pytest.raises(
        UsageError, match=r"groups 'meaning': expected features, confusions, consecutive, random, or classes as cat,dog"
    ):
        parse_groups("meaning")


@pytest.mark.parametrize(
    ("text", "names", "found"),
    [
        ("0,2/1", ("ant", "bee", "cat"), [[0, 2], [1]]),
        ("cat,ant/bee", ("ant", "bee", "cat"), [[2, 0], [1]]),
        ("10,2/30", ("2", "10", "30"), [[1, 0], [2]]),
        ("1,2/3", ("1", "2", "3"), [[0, 1], [2]]),
    ],
)
def test_a_class_in_a_group_is_meant_by_its_name(text, names, found):
    """Numbers are numbers where no class is called by one, else they are names."""
    assert numbered(parse_groups(text), names) == found


def test_a_class_that_is_not_there_is_refused():
    """With what there is."""
    with pytest.raises(UsageError, match="no class '0', expected of 1, 2, 3"):
        numbered(parse_groups("0,1/2"), ("1", "2", "3"))


@pytest.mark.slow
def test_training_really_learns(make_squares, preset, tmp_path):
    """Squares in noise: a full model, then a tree cut out of it, tell held-out ones apart far above chance (0.25)."""
    data = make_squares(n_train=512, n_test=128)
    full = train_full(data, preset=preset, epochs=4, out=tmp_path / "full")
    split = train_semantic(data, full, tree=(2,), preset=preset, epochs=2, out=tmp_path / "split")
    assert full.metrics.accuracy > 0.9
    assert split.metrics.accuracy > 0.9
    assert split.metrics.params < full.metrics.params
