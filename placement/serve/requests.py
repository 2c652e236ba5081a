"""What a client may ask at the door, and what it is told. The first message of either side states the version."""

from typing import Annotated, Literal

from pydantic import Field, StringConstraints, TypeAdapter

from splitplace.errors import Cause
from splitplace.placement.history import HistoryPage
from splitplace.placement.outcome import TaskOutcome
from splitplace.placement.serve.frames import Message
from splitplace.records.base import Count, Name, Positive, PositiveCount
from splitplace.records.fleet_status import FleetStatus
from splitplace.records.split import Split

VERSION = 8
"""Raised with every change of what is said here."""

TaskKey = Annotated[str, StringConstraints(min_length=1, max_length=200)]


class Knock(Message):
    """Client, first: which version it speaks. Another one gets a `Refusal`."""

    type: Literal["knock"] = "knock"
    version: Count


class Submission(Message):
    """A task; `tensors` are its images (n, ...) and, if it has any, its labels (n,)."""

    type: Literal["submit"] = "submit"
    application: Name
    deadline_s: Positive
    key: TaskKey | None = None
    """A second task of the same key is the first one."""
    keep: bool = False
    """Whether it goes on when this client leaves."""
    late: bool = False
    """Whether an answer after the deadline is wanted."""
    degrade: bool = False
    """Whether an answer of the branches that there are will do."""
    volatile: bool = False
    """Whether it may end with the fleet's process."""


class AnswerWanted(Message):
    """The result of a task that this or another client submitted."""

    type: Literal["answer"] = "answer"
    task: Count


class Withdrawal(Message):
    """Cancel a task."""

    type: Literal["cancel"] = "cancel"
    task: Count


class StatusWanted(Message):
    """How is the fleet?"""

    type: Literal["status"] = "status"


class HistoryWanted(Message):
    """What happened, from an event on?"""

    type: Literal["history"] = "history"
    after: Count


class OffersWanted(Message):
    """What may be submitted?"""

    type: Literal["offers"] = "offers"


class InvitationWanted(Message):
    """A token by which a machine may become this device."""

    type: Literal["invite"] = "invite"
    device: Name
    valid_s: Positive


class Revocation(Message):
    """Put a device out."""

    type: Literal["revoke"] = "revoke"
    device: Name


class DrainWanted(Message):
    """Take no more tasks, and say when all have ended."""

    type: Literal["drain"] = "drain"


class StopWanted(Message):
    """End."""

    type: Literal["stop"] = "stop"


Request = (
    Knock | Submission | AnswerWanted | Withdrawal | StatusWanted | HistoryWanted | OffersWanted | InvitationWanted
    | Revocation | DrainWanted | StopWanted
)  # fmt: skip
REQUESTS: TypeAdapter[Request] = TypeAdapter(Annotated[Request, Field(discriminator="type")])


class Welcome(Message):
    """The door, first."""

    type: Literal["welcome"] = "welcome"
    version: Count
    pid: PositiveCount


class Refusal(Message):
    """What was asked for does not come about. `request` is 0 where the whole visit ends."""

    type: Literal["refusal"] = "refusal"
    cause: Cause
    reason: str


class Acknowledged(Message):
    """A task is taken, for good; or, of `AnswerWanted`, it is known. Its `AnswerReply` follows."""

    type: Literal["accepted"] = "accepted"
    task: Count


class AnswerReply(Message):
    """A task has ended; `tensors` are its logits (n, n_classes), if it was answered."""

    type: Literal["answer"] = "answer"
    outcome: TaskOutcome


class Withdrawn(Message):
    """Whether the task was still under way."""

    type: Literal["cancelled"] = "cancelled"
    was_under_way: bool


class StatusReply(Message):
    """The fleet as it is."""

    type: Literal["status"] = "status"
    status: FleetStatus


class HistoryReply(Message):
    """What happened."""

    type: Literal["history"] = "history"
    page: HistoryPage


class Offers(Message):
    """One split of each application, with its images' rule and its classes' names."""

    type: Literal["offers"] = "offers"
    splits: tuple[Split, ...]


class InvitationReply(Message):
    """A token."""

    type: Literal["invited"] = "invited"
    token: Annotated[str, Field(repr=False)]


class Done(Message):
    """It is as was asked for."""

    type: Literal["done"] = "done"


Reply = (
    Welcome | Refusal | Acknowledged | AnswerReply | Withdrawn | StatusReply | HistoryReply | Offers | InvitationReply
    | Done
)  # fmt: skip
REPLIES: TypeAdapter[Reply] = TypeAdapter(Annotated[Reply, Field(discriminator="type")])
