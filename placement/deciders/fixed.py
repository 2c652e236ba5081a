"""Always the same strategy: the paper's semantic-only and layer-only rows, and the unsplit model."""

from typing import Any, ClassVar

import numpy as np

from splitplace.errors import NotFoundError
from splitplace.placement.policy import Feedback
from splitplace.records.action import Decide
from splitplace.records.split import Strategy
from splitplace.records.view import View


class Fixed:
    """Decides `strategy` for every task; stateless."""

    name: ClassVar[str]
    strategy: ClassVar[Strategy]

    def init(self, view: View) -> None:
        """Check that every application offers the strategy.

        Raises:
            UsageError: One does not.
        """
        for row, application in enumerate(view.applications):
            if (row, self.strategy) not in view.offers:
                offered = sorted(strategy for app, strategy in view.offers if app == row)
                raise NotFoundError(
                    f"decider {self.name!r}: {application} has no {self.strategy} split that fits the fleet, "
                    f"only {', '.join(offered) or 'none'}"
                )

    def decide(self, state: Any, view: View, rng: np.random.Generator) -> list[Decide]:
        """The split of this strategy, for each undecided task."""
        tasks = view.tasks
        return [
            Decide(int(tasks.id_T[row]), view.offers[int(tasks.application_T[row]), self.strategy])
            for row in tasks.undecided
        ]

    def update(self, state: Any, feedback: Feedback) -> None:
        """Nothing to learn."""


class Layer(Fixed):
    """Layer-wise splits only."""

    name = "layer"
    strategy = "layer"


class Semantic(Fixed):
    """Semantic splits only."""

    name = "semantic"
    strategy = "semantic"


class Full(Fixed):
    """Unsplit models only (paper A.5)."""

    name = "full"
    strategy = "full"
