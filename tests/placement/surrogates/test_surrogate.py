"""The surrogate's gradients against finite differences, AdamW and the ascent against closed forms."""

import numpy as np
import pytest

from splitplace.placement.surrogates import adamw, ascent, surrogate
from splitplace.placement.surrogates.ascent import chosen_eta

H = 1e-6


def case(form):
    """A surrogate and five inputs for it."""
    rng = np.random.default_rng(3)
    net = surrogate.init(form, 7, rng)
    return net, rng.normal(size=(5, 7) if form == "flat" else (5, 4, 7)), rng.normal(size=5)


@pytest.mark.parametrize("form", ["flat", "shared"])
def test_the_gradient_to_the_input(form):
    """Central differences, every entry."""
    net, x, _ = case(form)
    value, gradient = surrogate.input_gradient(net, x[0])
    assert value == pytest.approx(surrogate.predict(net, x[:1])[0])
    for index in np.ndindex(x[0].shape):
        up, down = x[0].copy(), x[0].copy()
        up[index] += H
        down[index] -= H
        slope = (surrogate.predict(net, up[None])[0] - surrogate.predict(net, down[None])[0]) / (2 * H)
        assert gradient[index] == pytest.approx(slope, abs=1e-7)


@pytest.mark.parametrize("form", ["flat", "shared"])
def test_the_gradient_of_eq_11_to_the_weights(form):
    """Central differences at ten entries of each weight."""
    net, x, y = case(form)
    gradients = surrogate.mse_gradient(net, x, y)
    rng = np.random.default_rng(0)
    for layer, gradient in enumerate(gradients):
        for _ in range(10):
            index = tuple(int(rng.integers(size)) for size in gradient.shape)
            losses = []
            for sign in (1, -1):
                moved = [w.copy() for w in net.weights]
                moved[layer][index] += sign * H
                losses.append(np.mean((surrogate.predict(surrogate.Surrogate(form, tuple(moved)), x) - y) ** 2))
            assert gradient[index] == pytest.approx((losses[0] - losses[1]) / (2 * H), abs=1e-7)


def test_the_shared_form_takes_any_number_of_devices():
    """Twice the same devices predict the same: the mean does not count them."""
    net, x, _ = case("shared")
    assert surrogate.predict(net, np.concatenate([x, x], axis=1)) == pytest.approx(surrogate.predict(net, x))


def test_a_narrowed_surrogate_is_the_same_function():
    """Of three inputs, the other four fixed: value and gradient agree with the whole."""
    net, x, _ = case("flat")
    columns = np.array([1, 4, 5])
    narrowed = surrogate.narrow(net, x[0], columns)
    changed = x[0].copy()
    changed[columns] = (0.3, -0.2, 0.9)
    value, gradient = surrogate.input_gradient(net, changed)
    value_narrow, gradient_narrow = surrogate.input_gradient(narrowed, changed[columns])
    assert value_narrow == pytest.approx(value)
    assert gradient_narrow == pytest.approx(gradient[columns])


def test_adamw_by_hand():
    """First step: m/(1-β1) = g, v/(1-β2) = g², so it moves by lr, after the weight has decayed by lr x decay."""
    weights = (np.array([2.0]),)
    moved, moments = adamw.step(weights, (np.array([5.0]),), adamw.Moments.zero(weights), lr=0.1, weight_decay=0.5)
    assert moved[0][0] == pytest.approx(2.0 * 0.95 - 0.1, abs=1e-6)
    assert moments.steps == 1


def test_adamw_agrees_with_torch():
    """Ten steps on the same gradients."""
    import torch

    rng = np.random.default_rng(0)
    ours = (rng.normal(size=4),)
    theirs = torch.nn.Parameter(torch.tensor(ours[0].copy()))
    optimiser = torch.optim.AdamW([theirs], lr=0.01, weight_decay=0.1)
    moments = adamw.Moments.zero(ours)
    for _ in range(10):
        gradient = rng.normal(size=4)
        ours, moments = adamw.step(ours, (gradient,), moments, 0.01, 0.1)
        theirs.grad = torch.tensor(gradient)
        optimiser.step()
    assert ours[0] == pytest.approx(theirs.detach().numpy(), abs=1e-12)


def test_eq_12_goes_uphill():
    """The sign: f = P[0, 1] is largest with everything on device 1, and a descent would leave it."""
    fits = np.ones((1, 3), bool)
    begin = ascent.start(np.array([0]), fits)
    end, _ = ascent.climb(lambda p: np.array([[0.0, 1.0, 0.0]]), begin, eta=1.0)
    assert end[0, 1] > 0.9 > 0.2 > begin[0, 1]


def test_one_step_of_eq_12_by_hand():
    """P = (.75, .25), slope (0, 1), η = 2: logits move by η P (g - P·g) = (-.375, .375)."""
    begin = ascent.start(np.array([0]), np.ones((1, 2), bool))
    assert begin.tolist() == [[0.75, 0.25]]
    end, steps = ascent.climb(lambda p: np.array([[0.0, 1.0]]), begin, eta=2.0, steps=1)
    odds = 0.25 / 0.75 * np.exp(0.75)
    assert end[0, 1] == pytest.approx(odds / (1 + odds))
    assert steps == 1


def test_the_ascent_stops_when_p_stands_still():
    """η = 1e-3 as printed moves P by less than 1e-3 at once."""
    begin = ascent.start(np.array([0]), np.ones((1, 2), bool))
    assert ascent.climb(lambda p: np.array([[0.0, 1.0]]), begin, eta=1e-3)[1] == 1


def test_a_device_without_room_stays_at_zero():
    """However good it looks."""
    fits = np.array([[True, False, True]])
    begin = ascent.start(np.array([0]), fits)
    end, _ = ascent.climb(lambda p: np.array([[0.0, 9.0, 1.0]]), begin, eta=5.0)
    assert end[0, 1] == 0.0
    assert end.sum() == pytest.approx(1.0)


@pytest.mark.parametrize(
    ("scores", "eta"),
    [
        ({1e-3: [0.5, 0.4], 10.0: [0.6, 0.39], 100.0: [0.1, 0.1]}, 1e-3),
        ({1e-3: [0.5, 0.4], 10.0: [0.6, 0.41], 100.0: [0.51, 0.6]}, 100.0),
    ],
)
def test_another_step_than_the_papers_must_be_better_on_every_tuning_run(scores, eta):
    """A better mean alone may be luck."""
    assert chosen_eta(scores) == eta
