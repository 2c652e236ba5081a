"""What happens in a run of a live fleet: one record an event, for its history and for who watches it.

Every `*_s` is seconds on the run's clock, which is 0 when all devices are up.
"""

from typing import Annotated, Literal

from pydantic import Field

from splitplace.placement.outcome import TaskOutcome
from splitplace.records.base import Count, Digest, Name, NonNegative, Positive, PositiveCount, Record
from splitplace.records.profile import CpuShareMethod
from splitplace.records.split import Strategy


class Start(Record):
    """First line: which run this is."""

    event: Literal["start"] = "start"
    version: Literal[4] = 4
    created: str
    """UTC, ISO 8601: when the clock was 0."""
    policy: str
    engine: str
    precedence: Literal["strict", "pipelined"]
    inputs: Literal["broadcast", "ring"]
    devices: tuple[Name, ...]


class DeviceUp(Record):
    """A device runtime answered."""

    event: Literal["device_up"] = "device_up"
    at_s: NonNegative
    device: Name
    pid: PositiveCount
    cpu_share: Positive
    cpu_share_method: CpuShareMethod
    core_speed: Positive
    """Measured by the probe."""


class DeviceDown(Record):
    """A device runtime ended or fell silent while it was needed."""

    event: Literal["device_down"] = "device_down"
    at_s: NonNegative
    device: Name
    reason: str


class Arrive(Record):
    """A task came in."""

    event: Literal["arrive"] = "arrive"
    at_s: NonNegative
    task: Count
    application: Name
    n: PositiveCount
    deadline_s: Positive


class Planned(Record):
    """One call of `plan` and the wall-clock it took."""

    event: Literal["plan"] = "plan"
    at_s: NonNegative
    decision_s: NonNegative
    actions: Count


class PlanFailed(Record):
    """A plan of which nothing came about: the policy raised, broke a rule or took too long."""

    event: Literal["plan_failed"] = "plan_failed"
    at_s: NonNegative
    decision_s: NonNegative
    policy: str
    reason: str
    """On one line."""


class Decided(Record):
    """A task's split was chosen."""

    event: Literal["decide"] = "decide"
    at_s: NonNegative
    task: Count
    split: str
    strategy: Strategy


class FragmentPlaced(Record):
    """A fragment of a task got a device; `attempt` counts from 0 each time the task is placed anew."""

    event: Literal["place"] = "place"
    at_s: NonNegative
    task: Count
    attempt: Count
    fragment: Name
    device: Name


class InputsFlow(Record):
    """All that an attempt needs is loaded, and who gets tensors of other devices knows of it: its inputs are sent."""

    event: Literal["flow"] = "flow"
    at_s: NonNegative
    task: Count


class AttemptEnded(Record):
    """A task lost its devices, or they are changed, before it was answered: it waits for others."""

    event: Literal["attempt_ended"] = "attempt_ended"
    at_s: NonNegative
    task: Count


class FragmentMigrated(Record):
    """A fragment of a task that had not started was moved."""

    event: Literal["migrate"] = "migrate"
    at_s: NonNegative
    task: Count
    fragment: Name
    source: Name
    device: Name


class FragmentLoaded(Record):
    """A device read, verified and opened a fragment."""

    event: Literal["load"] = "load"
    device: Name
    split: str
    fragment: Name
    digest: Digest
    start_s: NonNegative
    end_s: NonNegative


class FragmentEvicted(Record):
    """A device forgot an idle fragment."""

    event: Literal["evict"] = "evict"
    at_s: NonNegative
    device: Name
    split: str
    fragment: Name


class MicroBatchRun(Record):
    """A device ran one micro-batch of one fragment of a task."""

    event: Literal["run"] = "run"
    device: Name
    task: Count
    split: str
    strategy: Strategy
    fragment: Name
    micro_batch: Count
    samples: PositiveCount
    made_s: NonNegative | None = None
    """When the device itself had made the last of its inputs from there: until `ready_s` that was handed on."""
    ready_s: NonNegative
    """When the last of its inputs was there: until `start_s` it waited for the device."""
    start_s: NonNegative
    end_s: NonNegative


BROKER = "@broker"
"""Who receives answers."""


class Send(Record):
    """The inputs of a micro-batch (`dst` a fragment), or a sink's logits (`dst` is `@answer`), were on their way."""

    event: Literal["send"] = "send"
    task: Count
    dst: str
    device: str
    """Who received: a device, or `@broker`."""
    micro_batch: Count
    bytes: Count
    made_s: NonNegative | None = None
    """When the run that gave it had ended: until `start_s` it waited on its device. Of the broker's inputs none."""
    start_s: NonNegative
    end_s: NonNegative


class Finish(Record):
    """A task left, answered or failed."""

    event: Literal["finish"] = "finish"
    at_s: NonNegative
    outcome: TaskOutcome


Event = (
    Start | DeviceUp | DeviceDown | Arrive | Planned | PlanFailed | Decided | FragmentPlaced | InputsFlow | AttemptEnded
    | FragmentMigrated | FragmentLoaded | FragmentEvicted | MicroBatchRun | Send | Finish
)  # fmt: skip


class HistoryPage(Record):
    """A part of a run's history, in order, as who watches the run asks for it."""

    run: str
    """Another one, and all numbers begin anew."""
    events: tuple[Annotated[Event, Field(discriminator="event")], ...]
    next: Count
    """The number of the event after these: what to ask for then."""
    missed: Count = 0
    """How many events were asked for that are not kept any more."""
