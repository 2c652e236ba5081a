import json
import sys

import pytest
import torch
from torch import nn

from splitplace.errors import NotFoundError, SplitPlaceError, UsageError
from splitplace.export.convert.onnx_export import to_onnx
from splitplace.training.families import build
from splitplace.training.families.family import HEAD, Stages
from splitplace.training.families.own import own_class, own_name
from splitplace.training.families.weights import open_weights
from splitplace.training.preset import load_preset
from splitplace.training.recipes.full import train_full
from splitplace.training.recipes.semantic import train_semantic
from splitplace.training.run import Run

SOURCE = """
from torch import nn

class Small(nn.Sequential):
    def __init__(self, num_classes=2, in_chans=1):
        super().__init__(nn.Conv2d(in_chans, 8, 5, 4), nn.BatchNorm2d(8), nn.ReLU(), nn.Flatten(),
                         nn.LazyLinear(num_classes))

class Fixed(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.LazyLinear(4)

    def forward(self, x):
        return self.layer(x.flatten(1))

class Two(Fixed):
    def forward(self, x):
        return super().forward(x), x

class Hungry(nn.Module):
    def __init__(self, width, depth, num_classes):
        super().__init__()

class Grouped(nn.Sequential):
    def __init__(self, num_classes=4, in_chans=1):
        super().__init__(nn.Conv2d(in_chans, 8, 5, 4), nn.Conv2d(8, 8, 3, groups=2), nn.Conv2d(8, 8, 1), nn.Flatten(),
                         nn.LazyLinear(num_classes))

class Flat(nn.Module):
    def __init__(self, num_classes=4, in_chans=1):
        super().__init__()
        self.conv = nn.Conv2d(in_chans, 8, 5, 4)
        self.deep = nn.Sequential(nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 8, 3))
        self.head = nn.LazyLinear(num_classes)

    def forward(self, x):
        return self.head(self.deep(self.conv(x)).flatten(1))

class Choosy(Fixed):
    def forward(self, x):
        raise KeyError("only on Sundays")

def function(num_classes): ...
"""


@pytest.fixture
def nets(tmp_path, monkeypatch):
    """A module of networks of one's own, where Python finds it; forgotten afterwards."""
    (tmp_path / "own_nets.py").write_text(SOURCE)
    (tmp_path / "own_broken.py").write_text("raise OSError('no such device')")
    monkeypatch.syspath_prepend(str(tmp_path))
    yield "own_nets"
    sys.modules.pop("own_nets", None)


def trained(data, model, out):
    """A RUN of two steps."""
    quick = load_preset("quick")
    preset = quick.model_copy(update={"full": quick.full.changed(batch_size=16, samples=32)})
    return train_full(data, model, preset=preset, out=out)


@pytest.fixture
def one_stage(nets, data, tmp_path, monkeypatch):
    """A RUN as it was written before networks that flatten were cut into stages."""
    with monkeypatch.context() as before:
        before.setattr(build, "chain", lambda network, image_BCHW: Stages({HEAD: network}))
        return trained(data, f"{nets}:Flat", tmp_path / "one_stage")


def test_a_run_that_was_one_stage_is_opened_as_one(one_stage, data):
    """Though its class is a chain of stages by now."""
    (network,) = (fragment.module for fragment in one_stage.load().fragments)
    with torch.no_grad():
        found = network(torch.from_numpy(data.x_test_NCHW)).argmax(1).numpy() == data.y_test_N
    assert found.mean() == one_stage.metrics.accuracy


def test_a_run_that_was_one_stage_can_be_fine_tuned(one_stage, nets):
    """Its tensors are the network's own by name, in whatever stages."""
    start = open_weights(str(one_stage.path), f"{nets}:Flat")
    chained = build.build(f"{nets}:Flat", 4, (1, 28, 28), ((0.3,), (0.2,)), weights=start)
    assert [name for name, _ in chained.named_children()][-2:] == ["flatten", "head"]
    assert torch.equal(chained.deep2.weight, start.tensors["full.head.deep.2.weight"])
    assert torch.equal(chained.head.weight, start.tensors["full.head.head.weight"])


def test_a_run_that_was_one_stage_is_no_teacher_of_what_is_cut_out_of_it(one_stage, data, tmp_path):
    """Said before anything is trained."""
    with pytest.raises(UsageError, match=r"has no stage deep2 to cut before: .* train it again"):
        train_semantic(data, one_stage, cuts=("deep2",), epochs=1, samples=64, out=tmp_path / "tree")
    assert not (tmp_path / "tree").exists()


def test_a_class_of_one_s_own_becomes_a_run_and_an_artifact(nets, data, tmp_path):
    """Given as a class, named in the config, and called in references as they can hold it."""
    run = trained(data, own_class(f"{nets}:Small"), tmp_path / "run")
    assert run.config.request.model == "own_nets:Small"
    assert run.config.request.reference == "squares.own_nets-Small.full"
    split = Run.open(run.path).load()
    assert [name for name, _ in split.fragments[0].module.named_children()] == ["front", "0", "1", "2", "3", "4"]
    assert to_onnx(split).split.reference == "squares.own_nets-Small.full"


def test_what_a_class_does_not_take_it_is_not_given(nets, data, tmp_path):
    """A network that is always of four classes."""
    run = trained(data, f"{nets}:Fixed", tmp_path / "run")
    assert run.load().fragments[0].module(torch.zeros(1, 1, 28, 28, dtype=torch.uint8)).shape == (1, 4)


def test_a_run_of_grouped_convolutions_loads_back_and_is_a_teacher_behind_them(nets, data, tmp_path):
    """As RegNet's and ResNeXt's; whoever would slice them is refused by a line."""
    run = trained(data, f"{nets}:Grouped", tmp_path / "run")
    with torch.no_grad():
        logits_NK = run.load().fragments[0].module(torch.from_numpy(data.x_test_NCHW))
    found = int((logits_NK.argmax(1).numpy() == data.y_test_N).sum())
    assert found / len(data.y_test_N) == run.metrics.accuracy
    few = {"preset": "quick", "epochs": 1, "samples": 64}
    tree = train_semantic(data, run, cuts=("2",), out=tmp_path / "tree", **few)
    assert [part.name for part in Run.open(tree.path).config.parts] == ["trunk", "g0", "g1"]
    with pytest.raises(SplitPlaceError, match="is a convolution of 2 groups, which surgery cannot slice"):
        train_semantic(data, run, cuts=("1",), out=tmp_path / "sliced", **few)


def test_opening_a_run_imports_its_class_and_says_so(nets, data, tmp_path, caplog):
    """As in another process: the module is not there yet."""
    path = trained(data, f"{nets}:Small", tmp_path / "run").path
    del sys.modules[nets]
    caplog.clear()
    Run.open(path).load()
    assert "importing own_nets for the model own_nets:Small" in caplog.text


@pytest.mark.parametrize(
    ("model", "message"),
    [
        ("own_nowhere:Small", r"cannot import own_nowhere \(ModuleNotFoundError: .*\): install it, or set PYTHONPATH"),
        ("own_broken:Small", r"cannot import own_broken \(OSError: no such device\)"),
        ("own_nets:Smaller", "the module own_nets has no Smaller"),
    ],
)
def test_a_run_whose_class_is_not_there_is_refused_in_one_line(nets, data, tmp_path, model, message):
    """Whatever is missing: module, class, or what the module itself needs."""
    path = trained(data, f"{nets}:Small", tmp_path / "run").path
    config = json.loads((path / "config.json").read_text())
    config["request"]["model"] = model
    (path / "config.json").write_text(json.dumps(config))
    with pytest.raises(NotFoundError, match=message) as caught:
        Run.open(path).load()
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("model", "message"),
    [
        ("os:system", "system is no class of torch.nn.Module"),
        ("own_nets:function", "function is no class of torch.nn.Module"),
        ("own nets:Small", "expected package.module:Class"),
        ("own_nets.py:Small", "as my_net:Net for the class Net of my_net.py"),
        ("own_nets:Hungry", "takes width, depth, expected a class that can be made of num_classes and in_chans"),
        ("own_nets:Two", r"answers tuple to one image, expected logits \[1, 4\]"),
        ("own_nets:Choosy", r"takes no 28x28 images: 'only on Sundays'"),
    ],
)
def test_what_is_no_classifier_is_refused_before_training(nets, data, tmp_path, model, message):
    """Nothing but a class of nn.Module is ever called."""
    with pytest.raises(UsageError, match=message):
        trained(data, model, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_class_inside_of_a_function_cannot_be_named():
    """A RUN folder could not say where it is."""

    class Inner(nn.Module):
        pass

    with pytest.raises(UsageError, match="top level of its module"):
        own_name(Inner)
    with pytest.raises(UsageError, match="expected a name, or a class"):
        own_name(Inner())
