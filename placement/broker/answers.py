"""What a client waits on: a future whose callbacks are nobody's concern but their own."""

import logging
import queue
import threading
from collections.abc import Callable
from concurrent.futures import Future, InvalidStateError
from contextlib import suppress

from splitplace.errors import NotFoundError, SplitPlaceError
from splitplace.placement.outcome import TaskFuture, TaskResult

log = logging.getLogger(__name__)

MAX_THREADS = 8


class Callbacks:
    """Runs clients' callbacks in threads of their own, so that one that takes long, or raises, holds up no answer."""

    def __init__(self) -> None:
        self._queue: queue.SimpleQueue[Callable[[], object]] = queue.SimpleQueue()
        self._threads = self._idle = 0
        self._counting = threading.Lock()

    def submit(self, work: Callable[[], object]) -> None:
        """Run this soon; when more than `MAX_THREADS` are still running, after one of them."""
        self._queue.put(work)
        with self._counting:
            if self._idle < self._queue.qsize() and self._threads < MAX_THREADS:
                self._threads += 1
                threading.Thread(target=self._run, name="broker-callbacks", daemon=True).start()

    def _run(self) -> None:
        while True:
            with self._counting:
                self._idle += 1
            try:
                work = self._queue.get(timeout=10.0)
            except queue.Empty:
                work = None
            with self._counting:
                self._idle -= 1
                if work is None and self._queue.empty():
                    self._threads -= 1
                    return
            if work is None:
                continue
            try:
                work()
            except BaseException:
                log.exception("a callback of a task's future raised")


class BrokerFuture(TaskFuture):
    """The future of a task; comes to a `TaskResult`, whose outcome may hold an error.

    That of a volatile task, which is handed in without a wait, may instead say that there was no room on the disk.
    `cancel` asks the broker to drop the task; it still ends with an outcome that says so.
    """

    def __init__(self, task_id: int, callbacks: Callbacks, drop: Callable[[int], None]):
        super().__init__(task_id)
        self._callbacks, self._drop = callbacks, drop
        self.set_running_or_notify_cancel()

    def add_done_callback(self, fn: Callable[[Future[TaskResult]], object]) -> None:
        """Call `fn` with this future once it is done, in a thread for callbacks."""
        super().add_done_callback(lambda future: self._callbacks.submit(lambda: fn(future)))

    def cancel(self) -> bool:
        """Ask for the task's end; answers whether it had not ended yet."""
        if self.done():
            return False
        self._drop(self.task_id)
        return True

    def settle(self, result: TaskResult) -> None:
        """For the broker alone: the task has left."""
        with suppress(InvalidStateError):
            self.set_result(result)

    def refuse(self, error: SplitPlaceError | None) -> None:
        """For the broker alone: the task was taken on, or was not, and why."""
        if error is not None:
            with suppress(InvalidStateError):
                self.set_exception(error)


class Kept:
    """Results of tasks that ended, for whoever asks again: the newest, up to so many and so many bytes."""

    def __init__(self, most: int = 1000, most_bytes: int = 64 * 2**20):
        self._most, self._most_bytes = most, most_bytes
        self._results: dict[int, TaskResult] = {}
        self._bytes = 0

    def put(self, task: int, result: TaskResult) -> None:
        """One more."""
        self._results[task] = result
        self._bytes += _size_bytes(result)
        while len(self._results) > self._most or self._bytes > self._most_bytes:
            self._bytes -= _size_bytes(self._results.pop(next(iter(self._results))))

    def keeps(self, task: int) -> bool:
        """Whether a task's result is here."""
        return task in self._results

    def result(self, task: int) -> TaskResult:
        """Of a task that ended.

        Raises:
            NotFoundError: It never was, or is not kept any more.
        """
        if task not in self._results:
            raise NotFoundError(f"no task {task}: it never was, or its result is not kept any more")
        return self._results[task]


def _size_bytes(result: TaskResult) -> int:
    return 0 if result.logits is None else result.logits.nbytes
