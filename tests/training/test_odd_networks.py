"""Networks of one's own in odd forms: what is told of them, and that their RUNs are theirs."""

import importlib
import sys

import numpy as np
import pytest
import torch

from splitplace.errors import ContractError, UsageError
from splitplace.training.families.build import build
from splitplace.training.recipes.compressed import train_compressed
from splitplace.training.recipes.full import train_full
from splitplace.training.recipes.semantic import train_semantic
from splitplace.training.run import Run

SOURCE = """
import torch
from torch import nn

class Plain(nn.Module):
    def __init__(self, num_classes=4, in_chans=1):
        super().__init__()
        self.front = nn.Conv2d(in_chans, 8, 5, 4)
        self.middle = nn.Sequential(nn.ReLU(), nn.Conv2d(8, 8, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten())
        self.norm = nn.BatchNorm1d(8)
        self.head = nn.Linear(8, num_classes)

    def forward(self, x):
        return self.head(self.norm(self.middle(self.front(x))))

class Two(Plain):
    def forward(self, x):
        return (super().forward(x), x) if self.training else super().forward(x)

class Still(nn.Module):
    def __init__(self, num_classes=4):
        super().__init__()
        self.k = num_classes

    def forward(self, x):
        return x.flatten(1)[:, :self.k]

class Double(Plain):
    def __init__(self, **given):
        super().__init__(**given)
        self.register_buffer("weights", torch.ones(1, dtype=torch.float64))

class Chance(Plain):
    def forward(self, x):
        return nn.functional.dropout(super().forward(x), 0.5, training=True)

class Neighbours(Plain):
    def __init__(self, **given):
        super().__init__(**given)
        self.front = nn.Sequential(self.front, nn.BatchNorm2d(8, track_running_stats=False))

class Forgetful(Plain):
    def __init__(self, **given):
        super().__init__(**given)
        self.scale = torch.randn(4)

    def forward(self, x):
        return super().forward(x) * self.scale

class Failing(Plain):
    def __init__(self, **given):
        raise KeyError("width")

class Uncalled(Plain):
    def __init__(self, num_classes=4, in_chans=1):
        self.front = nn.Conv2d(in_chans, 8, 5, 4)

class Probable(Plain):
    def forward(self, x):
        return super().forward(x).softmax(1)

class Shared(nn.Sequential):
    def __init__(self, num_classes=4, in_chans=1):
        twice = nn.Conv2d(8, 8, 3, padding=1)
        head = nn.Sequential(nn.Flatten(), nn.LazyLinear(num_classes))
        super().__init__(nn.Conv2d(in_chans, 8, 5, 4), twice, nn.ReLU(), twice, head)

class Normed(Plain):
    def __init__(self, **given):
        super().__init__(**given)
        nn.utils.parametrizations.weight_norm(self.front)
        nn.utils.parametrizations.spectral_norm(self.head)

class Spare(Plain):
    def __init__(self, **given):
        super().__init__(**given)
        self.unused = nn.Linear(2, 2)
"""
FEW = {"epochs": 1, "samples": 64}


@pytest.fixture
def nets(tmp_path, monkeypatch):
    """The file of these networks, where Python finds it; forgotten afterwards."""
    file = tmp_path / "odd_nets.py"
    file.write_text(SOURCE)
    monkeypatch.syspath_prepend(str(tmp_path))
    yield file
    sys.modules.pop("odd_nets", None)


def trained(data, cls, out):
    """A RUN of few steps."""
    return train_full(data, f"odd_nets:{cls}", out=out, **FEW)


def right(run, data):
    """The share of the held-out images that the run, as it is loaded, answers right."""
    with torch.no_grad():
        logits_NK = run.load().fragments[0].module(torch.from_numpy(data.x_test_NCHW))
    return float(np.mean(logits_NK.argmax(1).numpy() == data.y_test_N))


@pytest.mark.parametrize(
    ("cls", "message"),
    [
        ("Two", r"answers tuple in training, expected logits \[2, 4\], as in eval mode: leave out auxiliary answers"),
        ("Still", "has no parameter that can be trained"),
        ("Double", "weights is torch.float64, expected torch.float32"),
        ("Chance", "answers the same images otherwise each time"),
        ("Neighbours", "answers an image by those beside it"),
        ("Forgetful", "answers by numbers that its state_dict does not hold"),
        ("Failing", r"made with num_classes=4, in_chans=1, it fails: KeyError: 'width'"),
        ("Uncalled", "it fails: AttributeError: cannot assign module before"),
    ],
)
def test_what_could_only_disappoint_is_refused_before_training(nets, data, tmp_path, cls, message):
    """Most of these were told in a traceback, or when all was trained; one was another network when it was loaded."""
    with pytest.raises(UsageError, match=message):
        trained(data, cls, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_probabilities_in_the_place_of_logits_are_said(nets, data, tmp_path, caplog):
    """They train slowly, and those of a tree's branches do not compare."""
    trained(data, "Probable", tmp_path / "run")
    assert "odd_nets:Probable answers probabilities, expected logits" in caplog.text


@pytest.mark.parametrize("cls", ["Shared", "Normed", "Plain"])
def test_a_run_answers_as_what_was_trained(nets, data, tmp_path, cls):
    """With layers that stand in two places, weights that are made of others, a child that is called as ours is."""
    run = trained(data, cls, tmp_path / "run")
    assert right(Run.open(run.path), data) == run.metrics.accuracy


def test_a_child_called_front_is_a_stage_as_all_others(nets):
    """Beside the front that makes numbers of pixels."""
    network = build("odd_nets:Plain", 4, (1, 28, 28), ((0.3,), (0.2,)))
    assert [name for name, _ in network.named_children()][:3] == ["front", "front_", "middle0"]


def test_normalisation_of_vectors_is_sliced(nets, data, tmp_path):
    """Of a tree's branches and of a compressed model."""
    full = trained(data, "Plain", tmp_path / "full")
    tree = train_semantic(data, full, cuts=("middle0",), out=tmp_path / "tree", **FEW)
    assert [part.stages[-2:] for part in tree.config.parts[1:]] == [("norm", "head")] * 2
    half = train_compressed(data, full, 0.5, out=tmp_path / "half", **FEW)
    assert right(half, data) == half.metrics.accuracy


def test_the_logits_are_those_of_the_layer_that_is_gone_through_last(nets, data, tmp_path):
    """Not of one that is set last and never called, as an auxiliary head: the logits were pruned in its place."""
    half = train_compressed(data, trained(data, "Spare", tmp_path / "full"), 0.5, out=tmp_path / "half", **FEW)
    assert half.load().fragments[0].module(torch.from_numpy(data.x_test_NCHW[:2])).shape == (2, 4)


def edited(nets):
    """The same layers under another activation."""
    nets.write_text(SOURCE.replace("nn.ReLU()", "nn.Sigmoid()"))
    sys.modules.pop("odd_nets")
    importlib.invalidate_caches()


def test_a_run_of_a_class_that_was_changed_since_is_refused(nets, data, tmp_path):
    """Its tensors fit, and it would be exported as a network that nobody has trained."""
    run = trained(data, "Plain", tmp_path / "run")
    edited(nets)
    with pytest.raises(ContractError, match="odd_nets:Plain answers otherwise than when it was trained"):
        Run.open(run.path).load()


def test_a_finished_run_of_a_class_that_was_changed_since_is_not_reused(nets, data, tmp_path):
    """What the other network measured would be told of this one."""
    path = trained(data, "Plain", tmp_path / "run").path
    assert trained(data, "Plain", path).path == path
    edited(nets)
    with pytest.raises(ContractError, match="train it again, elsewhere or after removing the folder"):
        trained(data, "Plain", path)
