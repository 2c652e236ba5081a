"""What a policy is: pure functions of a view, a state and a passed generator; most are a decider and a placer.

A state is a frozen value of the policy's own; `decide` and `place` change nothing, `update` answers the next state.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol, TypeVar

import numpy as np

from splitplace.records.action import Action, Decide
from splitplace.records.fleet_status import PolicyEstimate
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
    """The placements just made: comes once a plan, at its end; of a composed policy, to the placer only."""

    view: View
    decisions: tuple[Decide, ...]
    actions: tuple[Action, ...]


Feedback = Leaving | Taken | Placed

Asked = TypeVar("Asked")
REMEMBERED = 1024
"""Tasks on their way that a state keeps in mind at most."""


def still_out(asked: Mapping[int, Asked], left: Finished) -> dict[int, Asked]:
    """What was asked of tasks that have not left, by id: not those in view, for a live view does not show all.

    The latest `REMEMBERED` of them, since a task may go without a word (what a broker forgets when it is restarted).
    """
    ended = set(left.id_E.tolist())
    return dict([one for one in asked.items() if one[0] not in ended][-REMEMBERED:])


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


class Policy(Protocol):
    """What `plan` asks: all decisions and all placements, one state, one update for each feedback.

    Most are `Composed`; a class of these methods is a whole policy, for what decides and places together.
    """

    @property
    def name(self) -> str:
        """As the results call it."""
        ...

    def init(self, view: View) -> Any:
        """The state before anything was seen; of the view, only static tables are read."""
        ...

    def decide(self, state: Any, view: View, rng: np.random.Generator) -> list[Decide]:
        """One decision for each undecided task of the view."""
        ...

    def place(self, state: Any, view: View, requests: list[PlacementRequest], rng: np.random.Generator) -> list[Action]:
        """As `Placer.place`; the requests hold the decisions just taken."""
        ...

    def update(self, state: Any, feedback: Feedback) -> Any:
        """The state after this feedback."""
        ...


@dataclass(frozen=True, eq=False)
class States:
    """What a composed policy remembers between two plans."""

    decider: Any
    placer: Any


@dataclass(frozen=True)
class Composed:
    """A decider and a placer; any composes with any."""

    decider: Decider
    placer: Placer

    @property
    def name(self) -> str:
        """`DECIDER+PLACER`, as the command line takes it."""
        return f"{self.decider.name}+{self.placer.name}"

    @property
    def clairvoyant(self) -> bool:
        """As its decider."""
        return clairvoyant(self.decider)

    def init(self, view: View) -> States:
        """Both anew."""
        return States(self.decider.init(view), self.placer.init(view))

    def decide(self, state: States, view: View, rng: np.random.Generator) -> list[Decide]:
        """The decider's."""
        return self.decider.decide(state.decider, view, rng)

    def place(
        self, state: States, view: View, requests: list[PlacementRequest], rng: np.random.Generator
    ) -> list[Action]:
        """The placer's."""
        return self.placer.place(state.placer, view, requests, rng)

    def update(self, state: States, feedback: Feedback) -> States:
        """Both learn; of placements, the placer alone hears."""
        decider = state.decider if isinstance(feedback, Placed) else self.decider.update(state.decider, feedback)
        return States(decider, self.placer.update(state.placer, feedback))

    def estimates(self, state: States, applications: tuple[str, ...]) -> tuple[PolicyEstimate, ...]:
        """The decider's, then the placer's."""
        of_decider = estimates(self.decider, state.decider, applications)
        return of_decider + estimates(self.placer, state.placer, applications)


@dataclass(frozen=True)
class Frozen:
    """A policy that learns nothing while it runs: its state stays as it was at the start."""

    policy: Policy

    @property
    def name(self) -> str:
        """The policy's."""
        return self.policy.name

    @property
    def clairvoyant(self) -> bool:
        """As the policy."""
        return clairvoyant(self.policy)

    def init(self, view: View) -> Any:
        """The policy's."""
        return self.policy.init(view)

    def decide(self, state: Any, view: View, rng: np.random.Generator) -> list[Decide]:
        """The policy's."""
        return self.policy.decide(state, view, rng)

    def place(self, state: Any, view: View, requests: list[PlacementRequest], rng: np.random.Generator) -> list[Action]:
        """The policy's."""
        return self.policy.place(state, view, requests, rng)

    def update(self, state: Any, feedback: Feedback) -> Any:
        """Nothing is learned."""
        return state

    def estimates(self, state: Any, applications: tuple[str, ...]) -> tuple[PolicyEstimate, ...]:
        """The policy's."""
        return estimates(self.policy, state, applications)


def estimates(part: object, state: Any, applications: tuple[str, ...]) -> tuple[PolicyEstimate, ...]:
    """What a decider, placer or policy has learned, for people to look at; nothing of one without `estimates`.

    Args:
        part: It; has `estimates(state, applications)`, or has not.
        state: What it remembers.
        applications: By their rows.
    """
    ask = getattr(part, "estimates", None)
    return () if ask is None else tuple(ask(state, applications))


def clairvoyant(part: object) -> bool:
    """Whether a decider or policy asks for what only a simulator knows (`View.foresight`)."""
    return bool(getattr(part, "clairvoyant", False))
