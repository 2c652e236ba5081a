"""The greedy placers' loop: task after task, fragment after fragment, each to the device with the lowest score."""

from collections.abc import Callable

import numpy as np

from splitplace.placement.policy import PlacementRequest
from splitplace.placement.room import Room
from splitplace.records.action import Action, Place, Wait
from splitplace.records.view import Floats, View

Score = Callable[[Room, Floats, int, int], Floats]
"""(room, backlog_s_D, fragment, n) -> a score per device, shape D; the lowest that fits wins, the first of equals."""


def place_whole_tasks(view: View, requests: list[PlacementRequest], score: Score) -> list[Action]:
    """Place the fragments of each request all together, or let them all wait.

    A chain half placed would hold memory that another half-placed chain waits for: together or not at all cannot
    deadlock. Within a task, fragments go by falling memory.
    """
    room, backlog_s_D = Room(view), view.devices.backlog_s_D.copy()
    largest_F = view.fragments.memory_bytes_FD.max(axis=1)
    full: set[tuple[int, ...]] = set()  # room only shrinks within a plan
    actions: list[Action] = []
    for request in requests:
        task, n = int(view.tasks.id_T[request.task]), int(view.tasks.n_T[request.task])
        if request.fragments in full:
            actions += [Wait(task, waiting) for waiting in request.fragments]
            continue
        tried, backlog_tried, placed = room.copy(), backlog_s_D.copy(), list[Action]()
        for fragment in sorted(request.fragments, key=lambda row: -largest_F[row]):
            fits_D = tried.fits(fragment)
            if not fits_D.any():
                if not room.may_hold(request.fragments):
                    full.add(request.fragments)
                actions += [Wait(task, waiting) for waiting in request.fragments]
                break
            device = int(np.argmin(np.where(fits_D, score(tried, backlog_tried, fragment, n), np.inf)))
            placed += [*tried.take(fragment, device), Place(task, fragment, device)]
            backlog_tried[device] += view.fragments.service_s(fragment, n)[device]
        else:
            room, backlog_s_D = tried, backlog_tried
            actions += placed
    return actions
