"""Layer or semantic by the toss of a coin: the paper's Random row."""

from typing import Any, ClassVar

import numpy as np

from splitplace.errors import NotFoundError
from splitplace.placement.policy import Feedback
from splitplace.records.action import Decide
from splitplace.records.split import Strategy
from splitplace.records.view import View

ARMS: tuple[Strategy, ...] = ("layer", "semantic")
"""The paper's {L, S}."""


class RandomDecider:
    """Uniform over the layer and semantic splits on offer; stateless."""

    name: ClassVar[str] = "random"

    def init(self, view: View) -> None:
        """Check that every application offers at least one of the two.

        Raises:
            UsageError: One offers neither.
        """
        for row, application in enumerate(view.applications):
            if not self._splits(view, row):
                raise NotFoundError(f"decider 'random': {application} has neither a layer nor a semantic split")

    def decide(self, state: Any, view: View, rng: np.random.Generator) -> list[Decide]:
        """One draw a task, in the order of the view."""
        decisions = []
        for row in view.tasks.undecided:
            splits = self._splits(view, int(view.tasks.application_T[row]))
            decisions.append(Decide(int(view.tasks.id_T[row]), splits[int(rng.integers(len(splits)))]))
        return decisions

    def update(self, state: Any, feedback: Feedback) -> None:
        """Nothing to learn."""

    @staticmethod
    def _splits(view: View, application: int) -> list[int]:
        return [view.offers[application, arm] for arm in ARMS if (application, arm) in view.offers]
