"""One task as the dashboard follows it: what is shown in its row, and the events that its waterfall is drawn from."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from splitplace.placement.dashboard.attribution import Attribution, Stretch, attribute, stretches
from splitplace.placement.history import (
    Arrive,
    AttemptEnded,
    Decided,
    Event,
    Finish,
    FragmentPlaced,
    InputsFlow,
)
from splitplace.placement.outcome import TaskOutcome

TASK_EVENTS = 5_000
"""Of one task; of one with more no time is attributed, and no waterfall drawn."""
SHOWN_STRETCHES = 600
"""Of a waterfall: neighbours of one kind on one lane are drawn as one, as far as that takes."""
SHOWN_DEVICES = 64


@dataclass(eq=False)
class FollowedTask:
    """From its arrival, or from when it was first heard of."""

    id: int
    application: str
    n: int
    deadline_s: float
    arrival_s: float
    whole: bool = True
    """Whether nothing of it was missed: only then its time is attributed."""
    state: str = "waiting"
    """Then running; at last answered, late, failed or cancelled."""
    split: str | None = None
    strategy: str | None = None
    attempts: int = 0
    devices: dict[str, str] = field(default_factory=dict)
    """Of its fragments, now or at its end."""
    flows: bool = False
    """Whether its devices have what they need of it."""
    events: list[Event] = field(default_factory=list)
    outcome: TaskOutcome | None = None
    ended_s: float | None = None
    parts: Attribution | None = None
    version: int = 0
    """Of the board, when it last changed."""

    def tell(self, event: Event) -> None:
        """Something happened to it."""
        if len(self.events) < TASK_EVENTS:
            self.events.append(event)
        else:
            self.whole = False
        match event:
            case Decided():
                self.split, self.strategy = event.split, event.strategy
            case FragmentPlaced():
                if event.attempt >= self.attempts:
                    self.attempts, self.devices, self.state, self.flows = event.attempt + 1, {}, "running", False
                self.devices[event.fragment] = event.device
            case InputsFlow():
                self.flows = True
            case AttemptEnded():
                self.state, self.devices, self.flows = "waiting", {}, False
            case Finish():
                self._end(event)
            case _:
                pass

    def _end(self, event: Finish) -> None:
        self.outcome, self.ended_s = event.outcome, event.at_s
        self.split, self.strategy = event.outcome.split, event.outcome.strategy
        if event.outcome.error is not None:
            self.state = "cancelled" if event.outcome.error == "it was cancelled" else "failed"
        else:
            assert event.outcome.response_s is not None
            self.state = "late" if event.outcome.response_s > self.deadline_s else "answered"
        if self.whole:
            self.parts = attribute(self.events, event.at_s)

    @property
    def missed(self) -> bool:
        """Whether its deadline was violated: answered late, or not at all though somebody waited for it."""
        return self.state in ("late", "failed")

    def row(self) -> dict[str, Any]:
        """As the page has it; times in seconds."""
        shown: dict[str, Any] = {
            "id": self.id,
            "application": self.application,
            "n": self.n,
            "arrival_s": round(self.arrival_s, 6),
            "deadline_s": self.deadline_s,
            "state": self.state,
            "split": self.split,
            "strategy": self.strategy,
            "attempts": self.attempts,
            "devices": sorted(set(self.devices.values()))[:SHOWN_DEVICES],
        }
        if self.outcome is not None and self.ended_s is not None:
            shown |= {
                "response_s": round(max(self.ended_s - self.arrival_s, 0.0), 6),
                "p": self.outcome.p,
                "p_source": self.outcome.p_source,
                "missing_classes": len(self.outcome.missing_classes),
                "error": self.outcome.error,
                "parts": shares(self.parts),
                "waterfall": bool(self.events) and self.parts is not None,
            }
        return shown

    def waterfall(self, now_s: float) -> dict[str, Any] | None:
        """Its row with every stretch of its time, for one that is under way until now; none where that is not kept."""
        if not self.whole or not self.events:
            return None
        end_s = now_s if self.ended_s is None else self.ended_s
        found = condensed(stretches(self.events, end_s), (end_s - self.arrival_s) / SHOWN_STRETCHES)
        return self.row() | {
            "parts": shares(attribute(self.events, end_s)),
            "response_s": round(max(end_s - self.arrival_s, 0.0), 6),
            "stretches": [
                {
                    "kind": one.kind,
                    "start_s": round(one.start_s - self.arrival_s, 6),
                    "end_s": round(one.end_s - self.arrival_s, 6),
                    "fragment": one.fragment,
                    "device": one.device,
                    "micro_batch": one.micro_batch,
                }
                for one in found
            ],
        }


def followed(event: Arrive | Finish) -> FollowedTask:
    """A task that has come, or one that leaves of whose coming nothing was heard."""
    if isinstance(event, Arrive):
        made = FollowedTask(event.task, event.application, event.n, event.deadline_s, event.at_s)
    else:
        told = event.outcome
        made = FollowedTask(told.id, told.application, told.n, told.deadline_s, told.arrival_s, whole=False)
        made.devices = {name: name for name in told.devices}  # of which fragments, it does not say
    made.tell(event)
    return made


def shares(parts: Attribution | None) -> dict[str, float] | None:
    """Seconds by kind."""
    if parts is None:
        return None
    return {
        "wait": round(parts.wait_s, 6),
        "queue": round(parts.queue_s, 6),
        "load": round(parts.load_s, 6),
        "compute": round(parts.compute_s, 6),
        "link": round(parts.link_s, 6),
        "unexplained": round(parts.unexplained_s, 6),
    }


def condensed(found: Sequence[Stretch], gap_s: float) -> list[Stretch]:
    """As few stretches as are to be told apart: those of one kind on one lane, less than a gap apart, are one.

    Args:
        found: By their starts.
        gap_s: What a picture shows no more, where there are more than it shows.
    """
    if len(found) <= SHOWN_STRETCHES:
        return list(found)
    kept: list[Stretch] = []
    last: dict[tuple[str, str, str], int] = {}
    for one in found:
        lane = one.kind, one.fragment, one.device
        at = last.get(lane)
        if at is not None and one.start_s <= kept[at].end_s + gap_s:
            before = kept[at]
            kept[at] = Stretch(one.kind, before.start_s, max(before.end_s, one.end_s), one.fragment, one.device)
            continue
        last[lane] = len(kept)
        kept.append(one)
    return kept[: 4 * SHOWN_STRETCHES]
