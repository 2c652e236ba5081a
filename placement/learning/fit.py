"""Fits a function by least squares until it stops getting better on examples it has not seen: AdamW by torch.

The function is written once, for numpy and torch alike (`learner.Predict`); torch differentiates it, so that nobody
writes a gradient to the weights for it. In float64, as at plan time: the same function, whoever evaluates it.
"""

from collections.abc import Callable
from typing import Any, cast

import numpy as np

from splitplace.extras import needs
from splitplace.placement.learner import Examples, Fit, Predict, Recipe
from splitplace.placement.surrogates.network import Weights, as_stored
from splitplace.records.view import Floats

CHUNK = 1024
"""Examples that are looked at at once where nothing is learned."""


def fit(
    predict: Predict,
    start: Weights,
    train: Examples,
    held_out: Examples,
    recipe: Recipe,
    rng: np.random.Generator,
    say: Callable[[int, float], None] = lambda epoch, mse: None,
    vary: Callable[[Any], Any] | None = None,
) -> Fit:
    """The weights of the best epoch on `held_out`, the start among them.

    Args:
        predict: The function.
        start: Weights to start from.
        train: Examples to learn from.
        held_out: Of other runs.
        recipe: How.
        rng: Order of the batches.
        say: Told the epoch and its held-out MSE.
        vary: Other examples that mean the same, in each epoch anew.

    Raises:
        MissingExtraError: torch is not installed.
    """
    torch = _torch()
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # layers this small are slower on several, and much slower beside other work
    try:
        best, best_epoch = _best(Descent(predict, start, recipe), train, held_out, rng, say, vary)
    finally:
        torch.set_num_threads(threads)
    best = as_stored(best)
    return Fit(
        weights=best,
        epochs=best_epoch,
        train_mse=mse(predict, best, train),
        held_out_mse=mse(predict, best, held_out),
        held_out_variance=float(np.mean((held_out.y - train.y.mean()) ** 2)),
    )


def _best(
    descent: "Descent",
    train: Examples,
    held_out: Examples,
    rng: np.random.Generator,
    say: Callable[[int, float], None],
    vary: Callable[[Any], Any] | None,
) -> tuple[Weights, int]:
    """The best weights, and their epoch."""
    predict, recipe, start = descent.predict, descent.recipe, descent.weights()
    best, best_mse, best_epoch = start, mse(predict, start, held_out), 0
    for epoch in range(1, recipe.epochs + 1):
        order, shown = rng.permutation(len(train)), vary(train) if vary else train
        lr = recipe.lr * (1 - (epoch - 1) / recipe.epochs) if recipe.falling else recipe.lr
        for at in range(0, len(order), recipe.batch):
            descent.step(shown[order[at : at + recipe.batch]], lr)
        weights = descent.weights()
        now = mse(predict, weights, held_out)
        say(epoch, now)
        if now < best_mse:
            best, best_mse, best_epoch = weights, now, epoch
        if epoch - best_epoch >= recipe.patience:
            break
    return best, best_epoch


class Descent:
    """Weights on their way, and AdamW's moments of them."""

    def __init__(self, predict: Predict, start: Weights, recipe: Recipe):
        torch = _torch()
        self.predict, self.recipe = predict, recipe
        self._weights = tuple(torch.tensor(w, dtype=torch.float64, requires_grad=True) for w in start)
        self._optimiser = torch.optim.AdamW(self._weights, recipe.lr, weight_decay=recipe.weight_decay)

    def step(self, batch: Examples, lr: float) -> None:
        """One step downhill on the batch's mean squared error; a batch without a target teaches nothing."""
        torch = _torch()
        for group in self._optimiser.param_groups:
            group["lr"] = lr
        y = batch.y
        if len(y) == 0:
            return
        self._optimiser.zero_grad()
        wrong = self.predict(cast(Weights, self._weights), batch, torch) - torch.asarray(y)
        (wrong @ wrong / len(y)).backward()
        self._optimiser.step()

    def weights(self) -> Weights:
        """As they are now."""
        return tuple(w.detach().numpy().copy() for w in self._weights)


def mse(predict: Predict, weights: Weights, examples: Examples) -> float:
    """Mean squared error, by numpy."""
    total, count = 0.0, 0
    for at in range(0, len(examples), CHUNK):
        some = examples[np.arange(at, min(at + CHUNK, len(examples)))]
        if len(some.y):
            wrong: Floats = predict(weights, some, np) - some.y
            total, count = total + float(wrong @ wrong), count + len(wrong)
    return total / count if count else float("nan")


def _torch() -> Any:
    """Torch, or what to do without."""
    needs("training a surrogate", "train", packages=("torch",))
    import torch

    return torch
