"""Least-loaded with changes: what `daso-tasks` learns from first, placements around what is good."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from splitplace.placement.placers.least_loaded import least_loaded_devices
from splitplace.placement.policy import Feedback, PlacementRequest
from splitplace.placement.room import Room
from splitplace.records.action import Action, Place, Wait
from splitplace.records.view import View


@dataclass(frozen=True)
class Around:
    """Least-loaded, changed: each plan, of its own draw, gathers some tasks and moves some fragments."""

    gathered: ClassVar[tuple[float, ...]] = (0.0, 0.3, 0.7, 1.0)
    """Share of tasks put where their first fragment would go."""
    moved: ClassVar[tuple[float, ...]] = (0.0, 0.0, 0.1, 0.4)
    """Share of fragments put on any device."""
    name: ClassVar[str] = "around"

    def init(self, view: View) -> None:
        """Remembers nothing."""

    def update(self, state: None, feedback: Feedback) -> None:
        """Learns nothing."""

    def place(
        self, state: None, view: View, requests: list[PlacementRequest], rng: np.random.Generator
    ) -> list[Action]:
        """A task that would wait waits; so does one whose change leaves no room for it."""
        gathered, moved = rng.choice(self.gathered), rng.choice(self.moved)
        greedy = least_loaded_devices(view, requests)
        room, actions = Room(view), list[Action]()
        for request in requests:
            task, together = int(view.tasks.id_T[request.task]), rng.random() < gathered
            first = greedy.get((task, request.fragments[0]))
            tried, placed = room.copy(), list[Action]()
            for fragment in request.fragments:
                device = first if together else greedy.get((task, fragment))
                if rng.random() < moved:
                    device = int(rng.integers(len(view.devices.names)))
                if device is None or not tried.fits_on(fragment, device):
                    actions += [Wait(task, waiting) for waiting in request.fragments]
                    break
                placed += [*tried.take(fragment, device), Place(task, fragment, device)]
            else:
                room = tried
                actions += placed
        return actions
