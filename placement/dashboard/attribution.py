"""Where a task's time went: what the history says of each moment, and how much of it nothing says anything of.

A *stretch* is a span of time of which an event is evidence:

    wait     with the broker: until devices are found (again); from when they are ready until its first input leaves;
             from its last answer until it is told, for which every run must be reported
    queue    on a device, which does something else: inputs wait to be run, a file to be loaded, or a result to leave,
             for the thread that sends it or for room where it goes
    load     a device reads and opens a fragment for it
    compute  a device runs a micro-batch of it
    link     a tensor of it is on its way; or orders to its devices are, and their word that they are ready

Several may hold at one moment: a micro-batch runs while the next is on its way. Each moment counts once, for the first
that holds of compute, link of tensors, load, queue, link of orders, wait. What is left is unexplained: no kind is
given what it has no evidence for.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from splitplace.placement.history import (
    BROKER,
    Arrive,
    AttemptEnded,
    Event,
    Finish,
    FragmentLoaded,
    FragmentPlaced,
    InputsFlow,
    MicroBatchRun,
    Send,
)

Kind = Literal["compute", "link", "load", "queue", "orders", "wait"]
RANK: tuple[Kind, ...] = ("compute", "link", "load", "queue", "orders", "wait")
"""Of what holds at one moment, the first is what it is counted for."""


@dataclass(frozen=True)
class Stretch:
    """A span of a task's time, in seconds on the run's clock, and what it was spent on."""

    kind: Kind
    start_s: float
    end_s: float
    fragment: str = ""
    """Whose time it is; of logits on their way `@answer`, of the task as a whole none."""
    device: str = ""
    micro_batch: int | None = None


@dataclass(frozen=True)
class Attribution:
    """A task's response time in parts, in seconds: the first six are all of it."""

    wait_s: float
    queue_s: float
    load_s: float
    compute_s: float
    link_s: float
    unexplained_s: float
    response_s: float


def attribute(events: Sequence[Event], end_s: float) -> Attribution:
    """The time of a task from its arrival on.

    Args:
        events: What the history says of it, in its order, beginning with its arrival.
        end_s: Until when: of one that has left, when it did.
    """
    arrival_s = _arrival(events).at_s
    spent = dict.fromkeys(RANK, 0.0)
    for kind, seconds in _once(stretches(events, end_s), arrival_s, end_s):
        spent[kind] += seconds
    response_s = max(end_s - arrival_s, 0.0)
    return Attribution(
        wait_s=spent["wait"],
        queue_s=spent["queue"],
        load_s=spent["load"],
        compute_s=spent["compute"],
        link_s=spent["link"] + spent["orders"],
        unexplained_s=max(response_s - sum(spent.values()), 0.0),
        response_s=response_s,
    )


def stretches(events: Sequence[Event], end_s: float) -> list[Stretch]:
    """What a task's events are evidence of, by their starts; arguments as `attribute`'s."""
    story = _Story(_arrival(events).at_s)
    for event in events:
        story.tell(event)
    story.end(end_s)
    kept = (stretch for stretch in story.found if stretch.end_s > stretch.start_s)
    return sorted(kept, key=lambda stretch: (stretch.start_s, RANK.index(stretch.kind)))


def _arrival(events: Sequence[Event]) -> Arrive:
    first = events[0] if events else None
    assert isinstance(first, Arrive), "a task's story begins with its arrival"
    return first


class _Story:
    """A task's events so far: what it waits for, and where it has devices."""

    def __init__(self, arrival_s: float):
        self.found: list[Stretch] = []
        self._waits_s: float | None = arrival_s
        """Since when it has no devices."""
        self._placed_s = 0.0
        self._devices: dict[str, str] = {}
        self._flows_s: float | None = None
        """Since when its inputs may leave."""
        self._left_s: float | None = None
        """When the first of them did."""
        self._answered_s: float | None = None
        """When the last of its answers came."""

    def tell(self, event: Event) -> None:
        match event:
            case FragmentPlaced(at_s=at_s, fragment=fragment, device=device):
                if self._waits_s is not None:
                    self._add("wait", self._waits_s, at_s)
                    self._waits_s, self._placed_s, self._flows_s, self._left_s = None, at_s, None, None
                    self._devices = {}
                self._devices[fragment] = device
            case FragmentLoaded() if self._devices.get(event.fragment) == event.device and self._flows_s is None:
                self._add("queue", self._placed_s, event.start_s, event.fragment, event.device)
                since_s = max(event.start_s, self._placed_s)  # ordered for another task, it may have begun before
                self._add("load", since_s, event.end_s, event.fragment, event.device)
            case InputsFlow(at_s=at_s):
                self._add("orders", self._placed_s, at_s)
                self._flows_s = at_s
            case Send():
                where = event.dst, event.device, event.micro_batch
                if event.made_s is not None:
                    self._add("queue", event.made_s, event.start_s, *where)
                self._add("link", event.start_s, event.end_s, *where)
                if event.device == BROKER:
                    self._answered_s = max(event.end_s, self._answered_s or 0.0)
                if self._flows_s is not None and event.start_s >= self._flows_s:
                    self._left_s = event.start_s if self._left_s is None else min(self._left_s, event.start_s)
            case MicroBatchRun():
                where = event.fragment, event.device, event.micro_batch
                self._add("queue", event.ready_s if event.made_s is None else event.made_s, event.start_s, *where)
                self._add("compute", event.start_s, event.end_s, *where)
            case AttemptEnded(at_s=at_s):
                self._sent()
                self._waits_s = at_s
            case Finish(at_s=at_s, outcome=outcome):
                if self._answered_s is not None and outcome.finished and not outcome.missing_classes:
                    self._add("wait", self._answered_s, at_s)
                self.end(at_s)
            case _:
                pass

    def end(self, end_s: float) -> None:
        """Until here."""
        self._sent()
        if self._waits_s is not None:
            self._add("wait", self._waits_s, end_s)
            self._waits_s = None

    def _sent(self) -> None:
        """Its devices were ready, and then the broker wrote that down before the first input left."""
        if self._flows_s is not None and self._left_s is not None:
            self._add("wait", self._flows_s, self._left_s)
        self._flows_s = self._left_s = None

    def _add(
        self,
        kind: Kind,
        start_s: float,
        end_s: float,
        fragment: str = "",
        device: str = "",
        micro_batch: int | None = None,
    ) -> None:
        self.found.append(Stretch(kind, start_s, end_s, fragment, device, micro_batch))


def _once(found: Iterable[Stretch], start_s: float, end_s: float) -> Iterable[tuple[Kind, float]]:
    """Each moment of a span that some stretch holds at, once: the kind it counts for, and how long."""
    steps: list[tuple[float, int, int]] = []
    for stretch in found:
        since_s, until_s = max(stretch.start_s, start_s), min(stretch.end_s, end_s)
        if until_s > since_s:
            rank = RANK.index(stretch.kind)
            steps += [(since_s, rank, 1), (until_s, rank, -1)]
    steps.sort()
    holding, at_s = [0] * len(RANK), start_s
    for step_s, rank, change in steps:
        if step_s > at_s:
            first = next((kind for kind, count in zip(RANK, holding, strict=True) if count), None)
            if first is not None:
                yield first, step_s - at_s
            at_s = step_s
        holding[rank] += change
