"""When the policy is asked, and of which tasks: at once, or once an interval.

At once: as soon as something has changed. Whatever comes in is decided and placed within a moment, but only as much of
it as keeps the devices busy (`dispatch.py`).

Once an interval, as the paper has it (§3: the timeline is divided into intervals I_t of equal duration): what came in
during one is decided and placed together at its end (N_t), containers migrate then or never, and the policy hears then
of the tasks that left meanwhile (E_t). Who finds no place waits for the next, as does what was lost with a device.
"""

from bisect import bisect_right
from typing import Protocol

from splitplace.placement.broker.dispatch import Dispatch
from splitplace.placement.broker.setup import Setup
from splitplace.placement.broker.state import FleetState, TaskState

TICK_S = 0.05
"""How often the loop looks at least; at once, a waiting task is planned again so often when nothing else happens."""
RETRY_S = 1.0
"""At once, a policy that failed is asked again no sooner: it will hardly know better a tick later."""
OBJECTIVE_S = 10.0
"""At once, what a policy averages its objectives over."""
TOGETHER = 512
"""Tasks that a plan of an interval is shown at most: what is on devices, then those that wait. Some policies look at
all pairs of them, and a plan has its limit (`planning.PLAN_LIMIT_S`)."""


class Pace(Protocol):
    """Of one broker, for its thread."""

    interval_s: float
    """Of an interval I_t, as the policy is told."""
    always: bool
    """Whether the policy is asked also when there is nothing to do: its intervals are counted."""

    def wait_s(self, now_s: float) -> float:
        """How long the loop may wait for something to happen."""
        ...

    def due(self, now_s: float, *, changed: bool, waiting: bool, busy: bool, many: bool) -> bool:
        """Whether the policy is to be asked now; whoever is told so asks.

        Args:
            now_s: The fleet's clock.
            changed: Something has happened since the last time.
            waiting: Some task has no devices.
            busy: The last plan is still being made.
            many: There are more tasks than devices.
        """
        ...

    def planned(self, now_s: float, took_s: float) -> None:
        """The last plan is made, and took so long."""
        ...

    def failed(self, now_s: float) -> None:
        """The last plan did."""
        ...

    def shown(self, state: FleetState, now_s: float) -> list[TaskState]:
        """The tasks that the policy is to see."""
        ...


class Immediate:
    """Ask at once."""

    interval_s = OBJECTIVE_S
    always = False

    def __init__(self, setup: Setup):
        self._dispatch = Dispatch(setup)
        self._asked_s = self._not_before_s = self._shared_s = 0.0
        self._awaited = False
        """Whether there will be a plan as soon as there may be one."""

    def wait_s(self, now_s: float) -> float:
        """A tick, or until the next plan."""
        return min(max(self._shared_s - now_s, 0.0), TICK_S) if self._awaited else TICK_S

    def due(self, now_s: float, *, changed: bool, waiting: bool, busy: bool, many: bool) -> bool:
        """If something has changed while somebody waits; else a tick after the last time.

        Who has left while nobody waits is told of together with the next that comes: one plan, not two a task.
        """
        late = now_s - self._asked_s > TICK_S
        self._awaited = False
        if busy or now_s < self._not_before_s or not ((changed and waiting) or (late and (changed or waiting))):
            return False
        if now_s < self._shared_s and many:
            self._awaited = True
            return False
        self._asked_s = now_s
        return True

    def planned(self, now_s: float, took_s: float) -> None:
        """While there are many tasks the next one is as long in coming: more of them share it."""
        self._shared_s = now_s + min(took_s, TICK_S)

    def failed(self, now_s: float) -> None:
        """Not again at once."""
        self._not_before_s = now_s + RETRY_S

    def shown(self, state: FleetState, now_s: float) -> list[TaskState]:
        """As many as keep the devices busy."""
        return self._dispatch.shown(state, now_s)


class Intervals:
    """Ask once an interval, at its end; intervals are counted from the start of the fleet's clock.

    Args:
        interval_s: How long one is.
    """

    always = True

    def __init__(self, interval_s: float):
        self.interval_s = interval_s
        self._interval: int | None = None
        self._seen = -1
        """The last task that had its turn."""

    def wait_s(self, now_s: float) -> float:
        """No longer than this interval."""
        return min(TICK_S, self.interval_s - now_s % self.interval_s)

    def due(self, now_s: float, *, changed: bool, waiting: bool, busy: bool, many: bool) -> bool:
        """If another interval has begun; whoever is still busy then, is asked at the end of that one."""
        before, self._interval = self._interval, int(now_s // self.interval_s)
        return before is not None and self._interval != before and not busy

    def planned(self, now_s: float, took_s: float) -> None:
        """The next one comes with its interval."""

    def failed(self, now_s: float) -> None:
        """All wait for the next interval."""

    def shown(self, state: FleetState, now_s: float) -> list[TaskState]:
        """All of them, up to `TOGETHER`: those that come first, and in turn some of the others.

        Who finds no place, for want of memory say, hides nobody for ever.
        """
        tasks = [state.tasks[attempt.task] for attempt in state.jobs.values()]
        ready = [id_ for id_ in state.waiting if state.tasks[id_].not_before_s <= now_s]
        room = max(TOGETHER - len(tasks), 0)
        if len(ready) > room:
            first, others = ready[: room - room // 2], sorted(ready[room - room // 2 :])
            at = bisect_right(others, self._seen)
            ready = [*first, *[*others[at:], *others[:at]][: room // 2]]
            self._seen = ready[-1] if room > 1 else self._seen
        return [*tasks, *(state.tasks[id_] for id_ in ready)]


def pace(setup: Setup, interval_s: float | None) -> Pace:
    """Once an interval of so many seconds; at once if none is stated."""
    return Immediate(setup) if interval_s is None else Intervals(interval_s)
