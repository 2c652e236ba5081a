"""Best fit: each fragment goes where it leaves the least memory over, never where it does not fit."""

from typing import ClassVar

import numpy as np

from splitplace.placement.placers.greedy import place_whole_tasks
from splitplace.placement.policy import Feedback, PlacementRequest
from splitplace.placement.room import Room
from splitplace.records.action import Action
from splitplace.records.view import Floats, View


class BestFit:
    """The bin-packing rule: fragments by falling memory, each to the device it fits most tightly."""

    name: ClassVar[str] = "best-fit"

    def init(self, view: View) -> None:
        """Remembers nothing."""

    def update(self, state: None, feedback: Feedback) -> None:
        """Learns nothing."""

    def place(
        self, state: None, view: View, requests: list[PlacementRequest], rng: np.random.Generator
    ) -> list[Action]:
        """Requests in the order given: waiting tasks first, oldest first."""

        def memory_left(room: Room, backlog_s_D: Floats, fragment: int, n: int) -> Floats:
            return room.left_bytes(fragment)

        return place_whole_tasks(view, requests, memory_left)
