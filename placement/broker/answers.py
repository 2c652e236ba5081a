"""What a client waits on: a future whose callbacks are nobody's concern but their own."""

from collections.abc import Callable
from concurrent.futures import InvalidStateError
from contextlib import suppress

from splitplace.errors import NotFoundError, SplitPlaceError
from splitplace.placement.callbacks import Callbacks
from splitplace.placement.outcome import TaskFuture, TaskResult


class BrokerFuture(TaskFuture):
    """The future of a task; comes to a `TaskResult`, whose outcome may hold an error.

    That of a volatile task, which is handed in without a wait, may instead say that there was no room on the disk.
    `cancel` asks the broker to drop the task; it still ends with an outcome that says so.
    """

    def __init__(self, task_id: int, callbacks: Callbacks, drop: Callable[[int], None]):
        super().__init__(task_id, callbacks=callbacks)
        self._drop = drop
        self.set_running_or_notify_cancel()

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
