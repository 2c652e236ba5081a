"""What became of one task: what the live fleet and the simulator both hand on, and metrics are computed from."""

from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any, Literal, Self

import numpy.typing as npt
from pydantic import model_validator

from splitplace.placement.callbacks import Callbacks
from splitplace.records.base import Count, Fraction, Name, NonNegative, Positive, PositiveCount, Record
from splitplace.records.split import Strategy

PSource = Literal["labels", "prior"]
"""Where p comes from: counted on the request's own labels, or the split's evaluation."""


class TaskOutcome(Record):
    """One task that left, with its response time taken apart: response_s = wait_s + execute_s + transfer_s.

    Every moment between arrival and answer counts once. Wait: nothing of the task is on any device or on its way to
    one (it waits for a decision or a place). After that, transfer: a tensor of it is on its way while none of its
    fragments runs; execute: all the rest, a fragment running, or loading, or queued on its device.
    A task with an `error` is not finished: it has no times and no p.
    """

    id: Count
    application: Name
    split: str | None = None
    """Catalog reference of the decision; none if the task failed before one was taken."""
    strategy: Strategy | None = None
    n: PositiveCount
    deadline_s: Positive
    """Relative to `arrival_s`."""
    arrival_s: NonNegative
    """On the environment's clock, which starts with the run."""
    wait_s: NonNegative | None = None
    execute_s: NonNegative | None = None
    transfer_s: NonNegative | None = None
    response_s: NonNegative | None = None
    """Arrival to answer, wait included."""
    correct: Count | None = None
    """Images answered right; none where the request had no labels."""
    p: Fraction | None = None
    """Share of the task's images answered right (p_i, paper §6.4)."""
    p_source: PSource | None = None
    missing_classes: tuple[Count, ...] = ()
    """Classes whose branches were not had before the deadline of a task that allowed it: the answer is without them, or
    has what the split's spare says of them."""
    devices: tuple[str, ...] = ()
    """Of a live fleet: which had the split's fragments when it was answered, in the order of the split."""
    error: str | None = None
    """Why there is no answer, on one line."""

    @property
    def finished(self) -> bool:
        """Whether the task was answered."""
        return self.error is None

    @model_validator(mode="after")
    def _answered_or_failed(self) -> Self:
        measured = (self.wait_s, self.execute_s, self.transfer_s, self.response_s, self.p, self.p_source)
        if self.finished and (None in measured or self.split is None or self.strategy is None):
            raise ValueError(f"task {self.id} has no error, so it needs a split, times and p")
        if not self.finished and any(value is not None for value in measured):
            raise ValueError(f"task {self.id} failed, so it has no times and no p")
        return self


@dataclass(frozen=True, eq=False)
class TaskResult:
    """What a task's future gives: the outcome, and the logits (n, n_classes) if there is an answer."""

    outcome: TaskOutcome
    logits: npt.NDArray[Any] | None = None


class TaskFuture(Future[TaskResult]):
    """The result of a task to come.

    Args:
        task_id: By which the fleet knows the task.
        key: By which its sender does, if it gave it one.
        ticket: What a front door calls the task; none: the number.
        callbacks: Runs what is to be called; none: whoever settles it does.
    """

    def __init__(
        self,
        task_id: int = -1,
        key: str | None = None,
        ticket: str | None = None,
        callbacks: Callbacks | None = None,
    ):
        super().__init__()
        self.task_id, self.key, self._ticket, self._callbacks = task_id, key, ticket, callbacks

    def add_done_callback(self, fn: Callable[[Future[TaskResult]], object]) -> None:
        """Call `fn` with this future once it is done, in a thread for callbacks: it may ask, and take long."""
        if (callbacks := self._callbacks) is None:
            super().add_done_callback(fn)
        else:
            super().add_done_callback(lambda future: callbacks.submit(lambda: fn(future)))

    @property
    def ticket(self) -> str:
        """What a front door calls the task: its number, and for a token the proof that the task is its own."""
        return self._ticket or str(self.task_id)


def when_settled(future: TaskFuture, fn: Callable[[Future[TaskResult]], object]) -> None:
    """As `add_done_callback`, but in whichever thread settles it: for what wakes somebody, or counts.

    No method, as it is for nobody else: that thread is the broker's, and holds its locks. `fn` asks nothing of the
    fleet, waits for nothing, and raises nothing.
    """
    Future.add_done_callback(future, fn)
