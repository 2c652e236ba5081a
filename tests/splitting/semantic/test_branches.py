from collections import OrderedDict
from functools import cache

import pytest
import torch
from torch import nn

from splitplace.errors import UsageError
from splitplace.records.fragment import TensorSpec
from splitplace.splitting.semantic.branches import (
    Batch,
    assemble,
    check_channels,
    check_cuts,
    grow_fragments,
    replicate_trunk,
)
from splitplace.splitting.semantic.tree import consecutive_tree
from splitplace.training.families.build import build

CUTS = {
    "mobilenetv2": ("blocks3", "blocks5"),
    "resnet34v2": ("stage2", "stage3"),
    "resnet50v2": ("stage2", "stage3"),
    "inceptionv3": ("mixed_6a", "mixed_7a"),
}
SHAPES = ((2,), (4,), (2, 2))
N_CLASSES = 6
FIRST_NORMS = {"stage2.blocks.0.norm1", "stage3.blocks.0.norm1"}
"""A ResNet-V2 block starts with a norm: behind a cut, of what is handed over there, which siblings all read."""


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    """Small networks gain nothing from threads, and lose much where other processes run beside them."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@cache
def grown(model: str, shape: tuple[int, ...], mark: float = 0.0):
    """The fragments of a random network's tree over six consecutive classes; `mark` numbers the channels of norms.

    The same for all tests, which change nothing of them.
    """
    torch.manual_seed(3)
    network = build(model, N_CLASSES, (1, 28, 28), ((0.3,), (0.3,)), (2,)).eval()
    for layer in network.modules():
        if isinstance(layer, torch.nn.BatchNorm2d):
            layer.running_mean.copy_(mark * torch.arange(layer.num_features))
    batches = [
        Batch(torch.randint(0, 256, (2, 1, 28, 28), dtype=torch.uint8), torch.full((2,), c)) for c in range(N_CLASSES)
    ]
    tree = consecutive_tree(N_CLASSES, shape)
    return network, grow_fragments(network, CUTS[model], tree, batches, "image")


@pytest.mark.parametrize(
    ("model", "shape"),
    [
        *(("mobilenetv2", shape) for shape in SHAPES),
        *(pytest.param("resnet34v2", shape, marks=pytest.mark.slow) for shape in SHAPES),
        *(pytest.param("resnet50v2", shape, marks=pytest.mark.slow) for shape in SHAPES[1:]),
        *(pytest.param("inceptionv3", shape, marks=pytest.mark.slow) for shape in SHAPES),
    ],
)
def test_every_class_is_predicted_by_exactly_one_leaf(model, shape):
    """Leaves' logits are as many as their classes, and the fragments run in order from the raw image."""
    _, fragments = grown(model, shape)
    assert sorted(c for fragment in fragments for c in fragment.classes) == list(range(N_CLASSES))
    produced = {"image": torch.zeros(2, 1, 28, 28, dtype=torch.uint8)}
    with torch.no_grad():
        for fragment in fragments:
            produced[fragment.output] = fragment.module(*(produced[name] for name in fragment.inputs))
            if fragment.classes:
                assert produced[fragment.output].shape == (2, len(fragment.classes))


def test_a_nested_tree_is_named_and_wired_by_its_branches():
    """Leaves read their inner branch, inner branches the trunk, the trunk the image."""
    _, fragments = grown("mobilenetv2", (2, 2))
    wires = {fragment.name: fragment.inputs for fragment in fragments}
    assert list(wires) == ["trunk", "g0", "g0-0", "g0-1", "g1", "g1-0", "g1-1"]
    assert wires["trunk"] == ("image",)
    assert wires["g0"] == wires["g1"] == ("trunk_features",)
    assert wires["g1-0"] == wires["g1-1"] == ("g1_features",)


@pytest.mark.parametrize("shape", [(2,), (2, 2)])
def test_leaves_with_a_trunk_of_their_own_answer_the_same(shape):
    """Each reads the image alone, and its logits are those of the tree, bit for bit."""
    _, fragments = grown("mobilenetv2", shape)
    spec = TensorSpec(name="image", dtype="uint8", shape=("batch", 1, 28, 28))
    tree = assemble("a", "mobilenetv2", "x", spec, fragments)
    roots = replicate_trunk(tree)
    image = torch.randint(0, 256, (3, 1, 28, 28), dtype=torch.uint8)
    produced = {"image": image}
    with torch.no_grad():
        for fragment in tree.fragments:
            produced[fragment.output] = fragment.module(*(produced[name] for name in fragment.inputs))
        for leaf in roots.fragments:
            assert leaf.inputs == ("image",)
            assert torch.equal(leaf.module(image), produced[leaf.output])
    assert [leaf.classes for leaf in roots.fragments] == [part.classes for part in fragments if part.classes]
    assert (roots.merge, roots.variant) == (tree.merge, "x-roots")


@pytest.mark.parametrize("groups", [2, 3])
def test_a_disjoint_branch_has_about_one_in_g_squared_of_the_weights(groups):
    """What stands behind the cut shrinks in both directions of every layer."""
    network, fragments = grown("mobilenetv2", (groups,))
    count = lambda module: sum(p.numel() for p in module.parameters())  # noqa: E731 - local shorthand
    behind = count(network) - count(fragments[0].module)
    for fragment in fragments[1:]:
        assert count(fragment.module) / behind == pytest.approx(1 / groups**2, rel=0.25)


@pytest.mark.parametrize(
    "model", [model if model == "mobilenetv2" else pytest.param(model, marks=pytest.mark.slow) for model in CUTS]
)
@pytest.mark.parametrize("shape", [(4,), (2, 2)])
def test_no_branch_holds_another_branch_s_channel(model, shape):
    """Norms marked with their channels' numbers: the branches of a level share none, and together hold them all.

    But for what normalises handed-over features: siblings hold the same.
    """
    _, fragments = grown(model, shape, mark=1e-4)
    held: dict[str, list[list[int]]] = {}
    for fragment in fragments[1:]:
        for name, layer in fragment.module.named_modules():
            if isinstance(layer, torch.nn.BatchNorm2d):
                held.setdefault(name, []).append((layer.running_mean / 1e-4).round().int().tolist())
    assert len(held) > 5
    for name, parts in held.items():
        if name in FIRST_NORMS:
            parts = [list(part) for part in {tuple(part) for part in parts}]
        channels = [channel for part in parts for channel in part]
        assert len(set(channels)) == len(channels), name
        assert sorted(channels) == list(range(len(channels))), name


@pytest.mark.parametrize(
    ("cuts", "message"),
    [
        (["blocks9"], "no cut before 'blocks9': expected one of blocks0, .*head"),
        (["stem"], "no cut before 'stem'"),
        (["front"], "no cut before 'front'"),
        (["blocks5", "blocks3"], "not in the order of the network"),
        (["blocks3", "blocks3"], "not in the order of the network"),
    ],
)
def test_cuts_that_do_not_exist_are_refused(cuts, message):
    """Lists where a cut may stand."""
    network = build("mobilenetv2", 4, (1, 28, 28), ((0.3,), (0.3,)))
    with pytest.raises(UsageError, match=message):
        check_cuts(network, cuts)


@pytest.mark.parametrize("overlap", [0.0, 0.3])
@pytest.mark.parametrize(
    ("shape", "fits"), [((7,), True), ((8,), False), ((2, 5), True), ((3, 4), None), ((2, 6), None), ((7, 2), None)]
)
def test_the_check_of_channels_says_what_growing_would(shape, fits, overlap):
    """A tree is refused if and only if some node could not divide its channels: 7 behind the first cut, 11 at last."""
    torch.manual_seed(4)
    stages = {
        "front": nn.Conv2d(1, 5, 1),
        "stem": nn.Conv2d(5, 6, 1),
        "a": nn.Conv2d(6, 7, 1),
        "b": nn.Conv2d(7, 11, 1),
    }
    head = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(11, 20))
    network = nn.Sequential(OrderedDict(**stages, head=head)).eval()
    image = torch.rand(2, 1, 3, 3)
    batches = [Batch(torch.rand(2, 1, 3, 3), torch.full((2,), c)) for c in range(20)]

    def refuses(call) -> bool:
        try:
            call()
        except UsageError as error:
            assert "channels" in str(error)
            return True
        return False

    cuts = ("a", "b")[: len(shape)]
    tree = consecutive_tree(20, shape)
    told = refuses(lambda: check_channels(network, image, cuts, shape, overlap))
    assert told == refuses(lambda: grow_fragments(network, cuts, tree, batches, "image", overlap=overlap))
    assert fits is None or told != fits
