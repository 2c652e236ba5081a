"""What the fleet says to one question: asked once however many want to know, and waited for no longer than that."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

from splitplace.errors import NotReadyError

T = TypeVar("T")


class SilentFleetError(NotReadyError):
    """The fleet says nothing in time, nor would it say when to come again."""

    retry_after_s = 5


async def in_time(work: Awaitable[T], patience_s: float) -> T:
    """What the fleet answers.

    Raises:
        SilentFleetError: It says nothing for so long: its process is stopped, or has far too much to do.
    """
    try:
        async with asyncio.timeout(patience_s):
            return await work
    except TimeoutError:
        raise SilentFleetError(f"the fleet did not answer within {patience_s:g} s: look whether it runs") from None


class KeptWord(Generic[T]):
    """The answer to one question; its coroutines are of one event loop.

    Args:
        ask: Asks the fleet.
        kept_s: How long what it says is taken for true; why it says nothing is asked anew. What took longer than
            anybody waits is kept until they come again: else, of a slow fleet, nobody would ever hear.
        patience_s: How long whoever wants to know waits for it.
        clock: Seconds.
    """

    def __init__(
        self,
        ask: Callable[[], Awaitable[T]],
        kept_s: float,
        patience_s: float,
        clock: Callable[[], float] = time.monotonic,
    ):
        self._ask, self._kept_s, self._patience_s, self._clock = ask, kept_s, patience_s, clock
        self._said: tuple[T, float] | None = None
        """And until when it is kept."""
        self._asked_s = 0.0
        self._asked: asyncio.Future[T] | None = None

    async def __call__(self) -> T:
        """What it says.

        Raises:
            SilentFleetError: Nothing, in time.
            SplitPlaceError: It cannot be asked.
        """
        if self._said is not None and self._clock() < self._said[1]:
            return self._said[0]
        if self._asked is None:
            self._asked_s = self._clock()
            self._asked = asyncio.ensure_future(self._ask())
            self._asked.add_done_callback(self._note)
        return await in_time(asyncio.shield(self._asked), self._patience_s)

    def _note(self, asked: "asyncio.Future[T]") -> None:
        self._asked = None
        if not asked.cancelled() and asked.exception() is None:
            now_s = self._clock()
            took_s = now_s - self._asked_s
            late = took_s > self._patience_s
            self._said = asked.result(), now_s + (took_s + SilentFleetError.retry_after_s if late else self._kept_s)
