"""The thread that a broker's loop runs in: begun, handed what other threads have, and ended, whatever goes wrong."""

import os
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, wait
from contextlib import AbstractContextManager, suppress
from typing import Any, TypeVar

from splitplace.errors import NotReadyError
from splitplace.placement.broker.loop import Loop, Post
from splitplace.placement.protocol import fields
from splitplace.placement.protocol.stream import drain

T = TypeVar("T")


class LoopThread:
    """One loop's; it runs once. Its methods are for other threads.

    Args:
        opened: Makes the loop, in the thread, and gives back what it took when the context ends.
    """

    def __init__(self, opened: "Callable[[LoopThread], AbstractContextManager[Loop]]"):
        self.changed = threading.Condition(threading.Lock())
        """Held by who hands something in, or asks whether that can still be; told when that, or what waits, changes."""
        self.loop: Loop | None = None
        self.stopping = False
        self.woken = -1
        """A descriptor that can be read when there is something new for the loop."""
        self.failure: BaseException | None = None
        self.end_reason = "the broker was stopped"
        self._opened = opened
        self.process = 0
        """In which the loop runs, once it was started."""
        self._posts: deque[Post] = deque()
        self._up: Future[None] = Future()
        self._over: Future[None] = Future()
        self._wake = -1

    @property
    def begun(self) -> bool:
        """Whether it was started, also if it has ended since."""
        return self.woken != -1

    @property
    def ended(self) -> bool:
        """Whether it runs no more: it was ended, or has failed."""
        return self._over.done()

    def start(self) -> None:
        """Begin; returns when the loop is there. What goes wrong until then is raised, with nothing left behind."""
        self.process = os.getpid()
        self.woken, self._wake = os.pipe()
        os.set_blocking(self.woken, False)
        os.set_blocking(self._wake, False)
        threading.Thread(target=self._run, name="broker", daemon=True).start()
        try:
            self._up.result()
        except BaseException:
            self.end()
            raise

    def end(self) -> None:
        """Have the loop end, within a tick and the bounded time that its devices take, and wait for that."""
        self.stopping = True
        self._notify()
        self._over.exception()
        with self.changed:  # whoever hands something in has still found it running, and wakes it
            os.close(self.woken)
            os.close(self._wake)

    def check(self) -> None:
        """Raise what the loop failed of, once it has ended."""
        self._over.result()

    @property
    def elsewhere(self) -> bool:
        """Whether this is another process: forked from the one in which the loop runs, with its memory, without it."""
        return self.begun and os.getpid() != self.process

    def post(self, post: Post) -> bool:
        """Hand something to the loop; answers whether it still takes any."""
        if self.elsewhere:  # whoever held the lock when this process was forked off does not let go of it here
            return False
        with self.changed:
            if self.stopping:
                return False
            self.put(post)
        return True

    def put(self, post: Post) -> None:
        """As `post`, for who holds `changed` and has found that the loop is not to end."""
        self._posts.append(post)
        self._notify()

    def wake(self) -> None:
        """Have the loop look again."""
        with self.changed:
            if not self.stopping:
                self._notify()

    def not_stopping(self) -> None:
        """Refuse what cannot be handed in any more; for who holds `changed`.

        Raises:
            NotReadyError: The loop is to end, or has.
        """
        if self.stopping:
            raise NotReadyError(self.end_reason) from self.failure

    def result(self, future: "Future[T]") -> T:
        """What the loop says to something that it was handed, however long it takes.

        Raises:
            NotReadyError: It has ended, and says no more.
        """
        either: tuple[Future[Any], ...] = (future, self._over)
        wait(either, return_when=FIRST_COMPLETED)
        if not future.done():
            raise NotReadyError(self.end_reason) from self.failure
        return future.result()

    def taken(self) -> Iterator[Post]:
        """What was handed in; for the loop's own thread."""
        drain(self.woken)  # before looking, or a wake-up for a task that came in between would be lost
        while self._posts:
            yield self._posts.popleft()

    def _notify(self) -> None:
        with suppress(BlockingIOError):  # a full pipe wakes as well
            os.write(self._wake, b"!")

    def _run(self) -> None:
        """Nothing escapes it, what goes wrong is found in `_up` and `_over`."""
        try:
            with self._opened(self) as loop:
                self.loop = loop
                self._up.set_result(None)
                try:
                    while not self.stopping:
                        loop.step(self.taken())
                finally:
                    self._abandon(sys.exception())
        except BaseException as error:  # noqa: BLE001 - handed to the thread that enters or leaves the broker
            if self.loop is None:
                self._abandon(error)
            if not self._up.done():
                self._up.set_exception(error)
            self._over.set_exception(error)
        else:
            self._over.set_result(None)

    def _abandon(self, error: BaseException | None) -> None:
        """Let nobody wait for a loop that is gone."""
        with self.changed:
            self.stopping, self.failure = True, error
            self.changed.notify_all()
            if error is not None:
                self.end_reason = fields.text(f"the broker failed: {error!r}")
        if self.loop is not None:
            self.loop.close(self.end_reason, self.taken())
