"""Whoever waits for a task may have a function called when it is done: where such functions run."""

import logging
import queue
import threading
from collections.abc import Callable

log = logging.getLogger(__name__)

MAX_THREADS = 8


class Callbacks:
    """Runs users' callbacks in threads of their own, so that one that takes long, asks or raises holds up no answer."""

    def __init__(self) -> None:
        self._queue: queue.SimpleQueue[Callable[[], object]] = queue.SimpleQueue()
        self._threads = self._idle = 0
        self._counting = threading.Lock()

    def submit(self, work: Callable[[], object]) -> None:
        """Run this soon; when more than `MAX_THREADS` are still running, after one of them."""
        self._queue.put(work)
        with self._counting:
            if self._idle < self._queue.qsize() and self._threads < MAX_THREADS:
                try:
                    threading.Thread(target=self._run, name="task-callbacks", daemon=True).start()
                except RuntimeError as error:  # one that runs takes it, or the next that can be started
                    log.warning("a callback of a task's future waits: %s", error)
                else:
                    self._threads += 1

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
