"""The thread of a device that computes, one thing at a time: orders, as loads and the probe, before micro-batches."""

from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

from splitplace.errors import OverloadedError

Work = Callable[[], Any]
Then = Callable[[Future[Any]], None]

MAX_ORDERS = 4096
"""Loads and probes that may wait."""


class SessionWorker:
    """Idle at first; asked by one thread.

    Args:
        wake: Called when something is done, from whichever thread; then there is something to `collect`.
    """

    def __init__(self, wake: Callable[[], None]):
        self._wake = wake
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="session")
        self._thread.submit(int)  # it begins now: later there may be none to be had
        self._orders: deque[tuple[Work, Then]] = deque()
        self._working: tuple[Future[Any], Then] | None = None

    @property
    def idle(self) -> bool:
        """Whether it has nothing to do, or what it did is not collected yet."""
        return self._working is None

    def order(self, work: Work, then: Then) -> None:
        """Do this when what waits is done.

        Args:
            work: Called in the worker's thread.
            then: Called with what came of it, by `collect`.

        Raises:
            OverloadedError: Too many orders wait.
        """
        if len(self._orders) >= MAX_ORDERS:
            raise OverloadedError(f"{MAX_ORDERS} orders wait here already: send fewer")
        self._orders.append((work, then))

    def start_order(self) -> bool:
        """Begin with the next order; answers whether one waits. To be called while it is idle."""
        if not self._orders:
            return False
        self.start(*self._orders.popleft())
        return True

    def start(self, work: Work, then: Then) -> None:
        """Begin with this; as `order`, but now, and only while it is idle."""
        future = self._thread.submit(work)
        self._working = future, then
        future.add_done_callback(lambda _: self._wake())

    def collect(self) -> None:
        """Take in what has been done."""
        if self._working is not None and self._working[0].done():
            future, then = self._working
            self._working = None
            then(future)
