"""What may happen to a fleet: everything that its state is made of, and that a journal has to keep.

Whoever hears of something (the loop, of devices, clients, the engine, the clock and the planner) makes one of these;
`rules.apply` alone changes the state by it. `at_s` is on the run's clock, and so are all other times.
"""

from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field, SerializerFunctionWrapHandler, TypeAdapter, model_serializer

from splitplace.placement.broker.ring import Inputs
from splitplace.records.action import Decide, Evict, Migrate, Place
from splitplace.records.base import Count, Digest, Name, NonNegative, Positive, PositiveCount, Record
from splitplace.records.profile import CpuShareMethod


class _Event(Record):
    model_config = ConfigDict(ser_json_bytes="base64", val_json_bytes="base64")
    at_s: NonNegative


class BrokerOpened(_Event):
    """A broker took the fleet up: all devices are down, and what ran is to be placed anew."""

    kind: Literal["opened"] = "opened"
    created: str
    """UTC, ISO 8601."""
    policy: str
    engine: str
    devices: tuple[Name, ...]
    inputs: Inputs
    next_task: Count = 0
    """The first number that it gives a task: no broker before it can have given that one, or one behind it."""

    @model_serializer(mode="wrap")
    def _without_what_is_not_there(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """The first broker of a folder is written as it was before numbers were."""
        written: dict[str, Any] = handler(self)
        return {name: value for name, value in written.items() if name != "next_task" or value}


class TaskAccepted(_Event):
    """A client's task; once this is on disk the client is told, whom a volatile one's end alone is told."""

    kind: Literal["accepted"] = "accepted"
    task: Count
    application: Name
    n: PositiveCount
    deadline_s: Positive
    inputs: str
    """Where its images are found; empty where they are nowhere but in the broker's memory."""
    encoded: bool = False
    """Whether they are PNG, there as on their way."""
    labels: bytes | None = None
    """int64, little endian."""
    late: bool = False
    """Whether an answer after the deadline is still wanted."""
    degrade: bool = False
    """Whether the classes that were had by the deadline are an answer."""
    key: str | None = None
    """The client's own name for it: the same key again is the same task."""


class TaskCancelled(_Event):
    """Nobody wants the task any more."""

    kind: Literal["cancelled"] = "cancelled"
    task: Count
    reason: str
    refused: bool = False
    """Whether it was never taken on: who asks again, by the same key, is not answered with its end."""


class DeviceJoined(_Event):
    """A device runtime is up, for the first time or again."""

    kind: Literal["joined"] = "joined"
    device: Count
    pid: PositiveCount
    cpu_share: Positive
    cpu_share_method: CpuShareMethod
    core_speed: Positive


class DeviceGone(_Event):
    """A device runtime ended, or is given up."""

    kind: Literal["gone"] = "gone"
    device: Count
    reason: str


class DeviceDoubted(_Event):
    """A device says nothing: nothing new is placed there until it does."""

    kind: Literal["doubted"] = "doubted"
    device: Count
    reason: str


class DeviceTrusted(_Event):
    """It said something again."""

    kind: Literal["trusted"] = "trusted"
    device: Count


class DeviceCutOff(_Event):
    """What a device sends to another one does not arrive."""

    kind: Literal["cut_off"] = "cut_off"
    device: Count
    """Who is not reached."""
    by: Count


class DeviceReached(_Event):
    """It arrives again."""

    kind: Literal["reached"] = "reached"
    device: Count
    by: Count


class PlanMade(_Event):
    """What a policy answered, held against the rules for the view that it was shown."""

    kind: Literal["planned"] = "planned"
    decision_s: NonNegative
    decided: tuple[Decide, ...] = ()
    evicted: tuple[Evict, ...] = ()
    placed: tuple[Place, ...] = ()
    moved: tuple[Migrate, ...] = ()
    told: Count = 0
    """Up to which of the tasks that left the policy was told."""


class PlanRefused(_Event):
    """It raised, broke a rule or took too long."""

    kind: Literal["plan_failed"] = "plan_failed"
    decision_s: NonNegative
    policy: str
    reason: str
    told: Count = 0


class DeviceLoaded(_Event):
    """A device has a fragment open."""

    kind: Literal["loaded"] = "loaded"
    device: Count
    digest: Digest
    start_s: NonNegative
    end_s: NonNegative


class DeviceLoadFailed(_Event):
    """A device cannot open a fragment."""

    kind: Literal["load_failed"] = "load_failed"
    device: Count
    digest: Digest
    error: str
    of_file: bool = False
    """Whether no device could: its file is missing, or is not what it should be."""


class DeviceAssigned(_Event):
    """A device is ready for what others send it of a job."""

    kind: Literal["assigned"] = "assigned"
    job: Count
    fragment: Name


class DeviceRan(_Event):
    """A device ran one micro-batch."""

    kind: Literal["ran"] = "ran"
    job: Count
    fragment: Name
    micro_batch: Count
    """Of the task."""
    sent_s: NonNegative
    ready_s: NonNegative
    start_s: NonNegative
    end_s: NonNegative
    input_bytes: Count | None = None
    """What the task's images of this micro-batch took on their way, if it reads them; None: as many as their pixels."""


class SinkAnswered(_Event):
    """A sink's logits for one micro-batch, held against its contract."""

    kind: Literal["answered"] = "answered"
    job: Count
    sink: Name
    micro_batch: Count
    """Of the task."""
    logits: bytes
    """In the dtype and with the classes of the sink's contract."""
    sent_s: NonNegative


class FragmentFailed(_Event):
    """A fragment's attempt came to nothing on its device."""

    kind: Literal["failed"] = "failed"
    job: Count
    fragment: Name
    error: str


class AlarmRang(_Event):
    """The first of the state's alarms rang."""

    kind: Literal["due"] = "due"


class BrokerClosed(_Event):
    """The broker ends, and takes its tasks with it."""

    kind: Literal["closed"] = "closed"
    reason: str


class ResultsForgotten(_Event):
    """Results of tasks that ended are not kept, or not any more. Of the store alone: it changes no state."""

    kind: Literal["forgotten"] = "forgotten"
    tasks: tuple[Count, ...]


Event = (
    BrokerOpened | BrokerClosed | TaskAccepted | TaskCancelled | PlanMade | PlanRefused | AlarmRang
    | DeviceJoined | DeviceGone | DeviceDoubted | DeviceTrusted | DeviceCutOff | DeviceReached
    | DeviceLoaded | DeviceLoadFailed | DeviceAssigned | DeviceRan | SinkAnswered | FragmentFailed
    | ResultsForgotten
)  # fmt: skip
EVENTS: TypeAdapter[Event] = TypeAdapter(Annotated[Event, Field(discriminator="kind")])
