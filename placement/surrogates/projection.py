"""From a relaxed placement to a feasible one (§4.2, after eq. 12): no memory limit is ever broken.

Containers by falling memory, each to its highest-P device that still has the room, else to the wait queue. A task waits
as a whole: a chain half placed would hold memory that another half-placed chain waits for.
"""

import numpy as np

from splitplace.placement.room import Room
from splitplace.placement.surrogates.problem import Problem
from splitplace.records.action import Action, Evict, Migrate, Place, Wait
from splitplace.records.view import NONE, Floats, Ints, View


def project(view: View, problem: Problem, free_C: Ints, p_CD: Floats) -> list[Action]:
    """Place, Migrate or Wait for the containers `free_C` (rows of the problem; rows of P in the same order).

    One that has a device already stays there if its best device has no room.
    """
    memory = problem.demand_CK[free_C, 2]
    order = sorted(range(len(free_C)), key=lambda i: -memory[i])
    waiting: set[int] = set()
    while True:
        actions, failed = _attempt(view, problem, free_C, p_CD, order, waiting)
        if failed is None:
            break
        waiting.add(failed)  # a task: its bookings are undone by starting over without it
    for i in range(len(free_C)):
        row = int(free_C[i])
        if int(problem.task_C[row]) in waiting and problem.device_C[row] == NONE:
            actions.append(Wait(int(view.tasks.id_T[problem.task_C[row]]), int(problem.fragment_C[row])))
    return actions


def _attempt(
    view: View, problem: Problem, free_C: Ints, p_CD: Floats, order: list[int], waiting: set[int]
) -> tuple[list[Action], int | None]:
    room, actions = Room(view), list[Action]()
    for i in order:
        row = int(free_C[i])
        task, fragment, now = int(problem.task_C[row]), int(problem.fragment_C[row]), int(problem.device_C[row])
        if now == NONE and task in waiting:
            continue
        if now != NONE and int(np.argmax(p_CD[i])) == now:
            continue
        device = _best(room, fragment, p_CD[i])
        if now != NONE and device in (NONE, now):
            continue
        if device == NONE:
            return [], task
        evicted: list[Evict] = room.take(fragment, device)
        name = int(view.tasks.id_T[task])
        actions += [*evicted, Place(name, fragment, device) if now == NONE else Migrate(name, fragment, device)]
    return actions, None


def _best(room: Room, fragment: int, p_D: Floats) -> int:
    """The highest-P device with room, the first of equals; -1 for none."""
    first = int(np.argmax(p_D))
    if p_D[first] > 0 and room.fits_on(fragment, first):
        return first
    fits_D = room.fits(fragment)
    return int(np.argmax(np.where(fits_D, p_D, -1.0))) if fits_D.any() else NONE
