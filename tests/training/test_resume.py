import json
import pickle
import random
import resource
import signal
import subprocess
import sys

import pytest
import torch
from torch import nn

from splitplace.errors import ContractError, IntegrityError, SplitPlaceError
from splitplace.splitting.networks import Front
from splitplace.training.data.augment import Augment
from splitplace.training.data.batches import Batches
from splitplace.training.loop import checkpoint
from splitplace.training.loop.checkpoint import CHECKPOINT, SafetensorsIO
from splitplace.training.loop.fit import Fitted, fit
from splitplace.training.loop.losses import cross_entropy
from splitplace.training.preset import load_preset
from splitplace.training.recipes.full import train_full
from splitplace.training.recipes.semantic import _Work, train_semantic
from splitplace.training.recipes.stages import stage

TRAIN = """
import itertools, os, signal, sys
from pathlib import Path
import torch
from torch.optim.optimizer import register_optimizer_step_post_hook
torch.set_num_threads(1)
from splitplace.training.loop import checkpoint
from splitplace.training.recipes.full import train_full
from splitplace.training.data.own import load_own
from splitplace.training.preset import load_preset
checkpoint.EVERY_S = 0.0  # after every step
data = load_own(Path(sys.argv[1]), "shades", mirror=True)
quick = load_preset("quick")
augment = ("RandomCrop(padding=2)", "RandomHorizontalFlip()", "RandomErasing()")
full = quick.full.changed(batch_size=4, epochs=3, augment=augment, validation_share=0.2, patience=9)
steps, last = itertools.count(1), int(sys.argv[3])
register_optimizer_step_post_hook(lambda *_: next(steps) != last or os.kill(os.getpid(), signal.SIGKILL))
train_full(data, preset=quick.model_copy(update={"full": full}), out=Path(sys.argv[2]))
"""
STEPS = 3 * 6
AUGMENT = ("RandomCrop(padding=2)", "RandomHorizontalFlip()", "RandomErasing()")


def steps_on(network, data, recipe, folder, request="this"):
    """Fit with a checkpoint after every step."""
    return fit(network, cross_entropy(recipe), data, recipe, 0, folder, request)


def network(channels=1):
    """Everything that has a state of its own or draws at random, and little of it."""
    torch.manual_seed(3)
    layers = (
        nn.Conv2d(channels, 4, 5, stride=4),
        nn.BatchNorm2d(4),
        nn.Flatten(),
        nn.Dropout(0.5),
        nn.Linear(4 * 6 * 6, 4),
    )
    return nn.Sequential(Front((0.3,) * channels, (0.3,) * channels), *layers)


@pytest.fixture
def recipe(monkeypatch):
    """Two epochs of six steps, with everything that draws at random."""
    monkeypatch.setattr(checkpoint, "EVERY_S", 0.0)
    return load_preset("quick").full.changed(batch_size=16, epochs=2, augment=AUGMENT)


@pytest.mark.slow
def test_a_killed_training_ends_as_if_it_had_never_been(image_folder, tmp_path):
    """SIGKILL in a random step, weights changed and not yet saved; the same command again: same weights and metrics."""

    def train(out, last_step=0):
        command = [sys.executable, "-c", TRAIN, str(image_folder), str(out), str(last_step)]
        return subprocess.run(command, timeout=240).returncode

    assert train(tmp_path / "unbroken") == 0
    broken = tmp_path / "broken"
    last_step = random.Random().randrange(2, STEPS + 1)
    assert train(broken, last_step) == -signal.SIGKILL
    assert (broken / CHECKPOINT).exists()
    assert not (broken / "config.json").exists()
    assert train(broken) == 0
    one, two = (json.loads((tmp_path / name / "config.json").read_text()) for name in ("unbroken", "broken"))
    assert one == two, f"killed in step {last_step}"
    one, two = (json.loads((tmp_path / name / "metrics.json").read_text()) for name in ("unbroken", "broken"))
    timings = ("images_per_s", "train_s", "wall_s")
    assert {k: v for k, v in one.items() if k not in timings} == {k: v for k, v in two.items() if k not in timings}
    assert not (broken / CHECKPOINT).exists()


def test_stopped_by_the_user_it_is_an_interrupt(data, recipe, tmp_path):
    """Ctrl+C reaches whoever called, and the command line as its 130; Lightning alone would end the process with 1."""
    before = signal.getsignal(signal.SIGINT)

    def stopped(*batch):
        raise KeyboardInterrupt

    try:
        with pytest.raises(KeyboardInterrupt):
            fit(network(), stopped, data, recipe, 0, tmp_path / "run", "this")
    finally:
        signal.signal(signal.SIGINT, before)


@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
@pytest.mark.parametrize("channels", [1, 3])
def test_dropout_and_momentum_go_on_where_they_were(make_squares, recipe, tmp_path, channels, optimizer):
    """A network that draws at random in every step, stopped by an error in the ninth of twelve.

    A kernel over several channels lies in memory channels last, and its momentum must again.
    """
    data, recipe = make_squares(channels=channels), recipe.changed(optimizer=optimizer)

    class StopError(Exception):
        """The ninth step."""

    calls = []
    inner = cross_entropy(recipe)

    def breaks(*batch):
        calls.append(1)
        if len(calls) == 9:
            raise StopError
        return inner(*batch)

    unbroken = network(channels)
    steps_on(unbroken, data, recipe, tmp_path / "unbroken")
    broken = network(channels)
    with pytest.raises(StopError):
        fit(broken, breaks, data, recipe, 0, tmp_path / "broken", "this")
    again = network(channels)
    torch.manual_seed(99)
    fitted = steps_on(again, data, recipe, tmp_path / "broken")
    assert fitted.epochs == 2
    expected = unbroken.state_dict()
    assert all(torch.equal(value, expected[name]) for name, value in again.state_dict().items())


def test_an_epoch_goes_on_in_its_own_order(data):
    """What is left of a shuffled, augmented epoch, and the epoch after it, to the bit."""

    def batches():
        return Batches(
            data.x_train_NCHW, data.y_train_N, 16, seed=4, augment=Augment(AUGMENT, data.shape_CHW, mirror=True)
        )

    whole = batches()
    expected = [*whole, *whole]
    first, second = batches(), batches()
    iterator = iter(first)
    for _ in range(4):
        next(iterator)
    second.load_state_dict(first.state_dict())
    rest = [*second, *second]
    assert len(rest) == len(expected) - 4
    assert all(torch.equal(a, b) for x, y in zip(rest, expected[4:], strict=True) for a, b in zip(x, y, strict=True))


class Dropping(nn.Sequential):
    """Draws at random in both stages of a tree's training, behind any cut."""

    def __init__(self, num_classes=4, in_chans=1):
        layers = (nn.Conv2d(in_chans, 4, 5, stride=4), nn.Conv2d(4, 8, 3), nn.Dropout(0.5), nn.AdaptiveAvgPool2d(1))
        super().__init__(*layers, nn.Flatten(), nn.Linear(8, num_classes))


@pytest.mark.parametrize("method", ["distil", "splitnet"])
def test_a_second_stage_draws_where_the_first_ended_though_a_kill_came_between(data, tmp_path, monkeypatch, method):
    """Before the second stage's first checkpoint there is only what the first left: weights, and dropout's place."""
    quick = load_preset("quick")
    recipes = {
        name: getattr(quick, name).changed(batch_size=8, samples=16) for name in ("full", "semantic", "splitnet")
    }
    recipes["semantic"] = recipes["semantic"].changed(branch_epochs=1)
    recipes["splitnet"] = recipes["splitnet"].changed(group_epochs=1, assign_steps=1)
    preset = quick.model_copy(update=recipes)
    full = train_full(data, Dropping, preset=preset, out=tmp_path / "full")

    def tree(out):
        return train_semantic(data, full, cuts=("1",), method=method, preset=preset, out=tmp_path / out)

    unbroken = tree("unbroken")

    class KilledError(Exception):
        """Between the stages."""

    def killed(*arguments):
        raise KilledError

    with monkeypatch.context() as patched:
        patched.setattr(_Work, "fit", killed)
        with pytest.raises(KilledError):
            tree("broken")
    assert [path.name for path in (tmp_path / "broken" / "stages").glob("*/done.safetensors")]
    assert tree("broken").config.weights_sha256 == unbroken.config.weights_sha256


def test_a_checkpoint_keeps_every_kind_of_value(tmp_path):
    """Tensors of every shape and type, numbers to the last bit, keys that are numbers; shared memory is copied."""
    t = torch.arange(6).reshape(2, 3)
    tree = {"a": [t, t.T, t[0]], 3: {0: torch.tensor(1.5, dtype=torch.float64)}, "n": [None, True, 0.1 + 0.2, -7, "é"]}
    store = SafetensorsIO("this")
    store.save_checkpoint(tree, tmp_path / CHECKPOINT)
    back = store.load_checkpoint(tmp_path / CHECKPOINT)
    assert back["n"] == tree["n"]
    assert all(torch.equal(a, b) for a, b in zip(back["a"], tree["a"], strict=True))
    assert back[3][0].dtype == torch.float64


@pytest.mark.parametrize("order", [(0, 1, 2, 3), (0, 2, 3, 1), (3, 0, 2, 1)])
def test_a_checkpoint_keeps_the_order_in_memory(tmp_path, order):
    """Fused optimizers go by it, and safetensors know one."""
    laid_out = torch.arange(120).reshape(2, 3, 4, 5).permute(order).contiguous()
    value = laid_out.permute([order.index(i) for i in range(4)])
    store = SafetensorsIO("this")
    store.save_checkpoint({"w": value}, tmp_path / CHECKPOINT)
    back = store.load_checkpoint(tmp_path / CHECKPOINT)["w"]
    assert torch.equal(back, value)
    assert back.stride() == value.stride()


def test_a_checkpoint_that_does_not_fit_together_is_refused(tmp_path):
    """A tensor that the tree names and the file does not hold."""
    store = SafetensorsIO("this")
    store.save_checkpoint({"w": {"__tensor__": "t7", "__order__": []}}, tmp_path / CHECKPOINT)
    with pytest.raises(IntegrityError, match=r"is damaged \('t7'\): delete it"):
        store.load_checkpoint(tmp_path / CHECKPOINT)


class Bomb:
    """Says so if anybody unpickles it."""

    def __reduce__(self):
        return (pytest.fail, ("unpickled",))


@pytest.mark.parametrize("kind", ["pickle", "torch", "safetensors", "empty"])
def test_a_foreign_checkpoint_is_refused_and_never_unpickled(data, tmp_path, kind):
    """One line; the file stays as it is."""
    path = tmp_path / "run" / CHECKPOINT
    path.parent.mkdir()
    if kind == "pickle":
        path.write_bytes(pickle.dumps(Bomb()))
    elif kind == "torch":
        torch.save({"state_dict": Bomb()}, path)
    elif kind == "safetensors":
        checkpoint.safetensors.torch.save_file({"w": torch.zeros(2)}, path)
    else:
        path.touch()
    before = path.read_bytes()
    with pytest.raises(SplitPlaceError, match=r"is not a checkpoint of splitplace"):
        train_full(data, out=tmp_path / "run")
    assert path.read_bytes() == before


def test_a_checkpoint_of_another_training_is_refused(data, recipe, tmp_path):
    """Where only the loop itself looks."""
    SafetensorsIO("that").save_checkpoint({}, tmp_path / CHECKPOINT)
    with pytest.raises(SplitPlaceError, match="is a checkpoint of another training: delete it"):
        steps_on(network(), data, recipe, tmp_path)


def test_a_checkpoint_of_other_layers_is_refused_in_a_line(data, recipe, tmp_path):
    """The request is the same, the network's class has changed since the kill."""
    steps_on(network(), data, recipe, tmp_path)
    changed = nn.Sequential(*network(), nn.Linear(4, 4))
    with pytest.raises(ContractError, match=r"checkpoint\.safetensors is of a network of other layers .*: delete it"):
        steps_on(changed, data, recipe, tmp_path)


def test_a_finished_stage_of_other_layers_is_refused_in_a_line(tmp_path):
    """As a checkpoint is."""

    def stage_of(network):
        return stage(tmp_path, "tree", "this", network, lambda place: Fitted(1.0, 1.0, 1.0, 1))

    stage_of(nn.Linear(2, 2))
    with pytest.raises(ContractError, match=r"done\.safetensors is of a network of other layers .*: delete it"):
        stage_of(nn.Sequential(nn.Linear(2, 2)))


def test_a_full_disk_is_one_line_and_leaves_no_half_file(data, recipe, tmp_path):
    """The system's own limit on a file's size stands for the full disk; the former checkpoint survives."""
    SafetensorsIO("this").save_checkpoint({"step": 1}, tmp_path / CHECKPOINT)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2**20, hard))
    try:
        with pytest.raises(SplitPlaceError, match=r"cannot write .*safetensors \(.*\): make room and run the same"):
            SafetensorsIO("this").save_checkpoint({"w": torch.zeros(2**20)}, tmp_path / CHECKPOINT)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert [entry.name for entry in tmp_path.iterdir()] == [CHECKPOINT]
    assert SafetensorsIO("this").load_checkpoint(tmp_path / CHECKPOINT) == {"step": 1}


def test_a_disk_that_is_full_at_the_end_leaves_no_run(data, tmp_path):
    """Everything was trained; the weights do not fit; no folder that passes for a run is left."""
    quick = load_preset("quick")
    tiny = quick.model_copy(update={"full": quick.full.changed(batch_size=16, samples=16)})
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2**20, hard))
    try:
        with pytest.raises(SplitPlaceError, match=r"cannot write .*run \(.*\): make room"):
            train_full(data, preset=tiny, out=tmp_path / "run")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert [entry.name for entry in tmp_path.iterdir()] == ["run"]
    assert not (tmp_path / "run" / "config.json").exists()


@pytest.fixture
def scripted(monkeypatch):
    """Validation accuracies as scripted, and the list of what the network was at each."""
    kept = []

    def script(*scores):
        left = iter(scores)

        def accuracy(network, x_NCHW, y_N):
            assert len(y_N) == 24
            assert not network.training
            kept.append({name: value.clone() for name, value in network.state_dict().items()})
            return next(left)

        monkeypatch.setattr("splitplace.training.loop.early_stop.accuracy", accuracy)
        return kept

    return script


@pytest.fixture
def patient(recipe):
    """Epochs of 36 steps: after two, running statistics hold too much of the initial ones; after three, they do not."""
    return recipe.changed(epochs=9, validation_share=0.25, patience=2, batch_size=2)


def test_early_stopping_goes_back_to_the_best_epoch(data, patient, tmp_path, scripted):
    """The second epoch is best, and two worse ones end it: the network is the one that was measured then.

    With statistics taken anew, for that epoch's steps were few; those of the whole training were not.
    """
    kept = scripted(0.5, 0.8, 0.7, 0.8, 0.9)
    trained = network()
    fitted = steps_on(trained, data, patient, tmp_path)
    assert (fitted.epochs, fitted.settled) == (4, 72)
    assert all(torch.equal(value, kept[1][name]) for name, value in trained.state_dict().items())


@pytest.mark.slow
def test_measuring_an_epoch_leaves_the_training_as_it_is(data, patient, tmp_path, scripted):
    """Statistics that were taken anew for it are put back: the last of three epochs is that of a training without."""
    scripted(0.5, 0.6, 0.7)
    measured = network()
    assert steps_on(measured, data, patient.changed(epochs=3), tmp_path / "one").settled == 0
    unmeasured = network()
    steps_on(unmeasured, data, patient.changed(epochs=3, patience=0), tmp_path / "two")
    expected = unmeasured.state_dict()
    assert all(torch.equal(value, expected[name]) for name, value in measured.state_dict().items())


@pytest.mark.slow
def test_a_resumed_training_knows_how_many_steps_the_best_epoch_had(data, patient, tmp_path, scripted):
    """It was stopped by an error in the third epoch, the second was best."""
    kept = scripted(0.5, 0.8, 0.7, 0.7)
    inner, calls = cross_entropy(patient), []

    def breaks(*batch):
        calls.append(1)
        if len(calls) == 80:
            raise ZeroDivisionError
        return inner(*batch)

    with pytest.raises(ZeroDivisionError):
        fit(network(), breaks, data, patient, 0, tmp_path, "this")
    trained = network()
    assert steps_on(trained, data, patient, tmp_path).settled == 72
    assert all(torch.equal(value, kept[1][name]) for name, value in trained.state_dict().items())


def test_patience_without_validation_images_is_refused(recipe):
    """Held-out images are not for choosing."""
    with pytest.raises(SplitPlaceError, match="patience needs a validation_share above 0"):
        recipe.changed(patience=3)
