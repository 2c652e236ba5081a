"""Policies with something around them: one that stops learning, one whose expectations are noted."""

from dataclasses import dataclass
from typing import Any

from splitplace.placement.placers.daso import Daso
from splitplace.placement.policy import Feedback, Placed
from splitplace.records.view import View


@dataclass(frozen=True)
class Until:
    """A decider or placer that learns until a moment, and then no more; otherwise the one inside."""

    part: Any
    until_s: float

    @property
    def name(self) -> str:
        """The inner's."""
        return str(self.part.name)

    def init(self, view: View) -> Any:
        """The inner's."""
        return self.part.init(view)

    def decide(self, *arguments: Any) -> Any:
        """The inner's."""
        return self.part.decide(*arguments)

    def place(self, *arguments: Any) -> Any:
        """The inner's."""
        return self.part.place(*arguments)

    def update(self, state: Any, feedback: Feedback) -> Any:
        """The inner's until then."""
        return self.part.update(state, feedback) if feedback.view.now_s < self.until_s else state


@dataclass(frozen=True)
class Foretold:
    """A placer that notes what its surrogate expects of each of its plans."""

    part: Any
    inner: Daso
    notes: dict[float, float]
    """O^P expected, by the moment of the plan."""

    @property
    def name(self) -> str:
        """The inner's."""
        return self.inner.name

    def init(self, view: View) -> Any:
        """The inner's."""
        return self.part.init(view)

    def place(self, *arguments: Any) -> Any:
        """The inner's."""
        return self.part.place(*arguments)

    def update(self, state: Any, feedback: Feedback) -> Any:
        """The inner's."""
        if isinstance(feedback, Placed):
            self.notes[feedback.view.now_s] = self.inner.predict(state, feedback.view, list(feedback.actions))
        return self.part.update(state, feedback)
