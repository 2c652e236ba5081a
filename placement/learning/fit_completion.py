"""Trains the surrogate of tasks (`surrogates/completion.py`): least squares on log(1 + t) over plans carried out."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from splitplace.placement.learning.fit import Quality
from splitplace.placement.surrogates.adamw import Moments, step
from splitplace.placement.surrogates.completion import back, times
from splitplace.placement.surrogates.contention import Paths
from splitplace.placement.surrogates.network import Weights, as_stored, backward_weights
from splitplace.records.view import Floats

BATCH, EPOCHS = 16, 25


@dataclass(frozen=True, eq=False)
class Sample:
    """One plan that was carried out."""

    x_CF: Floats
    paths: Paths
    left_T: Floats
    """Intervals each task took from then on; NaN if it never left."""


@dataclass(frozen=True, eq=False, kw_only=True)
class CompletionFit(Quality):
    """Trained weights; errors are of log(1 + t)."""

    weights: Weights
    examples: int


def errors(weights: Weights, samples: Sequence[Sample]) -> tuple[Floats, Floats]:
    """Predicted - true log(1 + t) of every task that left, and the true one."""
    wrong, true = [np.zeros(0)], [np.zeros(0)]
    for sample in samples:
        known = np.isfinite(sample.left_T)
        target = np.log1p(sample.left_T[known])
        wrong.append(np.log1p(times(weights, sample.x_CF, sample.paths)[0][known]) - target)
        true.append(target)
    return np.concatenate(wrong), np.concatenate(true)


def fit(
    start: Weights,
    train: Sequence[Sample],
    held_out: Sequence[Sample],
    lr: float,
    weight_decay: float,
    rng: np.random.Generator,
    say: Callable[[int, float], None] = lambda epoch, mse: None,
    epochs: int = EPOCHS,
) -> CompletionFit:
    """Least squares on log(1 + t) by AdamW with a step that falls to nothing; the weights of the best epoch."""
    weights, moments = start, Moments.zero(start)
    best, best_mse, best_epoch = weights, np.inf, 0
    for epoch in range(epochs):
        order = rng.permutation(len(train))
        for at in range(0, len(order), BATCH):
            gradients = _gradients(weights, [train[i] for i in order[at : at + BATCH]])
            weights, moments = step(weights, gradients, moments, lr * (1 - epoch / epochs), weight_decay)
        mse = float(np.mean(errors(weights, held_out)[0] ** 2))
        say(epoch, mse)
        if mse < best_mse:
            best, best_mse, best_epoch = weights, mse, epoch + 1
    best = as_stored(best)
    (seen, _), (unseen, target) = errors(best, train), errors(best, held_out)
    return CompletionFit(
        weights=best,
        epochs=best_epoch,
        examples=len(seen),
        train_mse=float(np.mean(seen**2)),
        held_out_mse=float(np.mean(unseen**2)),
        held_out_variance=float(np.var(target)),
    )


def _gradients(weights: Weights, batch: Sequence[Sample]) -> Weights:
    total = [np.zeros_like(w) for w in weights]
    count = sum(int(np.isfinite(sample.left_T).sum()) for sample in batch)
    for sample in batch:
        left_T, timing = times(weights, sample.x_CF, sample.paths)
        wrong_T = np.log1p(left_T) - np.log1p(sample.left_T)
        d_T = np.where(np.isfinite(wrong_T), 2 * wrong_T / (1 + left_T) / max(count, 1), 0.0)
        for mine, w in zip(
            total, backward_weights(weights, timing.done, back(timing, sample.paths, d_T))[0], strict=True
        ):
            mine += w
    return tuple(total)
