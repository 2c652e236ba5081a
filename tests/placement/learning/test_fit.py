"""Training by torch: the function that torch differentiates is the one that numpy evaluates at plan time."""

import sys
from dataclasses import dataclass, replace

import numpy as np
import pytest
import torch

from splitplace.errors import MissingExtraError
from splitplace.placement.learner import Recipe
from splitplace.placement.learning.fit import Descent, fit, mse
from splitplace.placement.policy import PlacementRequest
from splitplace.placement.surrogates import completion, surrogate
from splitplace.placement.surrogates.adamw import Moments
from splitplace.placement.surrogates.completion import Plans
from splitplace.placement.surrogates.contention import contention
from splitplace.placement.surrogates.experience import Pairs
from splitplace.placement.surrogates.problem import asked


def pairs(form, count=40):
    """Inputs of seven features, of four devices if shared."""
    rng = np.random.default_rng(3)
    x = rng.normal(size=(count, 7) if form == "flat" else (count, 4, 7))
    return surrogate.init(form, 7, rng), Pairs(x, rng.normal(size=count))


def predict(net):
    """As DASO hands it over."""
    return lambda weights, some, xp: surrogate.predict(replace(net, weights=weights), xp.asarray(some.x_BN), xp)


def tensors(weights):
    """For torch to differentiate."""
    return tuple(torch.tensor(w, requires_grad=True) for w in weights)


@pytest.mark.parametrize("form", ["flat", "shared"])
def test_torch_and_numpy_are_one_function(form):
    """Forward, gradient to the input, gradient of eq. 11 to the weights, and three whole steps of training."""
    net, some = pairs(form)
    numpy_y = surrogate.predict(net, some.x_BN)
    theirs = predict(net)(tensors(net.weights), some, torch).detach().numpy()
    assert theirs == pytest.approx(numpy_y, rel=1e-12)
    x = torch.tensor(some.x_BN[:1], requires_grad=True)
    surrogate.predict(replace(net, weights=tensors(net.weights)), x, torch)[0].backward()
    assert surrogate.input_gradient(net, some.x_BN[0])[1] == pytest.approx(x.grad[0].numpy(), rel=1e-12)

    weights = tensors(net.weights)
    wrong = predict(net)(weights, some, torch) - torch.asarray(some.y)
    (wrong**2).mean().backward()
    for ours, w in zip(surrogate.mse_gradient(net, some.x_BN, some.y), weights, strict=True):
        assert ours == pytest.approx(w.grad.numpy(), rel=1e-9, abs=1e-15)

    recipe = Recipe(lr=1e-2, weight_decay=1e-2)
    descent, tuned, moments = Descent(predict(net), net.weights, recipe), net, Moments.zero(net.weights)
    for rows in (np.arange(20), np.arange(20, 40), np.arange(10, 30)):
        descent.step(some[rows], recipe.lr)
        batch = some.x_BN[rows], some.y[rows]
        tuned, moments = surrogate.learn(tuned, moments, *batch, recipe.lr, recipe.weight_decay)
    for ours, theirs in zip(tuned.weights, descent.weights(), strict=True):
        assert ours == pytest.approx(theirs, rel=1e-9, abs=1e-12)


def plans(view, count=60):
    """A chain that runs and branches beside it, with works of many sizes; the chain takes twice its work."""
    chain = view(
        memory_bytes=(200.0,) * 3, deadlines_s=(400.0, 900.0), split=(0, -1), containers=((0, 0, 0), (0, 1, 1))
    )
    around = contention(replace(chain, interval_s=10.0), asked(chain, [PlacementRequest(1, 1, (2, 3))]))
    rng, rows = np.random.default_rng(0), []
    for _ in range(count):
        scaled = replace(around, work_CD=around.work_CD * rng.uniform(0.2, 3.0))
        rows.append(scaled.x(np.eye(3)[rng.integers(3, size=4)]))
    return Plans(rows, [around.paths] * count, [np.array([2 * (x[0, 0] + x[1, 0]), np.nan]) for x in rows])


def test_torch_and_numpy_take_the_same_critical_path(view):
    """Times of tasks, and their gradient to every container's row, through the longest path."""
    some, weights = plans(view, 5), completion.init(np.random.default_rng(4))
    ours = completion.predict(weights, some)
    theirs = completion.predict(tensors(weights), some, torch).detach().numpy()
    assert theirs == pytest.approx(ours, rel=1e-12)
    x = torch.tensor(some.x[0], requires_grad=True)
    left, _ = completion.times(tensors(weights), x, some.paths[0], torch)
    (left * torch.tensor([1.0, 3.0])).sum().backward()
    _, timing = completion.times(weights, some.x[0], some.paths[0])
    slope = completion.input_gradient(weights, timing, some.paths[0], np.array([1.0, 3.0]))
    assert slope == pytest.approx(x.grad.numpy(), rel=1e-12)


def test_only_tasks_that_left_are_learned_from(view):
    """Of two tasks a plan, one is never seen to leave: a target a plan, and what it would have been changes nothing."""
    some = plans(view, 6)
    assert len(some.y) == 6
    assert some[np.array([1, 4])].y == pytest.approx(some.y[[1, 4]])


@pytest.mark.slow
def test_training_learns_what_can_be_learned_and_stops():
    """A smooth function of two inputs: at least 80 % of the held-out variance explained; the threads are as before."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(1500, 4))
    every = Pairs(x, 0.5 + 0.3 * np.tanh(x[:, 0]) - 0.2 * x[:, 1])
    train, held_out = every[np.arange(1000)], every[np.arange(1000, 1500)]
    net, threads = surrogate.init("flat", 4, rng), torch.get_num_threads()
    result = fit(predict(net), net.weights, train, held_out, Recipe(3e-3, 1e-4), rng)
    assert torch.get_num_threads() == threads
    assert result.explained > 0.8
    assert result.epochs < 300
    assert result.held_out_mse == pytest.approx(mse(predict(net), result.weights, held_out))
    assert all((w == w.astype(np.float32)).all() for w in result.weights)  # as a file gives them back


def test_times_are_learned_from_plans(view):
    """Times that are twice the work: after training, the held-out error is a small part of the variance."""
    every, rng = plans(view), np.random.default_rng(0)
    recipe = Recipe(1e-2, 0.0, batch=16, epochs=150, patience=150, falling=True)
    train, held_out = every[np.arange(45)], every[np.arange(45, 60)]
    assert fit(completion.predict, completion.init(rng), train, held_out, recipe, rng).explained > 0.9


@dataclass(frozen=True)
class Waves:
    """A researcher's examples."""

    x: np.ndarray
    y: np.ndarray

    def __len__(self):
        return len(self.y)

    def __getitem__(self, rows):
        return Waves(self.x[rows], self.y[rows])


def test_a_function_of_ones_own_needs_no_gradient_by_hand():
    """Y = a sin(b x): forward alone is written, and a and b are found."""
    rng = np.random.default_rng(0)
    x = rng.uniform(-2, 2, 400)
    waves = Waves(x, 0.7 * np.sin(1.5 * x))

    def wave(weights, some, xp):
        a, b = weights
        return a * xp.sin(b * xp.asarray(some.x))

    recipe = Recipe(0.02, 0.0, batch=50, epochs=200, patience=50)
    start = (np.array(1.0), np.array(1.0))
    found = fit(wave, start, waves[np.arange(300)], waves[np.arange(300, 400)], recipe, rng)
    assert [float(w) for w in found.weights] == pytest.approx([0.7, 1.5], abs=1e-2)


def test_without_torch_training_says_what_to_install(monkeypatch):
    """One line, before any step."""
    monkeypatch.setitem(sys.modules, "torch", None)
    net, some = pairs("flat")
    with pytest.raises(MissingExtraError, match=r"needs torch, not installed here: pip install 'splitplace\[train\]'"):
        fit(predict(net), net.weights, some, some, Recipe(1e-3, 0.0), np.random.default_rng(0))
