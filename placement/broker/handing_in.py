"""Tasks on their way to the loop: held against what is taken on, copied, numbered, and counted until they have left."""

from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from functools import partial
from typing import TypeVar

from splitplace.errors import NotReadyError, SplitPlaceError, UsageError
from splitplace.inference.encoded_images import EncodedImages, encode_images, is_image
from splitplace.placement.broker import events as ev
from splitplace.placement.broker.admission import Admission, as_array, unchanging
from splitplace.placement.broker.answers import BrokerFuture
from splitplace.placement.broker.awaited import Durable, HandedIn
from splitplace.placement.broker.leaving import CANCELLED
from splitplace.placement.broker.loop import Loop
from splitplace.placement.broker.loop_thread import LoopThread
from splitplace.placement.broker.spool import Payload, Spool
from splitplace.placement.broker.state import FleetState
from splitplace.placement.broker.store import Store
from splitplace.placement.callbacks import Callbacks
from splitplace.placement.protocol.fields import MAX_IMAGES, Array, Value, Wire
from splitplace.records.demand import Demand
from splitplace.records.task import wrong_key

T = TypeVar("T")

NO_TASK = -1


class WouldWaitError(Exception):
    """A task's number is too far ahead of those on the disk: it would have to wait for it; or its images for PNG."""


class HandingIn:
    """For any thread, while the loop runs.

    Args:
        thread: The loop's.
        demand: What is on offer.
        wire: How images travel.
    """

    def __init__(self, thread: LoopThread, demand: Demand, wire: Wire = "raw"):
        self._thread, self._changed = thread, thread.changed
        self._next_task = 0
        self._spool: Spool | None = None
        self.draining = False
        self._admission, self._callbacks = Admission(demand), Callbacks()
        self._encoded = _of_images(demand) if wire == "encoded" else frozenset()
        self._sizes: dict[int, int] = {}
        """Bytes of images and labels of each task that has not left; none of those that an earlier broker took on."""

    def take_over(self, state: FleetState, store: Store | None) -> int:
        """What an earlier broker took on is here as well; before the loop's first step.

        Args:
            state: As it left it.
            store: Where images are to be, if they are to outlive this process.

        Returns:
            The first number that is to be given.
        """
        self._spool = None if store is None else store.spool
        self._next_task = state.next_task if store is None else store.first_task(state)
        self._sizes = dict.fromkeys(state.tasks, 0)
        self._admission.take_over(len(state.tasks))
        return self._next_task

    def submit(
        self,
        application: str,
        images: Array,
        deadline_s: float,
        labels: Array | None,
        late: bool,
        degrade: bool,
        key: str | None,
        volatile: bool,
        at_once: bool = False,
    ) -> "tuple[BrokerFuture, Future[None]]":
        """As `Broker.submit`, and with `at_once` as `Broker.submit_at_once`.

        Returns:
            The future of the task's result, and one that is done when the task is taken on: a volatile one is, if its
            number is never given again. Should the disk have no room for its end, its future says so.

        Raises:
            WouldWaitError: It was to be taken `at_once`, and is not yet when this returns; nothing is handed in.
        """
        now_s = self._loop.fleet.now_s()
        images, labels = as_array("images", images), None if labels is None else as_array("labels", labels)
        if wrong := wrong_key(key):
            raise UsageError(f"a key {wrong}")
        try:
            self._admission.check(application, images, labels, deadline_s)
        except SplitPlaceError:
            if key is None or (known := self._ask_again(key)) is None:
                raise
            return known
        if at_once and application in self._encoded:
            raise WouldWaitError  # who cannot wait for a disk makes no PNG meanwhile either
        size_bytes = images.nbytes + (0 if labels is None else labels.nbytes)
        with self._changed:
            self._not_stopping()
            self._admission.take(size_bytes)
        payload: Payload | None = None
        try:  # only what was admitted is copied, encoded and brought to the disk, and not under the lock
            travelling = encode_images(images) if application in self._encoded else unchanging(images)
            if self._spool is not None and not volatile:
                payload = self._spool.prepare(travelling)
            event = ev.TaskAccepted(
                at_s=now_s,
                task=0,
                application=application,
                n=len(images),
                deadline_s=float(deadline_s),
                inputs="",
                encoded=isinstance(travelling, EncodedImages),
                labels=None if labels is None else labels.astype("<i8").tobytes(),
                late=late,
                degrade=degrade,
                key=key,
            )
            return self._hand_in(event, travelling, payload, size_bytes, volatile, at_once)
        except BaseException:
            if payload is not None:
                payload.discard()
            with self._changed:
                self._admission.left(size_bytes)
            raise

    def _ask_again(self, key: str) -> "tuple[BrokerFuture, Future[None]] | None":
        """The task that this key stands for, if there is one: what a new task is held against is nothing to it."""
        answer, written = BrokerFuture(NO_TASK, self._callbacks, self.drop), Future[None]()
        found = self._from_loop(lambda loop: loop.awaited.ask_again(key, answer, partial(_settle, written)))
        return (answer, written) if found else None

    def _hand_in(
        self,
        event: ev.TaskAccepted,
        images: Value,
        payload: Payload | None,
        size_bytes: int,
        volatile: bool,
        at_once: bool,
    ) -> "tuple[BrokerFuture, Future[None]]":
        written: Future[None] = Future()
        with self._changed:
            self._not_stopping()
            task = self._next_task
            covered = volatile and task < self._loop.never_again
            if at_once and not covered:
                raise WouldWaitError
            self._next_task += 1
            self._sizes[task] = size_bytes
            answer = BrokerFuture(task, self._callbacks, self.drop)
            numbered = event.model_copy(update={"task": task})
            durable: Durable = partial(_settle, written)
            if covered:  # nobody is told more of it before its end
                durable = answer.refuse
                written.set_result(None)
            self._thread.put(HandedIn(numbered, images, answer, durable, volatile, payload))
        return answer, written

    def answer(self, task_id: int) -> BrokerFuture:
        """As `Broker.answer`."""
        answer = BrokerFuture(task_id, self._callbacks, self.drop)
        error = self._from_loop(lambda loop: loop.awaited.await_answer(answer))
        if error is not None:
            raise error
        return answer

    def _from_loop(self, ask: Callable[[Loop], T]) -> T:
        """What the loop's thread answers to this, between two of its steps."""
        found = Future[T]()

        def answer(loop: Loop) -> None:
            try:
                found.set_result(ask(loop))
            except Exception as error:  # noqa: BLE001 - who asks for what cannot be meant hears of it, nobody else does
                found.set_exception(error)

        if not self._thread.post(answer):
            raise NotReadyError(self._thread.end_reason)
        return self._thread.result(found)

    def has(self, task_id: int) -> bool:
        """Whether a task is here, or on its way: until who waits for it has been told of its end."""
        with self._changed:
            return task_id in self._sizes

    def drop(self, task_id: int) -> None:
        """Nobody wants the task any more."""
        now_s = self._loop.fleet.now_s()
        self._thread.post(ev.TaskCancelled(at_s=now_s, task=task_id, reason=CANCELLED))

    @contextmanager
    def leaving(self, task: int) -> Iterator[None]:
        """It has ended, and in this context who waits for it is told; for the loop's thread.

        Whoever hears of it finds the room that it made, and who drains hears of it last.
        """
        with self._changed:
            yield
            self._admission.left(self._sizes.pop(task, 0))
            self._changed.notify_all()

    def drain(self) -> None:
        """Take no more tasks, and return when all have ended, or the loop has."""
        with self._changed:
            self.draining = True
            self._changed.wait_for(lambda: self._thread.stopping or not self._sizes)

    @property
    def _loop(self) -> Loop:
        assert self._thread.loop is not None
        return self._thread.loop

    def _not_stopping(self) -> None:
        self._thread.not_stopping()
        if self.draining:
            raise NotReadyError("the fleet is draining: it takes no more tasks")


def _of_images(demand: Demand) -> frozenset[str]:
    """The applications whose splits all take images, in micro-batches whose header lists the size of each."""
    others = {
        entry.split.application
        for entry in demand.splits
        if not is_image(entry.split.inputs[0]) or entry.micro_batch > MAX_IMAGES
    }
    return frozenset(entry.split.application for entry in demand.splits) - others


def _settle(written: "Future[None]", error: SplitPlaceError | None) -> None:
    if error is None:
        written.set_result(None)
    else:
        written.set_exception(error)
