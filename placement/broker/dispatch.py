"""Which tasks the policy is shown: as many as keep the devices busy, and first those that can still be in time.

What is placed cannot be chosen any more: it takes turns on its devices, and all of it becomes late together. So the
rest waits undecided in the broker, where an overloaded fleet still has the choice. First come, first served would start
every task when it is just too late for it; here, first come is first only among those with time enough.

What a task should take is by its profile and what is before it; what tasks did take, on this fleet with all that runs
beside it, corrects that.
"""

from collections import Counter
from collections.abc import Container, Iterable, Iterator
from functools import lru_cache
from itertools import islice

import numpy as np

from splitplace.placement.broker.setup import Setup
from splitplace.placement.broker.state import Attempt, FleetState, TaskState
from splitplace.placement.deciders.estimate import unloaded_response_s

LEAST_A_DEVICE, ENOUGH_A_DEVICE, MOST_A_DEVICE = 1, 2, 8
"""Tasks under way for each device that is up. So many are started whatever their deadlines are; so many if they have
time enough, however long they take: the next one's tensors are there when the last one ends; and so many at most, if
they are short."""
LARGE = 4.0
"""What has so many times the work of a task has no part in what is enough for it."""
AHEAD_S = 0.25
"""As many are short as make one wait for less than this."""
MARGIN = 1.5
"""A task has time enough if so many times what it should take is left: half of all tasks take longer than that."""
FORGET = 0.95
"""What is left of an attempt's weight in the correction after the next one."""
LOOKED_AT = 512
"""Waiting tasks that are looked at for one plan; its cost does not grow with the queue."""


class Dispatch:
    """Of one broker; remembers what tasks of a size should take, and how long they did."""

    def __init__(self, setup: Setup):
        self.setup = setup
        self._of_size = lru_cache(4096)(self._costs_of)
        self._costs = lru_cache(4096)(lambda application, n: self._of_size(application, _size(n)))
        self._expected_s: dict[int, float] = {}
        """Of tasks that were shown, uncorrected."""
        self._under_way: dict[int, tuple[float, Attempt]] = {}
        """By job: what was expected, and the attempt."""
        self._took_s = self._should_s = 0.0

    @property
    def slowdown(self) -> float:
        """How much longer attempts have devices than was expected; 1 before the first has ended."""
        return self._took_s / self._should_s if self._should_s else 1.0

    def shown(self, state: FleetState, now_s: float) -> list[TaskState]:
        """All tasks that have devices, and of those that wait the ones that are to have some, best first."""
        self._learn(state, now_s)
        tasks = [state.tasks[attempt.task] for attempt in state.jobs.values()]
        up = sum(state.placeable(row, now_s) for row in range(len(state.devices)))
        undecided, decided, chosen = list[TaskState](), list[TaskState](), list[TaskState]()
        for task in self._looked_at(state) if up else ():
            if task.not_before_s <= now_s:
                (undecided if task.decision is None else decided).append(task)
        stuck = Counter(task.task.application for task in decided)
        ready = [task for task in undecided if stuck[task.task.application] < ENOUGH_A_DEVICE * up]
        left_s = [self._left_s(state, job) for job in state.jobs] if ready else []
        before, under_way = _UnderWay(left_s, up), _UnderWay(list(left_s), up)
        full = set[float]()
        """Tasks of which length have enough before them, and so will have for the rest of this plan."""
        for task in self._best_first(ready, now_s, before, full):
            if under_way.count >= MOST_A_DEVICE * up:
                break
            takes_s, work_s = self._costs(task.task.application, task.task.n)
            wait_s = under_way.wait_s(takes_s)
            if under_way.count >= LEAST_A_DEVICE * up:  # more would make those late that are there, and be late
                enough = under_way.like(takes_s) >= ENOUGH_A_DEVICE * up and self.slowdown * wait_s >= AHEAD_S
                if enough:
                    full.add(takes_s)
                if enough or not (task.late or self._has_time(task, now_s, under_way)):
                    continue
            self._expected_s[task.task.id] = wait_s + takes_s
            under_way.add(work_s)
            chosen.append(task)
        # Who is decided waits for memory: he takes no turn from who does not, and of an application of which enough
        # wait so no more are decided.
        return [*tasks, *decided[: MOST_A_DEVICE * up], *chosen]

    @staticmethod
    def _looked_at(state: FleetState) -> Iterator[TaskState]:
        """The oldest, and where those are too many the newest: among them are some with time."""
        if len(state.waiting) <= LOOKED_AT:
            ids = list(state.waiting)
        else:
            half = LOOKED_AT // 2
            ids = [*islice(state.waiting, half), *reversed(list(islice(reversed(state.waiting), half)))]
        return (state.tasks[id_] for id_ in ids)

    def _learn(self, state: FleetState, now_s: float) -> None:
        """From attempts that are over since the last plan: of one that came to nothing only that it took so long."""
        for job in [job for job in self._under_way if job not in state.jobs]:
            should_s, attempt = self._under_way.pop(job)
            if attempt.started_s is None:
                continue
            took_s = now_s - attempt.started_s
            if any(attempt.left(name) for name in attempt.ran) and took_s < self.slowdown * should_s:
                continue
            self._took_s = FORGET * self._took_s + took_s
            self._should_s = FORGET * self._should_s + should_s
        for job, attempt in state.jobs.items():
            if job not in self._under_way and attempt.task in self._expected_s:
                self._under_way[job] = self._expected_s.pop(attempt.task), attempt
        for task in [task for task in self._expected_s if task not in state.tasks]:
            del self._expected_s[task]

    def _best_first(
        self, queue: Iterable[TaskState], now_s: float, before: "_UnderWay", full: Container[float]
    ) -> Iterator[TaskState]:
        """By rank, and of one rank in their order, without those that take as long as something in `full`.

        Nobody is looked at before it is asked for: a queue may be long.
        """
        later: tuple[list[TaskState], list[TaskState]] = [], []
        for task in queue:
            takes_s, _ = self._costs(task.task.application, task.task.n)
            if takes_s in full:
                continue
            rank = self._rank(task, now_s, before)
            if rank == 2:
                yield task
            else:
                later[rank].append(task)
        yield from later[1]
        yield from later[0]

    def _rank(self, task: TaskState, now_s: float, under_way: "_UnderWay") -> int:
        """2 with time enough, 1 if there might be, 0 if an idle fleet would hardly be in time.

        A late answer that is wanted can wait for those that can be in time, but not for ever.
        """
        age_s = now_s - task.task.arrival_s
        if task.late and age_s > task.task.deadline_s:
            return 2 if age_s > self.setup.task_timeout_s / 2 else 1
        if self._has_time(task, now_s, under_way):
            return 2
        takes_s, _ = self._costs(task.task.application, task.task.n)
        return int(task.task.deadline_s - age_s >= self.slowdown * takes_s)

    def _has_time(self, task: TaskState, now_s: float, under_way: "_UnderWay") -> bool:
        left_s = task.task.arrival_s + task.task.deadline_s - now_s
        takes_s, _ = self._costs(task.task.application, task.task.n)
        return left_s >= MARGIN * self.slowdown * (under_way.wait_s(takes_s) + takes_s)

    def _left_s(self, state: FleetState, job: int) -> float:
        attempt = state.jobs[job]
        return sum(
            attempt.left(name) * self.setup.latency_s(attempt.split, name, device)
            for name, device in attempt.devices.items()
        )

    def _costs_of(self, application: str, n: int) -> tuple[float, float]:
        """Seconds to the answer on an idle fleet, and of work, each by the split that takes least."""
        tables = self.setup.statics
        offered = np.flatnonzero(tables.splits.application_S == tables.applications.index(application)).tolist()
        takes_s = min(unloaded_response_s(tables.splits, tables.fragments, tables.links, split, n) for split in offered)
        work_s = min(
            sum(float(tables.fragments.service_s(fragment, n).min()) for fragment in tables.splits.fragments(split))
            for split in offered
        )
        return takes_s, work_s


def _size(n: int) -> int:
    """So many images, or some more (at most an eighth): tasks of about one size are reckoned once."""
    step = 1 << max(n.bit_length() - 4, 0)
    return -(-n // step) * step


class _UnderWay:
    """What devices have to do, as seconds of each task that is there, shared by so many of them."""

    def __init__(self, left_s: list[float], up: int):
        self._left_s, self._up = left_s, up
        self._waits_s: dict[float, float] = {}

    @property
    def count(self) -> int:
        """Tasks."""
        return len(self._left_s)

    def add(self, work_s: float) -> None:
        """One more."""
        self._left_s.append(work_s)
        for takes_s in self._waits_s:
            self._waits_s[takes_s] += min(work_s, takes_s) / self._up

    def like(self, takes_s: float) -> int:
        """Those that are not much larger than something, and so make room for it before long."""
        return sum(left_s <= LARGE * takes_s for left_s in self._left_s)

    def wait_s(self, takes_s: float) -> float:
        """How much longer something takes beside them: who shares waits for no more of each than it has itself."""
        if takes_s not in self._waits_s:
            self._waits_s[takes_s] = sum(min(left_s, takes_s) for left_s in self._left_s) / self._up
        return self._waits_s[takes_s]
