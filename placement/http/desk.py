"""What becomes of a task that a request asks for: handed to the fleet, waited for, taken back where nobody waits."""

import asyncio
import secrets
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

from splitplace.errors import NotFoundError, UnansweredError
from splitplace.placement.http.body import Hold, unless_gone
from splitplace.placement.http.departures import Departures
from splitplace.placement.http.ids import KnownId, KnownIds, NamedRequest
from splitplace.placement.http.limits import Limits
from splitplace.placement.http.requests import Wish
from splitplace.placement.http.tensors import Array
from splitplace.placement.outcome import TaskFuture, TaskResult, when_settled
from splitplace.placement.serve.kept_word import KeptWord, SilentFleetError, in_time
from splitplace.placement.serve.served import ServedBroker, TakesAtOnce
from splitplace.placement.serve.settled import ended

T = TypeVar("T")

SUBMITTING, ASKING, READING = 16, 4, 2
"""Threads that wait for the fleet to take a task, that ask it for all else, and that decode image files."""
AT_ONCE_BYTES = 2**16
"""What is worth no thread."""
GRACE_S = 1.0
"""Beyond its deadline that a task is waited for: by then a fleet that says anything has said why there is no answer."""
PASSED_S = 1e-3
"""The deadline of a task whose own has passed, and whose answer is wanted all the same."""


@dataclass(frozen=True, eq=False)
class TaskOrder:
    """One task, ready to be handed over."""

    application: str
    images: Array
    labels: Array | None
    wish: Wish
    deadline_s: float
    """What is left of it."""
    key: str | None
    """It is the same task as the first of this key, and goes on whoever leaves."""
    named: NamedRequest | None = None
    """The request, if it has an id, which the key is of."""


class TaskDesk:
    """Between the event loop of the front door and the fleet, which is asked in threads.

    Args:
        broker: The fleet.
        limits: In force.
        clock: Seconds.
    """

    def __init__(self, broker: ServedBroker, limits: Limits, clock: Callable[[], float] = time.monotonic):
        self.broker, self.departures, self.ids = broker, Departures(clock), KnownIds(limits.ids)
        self.status = KeptWord(lambda: self.asking(self.broker.status), limits.status_s, limits.fleet_s, clock)
        """Of the fleet; `SilentFleetError` where it does not."""
        self._fleet_s = limits.fleet_s
        self._nearby = broker if isinstance(broker, TakesAtOnce) else None
        self._submitting = ThreadPoolExecutor(SUBMITTING, "http-submit")
        self._asking = ThreadPoolExecutor(ASKING, "http-ask")
        self._reading = ThreadPoolExecutor(READING, "http-read")
        self._parsing = ThreadPoolExecutor(1, "http-parse")
        self._left_behind: OrderedDict[int, TaskFuture] = OrderedDict()
        """Tasks that nobody waits for, asked for by number."""
        self._found: dict[int, asyncio.Future[TaskFuture]] = {}
        """What the fleet is being asked for by number: once, however many ask here."""
        self._most_left = limits.ids

    def close(self) -> None:
        """Ask no more."""
        self._submitting.shutdown(wait=False, cancel_futures=True)
        self._asking.shutdown(wait=False)  # what takes tasks back is still to be done
        self._reading.shutdown(wait=False, cancel_futures=True)
        self._parsing.shutdown(wait=False, cancel_futures=True)

    async def working(self, work: Callable[[], T]) -> T:
        """What computes or may wait for a disk, in a thread."""
        return await asyncio.get_running_loop().run_in_executor(self._submitting, work)

    async def asking(self, work: Callable[[], T]) -> T:
        """What takes a moment, in a thread."""
        return await asyncio.get_running_loop().run_in_executor(self._asking, work)

    async def reading(self, work: Callable[[], T]) -> T:
        """What decodes image files, in one of few threads: a small file may be a large picture."""
        return await asyncio.get_running_loop().run_in_executor(self._reading, work)

    async def parsing(self, work: Callable[[], T]) -> T:
        """What makes Python's objects of much text, in one thread: they take many times its memory for a moment.

        While it does, no other thread gets on; between two of them the event loop does.
        """
        return await asyncio.get_running_loop().run_in_executor(self._parsing, work)

    async def submit(self, order: TaskOrder, hold: Hold) -> TaskFuture:
        """Hand a task over; it is the fleet's when this returns.

        Args:
            order: The task.
            hold: Of what came in for it: where nobody waits for the fleet any more, it goes on while a thread does.

        Raises:
            UnansweredError: Its deadline has passed already, and no late answer is wanted.
            SilentFleetError: It passed before the fleet took it.
            ConflictError: Its id stands for another request, whose task the fleet has, or the result of it.
            SplitPlaceError: The fleet does not take it.
        """
        if order.deadline_s <= 0 and not order.wish.late:
            raise UnansweredError("its deadline had passed when the request was read: send it sooner, or allow more")
        standing = None if order.named is None else await self._take(order.named)
        task = (order.application, order.images, max(order.deadline_s, PASSED_S), order.labels)
        late, degrade = order.wish.late, order.wish.degrade
        volatile = order.key is None  # its client hears nothing before the answer, and goes with it
        if volatile and self._nearby is not None and order.images.nbytes <= AT_ONCE_BYTES:
            taken = self._nearby.submit_at_once(*task, late=late, degrade=degrade)
            if taken is not None:
                return self._counted(taken)
        hand_over = partial(self.broker.submit, *task, key=order.key, late=late, degrade=degrade, volatile=volatile)
        handing = self._submitting.submit(hand_over)
        submitting = asyncio.wrap_future(handing)
        if order.named is not None and standing is not None:
            submitting.add_done_callback(partial(self._settle, order.named, standing))
        try:
            async with asyncio.timeout(patience_s(order.wish, order.deadline_s)):
                future = await asyncio.shield(submitting)
        except asyncio.CancelledError:
            self._give_up(order, hold, handing, submitting, goes_on=order.key is not None)
            raise
        except TimeoutError:
            self._give_up(order, hold, handing, submitting, goes_on=False)
            raise SilentFleetError(f"the fleet had not taken it {GRACE_S:g} s after its deadline") from None
        return self._counted(future)

    def _give_up(
        self,
        order: TaskOrder,
        hold: Hold,
        handing: "Future[TaskFuture]",
        submitting: "asyncio.Future[TaskFuture]",
        goes_on: bool,
    ) -> None:
        """Nobody waits for the fleet to take a task any more: its deadline has passed, or its client has left."""
        if not goes_on and handing.cancel():  # no thread had begun
            return
        held = hold.hand_on()
        submitting.add_done_callback(lambda _: held.let_go())
        if order.key is None:  # the thread goes on, and nobody will know of its task
            submitting.add_done_callback(self._take_back)

    def _counted(self, future: TaskFuture) -> TaskFuture:
        when_settled(future, lambda ended: self.departures.left() if ended.exception() is None else None)
        return future

    async def _take(self, named: NamedRequest) -> KnownId:
        """Have an id stand for this request; what it stood for may be forgotten by now, which is the fleet's to say."""
        other = self.ids.other(named)
        if other is not None and not await self._is_known(other):
            self.ids.free(named, other)
        return self.ids.take(named)

    async def _is_known(self, task: int) -> bool:
        """Whether a task is under way, or its result is kept."""
        try:
            await self._find(task)
        except NotFoundError:
            return False
        return True

    def _settle(self, named: NamedRequest, standing: KnownId, submitting: "asyncio.Future[TaskFuture]") -> None:
        taken = not submitting.cancelled() and submitting.exception() is None
        self.ids.settle(named, standing, submitting.result().task_id if taken else None)

    def _take_back(self, submitting: "asyncio.Future[TaskFuture]") -> None:
        if not submitting.cancelled() and submitting.exception() is None:
            self._asking.submit(self.broker.cancel, submitting.result().task_id)

    async def result(
        self, future: TaskFuture, gone: Awaitable[None], keep: bool, wait_s: float | None = None
    ) -> TaskResult:
        """What came of a task.

        Args:
            future: Of the task.
            gone: Ends when the client has hung up.
            keep: Whether the task goes on then.
            wait_s: How long to wait for it (`patience_s`); none: as long as it takes.

        Raises:
            ClientGoneError: It has.
            UnansweredError: There is no answer, and why.
            SilentFleetError: The fleet does not say.
            SplitPlaceError: It has ended.
        """
        try:
            async with asyncio.timeout(wait_s):
                return answered(await unless_gone(ended(future), gone))
        except BaseException as error:
            if not keep and not future.done():  # nobody wants it any more: it hung up, or the front door closes
                self._asking.submit(self.broker.cancel, future.task_id)
            if isinstance(error, TimeoutError):
                silent = f"the fleet said nothing until {GRACE_S:g} s after its deadline"
                raise SilentFleetError(f"task {future.task_id} got no answer: {silent}") from None
            raise

    # Tasks that were left behind.

    def leave(self, future: TaskFuture) -> None:
        """Nobody waits for this one now; somebody will ask for it by its number. Its result is the fleet's to keep."""
        self._left_behind[future.task_id] = future
        future.add_done_callback(lambda ended: self._left_behind.pop(future.task_id, None))
        while len(self._left_behind) > self._most_left:
            self._left_behind.popitem(last=False)

    async def _find(self, task: int) -> TaskFuture:
        """The future of a task, one for all who ask: the fleet holds every one that it gives until the task ends.

        Raises:
            NotFoundError: No such task, or its result is not kept any more.
            SplitPlaceError: The fleet has ended.
        """
        future = self._left_behind.get(task)
        if future is not None and not (future.done() and future.exception() is not None):
            return future
        asked = self._found.get(task)
        if asked is None:
            asked = self._found[task] = asyncio.ensure_future(self.asking(partial(self.broker.answer, task)))
            asked.add_done_callback(partial(self._note_found, task))
        return await in_time(asyncio.shield(asked), self._fleet_s)  # who hangs up takes it from nobody else

    def _note_found(self, task: int, asked: "asyncio.Future[TaskFuture]") -> None:
        del self._found[task]
        if not asked.cancelled() and asked.exception() is None:
            self.leave(asked.result())

    async def look(self, task: int, wait_s: float) -> TaskResult | None:
        """What came of a task so far; None while it is under way.

        Args:
            task: Its number.
            wait_s: How long to wait for its end.

        Raises:
            NotFoundError: No such task, or its result is not kept any more.
            SplitPlaceError: The fleet has ended.
        """
        future = await self._find(task)
        with suppress(TimeoutError):
            async with asyncio.timeout(wait_s):
                return await ended(future)
        return None

    async def cancel(self, task: int) -> bool:
        """Take a task back; answers whether it was under way.

        Raises:
            SilentFleetError: The fleet says nothing in time.
        """
        return await in_time(self.asking(partial(self.broker.cancel, task)), self._fleet_s)

    async def retry_after_s(self) -> int:
        """When to come again, by the fleet's queue."""
        tally = (await self.status()).tasks
        self.departures.saw(tally.answered + tally.failed + tally.cancelled)
        return self.departures.retry_after_s(tally.waiting + tally.running)


def patience_s(wish: Wish, left_s: float) -> float | None:
    """How long a task is waited for, by what is left of its deadline; None: as long as it takes."""
    return None if wish.late or wish.detach else max(left_s, 0.0) + GRACE_S


def answered(result: TaskResult) -> TaskResult:
    """A result with logits.

    Raises:
        UnansweredError: It has none, and why.
    """
    if result.logits is None:
        raise UnansweredError(f"task {result.outcome.id} got no answer: {result.outcome.error}")
    return result


def key_of(named: NamedRequest | None, wish: Wish) -> str | None:
    """The key of a request's task: its id's, one of its own for what goes on whoever leaves; else none."""
    if named is not None:
        return named.key
    return secrets.token_hex(16) if wish.detach else None
