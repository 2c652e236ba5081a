"""What a decider and a placer are: pure functions of a view, a state and a passed generator.

A state is a frozen value of the policy's own; `decide` and `place` change nothing, `update` answers the next state.
"""

from dataclasses import dataclass
from typing import Any, ClassVar, Protocol

import numpy as np

from splitplace.records.action import Action, Decide
from splitplace.records.view import Finished, View


@dataclass(frozen=True, eq=False)
class Leaving:
    """The tasks that left since the last plan, perhaps none: comes once a plan, before its decisions."""

    view: View
    finished: Finished


@dataclass(frozen=True, eq=False)
class Taken:
    """The decisions just taken: comes once a plan, after them."""

    view: View
    decisions: tuple[Decide, ...]


@dataclass(frozen=True, eq=False)
class Placed:
    """The placements just made: comes once a plan, at its end, to the placer only."""

    view: View
    decisions: tuple[Decide, ...]
    actions: tuple[Action, ...]


Feedback = Leaving | Taken | Placed


@dataclass(frozen=True, slots=True)
class PlacementRequest:
    """A container that needs a device: a task's row in the view and the fragments of its split still without one."""

    task: int
    """Row of `View.tasks`."""
    split: int
    """Row of `View.splits`: the decision, which may have been taken in this very plan."""
    fragments: tuple[int, ...]
    """Rows of `View.fragments`."""


class Decider(Protocol):
    """Chooses a split for each undecided task (paper §4.1)."""

    name: ClassVar[str]

    def init(self, view: View) -> Any:
        """The state before anything was seen."""
        ...

    def decide(self, state: Any, view: View, rng: np.random.Generator) -> list[Decide]:
        """One decision for each undecided task of the view."""
        ...

    def update(self, state: Any, feedback: Feedback) -> Any:
        """The state after this feedback."""
        ...


class Placer(Protocol):
    """Chooses devices for fragments (paper §4.2)."""

    name: ClassVar[str]

    def init(self, view: View) -> Any:
        """The state before anything was seen."""
        ...

    def place(self, state: Any, view: View, requests: list[PlacementRequest], rng: np.random.Generator) -> list[Action]:
        """Place, Wait, Migrate or Evict; every requested fragment is placed or waits, and no memory limit is broken."""
        ...

    def update(self, state: Any, feedback: Feedback) -> Any:
        """The state after this feedback."""
        ...


@dataclass(frozen=True)
class Policy:
    """A decider and a placer; any composes with any."""

    decider: Decider
    placer: Placer
    frozen: bool = False
    """Learns nothing while it runs: states stay as they were at the start."""

    @property
    def clairvoyant(self) -> bool:
        """Whether the decider asks for what only a simulator knows (`View.foresight`)."""
        return bool(getattr(self.decider, "clairvoyant", False))

    @property
    def name(self) -> str:
        """`DECIDER+PLACER`, as the command line takes it."""
        return f"{self.decider.name}+{self.placer.name}"
