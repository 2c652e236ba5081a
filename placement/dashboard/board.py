"""What the dashboard knows of a fleet: its history folded event by event, with its status, in bounded memory.

Nothing here looks over all tasks: an event changes its own task, and what is told to a page is the tasks that changed
since that page was told last. All of it is as of a *version*, which each tick raises.
"""

from collections import OrderedDict, deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

from splitplace.placement.dashboard.followed import FollowedTask, followed
from splitplace.placement.history import (
    Arrive,
    AttemptEnded,
    Decided,
    Event,
    Finish,
    FragmentLoaded,
    FragmentPlaced,
    HistoryPage,
    InputsFlow,
    MicroBatchRun,
    Send,
)
from splitplace.records.fleet_status import DeviceStatus, FleetStatus

LEFT_TASKS = 200
"""That have left and are shown, the newest."""
OPEN_TASKS = 20_000
"""That are followed: twice what a broker takes on."""
SHOWN_OPEN = 100
"""Of them, those that came first."""
KEPT_EVENTS = 20_000
"""Of tasks that have left, for their waterfalls: with more, the oldest go first."""
BIN_S, BINS = 2.0, 300
"""What is drawn over time: ten minutes."""
SHOWN_FRAGMENTS = 50
"""Of a device."""


@dataclass(eq=False)
class Bin:
    """Some seconds of the fleet's time."""

    number: int
    version: int = 0
    arrived: int = 0
    answered: int = 0
    missed: int = 0
    cancelled: int = 0
    decided: dict[str, int] = field(default_factory=dict)
    """By split."""
    power_w: float | None = None
    estimates: list[float | None] = field(default_factory=list)
    """In the status' order."""

    def row(self) -> dict[str, Any]:
        """As the page has it."""
        return {
            "at_s": self.number * BIN_S,
            "arrived": self.arrived,
            "answered": self.answered,
            "missed": self.missed,
            "cancelled": self.cancelled,
            "decided": self.decided,
            "power_w": self.power_w,
            "estimates": self.estimates,
        }


class Board:
    """For one thread at a time."""

    def __init__(self) -> None:
        self.version = 0
        self.run, self.next = "", 0
        """What was read of the history."""
        self.missed_events = 0
        self.status: FleetStatus | None = None
        self._open: OrderedDict[int, FollowedTask] = OrderedDict()
        """By number, as they came."""
        self._left: OrderedDict[int, FollowedTask] = OrderedDict()
        """By number, as they left."""
        self._left_events = 0
        self._with_events: deque[FollowedTask] = deque()
        """Those that have left with their events, the oldest first."""
        self._loading: dict[tuple[str, str, str], set[int]] = {}
        """Tasks that a fragment may be loaded for: by split, fragment and device."""
        self._bins: OrderedDict[int, Bin] = OrderedDict()
        self._splits: dict[str, str] = {}
        """The strategy of each that was chosen."""

    # In.

    def take(self, page: HistoryPage) -> None:
        """Some more history, which must begin where the former page ended, or be of another run."""
        again = page.run != self.run
        if page.missed or again:
            self.missed_events += page.missed if self.run else 0
            for task in self._open.values():
                task.whole = False
        self.run, self.next = page.run, page.next
        for event in page.events:
            self._tell(event)

    def look(self, status: FleetStatus) -> None:
        """A tick: the fleet as it is. What changed until now is of this version."""
        moment = self._bin(status.uptime_s)
        moment.power_w = sum(device.power_w or 0.0 for device in status.devices)
        moment.estimates = [estimate.value for estimate in status.estimates]
        self.status, self.version = status, self.version + 1

    def _tell(self, event: Event) -> None:
        match event:
            case Arrive():
                self._come(followed(event))
                self._bin(event.at_s).arrived += 1
            case Decided():
                self._splits[event.split] = event.strategy
                decided = self._bin(event.at_s).decided
                decided[event.split] = decided.get(event.split, 0) + 1
                self._of_task(event.task, event)
            case FragmentPlaced():
                task = self._of_task(event.task, event)
                if task is not None and task.split is not None:
                    self._loading.setdefault((task.split, event.fragment, event.device), set()).add(task.id)
            case InputsFlow() | AttemptEnded():
                task = self._open.get(event.task)
                if task is not None:
                    self._loads_no_more(task)
                self._of_task(event.task, event)
            case FragmentLoaded():
                for number in tuple(self._loading.get((event.split, event.fragment, event.device), ())):
                    self._of_task(number, event)
            case MicroBatchRun() | Send():
                self._of_task(event.task, event)
            case Finish():
                self._leave(event)
            case _:
                pass

    def _of_task(self, number: int, event: Event) -> FollowedTask | None:
        task = self._open.get(number)
        if task is not None:
            task.tell(event)
        return task

    def _come(self, task: FollowedTask) -> None:
        self._open[task.id] = task
        while len(self._open) > OPEN_TASKS:
            self._loads_no_more(self._open.popitem(last=False)[1])

    def _leave(self, event: Finish) -> None:
        task = self._open.pop(event.outcome.id, None)
        if task is None:
            task = followed(event)
        else:
            self._loads_no_more(task)
            task.tell(event)
        task.version = self.version + 1
        self._left.pop(task.id, None)
        self._left[task.id] = task
        self._left_events += len(task.events)
        self._with_events.append(task)
        while len(self._left) > LEFT_TASKS:
            self._left.popitem(last=False)
        while self._left_events > KEPT_EVENTS or len(self._with_events) > LEFT_TASKS:
            self._strip(self._with_events.popleft())
        moment = self._bin(event.at_s)
        moment.missed += task.missed
        moment.answered += task.state == "answered"
        moment.cancelled += task.state == "cancelled"
        if task.strategy is not None and task.split is not None:
            self._splits.setdefault(task.split, task.strategy)

    def _strip(self, task: FollowedTask) -> None:
        self._left_events -= len(task.events)
        task.events = []
        task.version = self.version + 1

    def _loads_no_more(self, task: FollowedTask) -> None:
        for fragment, device in task.devices.items():
            key = task.split or "", fragment, device
            waiting = self._loading.get(key)
            if waiting is not None:
                waiting.discard(task.id)
                if not waiting:
                    del self._loading[key]

    def _bin(self, at_s: float) -> Bin:
        number = int(at_s // BIN_S)
        found = self._bins.get(number)
        if found is None:
            found = self._bins[number] = Bin(number)
            while len(self._bins) > BINS:
                del self._bins[min(self._bins)]
        found.version = self.version + 1
        return found

    # Out.

    def task(self, number: int) -> dict[str, Any] | None:
        """A task's waterfall; none where it is not known, or not from its beginning."""
        task = self._open.get(number) or self._left.get(number)
        now_s = self.status.uptime_s if self.status else 0.0
        return None if task is None else task.waterfall(max(now_s, task.arrival_s))

    def since(self, version: int) -> dict[str, Any]:
        """What a page has to know that was told all until a version; 0 tells everything.

        Lists hold no more than the bounds above, whatever the version.
        """
        status = self.status
        assert status is not None, "look first"
        return {
            "since": version,
            "version": self.version,
            "now_s": round(status.uptime_s, 3),
            "policy": status.policy,
            "interval_s": status.interval_s,
            "accepting": status.accepting,
            "tasks": status.tasks.model_dump(),
            "devices": [_device(device) for device in status.devices],
            "estimates": [estimate.model_dump() for estimate in status.estimates],
            "splits": dict(islice(self._splits.items(), 1_000)),
            "open": [task.row() for task in islice(self._open.values(), SHOWN_OPEN)],
            "open_more": max(len(self._open) - SHOWN_OPEN, 0),
            "left": [task.row() for task in self._changed(version)],
            "bins": [one.row() for one in self._bins.values() if one.version > version],
            "bin_s": BIN_S,
            "missed_events": self.missed_events,
        }

    def _changed(self, version: int) -> Iterator[FollowedTask]:
        return (task for task in self._left.values() if task.version > version)


def _device(device: DeviceStatus) -> dict[str, Any]:
    use = device.measured
    return {
        "name": device.name,
        "state": "down" if not device.up else "suspected" if device.suspected else "up",
        "cpu_share": device.cpu_share,
        "busy": round(device.busy_share, 4),
        "cpu": None if use is None else round(use.cpu, 4),
        "memory_bytes": device.memory_bytes,
        "booked_bytes": device.memory_used_bytes,
        "resident_bytes": None if use is None else use.memory_bytes,
        "sent_bytes_per_s": None if use is None else round(use.sent_bytes_per_s),
        "received_bytes_per_s": None if use is None else round(use.received_bytes_per_s),
        "power_w": None if device.power_w is None else round(device.power_w, 3),
        "energy_j": round(device.energy_j, 3),
        "runs": device.micro_batches_run,
        "fragments": list(device.fragments[:SHOWN_FRAGMENTS]),
        "fragments_more": max(len(device.fragments) - SHOWN_FRAGMENTS, 0),
    }
