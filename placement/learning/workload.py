"""Who places in the training workload (§6.3): placements of every quality, a rule an interval.

A surrogate that saw only good placements could not tell a bad one, so each interval is placed by one of three rules,
drawn at random: least-loaded, any device, or any of a few devices. How often each is drawn differs from run to run, for
a fleet that is placed badly for long is jammed, and one that is jammed tells nothing of one that is not.
"""

from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np

from splitplace.placement.placers.least_loaded import LeastLoaded
from splitplace.placement.placers.random import RandomPlacer
from splitplace.placement.policy import Feedback, PlacementRequest, Placer
from splitplace.records.action import Action
from splitplace.records.view import Ints, View

MIXES = ((0.9, 0.05, 0.05), (0.5, 0.4, 0.1), (0.1, 0.8, 0.1))
"""Shares of the rules in one run after another."""


class Few:
    """At random, each plan on a few devices of its own: load piles up, as where an ascent goes astray."""

    name: ClassVar[str] = "few"
    share: ClassVar[float] = 0.16

    def init(self, view: View) -> None:
        """Remembers nothing."""

    def update(self, state: None, feedback: Feedback) -> None:
        """Learns nothing."""

    def place(
        self, state: None, view: View, requests: list[PlacementRequest], rng: np.random.Generator
    ) -> list[Action]:
        """As `random` on a fleet of which the others are down; what does not fit there waits for another interval."""
        few_D = view.devices.up_D & (rng.random(len(view.devices.names)) < self.share)
        return RandomPlacer().place(None, replace(view, devices=replace(view.devices, up_D=few_D)), requests, rng)


@dataclass(frozen=True, eq=False)
class Explorer:
    """A rule an interval, so that each interval's O^P belongs to one kind of placement."""

    rule_I: Ints
    """Row of `rules`, for each interval: drawn before the run, since a placer may change nothing while it draws."""
    rules: ClassVar[tuple[Placer, ...]] = (LeastLoaded(), RandomPlacer(), Few())
    name: ClassVar[str] = "explorer"

    @classmethod
    def drawn(cls, run: int, intervals: int, rng: np.random.Generator) -> "Explorer":
        """For a run of the training, whose number decides how often each rule is drawn."""
        return cls(rng.choice(len(cls.rules), size=intervals, p=MIXES[run % len(MIXES)]))

    def init(self, view: View) -> None:
        """Remembers nothing."""

    def update(self, state: None, feedback: Feedback) -> None:
        """Learns nothing."""

    def place(
        self, state: None, view: View, requests: list[PlacementRequest], rng: np.random.Generator
    ) -> list[Action]:
        """By the rule of the interval."""
        rule = self.rules[int(self.rule_I[int(view.now_s // view.interval_s)])]
        return rule.place(None, view, requests, rng)
