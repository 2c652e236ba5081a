"""Small random torch splits, one of every shape the graph may take."""

from dataclasses import replace

import pytest
import torch
from torch import nn

from splitplace.export.convert.onnx_export import to_onnx
from splitplace.records.fragment import BATCH, TensorSpec
from splitplace.records.split import Merge
from splitplace.splitting.modules import ModuleFragment, ModuleSplit

IMAGE = TensorSpec(name="image", dtype="uint8", shape=(BATCH, 1, 12, 12))


class Normalise(nn.Module):
    """Raw bytes to floats around zero."""

    def forward(self, x):
        """Takes (N, C, H, W)."""
        return x.float() / 127.5 - 1


def convolution(inside: int, outside: int) -> nn.Sequential:
    """Conv + BatchNorm with statistics of its own + ReLU."""
    layers = nn.Sequential(nn.Conv2d(inside, outside, 3, padding=1, bias=False), nn.BatchNorm2d(outside), nn.ReLU())
    nn.init.uniform_(layers[1].running_mean, -0.5, 0.5)
    nn.init.uniform_(layers[1].running_var, 0.5, 2)
    return layers


def head(inside: int, classes: int) -> nn.Sequential:
    """Features to logits."""
    return nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(inside, classes))


@pytest.fixture(scope="session")
def tree() -> ModuleSplit:
    """A semantic 2,2 tree with a shared trunk: trunk -> 2 inner -> 4 leaves, 8 classes in a shuffled order."""
    torch.manual_seed(1)
    groups = ((3, 0), (6, 1), (7, 2), (5, 4))
    fragments = [ModuleFragment("trunk", nn.Sequential(Normalise(), convolution(1, 6)), ("image",), "trunk_out")]
    fragments += [ModuleFragment(f"inner{i}", convolution(6, 5), ("trunk_out",), f"inner{i}_out") for i in range(2)]
    for i, classes in enumerate(groups):
        leaf = nn.Sequential(convolution(5, 4), head(4, 2))
        fragments.append(ModuleFragment(f"leaf{i}", leaf, (f"inner{i // 2}_out",), f"leaf{i}_logits", classes))
    order = tuple(c for group in groups for c in group)
    return ModuleSplit(
        "fashionmnist", "tiny", "semantic", "2x2", IMAGE, _eval(fragments), Merge(kind="concat", class_order=order)
    )


@pytest.fixture(scope="session")
def spared(tree) -> ModuleSplit:
    """The tree with a spare on its trunk, which knows all 8 classes."""
    torch.manual_seed(3)
    spare = ModuleFragment(
        "spare", nn.Sequential(convolution(6, 4), head(4, 8)), ("trunk_out",), "spare_logits", tuple(range(8))
    )
    merge = Merge(kind="concat", class_order=tree.merge.class_order, spare="spare")
    return replace(tree, variant="2x2-spare50", fragments=(*tree.fragments, *_eval([spare])), merge=merge)


@pytest.fixture(scope="session")
def full() -> ModuleSplit:
    """An unsplit model of four classes."""
    torch.manual_seed(2)
    model = nn.Sequential(Normalise(), convolution(1, 6), convolution(6, 6), head(6, 4))
    merge = Merge(kind="identity", class_order=(0, 1, 2, 3))
    fragments = [ModuleFragment("full", model, ("image",), "logits", (0, 1, 2, 3))]
    return ModuleSplit("fashionmnist", "tiny", "full", "", IMAGE, _eval(fragments), merge)


@pytest.fixture(scope="session")
def tree_artifact(tree):
    """The tree's ONNX files."""
    return to_onnx(tree)


@pytest.fixture(scope="session")
def full_artifact(full):
    """The unsplit model's ONNX file."""
    return to_onnx(full)


def _eval(fragments: list[ModuleFragment]) -> tuple[ModuleFragment, ...]:
    for fragment in fragments:
        fragment.module.eval()
    return tuple(fragments)
