"""Histories by hand: what a broker would have written of tasks whose every moment a test chooses."""

from typing import Any

import pytest

from splitplace.placement import history as book
from splitplace.placement.outcome import TaskOutcome

SPLIT = "toy.tiny.layer-2"


class Told:
    """Makes events of one task; times are seconds from the run's start."""

    def __init__(self, task: int = 0, arrival_s: float = 0.0, deadline_s: float = 1.0):
        self.task, self.arrival_s, self.deadline_s = task, arrival_s, deadline_s

    def arrive(self, n: int = 4) -> book.Arrive:
        """It comes."""
        return book.Arrive(at_s=self.arrival_s, task=self.task, application="toy", n=n, deadline_s=self.deadline_s)

    def decide(self, at_s: float, split: str = SPLIT, strategy: Any = "layer") -> book.Decided:
        """Its split is chosen."""
        return book.Decided(at_s=at_s, task=self.task, split=split, strategy=strategy)

    def place(self, at_s: float, fragment: str, device: str, attempt: int = 0) -> book.FragmentPlaced:
        """A fragment has a device."""
        return book.FragmentPlaced(at_s=at_s, task=self.task, attempt=attempt, fragment=fragment, device=device)

    def load(self, start_s: float, end_s: float, fragment: str, device: str) -> book.FragmentLoaded:
        """A device opens a fragment."""
        return book.FragmentLoaded(
            device=device, split=SPLIT, fragment=fragment, digest="sha256:" + "a" * 64, start_s=start_s, end_s=end_s
        )

    def flow(self, at_s: float) -> book.InputsFlow:
        """Its devices are ready."""
        return book.InputsFlow(at_s=at_s, task=self.task)

    def put_back(self, at_s: float) -> book.AttemptEnded:
        """It loses its devices."""
        return book.AttemptEnded(at_s=at_s, task=self.task)

    def send(
        self,
        start_s: float,
        end_s: float,
        dst: str = "a",
        device: str = "d-0",
        row: int = 0,
        made_s: float | None = None,
    ) -> book.Send:
        """A tensor is on its way."""
        return book.Send(
            task=self.task, dst=dst, device=device, micro_batch=row, bytes=1, made_s=made_s, start_s=start_s,
            end_s=end_s,
        )  # fmt: skip

    def run(
        self,
        ready_s: float,
        start_s: float,
        end_s: float,
        fragment: str = "a",
        device: str = "d-0",
        row: int = 0,
        made_s: float | None = None,
    ) -> book.MicroBatchRun:
        """A micro-batch runs."""
        return book.MicroBatchRun(
            device=device, task=self.task, split=SPLIT, strategy="layer", fragment=fragment, micro_batch=row, samples=4,
            made_s=made_s, ready_s=ready_s, start_s=start_s, end_s=end_s,
        )  # fmt: skip

    def finish(self, at_s: float, error: str | None = None) -> book.Finish:
        """It leaves."""
        known: dict[str, Any] = {"id": self.task, "application": "toy", "n": 4, "deadline_s": self.deadline_s}
        known |= {"arrival_s": self.arrival_s, "split": SPLIT, "strategy": "layer"}
        if error is not None:
            return book.Finish(at_s=at_s, outcome=TaskOutcome(**known, error=error))
        times = {"wait_s": 0.0, "execute_s": at_s - self.arrival_s, "transfer_s": 0.0}
        outcome = TaskOutcome(**known, **times, response_s=at_s - self.arrival_s, p=1.0, p_source="prior")
        return book.Finish(at_s=at_s, outcome=outcome)

    def whole(self, end_s: float = 0.9) -> list[Any]:
        """A task of one micro-batch on one device that has the fragment, from its arrival to its end."""
        at_s, took_s = self.arrival_s, end_s - self.arrival_s
        moments = [at_s + share * took_s for share in (0.1, 0.2, 0.3, 0.4, 0.9)]
        return [
            self.arrive(),
            self.decide(moments[0]),
            self.place(moments[0], "a", "d-0"),
            self.flow(moments[1]),
            self.run(moments[2], moments[3], moments[4]),
            self.send(moments[1], moments[2]),
            self.send(moments[4], end_s, "@answer", "@broker"),
            self.finish(end_s),
        ]


@pytest.fixture
def told() -> type[Told]:
    """The builder above."""
    return Told


@pytest.fixture
def page() -> Any:
    """Events as a page of a run's history."""

    def make(events: list[Any], *, run: str = "run", start: int = 0, missed: int = 0) -> book.HistoryPage:
        return book.HistoryPage(run=run, events=tuple(events), next=start + len(events), missed=missed)

    return make
