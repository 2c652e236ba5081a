"""A spare: trained beside a finished tree, which it leaves as it is, to answer for branches that do not."""

import pytest
import torch
from torch.nn import functional

from splitplace.errors import UsageError
from splitplace.training.loop.evaluate import accuracy_missing, logits
from splitplace.training.network import as_network, spare_network
from splitplace.training.preset import load_preset
from splitplace.training.recipes import semantic as room
from splitplace.training.recipes.full import train_full
from splitplace.training.recipes.semantic import train_semantic
from splitplace.training.recipes.spare import mixed
from splitplace.training.run import Run

TINY = {"epochs": 1, "samples": 32}


@pytest.fixture(scope="module")
def preset():
    """The quick preset with small batches, cut late."""
    quick = load_preset("quick")
    cuts = quick.models["mobilenetv2"].model_copy(update={"cuts": ("blocks5", "blocks6")})
    return quick.model_copy(
        update={
            "full": quick.full.changed(batch_size=16),
            "semantic": quick.semantic.changed(batch_size=16),
            "models": {"mobilenetv2": cuts},
        }
    )


@pytest.fixture(scope="module")
def full(data, preset, tmp_path_factory):
    """A full model after two steps."""
    return train_full(data, "mobilenetv2", preset=preset, out=tmp_path_factory.mktemp("runs") / "full", **TINY)


@pytest.fixture(scope="module")
def pair(data, full, preset, tmp_path_factory):
    """One tree, without a spare and with."""
    folder = tmp_path_factory.mktemp("runs")
    options = {"tree": (2,), "preset": preset, **TINY}
    plain = train_semantic(data, full, out=folder / "plain", **options)
    return plain, train_semantic(data, full, spare=0.75, out=folder / "spared", **options)


def test_the_loss_sees_a_mixture_in_every_row():
    """Whole leaves are the tree's or the spare's, at least one of them the spare's; each leaf is seen as either."""
    torch.manual_seed(0)
    leaf_K, seen = torch.tensor([0, 1, 1, 2]), []

    def loss(image_BCHW, logits_BK, y_B):
        seen.append(logits_BK)
        return logits_BK.sum()

    both = torch.cat([torch.zeros(64, 4), torch.ones(64, 4)], dim=1).requires_grad_(True)
    torch.autograd.backward(mixed(loss, leaf_K, 3)(torch.zeros(64, 1), both, torch.zeros(64, dtype=torch.int64)))
    (spare_BK,) = seen
    assert set(spare_BK.unique().tolist()) == {0.0, 1.0}
    assert (spare_BK[:, 1] == spare_BK[:, 2]).all()
    assert (spare_BK.sum(1) > 0).all()
    assert ((spare_BK.mean(0) > 0.3) & (spare_BK.mean(0) < 0.9)).all()
    assert torch.equal(both.grad[:, 4:], spare_BK.detach())


def test_a_tree_is_the_same_with_a_spare(pair):
    """Its weights, to the bit, and so what it answers as a whole."""
    plain, spared = (run.load() for run in pair)
    assert spared.merge.spare == "spare" and plain.merge.spare is None
    assert [one.name for one in spared.fragments] == [*(one.name for one in plain.fragments), "spare"]
    for mine, theirs in zip(plain.fragments, spared.fragments, strict=False):
        for name, value in mine.module.state_dict().items():
            assert torch.equal(value, theirs.module.state_dict()[name]), name
    assert pair[0].metrics.accuracy == pair[1].metrics.accuracy
    assert pair[1].config.request.reference == "squares.mobilenetv2.semantic-2-spare75"


def test_what_is_reported_is_what_the_spare_answers(pair, data):
    """With branches missing: its columns beside those that are there; its size is a fragment's like any other."""
    _, spared = pair
    split = spared.load()
    tree_NK, spare_NK = logits(as_network(split), data.x_test_NCHW), logits(spare_network(split), data.x_test_NCHW)
    leaves = [one.classes for one in split.fragments if one.classes and one.name != "spare"]
    found = []
    for classes in leaves:
        mixture_NK = tree_NK.clone()
        mixture_NK[:, list(classes)] = spare_NK[:, list(classes)]
        found.append(float((mixture_NK.argmax(1) == torch.from_numpy(data.y_test_N)).double().mean()))
    assert spared.metrics.accuracy_missing == pytest.approx((sum(found) / 2,))
    sizes = {part.name: part for part in spared.metrics.fragments}
    assert sizes["spare"].classes == (0, 1, 2, 3)
    assert 0 < sizes["spare"].flops_per_sample < sizes["trunk"].flops_per_sample


def test_without_a_spare_what_is_absent_is_never_right():
    """And with one it may be; three images by hand."""
    tree_NK, y_N = functional.one_hot(torch.tensor([0, 1, 2]), 3).float(), torch.tensor([0, 1, 2])
    leaves = [(0,), (1, 2)]
    assert accuracy_missing(tree_NK, y_N, leaves) == pytest.approx(((2 / 3 + 1 / 3) / 2,))
    assert accuracy_missing(tree_NK, y_N, leaves, tree_NK) == pytest.approx((1.0,))


@pytest.mark.slow
def test_killed_before_its_spare_a_tree_is_not_trained_again(data, full, preset, pair, tmp_path, monkeypatch):
    """The second try begins with the spare, and ends with the same weights."""
    options = {"tree": (2,), "spare": 0.75, "preset": preset, "out": tmp_path / "run", **TINY}
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(room, "fit_spare", lambda *args: (_ for _ in ()).throw(KeyboardInterrupt))
        train_semantic(data, full, **options)
    with monkeypatch.context() as patch:
        patch.setattr(room, "_distil", None)
        again = train_semantic(data, full, **options)
    assert again.config.weights_sha256 == pair[1].config.weights_sha256
    assert Run.open(again.path).metrics.epochs == pair[1].metrics.epochs


@pytest.mark.parametrize("options", [{"spare": 1.5}, {"spare": 0.0}, {"spare": 0.5, "method": "scratch"}])
def test_a_spare_that_cannot_be(data, full, preset, tmp_path, options):
    """Told before anything is trained."""
    with pytest.raises(UsageError, match=r"ratio .*expected the share|--spare is taught by the full model"):
        train_semantic(data, full, preset=preset, out=tmp_path / "run", **options, **TINY)
    assert not (tmp_path / "run").exists()
