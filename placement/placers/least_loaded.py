"""The device with the least work waiting per core: join the shortest queue, in seconds."""

import heapq
from typing import Any, ClassVar

import numpy as np

from splitplace.placement.placers.room import Room
from splitplace.placement.policy import Feedback, Request
from splitplace.records.action import Action, Place, Wait
from splitplace.records.view import View


class LeastLoaded:
    """Greedy on backlog / cores, with what this plan has booked; ties to the first device; stateless, draws nothing.

    Devices stand in a heap by the backlog they have, so that a placement costs O(log D) where memory is not the limit.
    """

    name: ClassVar[str] = "least-loaded"

    def init(self, view: View) -> None:
        """Nothing to remember."""

    def place(self, state: Any, view: View, requests: list[Request], rng: np.random.Generator) -> list[Action]:
        """Oldest task first; a fragment that fits nowhere waits."""
        room = Room(view)
        cores_D = view.devices.cores_D
        heap = [(load, d) for d, load in enumerate((view.devices.backlog_s_D / cores_D).tolist())]
        heapq.heapify(heap)
        full: set[int] = set()  # room only shrinks within a plan: what fits nowhere once fits nowhere again
        actions: list[Action] = []
        for request in requests:
            task = int(view.tasks.id_T[request.task])
            n = int(view.tasks.n_T[request.task])
            for fragment in request.fragments:
                device = None if fragment in full else self._pop(heap, room, fragment, n, view)
                if device is None:
                    full.add(fragment)
                    actions.append(Wait(task, fragment))
                else:
                    actions += [*room.take(fragment, device), Place(task, fragment, device)]
        return actions

    def update(self, state: Any, feedback: Feedback) -> None:
        """Nothing to learn."""

    @staticmethod
    def _pop(heap: list[tuple[float, int]], room: Room, fragment: int, n: int, view: View) -> int | None:
        """The first device of the heap with room, its load raised by the fragment's service."""
        passed: list[tuple[float, int]] = []
        found = None
        while heap:
            load, device = heapq.heappop(heap)
            if room.fits_on(fragment, device):
                batches = -(-n // int(view.fragments.micro_batch_F[fragment]))
                service_s = batches * float(view.fragments.latency_s_FD[fragment, device])
                passed.append((load + service_s / int(view.devices.cores_D[device]), device))
                found = device
                break
            passed.append((load, device))
        for entry in passed:
            heapq.heappush(heap, entry)
        return found
