"""A broker's run, as other threads see it: whether it goes on, what happened in it, what it came to."""

from typing import Any

from splitplace.errors import NotReadyError
from splitplace.placement import history as book
from splitplace.placement.broker.history import MOST_EVENTS, History
from splitplace.placement.broker.loop import Loop
from splitplace.placement.broker.loop_thread import LoopThread
from splitplace.placement.broker.meter import DeviceReport
from splitplace.placement.broker.reports import device_reports
from splitplace.placement.outcome import TaskOutcome


class ObservedRun:
    """From any thread.

    Args:
        thread: In which the loop runs.
        history: Of what happens in it.
    """

    def __init__(self, thread: LoopThread, history: History):
        self._thread, self._history = thread, history

    @property
    def ended(self) -> bool:
        """Whether it runs no more: it was ended, or has failed."""
        return self._thread.ended

    @property
    def elsewhere(self) -> bool:
        """Whether it runs in another process, from which this one was forked."""
        return self._thread.elsewhere

    @property
    def events(self) -> tuple[book.Event, ...]:
        """The last of what happened (`history.KEPT_EVENTS`); the `journal` file has all of it."""
        return self._history.events

    def history(self, after: int = 0, most: int = MOST_EVENTS) -> book.HistoryPage:
        """The same, from an event on, for who watches.

        Args:
            after: The event's number: 0, or what the page before calls `next`.
            most: How many events the page may have.
        """
        return self._history.page(after, most)

    @property
    def outcomes(self) -> tuple[TaskOutcome, ...]:
        """Of every task that has left, in that order."""
        return tuple(event.outcome for event in self.events if isinstance(event, book.Finish))

    @property
    def decision_s(self) -> tuple[float, ...]:
        """Wall-clock of the last 10,000 plans."""
        return tuple(self._running().consulting.decision_s)

    @property
    def failed_plans(self) -> int:
        """How many plans the policy failed; the events `plan_failed` say of what."""
        return self._running().consulting.failed_plans

    @property
    def states(self) -> Any:
        """What the policy remembers now."""
        return self._running().consulting.planner.states

    @property
    def wall_s(self) -> float:
        """Seconds since the run's clock started."""
        return self._running().fleet.now_s()

    @property
    def ram_utilisation(self) -> float:
        """Mean over time and devices of the memory in use, by the broker's account."""
        loop = self._running()
        return loop.state.ledger.utilisation(loop.fleet.now_s())

    def reports(self) -> tuple[DeviceReport, ...]:
        """What each device is and did so far."""
        return device_reports(self._running())

    def _running(self) -> Loop:
        if self._thread.loop is None:
            raise NotReadyError("the broker was not started: use it in a with statement")
        if self.elsewhere:
            raise NotReadyError(
                f"the broker runs in process {self._thread.process}, from which this one was forked: ask it there"
            )
        return self._thread.loop
