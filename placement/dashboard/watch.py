"""Follows a fleet while somebody watches: asks it once a second, in a thread, and tells every watcher what has changed.

A watcher has no queue: it is told what changed since it was told last, whenever it has taken that. One that reads
slowly is told less often, and costs no more memory than one message, which `Board` bounds.

A fleet that says nothing, as when its process is stopped, is waited for in one thread, and its watchers are told so.
"""

import asyncio
import json
import logging
import threading
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from functools import partial
from typing import Any

from splitplace.errors import NotFoundError, OverloadedError, SplitPlaceError
from splitplace.placement.dashboard.board import Board
from splitplace.placement.serve.kept_word import KeptWord, SilentFleetError, in_time
from splitplace.placement.serve.served import ServedBroker

log = logging.getLogger(__name__)

Asking = Callable[[Callable[[], Any]], Awaitable[Any]]

TICK_S = 1.0
PAGES = 16
"""Of the history that are read in a tick; what a busier fleet has beyond them is read in the next, or forgotten."""
LINGER_S = 60.0
"""How long the fleet is followed when nobody watches any more: who loads the page again finds all of it."""


class FleetWatch:
    """Of one front door. Its coroutines are of one event loop.

    Args:
        broker: The fleet.
        asking: Awaits work in a thread.
        watchers: How many may watch at once.
        of_one: And of one token.
        fleet_s: How long the fleet may take to answer before that is said.
        tick_s: How often the fleet is asked.
    """

    def __init__(
        self, broker: ServedBroker, asking: Asking, watchers: int, of_one: int, fleet_s: float, tick_s: float = TICK_S
    ):
        self._broker, self._asking, self._fleet_s, self._tick_s = broker, asking, fleet_s, tick_s
        self._word = KeptWord(lambda: asking(self._ask), 0.0, fleet_s)
        self._most, self._most_of_one = watchers, of_one
        self._watching: Counter[str] = Counter()
        """By the name of their token; that of those who need none is empty."""
        self._board, self._reading = Board(), threading.Lock()
        self._ticks = 0
        self._gone = ""
        """Why the fleet does not answer, if it does not."""
        self._latest: tuple[int, bytes] | None = None
        """What was told last, with the version that it tells from: most watchers are told the same."""
        self._news = asyncio.Event()
        self._following: asyncio.Task[None] | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self.closed = False

    @property
    def watchers(self) -> int:
        """How many watch."""
        return self._watching.total()

    def close(self) -> None:
        """Tell nobody any more; from any thread."""
        self.closed = True
        if self._loop is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._news.set)

    def check_room(self, whose: str) -> None:
        """Refuse one more watcher where there is no room.

        Args:
            whose: The name of his token; empty where none is asked for, and all watchers are of this machine.

        Raises:
            OverloadedError: As many as may watch do, or as many of his token's.
        """
        if whose and self._watching[whose] >= self._most_of_one:
            own = f"{self._most_of_one} pages of the token {whose} are told of this fleet already"
            raise OverloadedError(f"{own}: close one of them")
        if self.watchers >= self._most:
            raise OverloadedError(f"{self._most} pages are told of this fleet already: close one of them")

    async def messages(self, allowed: Callable[[], bool], whose: str) -> AsyncIterator[bytes]:
        """Server-sent events, for one watcher: everything, then what changes; of one too many, none.

        Who has `check_room` asked before may find it taken when he begins: his stream ends, and he asks again.

        Args:
            allowed: Whether this one may still watch; asked before each message.
            whose: As there.
        """
        try:
            self.check_room(whose)
        except OverloadedError:
            return
        self._watching[whose] += 1
        try:
            self._follow()
            tick = seen = 0
            yield b"retry: 2000\n\n"
            while not self.closed:
                news = self._news  # before looking: what comes meanwhile sets it
                if self._ticks == tick:
                    await news.wait()
                    continue
                if not allowed():
                    return
                tick = self._ticks
                seen, message = await self._told(seen)
                yield message
        finally:
            self._watching[whose] -= 1
            self._watching += Counter()  # without those who have left

    async def task(self, number: int) -> bytes:
        """A task's waterfall, as JSON.

        Raises:
            NotFoundError: It is not known here, or was not followed from its beginning.
            SilentFleetError: The fleet says nothing, and every thread waits for it.
        """
        self._follow()
        found: dict[str, Any] | None = await in_time(self._asking(partial(self._waterfall, number)), self._fleet_s)
        if found is None:
            raise NotFoundError(f"task {number}: not one of the last tasks, or not followed from its beginning")
        return _json(found)

    def _waterfall(self, number: int) -> dict[str, Any] | None:
        with self._reading:
            return self._board.task(number)

    # The fleet is followed by one coroutine, which ends when nobody has watched for a while.

    def _follow(self) -> None:
        self._loop = asyncio.get_running_loop()
        if self._following is None or self._following.done():
            self._ticks = 0  # what was known when nobody watched any more is not told as news
            self._following = asyncio.create_task(self._until_nobody_watches())

    async def _until_nobody_watches(self) -> None:
        alone_s = 0.0
        while not self.closed and alone_s < LINGER_S:
            try:
                gone = await self._word()  # no more than one question is under way, however long it takes
            except SilentFleetError as error:
                gone = str(error)
            self._gone, self._ticks = gone, self._ticks + 1
            self._news.set()
            self._news = asyncio.Event()
            await asyncio.sleep(self._tick_s)
            alone_s = 0.0 if self.watchers else alone_s + self._tick_s

    def _ask(self) -> str:
        """In a thread: what happened, and the fleet as it is; why there is nothing to be had, if so."""
        try:
            pages = []
            run, after = self._board.run, self._board.next
            for _ in range(PAGES):
                page = self._broker.history(after)
                if page.run != run:  # another process, which counts from 0
                    run, after = page.run, 0
                    page = self._broker.history(after)
                pages.append(page)
                if page.next == after:
                    break
                after = page.next
            status = self._broker.status()
            with self._reading:
                for page in pages:
                    self._board.take(page)
                self._board.look(status)
                self._latest = None
        except SplitPlaceError as error:
            return " ".join(str(error).split())[:300]
        except Exception:
            log.exception("the fleet cannot be followed")
            return "the front door failed: its log has why"
        return ""

    async def _told(self, seen: int) -> tuple[int, bytes]:
        """What a watcher is told that was told all until a version, and until which one it is then."""
        if gone := self._gone:
            return seen, _event("gone", {"reason": gone})
        try:
            return await in_time(self._asking(partial(self._message, seen)), self._fleet_s)
        except SilentFleetError as error:  # every thread waits for it
            return seen, _event("gone", {"reason": str(error)})

    def _message(self, seen: int) -> tuple[int, bytes]:
        """In a thread: the same of a fleet that answers."""
        with self._reading:
            if self._latest is None or self._latest[0] != seen:
                self._latest = seen, _event("state", self._board.since(seen))
            return self._board.version, self._latest[1]


def _event(kind: str, document: dict[str, Any]) -> bytes:
    return b"event: %s\ndata: %s\n\n" % (kind.encode(), _json(document))


def _json(document: dict[str, Any]) -> bytes:
    return json.dumps(document, allow_nan=False, separators=(",", ":")).encode()
