"""From a relaxed placement to a feasible one (§4.2, after eq. 12): no memory limit is ever broken.

Containers by falling memory, each to its highest-P device that still has the room, else to the wait queue. A task waits
as a whole: a chain half placed would hold memory that another half-placed chain waits for.

So where a container finds no room, what its task has booked is taken back, with all that was booked since, and the
search goes on from there without the task: as if it had begun anew, but for what is the same until then.
"""

from dataclasses import dataclass

import numpy as np

from splitplace.placement.room import DeviceRoom, Room
from splitplace.placement.surrogates.problem import Problem
from splitplace.records.action import Action, Evict, Migrate, Place, Wait
from splitplace.records.view import NONE, Floats, Ints, View


def project(view: View, problem: Problem, free_C: Ints, p_CD: Floats) -> list[Action]:
    """Place, Migrate or Wait for the containers `free_C` (rows of the problem; rows of P in the same order).

    One that has a device already stays there if its best device has no room.
    """
    by_memory = np.argsort(-problem.demand_CK[free_C, 2], kind="stable")
    bookings = _Bookings(view, problem, free_C[by_memory], p_CD[by_memory])
    at = 0
    while at < len(by_memory):
        at = bookings.book(at)
    actions, waiting = [action for each in bookings.made for action in each.actions], bookings.waiting
    columns = problem.task_C[free_C], problem.fragment_C[free_C], problem.device_C[free_C]
    for task, fragment, device in zip(*(column.tolist() for column in columns), strict=True):
        if task in waiting and device == NONE:
            actions.append(Wait(int(view.tasks.id_T[task]), fragment))
    return actions


@dataclass(frozen=True)
class _Booking:
    """A container that has a device now."""

    at: int
    task: int
    before: DeviceRoom
    """Of its device."""
    actions: tuple[Action, ...]


class _Bookings:
    """Containers in the order in which they are asked, and what was booked so far."""

    def __init__(self, view: View, problem: Problem, rows_C: Ints, p_CD: Floats):
        self.made: list[_Booking] = []
        self.waiting: set[int] = set()
        """Tasks."""
        self._room, self._p_CD = Room(view), p_CD
        self._task, self._fragment, self._device = (
            column[rows_C].tolist() for column in (problem.task_C, problem.fragment_C, problem.device_C)
        )
        first_C = np.argmax(p_CD, axis=1)
        self._first: list[int] = first_C.tolist()
        self._wanted: list[bool] = (p_CD[np.arange(len(first_C)), first_C] > 0).tolist()
        self._began: dict[int, int] = {}
        """Of each task, its first booking."""
        self._id_T = view.tasks.id_T

    def book(self, at: int) -> int:
        """Ask for a device for one container; which is to be asked for next."""
        task, fragment, now, first = self._task[at], self._fragment[at], self._device[at], self._first[at]
        if (now == NONE and task in self.waiting) or now == first != NONE:
            return at + 1
        device = first if self._wanted[at] and self._room.fits_on(fragment, first) else self._next_best(at)
        if device == NONE and now == NONE:
            self.waiting.add(task)
            return self._back(self._began[task]) if task in self._began else at + 1
        if device in (NONE, now):
            return at + 1
        before = self._room.device(device)
        evicted: list[Evict] = self._room.take(fragment, device)
        name = int(self._id_T[task])
        action = Place(name, fragment, device) if now == NONE else Migrate(name, fragment, device)
        if now == NONE:
            self._began.setdefault(task, len(self.made))
        self.made.append(_Booking(at, task, before, (*evicted, action)))
        return at + 1

    def _next_best(self, at: int) -> int:
        """The highest-P device with room, the first of equals; -1 for none."""
        fits_D = self._room.fits(self._fragment[at])
        return int(np.argmax(np.where(fits_D, self._p_CD[at], -1.0))) if fits_D.any() else NONE

    def _back(self, booking: int) -> int:
        """Take a booking back, and all after it; which container comes after the one it was for."""
        at = self.made[booking].at
        while len(self.made) > booking:
            last = self.made.pop()
            self._room.restore(last.before)
            if self._began.get(last.task) == len(self.made):
                del self._began[last.task]
        return at + 1
