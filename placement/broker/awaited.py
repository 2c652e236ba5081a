"""The tasks that are here, for those who handed them in: their images, and the futures of their results."""

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass

from splitplace.errors import NotReadyError, OverloadedError, SplitPlaceError
from splitplace.placement.broker import effects as do
from splitplace.placement.broker import events as ev
from splitplace.placement.broker.answers import BrokerFuture, Kept
from splitplace.placement.broker.spool import Payload
from splitplace.placement.broker.state import FleetState
from splitplace.placement.broker.store import Store
from splitplace.placement.outcome import TaskOutcome, TaskResult
from splitplace.placement.protocol.fields import Value

Durable = Callable[[SplitPlaceError | None], None]


@dataclass(frozen=True, eq=False)
class HandedIn:
    """A client's task, from another thread."""

    event: ev.TaskAccepted
    images: Value
    """As they travel."""
    answer: BrokerFuture
    durable: Durable
    """Told once the task is on disk, or why it is refused."""
    volatile: bool = False
    """Its images stay in memory: the next broker does not have them."""
    payload: Payload | None = None
    """Its images for the store, as the thread that handed it in has prepared them."""


class AwaitedTasks:
    """For the loop's thread.

    Args:
        state: Which tasks there are; it is only read.
        store: Where images and results are kept, if they are to outlive this process.
        leaving: Entered around the end of each task: in it, who waits for the task is told.
    """

    def __init__(self, state: FleetState, store: Store | None, leaving: Callable[[int], AbstractContextManager[None]]):
        self._state, self._store, self._leaving = state, store, leaving
        self._answers: dict[int, list[BrokerFuture]] = {}
        self._images: dict[int, Value] = {}
        self._kept = Kept()
        self._known: list[tuple[BrokerFuture, Durable, SplitPlaceError | None]] = []
        self._ended: list[tuple[BrokerFuture, TaskResult]] = []
        """What is to be told when what this step has changed is on the disk."""

    def take_in(self, post: HandedIn) -> ev.TaskAccepted | None:
        """Take a task in, unless it is known by its key, or there is no room for it; answers what has happened then.

        A key stands for a result: when that is not kept any more, it is a new task's.
        """
        event = post.event
        if event.key is not None and self.ask_again(event.key, post.answer, post.durable):
            if post.payload is not None:
                post.payload.discard()
            with self._leaving(event.task):
                return None
        if self._store is not None:
            try:
                event = self._store.take_in(event, None if post.volatile else post.payload or post.images)
            except OverloadedError as error:
                with self._leaving(event.task):
                    post.durable(error)
                return None
        self._answers[event.task], self._images[event.task] = [post.answer], post.images
        return event

    def ask_again(self, key: str, answer: BrokerFuture, durable: Durable) -> bool:
        """Have a future come to the result of the task that a key stands for; answers whether there is one."""
        known = self._state.keys.get(key)
        if known is None or not (self._is_here(known) or (self._store or self._kept).keeps(known)):
            return False
        answer.task_id = known
        self._known.append((answer, durable, self.await_answer(answer)))
        return True

    def await_answer(self, answer: BrokerFuture) -> SplitPlaceError | None:
        """Have a future come to the result of a task that is here, or is kept; answers why that cannot be."""
        if self._is_here(answer.task_id):
            self._answers.setdefault(answer.task_id, []).append(answer)
            return None
        try:
            self._ended.append((answer, (self._store or self._kept).result(answer.task_id)))
        except SplitPlaceError as error:
            return error
        return None

    def _is_here(self, task: int) -> bool:
        """Also one that has ended in this step, of which nobody has been told yet."""
        return task in self._state.tasks or task in self._answers

    def tell(self, refused: Mapping[int, SplitPlaceError]) -> None:
        """Tell who asked for a task again, now that all is on the disk but what was refused for want of it."""
        known, self._known = self._known, []
        ended, self._ended = self._ended, []
        for answer, durable, error in known:
            durable(refused.get(answer.task_id, error))
        for answer, result in ended:
            answer.settle(result)

    def images(self, task: int) -> Value:
        """Of a task that is here, as they travel, those that an earlier broker took in as well.

        Raises:
            SplitPlaceError: They are damaged, or were the former broker's alone.
        """
        if task not in self._images:
            assert self._store is not None
            found = self._state.tasks[task]
            self._images[task] = self._store.images(found)
        return self._images[task]

    def finish(self, effect: do.EndTask) -> None:
        """A task has left: tell whoever waits for it."""
        self._images.pop(effect.task, None)
        result = TaskResult(effect.outcome, effect.logits)
        if self._store is None:
            self._kept.put(effect.task, result)
        with self._leaving(effect.task):
            for answer in self._answers.pop(effect.task, ()):
                answer.settle(result)

    def close(self, reason: str) -> None:
        """The broker ends: who still waits for a task is told why that is in vain."""
        for task, answers in tuple(self._answers.items()):
            known = self._state.tasks.get(task)  # not where the broker failed of taking it on, or of its end
            with self._leaving(task):
                for answer in answers:
                    if known is None:
                        answer.refuse(NotReadyError(reason))
                    else:
                        answer.settle(TaskResult(TaskOutcome(**known.task.model_dump(), error=reason)))
        self._answers.clear()
