"""The device with the least work waiting per core: join the shortest queue, in seconds; or that for whole tasks."""

import heapq
from collections.abc import Callable
from typing import Any, ClassVar

import numpy as np

from splitplace.placement.policy import Feedback, PlacementRequest
from splitplace.placement.room import Room
from splitplace.records.action import Action, Place, Wait
from splitplace.records.task import micro_batches
from splitplace.records.view import View


class LeastLoaded:
    """Greedy on backlog / cores, with what this plan has booked; stateless, draws nothing.

    A task's fragments are placed together or not at all: half-placed chains could wait for each other's memory.
    """

    name: ClassVar[str] = "least-loaded"

    def init(self, view: View) -> None:
        """Remembers nothing."""

    def update(self, state: Any, feedback: Feedback) -> None:
        """Learns nothing."""

    def place(self, state: Any, view: View, requests: list[PlacementRequest], rng: np.random.Generator) -> list[Action]:
        """Requests in the order given; a task that does not fit waits."""
        return least_loaded(view, requests)


class Gathered(LeastLoaded):
    """The same for whole tasks: each on one device, while one holds it."""

    name: ClassVar[str] = "gathered"

    def place(self, state: Any, view: View, requests: list[PlacementRequest], rng: np.random.Generator) -> list[Action]:
        """As `LeastLoaded.place`; neighbours on one device send each other nothing."""
        return gathered_least_loaded(view, requests)


def least_loaded(view: View, requests: list[PlacementRequest]) -> list[Action]:
    """The rule: what `LeastLoaded` answers."""
    return _place_all(view, requests, _apart)


def gathered_least_loaded(view: View, requests: list[PlacementRequest]) -> list[Action]:
    """What `Gathered` answers: all fragments on the least loaded device that holds them; where none does, apart.

    Neighbours of a chain on one device send each other nothing.
    """
    return _place_all(view, requests, lambda *task: _together(*task) or _apart(*task))


_PlaceTask = Callable[[View, Room, "_Loads", PlacementRequest, int], tuple[Room, list[Action]] | None]


def _place_all(view: View, requests: list[PlacementRequest], place_task: _PlaceTask) -> list[Action]:
    room, loads = Room(view), _Loads(view)
    full: set[tuple[int, ...]] = set()  # room only shrinks within a plan: what did not fit once does not fit later
    actions: list[Action] = []
    for request in requests:
        task, n = int(view.tasks.id_T[request.task]), int(view.tasks.n_T[request.task])
        placed = None if request.fragments in full else place_task(view, room, loads, request, n)
        if placed is None:
            full.add(request.fragments)
            actions += [Wait(task, fragment) for fragment in request.fragments]
        else:
            room, booked = placed
            actions += booked
    return actions


def least_loaded_devices(view: View, requests: list[PlacementRequest]) -> dict[tuple[int, int], int]:
    """Where the rule places, by task and fragment; those that wait are in none. What other placers start from."""
    actions = least_loaded(view, requests)
    return {(action.task, action.fragment): action.device for action in actions if isinstance(action, Place)}


class _Loads:
    """Seconds of work per core on each device as a heap, so that the least costs O(log D) to find and to raise."""

    def __init__(self, view: View):
        self.now: list[float] = (view.devices.backlog_s_D / view.devices.servers_D).tolist()
        self._heap = [(load, device) for device, load in enumerate(self.now)]
        heapq.heapify(self._heap)
        self._shares = view.devices.shares_fragments  # then a loaded fragment fits even where the smallest does not
        self._smallest_D = view.fragments.memory_bytes_FD.argmin(axis=0)

    def least(self, room: Room, *fragments: int) -> int | None:
        """The least loaded device with room for all of these, the first of equals."""
        passed = []
        found = None
        while self._heap and found is None:
            load, device = heapq.heappop(self._heap)
            if load != self.now[device]:
                continue  # it has been raised or lowered since, and stands elsewhere too
            if _holds(room, fragments, device):
                found = device
                passed.append((load, device))
            elif self._shares or room.fits_on(int(self._smallest_D[device]), device):
                passed.append((load, device))  # else it is full for this plan, and looked at no more
        for entry in passed:
            heapq.heappush(self._heap, entry)
        return found

    def set(self, device: int, load: float) -> None:
        """Raise or lower a load."""
        self.now[device] = load
        heapq.heappush(self._heap, (load, device))


def _holds(room: Room, fragments: tuple[int, ...], device: int) -> bool:
    """Whether a device has room for all of these at once."""
    if not all(room.fits_on(fragment, device) for fragment in fragments):
        return False
    if len(fragments) == 1 or sum(room.need_bytes(fragment, device) for fragment in fragments) <= room.free_bytes(
        device
    ):
        return True
    tried = room.copy()  # perhaps idle weights give way
    for fragment in fragments:
        if not tried.fits_on(fragment, device):
            return False
        tried.take(fragment, device)
    return True


def _together(
    view: View, room: Room, loads: _Loads, request: PlacementRequest, n: int
) -> tuple[Room, list[Action]] | None:
    device = loads.least(room, *request.fragments)
    if device is None:
        return None
    tried, actions, task = room.copy(), list[Action](), int(view.tasks.id_T[request.task])
    service_s = sum(float(view.fragments.service_s(fragment, n)[device]) for fragment in request.fragments)
    loads.set(device, loads.now[device] + service_s / int(view.devices.servers_D[device]))
    for fragment in request.fragments:
        actions += [*tried.take(fragment, device), Place(task, fragment, device)]
    return tried, actions


def _apart(
    view: View, room: Room, loads: _Loads, request: PlacementRequest, n: int
) -> tuple[Room, list[Action]] | None:
    tried, actions = room.copy(), list[Action]()
    before: list[tuple[int, float]] = []
    for fragment in request.fragments:
        device = loads.least(tried, fragment)
        if device is None:
            for changed, load in reversed(before):
                loads.set(changed, load)
            return None
        before.append((device, loads.now[device]))
        batches = micro_batches(n, int(view.fragments.micro_batch_F[fragment]))
        service_s = batches * float(view.fragments.latency_s_FD[fragment, device])
        loads.set(device, loads.now[device] + service_s / int(view.devices.servers_D[device]))
        task = int(view.tasks.id_T[request.task])
        actions += [*tried.take(fragment, device), Place(task, fragment, device)]
    return tried, actions
