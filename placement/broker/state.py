"""All that a broker knows of a run: plain values, changed by `rules.py` alone, equal after a replay of the same events.

Task: what a client asked. Attempt (a job, to the devices): one try of it on devices. Device and fragment rows are those
of the view that policies see.
"""

import heapq
from bisect import bisect_left
from dataclasses import dataclass, field
from typing import ClassVar

from pydantic import ConfigDict

from splitplace.placement.broker.ledger import Ledger
from splitplace.placement.broker.reach import left_out
from splitplace.placement.broker.ring import Inputs
from splitplace.records.action import Decide
from splitplace.records.split import INPUT
from splitplace.records.task import Task

Span = tuple[float, float]

KEPT_RESULTS = 10_000
"""Ended tasks that are remembered by key, so that a client that asks again is not answered by a second run."""


@dataclass
class TaskState:
    """A task that has not left."""

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(ser_json_bytes="base64", val_json_bytes="base64")

    task: Task
    inputs: str
    """Where its images are found."""
    labels: bytes | None = None
    late: bool = False
    degrade: bool = False
    key: str | None = None
    encoded: bool = False
    """Whether its images are PNG, where they are found as on their way."""
    decision: Decide | None = None
    job: int | None = None
    """Its attempt; none while it waits for a decision or a place."""
    attempts: int = 0
    setbacks: int = 0
    """Attempts in a row that came to nothing, without one more answer."""
    cut_offs: int = 0
    """Those of the row, and others, that a link between two of its devices ended."""
    failed_on: set[int] = field(default_factory=set)
    """Devices on which it failed in that row."""
    not_before_s: float = 0.0
    """It is not placed again sooner."""
    answers: dict[str, dict[int, bytes]] = field(default_factory=dict)
    """Logits by sink and micro-batch."""
    runs: list[Span] = field(default_factory=list)
    transfers: list[Span] = field(default_factory=list)
    held_s: float = 0.0
    """How long the attempts that are over had devices."""


@dataclass
class Attempt:
    """A task on its devices."""

    id: int
    """Unique among all attempts of all tasks: what the devices know it by."""
    task: int
    split: int
    """Row of the demand."""
    devices: dict[str, int]
    """The device of each fragment."""
    micro_batches: tuple[int, ...]
    """Of the task: those that were not answered when it began, in order."""
    placed_s: float
    unassigned: set[str]
    """Fragments to which other devices send, and whose own have not said that they know of them."""
    handed_on: dict[str, str] = field(default_factory=dict)
    """From which fragment before it each one has the task's input, in a ring; the others have it from the broker."""
    started_s: float | None = None
    """When its inputs began to flow; none while fragments load."""
    ran: dict[str, dict[int, float]] = field(default_factory=dict)
    """Micro-batches done, by fragment, and when each was."""
    progressed_s: float = 0.0
    """When a device last said something of it."""
    awaits_reports: bool = False
    """It is answered, but not every run is reported."""

    @property
    def total(self) -> int:
        """How many micro-batches each fragment has to run."""
        return len(self.micro_batches)

    def sender(self, src: str, dst: str) -> int | None:
        """The device from which a fragment has what `src` gives it; none for the broker."""
        before = self.handed_on.get(dst) if src == INPUT else src
        return None if before is None else self.devices[before]

    def runs(self, micro_batch: int) -> bool:
        """Whether it is one of them."""
        at = bisect_left(self.micro_batches, micro_batch)
        return at < len(self.micro_batches) and self.micro_batches[at] == micro_batch

    def left(self, fragment: str) -> int:
        """How many of them a fragment has still to run."""
        return len(self.micro_batches) - len(self.ran[fragment])


@dataclass
class DeviceState:
    """A device of the fleet, which keeps its row and name whatever process it is."""

    up: bool = False
    silent: bool = False
    """It does not answer, or does nothing though it could, and is not given up yet."""
    doubted_s: float = 0.0
    """Since when."""
    failing: set[int] = field(default_factory=set)
    """Tasks that failed there since the last success."""
    rested_until_s: float = 0.0
    """Nothing is placed there before: too much failed."""
    rests: int = 0
    """In a row; each is twice as long as the one before."""
    losses: int = 0
    """Ends in a row without a success between; each is waited longer after."""
    jobs: set[int] = field(default_factory=set)
    progressed_s: float = 0.0
    """When it last did something."""
    up_s: float = 0.0
    """How long it was up, until `since_s`."""
    since_s: float = 0.0
    reason: str = ""
    """Why it is down."""


@dataclass
class Left:
    """A task that left, as the policy is to learn of it."""

    task: int
    application: str
    split: int
    deadline_s: float
    response_s: float
    accuracy: float
    tag: int
    context: int


@dataclass
class FleetState:
    """The whole of it."""

    ledger: Ledger
    devices: list[DeviceState]
    inputs: Inputs = "broadcast"
    """How a task's input comes to those who take it, in attempts that begin now."""
    now_s: float = 0.0
    next_task: int = 0
    next_job: int = 0
    tasks: dict[int, TaskState] = field(default_factory=dict)
    waiting: dict[int, None] = field(default_factory=dict)
    """Tasks without an attempt, first come first."""
    jobs: dict[int, Attempt] = field(default_factory=dict)
    unreached: list[tuple[int, int]] = field(default_factory=list)
    """Devices and whom each does not reach, by its own word; first heard first."""
    left: list[Left] = field(default_factory=list)
    """What the policy has not been told of."""
    alarms: list[tuple[float, str, int]] = field(default_factory=list)
    """A heap of (when, what for, of which task, job or device)."""
    keys: dict[str, int] = field(default_factory=dict)
    """The tasks that were handed in under a key, as long as they are here or remembered."""
    answered: int = 0
    failed: int = 0
    cancelled: int = 0
    plan_failure: str = ""
    """Of the last plan, if it failed."""

    def placeable(self, device: int, now_s: float) -> bool:
        """Whether something new may be placed on a device."""
        found = self.devices[device]
        there = found.up and not found.silent and found.rested_until_s <= now_s
        return there and not (self.unreached and device in self.left_out)

    @property
    def left_out(self) -> frozenset[int]:
        """The devices without which all that the broker hears of reach each other."""
        silent = {row for row, device in enumerate(self.devices) if device.silent}
        return left_out(pair for pair in self.unreached if silent.isdisjoint(pair))

    def alarm(self, at_s: float, kind: str, of: int) -> None:
        """Ring at a time."""
        heapq.heappush(self.alarms, (at_s, kind, of))

    @property
    def next_alarm_s(self) -> float:
        """When the first rings; infinite if there is none."""
        return self.alarms[0][0] if self.alarms else float("inf")
