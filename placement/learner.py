"""What a policy brings that `policy train` can teach (`Learner`), and what it is taught by (`Traces`).

The training workflow (`learning/`) asks each learner of the registry and knows none by name. Who learns a function of
what was seen hands it to `Traces.fit`, which torch differentiates; nothing else needs torch.
"""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, Self, runtime_checkable

import numpy as np
import numpy.typing as npt

from splitplace.placement.policy import Decider, Policy
from splitplace.placement.state_files import LoadedPart, Storable
from splitplace.placement.surrogates.network import Weights
from splitplace.records.action import Action
from splitplace.records.metrics import Metrics
from splitplace.records.view import Floats, Ints, View

Watch = Callable[[View, Sequence[Action]], None]
"""Told each view and the plan made of it."""
Figures = Mapping[str, str | int | float]


@runtime_checkable
class Learner(Storable, Protocol):
    """A decider, placer or whole policy whose state is learned before it is used, and saved."""

    def init(self, view: View) -> Any:
        """The state before anything was seen; refuses a fleet or splits that it cannot run on."""
        ...

    def train(self, traces: "Traces") -> "Taught | None":
        """What the traces teach; None where there is nothing to choose.

        Raises:
            SplitPlaceError: The traces are too short to learn from.
        """
        ...

    def describe(self, loaded: LoadedPart) -> list[str]:
        """A saved state in lines for people; `state_files.summary` has the ones that hold for any."""
        ...


@dataclass(frozen=True, eq=False)
class Taught:
    """What a learner was taught."""

    state: Any
    about: Figures
    """How it was trained and how well that went: stands beside the state in its file."""


class TracedRun(Protocol):
    """What came of a run."""

    @property
    def states(self) -> Any:
        """The policy's at the end."""
        ...

    @property
    def metrics(self) -> Metrics:
        """Of the whole run."""
        ...


@dataclass(frozen=True)
class Worth:
    """What a policy was worth on a tuning run."""

    objective: float
    """Mean O^P of its intervals (eq. 10)."""
    reward: float


class Examples(Protocol):
    """What a function is fitted to: each a unit that batches are drawn of, with one target or several."""

    @property
    def y(self) -> Floats:
        """The targets of all, one after another."""
        ...

    def __len__(self) -> int: ...

    def __getitem__(self, rows: Ints) -> Self:
        """Some of them."""
        ...


Predict = Callable[[Weights, Any, Any], Any]
"""(weights, examples, xp) -> a prediction for each of `examples.y`, where `xp` is numpy or torch and weights are its
arrays: written with what both have, so that no gradient is written at all."""


@dataclass(frozen=True)
class Recipe:
    """How a function is fitted: least squares by AdamW, the weights of the best epoch on examples held out."""

    lr: float
    weight_decay: float
    batch: int = 64
    epochs: int = 300
    patience: int = 15
    """Epochs without progress that end it."""
    falling: bool = False
    """Whether the step falls to nothing over the epochs."""


@dataclass(frozen=True, eq=False)
class Fit:
    """Fitted weights, and how good they are on what they learned from and on what they have not seen."""

    weights: Weights
    epochs: int
    train_mse: float
    held_out_mse: float
    held_out_variance: float
    """MSE of always predicting the training set's mean: what a function that learned nothing would get."""

    @property
    def explained(self) -> float:
        """1 - held-out MSE / variance: 0 is worthless, 1 is perfect."""
        return 1 - self.held_out_mse / self.held_out_variance if self.held_out_variance > 0 else math.nan

    def figures(self) -> dict[str, str | int | float]:
        """What stands beside the weights in a file."""
        names = ("epochs", "train_mse", "held_out_mse", "held_out_variance", "explained")
        return {name: getattr(self, name) for name in names if getattr(self, name) == getattr(self, name)}


class Traces(Protocol):
    """The training workload (§6.3): its runs to look at again, others to be played, and what else a learner needs.

    Every run has a seed that no evaluation has. The same traces teach the same, in any order of the learners.
    """

    @property
    def view(self) -> View:
        """The first of the first run, for its tables."""
        ...

    @property
    def seed(self) -> int:
        """Of the training; draw from `seeds.generator(traces.seed, ...)`."""
        ...

    @property
    def runs(self) -> int:
        """How many; the last `held_out(runs)` are not to learn from."""
        ...

    @property
    def intervals(self) -> int:
        """Of each run."""
        ...

    def replay(self, run: int, watch: Watch | None = None, decider: Decider | None = None) -> TracedRun:
        """A run of the training workload: ε-greedy decisions and placements of every quality.

        Args:
            run: 0 to `runs` - 1.
            watch: Told every plan.
            decider: In place of `epsilon-greedy`.
        """
        ...

    def play(self, policy: Policy, at: int, states: Any = None, watch: Watch | None = None) -> TracedRun:
        """A run of a policy's own on the same workload, where it goes by itself.

        Args:
            policy: What decides and places.
            at: Number of the run among the training's; `replay` has those below `runs`, tuning 900 to 999.
            states: What it starts with, or a maker of it from the first view; none for anew.
            watch: Told every plan.
        """
        ...

    def tune(self, policy: Policy, states: Any) -> list[Worth]:
        """What a policy is worth on each of the tuning runs: choose by nothing else."""
        ...

    def part(self, name: str) -> Any:
        """A decider, placer or policy by its name in the registry."""
        ...

    def trained(self, name: str) -> tuple[Any, Any]:
        """As `part`, and its state as trained here; trains it first if need be."""
        ...

    def fit(
        self,
        name: str,
        predict: Predict,
        start: Weights,
        train: Examples,
        held_out: Examples,
        recipe: Recipe,
        rng: np.random.Generator,
        vary: Callable[[Any], Any] | None = None,
    ) -> Fit:
        """Fit a function by torch.

        Args:
            name: Whose, for the progress.
            predict: The function.
            start: Weights to start from.
            train: Examples to learn from.
            held_out: Of other runs: neighbours in time share an interval, so a random split would leak.
            recipe: How.
            rng: Order of the batches.
            vary: Other examples that mean the same, in each epoch anew.
        """
        ...

    def say(self, what: str, share: float) -> None:
        """Tell whoever waits what is being done and how far it is, 0 to 1."""
        ...

    def keep(self, name: str, columns: Mapping[str, npt.NDArray[Any] | Sequence[Any]]) -> None:
        """Write a trace set beside the states (Parquet)."""
        ...

    def curves(self, name: str, points: Iterable[tuple[float, Mapping[str, float]]]) -> None:
        """Write a learner's curves beside the states (TensorBoard): at each moment, in seconds, values by name."""
        ...


def held_out(runs: int) -> int:
    """How many of so many runs are kept to see when to stop: a quarter, at least one."""
    return max(runs // 4, 1)
