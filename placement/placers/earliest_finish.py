"""Earliest finish: each fragment goes where its own work would be done first, never where it does not fit."""

from typing import ClassVar

import numpy as np

from splitplace.placement.placers.greedy import place_whole_tasks
from splitplace.placement.policy import Feedback, PlacementRequest
from splitplace.placement.room import Room
from splitplace.records.action import Action
from splitplace.records.view import Floats, View


class EarliestFinish:
    """Greedy list scheduling on unequal machines: the backlog a device has plus what this fragment takes there."""

    name: ClassVar[str] = "earliest-finish"

    def init(self, view: View) -> None:
        """Remembers nothing."""

    def update(self, state: None, feedback: Feedback) -> None:
        """Learns nothing."""

    def place(
        self, state: None, view: View, requests: list[PlacementRequest], rng: np.random.Generator
    ) -> list[Action]:
        """Requests in the order given: waiting tasks first, oldest first."""

        def finish_s(room: Room, backlog_s_D: Floats, fragment: int, n: int) -> Floats:
            done_s_D: Floats = backlog_s_D / view.devices.servers_D + view.fragments.service_s(fragment, n)
            return done_s_D

        return place_whole_tasks(view, requests, finish_s)
