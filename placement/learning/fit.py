"""Trains a surrogate on a trace set until it stops getting better on runs it has not seen."""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from splitplace.placement.surrogates import surrogate
from splitplace.placement.surrogates.adamw import Moments
from splitplace.placement.surrogates.network import as_stored
from splitplace.placement.surrogates.surrogate import Surrogate
from splitplace.records.view import Floats

BATCH, PATIENCE, EPOCHS = 64, 15, 300


@dataclass(frozen=True, eq=False)
class Traces:
    """B pairs (x, O^P) of eq. 11, and the run each is from."""

    x_BN: Floats
    y_B: Floats
    run_B: Floats

    def of(self, runs: tuple[int, ...]) -> "Traces":
        """The pairs of these runs."""
        rows = np.isin(self.run_B, runs)
        return Traces(self.x_BN[rows], self.y_B[rows], self.run_B[rows])


@dataclass(frozen=True, eq=False, kw_only=True)
class Quality:
    """How good a fit is, on what it learned from and on runs it has not seen."""

    epochs: int
    train_mse: float
    held_out_mse: float
    held_out_variance: float
    """MSE of always predicting the training set's mean: what a surrogate that learned nothing would get."""

    @property
    def explained(self) -> float:
        """1 - held-out MSE / variance: 0 is worthless, 1 is perfect."""
        return 1 - self.held_out_mse / self.held_out_variance if self.held_out_variance > 0 else float("nan")

    def facts(self) -> dict[str, float | int]:
        """What stands beside the weights in a file."""
        return {
            "epochs": self.epochs,
            "train_mse": self.train_mse,
            "held_out_mse": self.held_out_mse,
            "held_out_variance": self.held_out_variance,
        }


@dataclass(frozen=True, eq=False, kw_only=True)
class SurrogateFit(Quality):
    """A trained surrogate."""

    surrogate: Surrogate


def fit(
    start: Surrogate,
    train: Traces,
    held_out: Traces,
    lr: float,
    weight_decay: float,
    rng: np.random.Generator,
    say: Callable[[int, float], None] = lambda epoch, mse: None,
    vary: Callable[[Floats], Floats] = lambda x_BN: x_BN,
) -> SurrogateFit:
    """Minimise eq. 11 by AdamW; the weights of the best epoch on `held_out`, which stops it after 15 without progress.

    Args:
        start: Untrained.
        train: Pairs to learn from.
        held_out: Pairs of other runs: neighbours in time share an interval, so a random split would leak.
        lr: Step.
        weight_decay: Of AdamW.
        rng: Order of the batches.
        say: Told the epoch and its held-out MSE.
        vary: Other inputs that mean the same, in each epoch anew.
    """
    mean = float(train.y_B.mean())
    # The output starts at the mean, so that no step is spent on finding it.
    net = replace(start, weights=(*start.weights[:-1], np.full(1, mean)))
    moments = Moments.zero(net.weights)
    best, best_mse, best_epoch, epoch = net, surrogate.mse(net, held_out.x_BN, held_out.y_B), 0, 0
    for epoch in range(1, EPOCHS + 1):
        order, x_BN = rng.permutation(len(train.y_B)), vary(train.x_BN)
        for at in range(0, len(order), BATCH):
            rows = order[at : at + BATCH]
            net, moments = surrogate.learn(net, moments, x_BN[rows], train.y_B[rows], lr, weight_decay)
        mse = surrogate.mse(net, held_out.x_BN, held_out.y_B)
        say(epoch, mse)
        if mse < best_mse:
            best, best_mse, best_epoch = net, mse, epoch
        if epoch - best_epoch >= PATIENCE:
            break
    best = replace(best, weights=as_stored(best.weights))
    return SurrogateFit(
        surrogate=best,
        epochs=best_epoch,
        train_mse=surrogate.mse(best, train.x_BN, train.y_B),
        held_out_mse=surrogate.mse(best, held_out.x_BN, held_out.y_B),
        held_out_variance=float(np.mean((held_out.y_B - mean) ** 2)),
    )
