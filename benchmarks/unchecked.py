"""A placer as the paper's published code has it."""

from typing import Any, ClassVar

import numpy as np

from splitplace.placement.placers.random import RandomPlacer
from splitplace.placement.policy import PlacementRequest
from splitplace.placement.room import Room
from splitplace.records.action import Action, Place, Wait
from splitplace.records.view import View


class Unchecked(RandomPlacer):
    """As the published code places: each fragment by itself, on a device drawn without a look at its room.

    Where it does not fit it is refused and drawn again an interval later, while the rest of its task runs.
    """

    name: ClassVar[str] = "unchecked"

    def place(self, state: Any, view: View, requests: list[PlacementRequest], rng: np.random.Generator) -> list[Action]:
        """One draw a fragment, requests in the order given."""
        room = Room(view)
        actions: list[Action] = []
        for request in requests:
            task = int(view.tasks.id_T[request.task])
            for fragment in request.fragments:
                device = int(rng.integers(len(view.devices.names)))
                if room.fits_on(fragment, device):
                    actions += [*room.take(fragment, device), Place(task, fragment, device)]
                else:
                    actions.append(Wait(task, fragment))
        return actions
