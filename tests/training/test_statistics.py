import logging

import numpy as np
import pytest
import torch
from torch import nn

from splitplace.splitting.networks import Front
from splitplace.training.loop.fit import fit
from splitplace.training.loop.losses import cross_entropy
from splitplace.training.loop.statistics import settle
from splitplace.training.preset import load_preset
from splitplace.training.recipes.full import train_full

ROWS = np.arange(96)


def network():
    """Two norms, one behind the other."""
    torch.manual_seed(3)
    layers = nn.Conv2d(1, 4, 5, 4), nn.BatchNorm2d(4), nn.ReLU(), nn.Conv2d(4, 4, 3), nn.BatchNorm2d(4)
    return nn.Sequential(Front((0.3,), (0.3,)), *layers, nn.Flatten(), nn.LazyLinear(4)).eval()


@pytest.fixture
def made(data):
    """A network whose last layer has seen an image, and so has weights."""
    net = network()
    net(torch.from_numpy(data.x_train_NCHW[:1]))
    return net


def test_statistics_after_few_steps_are_those_of_the_training_images(made, data):
    """Of every layer: means and variances of what it gets when all images come at once; weights are not touched."""
    weights = {name: value.clone() for name, value in made.named_parameters()}
    assert settle(made, data.x_train_NCHW, ROWS, 96, seed=0, steps=3) == 96
    x = torch.from_numpy(data.x_train_NCHW)
    with torch.no_grad():
        for layer in made:
            if isinstance(layer, nn.BatchNorm2d):
                torch.testing.assert_close(layer.running_mean, x.mean((0, 2, 3)), rtol=1e-3, atol=1e-3)
                torch.testing.assert_close(layer.running_var, x.var((0, 2, 3)), rtol=1e-3, atol=1e-3)
            x = layer(x)
    assert all(torch.equal(value, weights[name]) for name, value in made.named_parameters())
    assert not any(layer.training for layer in made.modules())
    assert made[2].momentum == 0.1


def test_statistics_of_several_batches_are_their_average(made, data):
    """Of whole batches only: 96 images make two of 40."""
    assert settle(made, data.x_train_NCHW, ROWS, 40, seed=0, steps=3) == 80
    with torch.no_grad():
        seen = made[:2](torch.from_numpy(data.x_train_NCHW))
    torch.testing.assert_close(made[2].running_mean, seen.mean((0, 2, 3)), rtol=0.1, atol=0.02)


@pytest.mark.parametrize(("steps", "settled"), [(87, 96), (88, 0)])
def test_a_training_of_enough_steps_keeps_its_statistics(made, data, steps, settled):
    """From where a ten-thousandth of the first ones is left: 0.9^88 < 1e-4."""
    assert settle(made, data.x_train_NCHW, ROWS, 96, 0, steps) == settled
    assert torch.equal(made[2].running_mean, torch.zeros(4)) == (not settled)


def test_a_slower_norm_needs_more_steps(made, data):
    """TensorFlow's networks have a momentum of 0.01."""
    made[2].momentum = 0.01
    assert settle(made, data.x_train_NCHW, ROWS, 96, 0, 88) == 96


def test_frozen_parts_keep_their_statistics(made, data):
    """A trunk that stays the full model's."""
    assert settle(made, data.x_train_NCHW, ROWS, 96, 0, 3, frozen=[made[:4]]) == 96
    assert torch.equal(made[2].running_mean, torch.zeros(4))
    assert not torch.equal(made[5].running_mean, torch.zeros(4))


def test_fewer_images_than_a_batch_are_one(made, data):
    """All of them."""
    assert settle(made, data.x_train_NCHW, ROWS[:7], 64, 0, 3) == 7


def test_fit_settles_by_the_images_that_it_trains_on(made, data, tmp_path, caplog):
    """Not by those that it keeps for validation; says so, and returns their number."""
    recipe = load_preset("quick").full.changed(batch_size=8, epochs=1, validation_share=0.25)
    fitted = fit(made, cross_entropy(recipe), data, recipe, 0, tmp_path, "this")
    assert fitted.settled == 72
    with caplog.at_level(logging.WARNING):
        assert "9 steps are few: running statistics are taken anew, over 72 training images" in caplog.text


@pytest.mark.slow
def test_few_images_and_few_steps_are_far_above_chance(make_squares, tmp_path):
    """Eighteen steps on 192 images: by statistics that are mostly initial, the same weights are at chance (0.25)."""
    run = train_full(make_squares(n_train=192, n_test=64), epochs=6, out=tmp_path / "run")
    assert run.metrics.settled_images == 192
    assert run.metrics.accuracy > 0.9
