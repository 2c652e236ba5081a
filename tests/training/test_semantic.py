"""Recipes of semantic trees on made-up images: what they leave, and what they do not."""

import numpy as np
import pytest
import torch

from splitplace.errors import InfeasibleError, SplitPlaceError, UsageError
from splitplace.splitting.modules import ModuleFragment
from splitplace.splitting.semantic.critical_path import choose_cuts, critical_path
from splitplace.training.families.build import build
from splitplace.training.loop.evaluate import accuracy_missing
from splitplace.training.network import as_network
from splitplace.training.preset import load_preset
from splitplace.training.recipes import cached
from splitplace.training.recipes import semantic as room
from splitplace.training.recipes.full import train_full
from splitplace.training.recipes.semantic import train_semantic
from splitplace.training.recipes.tree_plan import plan_tree
from splitplace.training.run import Run

TINY = {"epochs": 1, "samples": 32}
CUTS = ("blocks5", "blocks6")


class ToFloat(torch.nn.Module):
    """As a trunk begins."""

    def forward(self, image_NCHW):
        """Bytes to floats."""
        return image_NCHW.float()


@pytest.fixture(scope="module")
def preset():
    """The quick preset with small batches, a pass of the branches alone, and few steps of the assignments."""
    quick = load_preset("quick")
    return quick.model_copy(
        update={
            "full": quick.full.changed(batch_size=16),
            "semantic": quick.semantic.changed(batch_size=16, branch_epochs=1, freeze_trunk=False),
            "splitnet": quick.splitnet.changed(batch_size=16, assign_steps=20),
            "models": {"mobilenetv2": quick.models["mobilenetv2"].model_copy(update={"cuts": CUTS})},
        }
    )


@pytest.fixture(scope="module")
def full(data, preset, tmp_path_factory):
    """A full model after two steps."""
    return train_full(data, "mobilenetv2", preset=preset, out=tmp_path_factory.mktemp("runs") / "full", **TINY)


@pytest.fixture(scope="module")
def trained(data, full, preset, tmp_path_factory):
    """A function that trains, once for each set of options."""
    folder, done = tmp_path_factory.mktemp("runs"), {}

    def train(**options) -> Run:
        key = str(sorted(options.items()))
        if key not in done:
            done[key] = train_semantic(data, full, preset=preset, out=folder / str(len(done)), **options, **TINY)
        return done[key]

    return train


def test_branches_train_alone_first_and_a_pass_counts(trained):
    """One pass over cached features, one over the images; nothing of the stages stays in the folder."""
    run = trained(tree=(2,))
    assert run.metrics.epochs == 2
    assert sorted(entry.name for entry in run.path.iterdir() if entry.is_dir()) == ["logs"]


@pytest.mark.parametrize(("samples", "cache_bytes", "rows"), [(0, 2**30, 96), (32, 2**30, 64), (0, 20 * 49 * 4, 20)])
def test_features_are_computed_for_no_more_images_than_are_used(data, preset, samples, cache_bytes, rows):
    """All, or two passes' worth, or what fits into the cache: 20 images of 49 floats."""
    recipe = preset.semantic.changed(samples=samples, branch_epochs=2, cache_bytes=cache_bytes)
    trunk = torch.nn.Sequential(ToFloat(), torch.nn.AvgPool2d(4))
    drawn = cached._drawn(trunk, data, recipe, seed=0)
    assert len(set(drawn.tolist())) == rows
    assert drawn.tolist() == sorted(drawn)


@pytest.mark.parametrize("name", ["quick", "standard"])
def test_presets_train_branches_alone_and_then_jointly(name):
    """`distil` by the presets that ship is what the word says."""
    recipe = load_preset(name).semantic
    assert recipe.branch_epochs > 0
    assert recipe.epochs > 0
    assert not recipe.freeze_trunk


@pytest.mark.slow
def test_a_killed_training_goes_on_after_its_finished_stage(data, full, preset, trained, tmp_path, monkeypatch):
    """Killed after the branches' own pass, the second try does not repeat it, and ends with the same weights."""
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(room._Work, "fit", lambda *args: (_ for _ in ()).throw(KeyboardInterrupt))
        train_semantic(data, full, preset=preset, tree=(2,), out=tmp_path / "run", **TINY)
    assert (tmp_path / "run" / "stages" / "branches" / "done.safetensors").is_file()
    with monkeypatch.context() as patch:
        patch.setattr(room, "fit_branches", None)
        again = train_semantic(data, full, preset=preset, tree=(2,), out=tmp_path / "run", **TINY)
    assert again.config.weights_sha256 == trained(tree=(2,)).config.weights_sha256


@pytest.mark.slow
def test_a_stage_of_another_training_is_refused(data, full, preset, tmp_path, monkeypatch):
    """Named, with what to do."""
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(room._Work, "fit", lambda *args: (_ for _ in ()).throw(KeyboardInterrupt))
        train_semantic(data, full, preset=preset, tree=(2,), out=tmp_path / "run", **TINY)
    with pytest.raises(SplitPlaceError, match="is part of another training: delete it or choose another --out"):
        train_semantic(data, full, preset=preset, tree=(2,), seed=1, out=tmp_path / "run", **TINY)


@pytest.mark.slow
def test_a_replicated_trunk_answers_the_same(trained, data):
    """Every leaf reads the image, the reference says so, and the logits are those of the shared trunk."""
    shared, copies = trained(tree=(2,)), trained(tree=(2,), trunk="replicated")
    assert copies.config.request.reference == "squares.mobilenetv2.semantic-2-roots"
    assert {fragment.inputs for fragment in copies.load().fragments} == {("image",)}
    image = torch.from_numpy(data.x_test_NCHW)
    with torch.no_grad():
        assert torch.equal(as_network(copies.load())(image), as_network(shared.load())(image))


@pytest.mark.slow
def test_overlap_makes_branches_wider(trained):
    """And is part of what the run is."""
    disjoint, wider = trained(tree=(2,)), trained(tree=(2,), overlap=0.5)
    assert wider.config.request.overlap == 0.5
    pairs = zip(disjoint.metrics.fragments[1:], wider.metrics.fragments[1:], strict=True)
    assert all(narrow.params < wide.params for narrow, wide in pairs)


@pytest.mark.parametrize("groups", ["features", "confusions", "consecutive", "random"])
def test_every_rule_divides_the_classes(data, full, preset, groups):
    """Each class in exactly one of two even groups."""
    teacher = full.load().fragments[0].module
    sample = room._sample(data, 4, 0.0, 0)
    tree = room.class_tree(teacher, sample, (2,), groups, seed=0)
    assert sorted(c for child in tree.children for c in child.classes) == list(range(4))
    assert [len(child.classes) for child in tree.children] == [2, 2]


@pytest.mark.slow
@pytest.mark.parametrize("tree", [(2,), (2, 2)])
def test_splitnet_leaves_a_tree_with_groups_of_its_own(trained, tree):
    """Every class in one leaf; how much weight led between groups, and what slicing alone kept, are reported."""
    run = trained(tree=tree, method="splitnet")
    assert run.config.request.groups == "learned"
    assert sorted(c for part in run.config.parts for c in part.classes) == list(range(4))
    assert 0 < run.metrics.off_group_energy < 0.75
    assert 0 <= run.metrics.sliced_accuracy <= 1
    assert run.metrics.epochs == 2


@pytest.mark.slow
def test_from_scratch_no_weight_is_the_teacher_s(trained, full):
    """The control has the tree of `distil` and weights of its own, in the trunk too."""
    distil, scratch = trained(tree=(2,)), trained(tree=(2,), method="scratch")
    assert [part.classes for part in scratch.config.parts] == [part.classes for part in distil.config.parts]
    teacher = full.load().fragments[0].module.state_dict()
    trunk = scratch.load().fragments[0].module.state_dict()
    weights = [key for key, value in trunk.items() if key.endswith("weight") and value.ndim > 1]
    assert weights
    assert not any(torch.equal(trunk[key], teacher[key]) for key in weights)


@pytest.mark.slow
@pytest.mark.parametrize("start", ["full", "scratch"])
def test_splitnet_starts_where_the_recipe_says(data, full, preset, tmp_path, start):
    """At the full model's weights, or at fresh ones of its own seed: after four steps one can still tell which."""
    recipe = preset.model_copy(update={"splitnet": preset.splitnet.changed(start=start)})
    run = train_semantic(data, full, preset=recipe, tree=(2,), method="splitnet", seed=1, out=tmp_path / "run", **TINY)
    teacher = full.load().fragments[0].module.state_dict()
    trunk = run.load().fragments[0].module.state_dict()
    likeness = [
        float(torch.cosine_similarity(value.flatten(), teacher[key].flatten(), 0))
        for key, value in trunk.items()
        if value.ndim > 1 and value.numel() > 1000
    ]
    assert likeness
    assert min(likeness) > 0.8 if start == "full" else max(likeness) < 0.2


def test_accuracy_with_leaves_missing_by_hand():
    """Four images, three leaves: any absent leaf loses its own images and may win others back."""
    logits_NK = torch.tensor([[3.0, 2, 1], [3, 2, 1], [1, 3, 2], [0, 1, 3]])
    y_N = torch.tensor([0, 1, 1, 2])
    # Whole: images 0, 2, 3. Without leaf 0: 1, 2, 3; without leaf 1: 0, 3; without leaf 2: 0, 2. Mean 7 / 12.
    # Leaf 0 alone: image 0; leaf 1 alone: 1, 2; leaf 2 alone: 3. Mean 4 / 12.
    assert accuracy_missing(logits_NK, y_N, [(0,), (1,), (2,)]) == pytest.approx((7 / 12, 4 / 12))


def network():
    """MobileNetV2 for four classes."""
    torch.manual_seed(0)
    return build("mobilenetv2", 4, (1, 28, 28), ((0.3,), (0.3,)), (2, 1)).eval()


@pytest.mark.slow
def test_a_cut_for_a_budget_is_the_latest_that_keeps_it():
    """More time, a later cut; what is chosen keeps within the budget."""
    image = torch.zeros(2, 1, 28, 28, dtype=torch.uint8)
    stages = [name for name, _ in network().named_children()]
    (tight,) = choose_cuts(network(), image, (2,), 0.5)
    (loose,) = choose_cuts(network(), image, (2,), 0.9)
    assert stages.index(tight) < stages.index(loose)


@pytest.mark.slow
def test_a_budget_that_no_cut_keeps_is_refused():
    """Says what the best would take."""
    with pytest.raises(
        InfeasibleError, match=r"no cut .* keeps within 0.01 .*: the best takes 0\.\d\d; raise --budget"
    ):
        choose_cuts(network(), torch.zeros(2, 1, 28, 28, dtype=torch.uint8), (2,), 0.01)


def test_the_critical_path_of_a_whole_model_is_its_roofline():
    """One convolution, compute-bound or not, by hand: 64 images, 4 to 8 channels, 3 x 3, 5 x 5 places."""
    layer = torch.nn.Conv2d(4, 8, 3, padding=1)
    values = 64 * (4 + 8) * 25 + 4 * 8 * 9
    flops = 2 * 64 * 4 * 8 * 9 * 25
    fragment = ModuleFragment("full", torch.nn.Sequential(layer), ("x",), "y")
    assert critical_path([fragment], torch.rand(2, 4, 5, 5)) == pytest.approx(max(flops / 160e9, 4 * values / 20e9))


def test_the_critical_path_counts_the_places_of_tokens():
    """A layer that every token goes through, by hand: 64 images of 7 tokens, 4 to 8 channels."""
    flops, values = 2 * 64 * 7 * 4 * 8, 64 * 7 * (4 + 8) + 4 * 8
    fragment = ModuleFragment("full", torch.nn.Sequential(torch.nn.Linear(4, 8)), ("x",), "y")
    assert critical_path([fragment], torch.rand(2, 7, 4)) == pytest.approx(max(flops / 160e9, 4 * values / 20e9))


@pytest.mark.parametrize(
    ("tree", "cuts", "groups", "message"),
    [
        ((5,), CUTS, "features", "has 5 groups, expected at most 4 classes"),
        ((2, 2), ("blocks5",), "features", "2 levels needs 2 cuts, got 1"),
        ((2,), ("blocks99",), "features", "no cut before 'blocks99'"),
        ((2,), CUTS, [[0, 1], [1, 2, 3]], "every class 0..3 exactly once"),
        ((2,), CUTS, [[0, 1], [2]], "every class 0..3 exactly once"),
    ],
)
def test_a_tree_that_does_not_fit_is_refused_by_the_plan(data, tree, cuts, groups, message):
    """No full model is needed to tell."""
    with pytest.raises(UsageError, match=message):
        plan_tree(data, "mobilenetv2", (2,), tree, cuts, groups)


@pytest.mark.parametrize("options", [{"groups": "random"}, {"overlap": 0.5}])
def test_splitnet_takes_no_groups(data, full, preset, tmp_path, options):
    """It learns them."""
    with pytest.raises(UsageError, match="learns its groups"):
        train_semantic(data, full, preset=preset, method="splitnet", out=tmp_path / "run", **options)
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_no_branch_holds_another_branch_s_channels(full, trained):
    """Without overlap, what the leaves of `distil` hold of a set adds up to the whole's, and overlap exceeds it."""
    whole = full.load().fragments[0].module
    leaves = [fragment.module for fragment in trained(tree=(2,)).load().fragments[1:]]
    wider = [fragment.module for fragment in trained(tree=(2,), overlap=0.5).load().fragments[1:]]
    norms = [name for name, layer in leaves[0].named_modules() if isinstance(layer, torch.nn.BatchNorm2d)]
    assert norms
    for name in norms:
        count = whole.get_submodule(name).num_features
        assert sum(leaf.get_submodule(name).num_features for leaf in leaves) == count
        assert sum(leaf.get_submodule(name).num_features for leaf in wider) == pytest.approx(1.5 * count, abs=2)
    assert np.isfinite(leaves[0].head.classifier.weight.detach().numpy()).all()
