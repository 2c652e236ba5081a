"""A task as the broker holds it, from its receipt to its outcome."""

from dataclasses import dataclass, field
from typing import Any

from splitplace.placement.broker.job import Job
from splitplace.placement.outcome import TaskFuture, TaskOutcome, TaskResult
from splitplace.placement.protocol import messages
from splitplace.records.action import Decide
from splitplace.records.demand import SplitDemand
from splitplace.records.split import Split
from splitplace.records.task import Task

CANCELLED = "it was cancelled"
"""The error of a task that nobody wants any more."""


@dataclass(eq=False)
class Live:
    """A task that has not left yet."""

    task: Task
    images: messages.Array
    labels: messages.Array | None
    future: TaskFuture = field(default_factory=TaskFuture)
    decision: Decide | None = None
    demand: SplitDemand | None = None
    """Of the decided split."""
    job: Job | None = None
    attempts: int = 0

    @property
    def split(self) -> Split:
        """The decision; only once there is one."""
        assert self.demand is not None, f"task {self.task.id} is undecided"
        return self.demand.split

    def answered(self, now_s: float) -> TaskResult:
        """The result of a complete job."""
        assert self.job is not None and self.demand is not None and self.job.complete
        logits = self.job.logits()
        response_s = now_s - self.task.arrival_s
        wait_s = self.job.placed_s - self.task.arrival_s
        transfer_s = min(self.job.transfer_s(), response_s - wait_s)
        correct = None if self.labels is None else int((logits.argmax(axis=1) == self.labels).sum())
        if correct is None:
            assert self.demand.evaluation is not None, "submit refuses unlabelled tasks of unevaluated splits"
            p = self.demand.evaluation.top1
        else:
            p = correct / self.task.n
        outcome = TaskOutcome(
            **self._known(),
            wait_s=wait_s,
            execute_s=response_s - wait_s - transfer_s,
            transfer_s=transfer_s,
            response_s=response_s,
            correct=correct,
            p=p,
            p_source="prior" if correct is None else "labels",
        )
        return TaskResult(outcome, logits)

    def failed(self, error: str) -> TaskResult:
        """The result of a task that has no answer."""
        return TaskResult(TaskOutcome(**self._known(), error=error))

    def _known(self) -> dict[str, Any]:
        known = self.task.model_dump()
        if self.demand is not None:
            known |= {"split": self.split.reference, "strategy": self.split.strategy}
        return known
