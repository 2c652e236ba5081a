"""The greedy placers' loop: task after task, fragment after fragment, each to the device with the lowest score."""

from collections.abc import Callable

import numpy as np

from splitplace.placement.placers.memory import MemoryLedger
from splitplace.placement.policy import Request
from splitplace.records.action import Action, Place, Wait
from splitplace.records.view import Floats, View

Score = Callable[[MemoryLedger, Floats, int, int], Floats]
"""(ledger, backlog_s_D, fragment, n) -> a score per device, shape D; the lowest that fits wins, the first of equals."""


def place_whole_tasks(view: View, requests: list[Request], score: Score) -> list[Action]:
    """Place the fragments of each request all together, or let them all wait.

    A chain half placed would hold memory that another half-placed chain waits for: together or not at all cannot
    deadlock. Within a task, fragments go by falling memory.
    """
    ledger, backlog_s_D = MemoryLedger.of(view), view.devices.backlog_s_D.copy()
    actions: list[Action] = []
    for request in requests:
        task, n = int(view.tasks.id_T[request.task]), int(view.tasks.n_T[request.task])
        after, backlog_after, placed = ledger, backlog_s_D.copy(), list[Action]()
        for fragment in sorted(request.fragments, key=lambda row: -view.fragments.memory_bytes_FD[row].max()):
            fits = after.fits(fragment)
            if not fits.any():
                break
            scores = np.where(fits, score(after, backlog_after, fragment, n), np.inf)
            device = int(np.argmin(scores))
            after, evictions = after.take(fragment, device)
            backlog_after[device] += view.fragments.service_s(fragment, n)[device]
            placed += [*evictions, Place(task, fragment, device)]
        else:
            ledger, backlog_s_D = after, backlog_after
            actions += placed
            continue
        actions += [Wait(task, fragment) for fragment in request.fragments]
    return actions
