"""A device at random among those with room: the control that every placer must beat."""

from typing import Any, ClassVar

import numpy as np

from splitplace.placement.placers.room import Room
from splitplace.placement.policy import Feedback, Request
from splitplace.records.action import Action, Place, Wait
from splitplace.records.view import View


class Random:
    """Uniform over the devices that are up and have the memory; stateless."""

    name: ClassVar[str] = "random"

    def init(self, view: View) -> None:
        """Nothing to remember."""

    def place(self, state: Any, view: View, requests: list[Request], rng: np.random.Generator) -> list[Action]:
        """One draw a fragment, oldest task first; a fragment that fits nowhere waits."""
        room = Room(view)
        actions: list[Action] = []
        for request in requests:
            task = int(view.tasks.id_T[request.task])
            for fragment in request.fragments:
                devices = np.flatnonzero(room.fits(fragment))
                if len(devices) == 0:
                    actions.append(Wait(task, fragment))
                    continue
                device = int(devices[rng.integers(len(devices))])
                actions += [*room.take(fragment, device), Place(task, fragment, device)]
        return actions

    def update(self, state: Any, feedback: Feedback) -> None:
        """Nothing to learn."""
