"""A device at random among those with room: the control that every placer must beat."""

from typing import Any, ClassVar

import numpy as np

from splitplace.placement.policy import Feedback, PlacementRequest
from splitplace.placement.room import Room
from splitplace.records.action import Action, Place, Wait
from splitplace.records.view import View


class RandomPlacer:
    """Uniform over the devices that are up and have the memory; stateless.

    A task's fragments are placed together or not at all: half-placed chains could wait for each other's memory.
    """

    name: ClassVar[str] = "random"

    def init(self, view: View) -> None:
        """Remembers nothing."""

    def update(self, state: Any, feedback: Feedback) -> None:
        """Learns nothing."""

    def place(self, state: Any, view: View, requests: list[PlacementRequest], rng: np.random.Generator) -> list[Action]:
        """One draw a fragment, requests in the order given; a task that does not fit waits."""
        room = Room(view)
        actions: list[Action] = []
        for request in requests:
            task = int(view.tasks.id_T[request.task])
            tried, placed = room.copy(), list[Action]()
            for fragment in request.fragments:
                devices = np.flatnonzero(tried.fits(fragment))
                if len(devices) == 0:
                    actions += [Wait(task, waiting) for waiting in request.fragments]
                    break
                device = int(devices[rng.integers(len(devices))])
                placed += [*tried.take(fragment, device), Place(task, fragment, device)]
            else:
                room = tried
                actions += placed
        return actions
