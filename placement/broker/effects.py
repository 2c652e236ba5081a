"""What is to be done about an event: what `rules.apply` answers, and the loop carries out."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from splitplace.placement.history import Event as HistoryEvent
from splitplace.placement.outcome import TaskOutcome
from splitplace.placement.protocol.messages import Message


@dataclass(frozen=True)
class Tell:
    """Send a device (by its row) a message."""

    device: int
    message: Message


@dataclass(frozen=True)
class Launch:
    """Have the engine start a device anew."""

    device: int


@dataclass(frozen=True)
class Kill:
    """Have the engine end a device, whatever it does."""

    device: int


@dataclass(frozen=True)
class StartFeed:
    """Every device of a job is ready: stream its inputs."""

    job: int


@dataclass(frozen=True)
class StopFeed:
    """A job is over: stop streaming, forget its inputs."""

    job: int


@dataclass(frozen=True, eq=False)
class EndTask:
    """A task left: tell whoever waits for it."""

    task: int
    inputs: str
    """Where its images were found."""
    outcome: TaskOutcome
    logits: npt.NDArray[np.generic] | None


@dataclass(frozen=True)
class Note:
    """Something for the run's history."""

    event: HistoryEvent


Effect = Tell | Launch | Kill | StartFeed | StopFeed | EndTask | Note
