"""The broker: devices up, tasks in, answers out. What a program embeds to run splits on a live fleet."""

import os
import sys
import threading
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np

from splitplace.errors import NotFoundError, NotReadyError, UsageError
from splitplace.inference.cpu_share import ShareMethod
from splitplace.placement.broker import history as book
from splitplace.placement.broker.admission import Admission
from splitplace.placement.broker.fleet import LiveFleet
from splitplace.placement.broker.history import History
from splitplace.placement.broker.meter import DeviceReport
from splitplace.placement.broker.scheduler import Scheduler
from splitplace.placement.broker.task import CANCELLED, Live
from splitplace.placement.engines.engine import Engine
from splitplace.placement.outcome import TaskFuture, TaskOutcome
from splitplace.placement.policy import Policy
from splitplace.placement.protocol import messages
from splitplace.placement.protocol.stream import drain
from splitplace.records.demand import Demand
from splitplace.records.device import Device
from splitplace.records.fleet_status import DeviceStatus, FleetStatus, TaskTally
from splitplace.records.task import Task

KEPT_ANSWERS = 1000
"""Results that can still be asked for after their tasks have ended: the newest."""


class Broker:
    """A live fleet, as a context manager: devices are up inside, and nothing of them is left outside.

    Args:
        devices: Single devices (`Device.units`), each with a name of its own.
        demand: The splits on offer, with their costs.
        catalog: Folder of the OCI image layout (`blobs/sha256/...`) that holds their fragments.
        policy: Decides and places.
        engine: Launches the devices.
        seed: Of the policy's randomness.
        cpu_shares: Emulated share of this machine's cores by device name; 1.0 where not given.
        cpu_share_method: How the shares are kept; `auto` takes a cgroup quota where allowed.
        precedence: `pipelined` by micro-batch, or `strict`: a fragment starts when the former has finished the task.
        window: Micro-batches a sender may have under way on one stream.
        journal: File for the events of the run, besides `events`.
        task_timeout_s: A task without an answer for so long fails.
        states: What the policy remembers from an earlier run.
    """

    def __init__(
        self,
        devices: Sequence[Device],
        demand: Demand,
        catalog: Path,
        policy: Policy,
        engine: Engine,
        *,
        seed: int = 0,
        cpu_shares: Mapping[str, float] | None = None,
        cpu_share_method: ShareMethod = "auto",
        precedence: messages.Precedence = "pipelined",
        window: int = 4,
        journal: Path | None = None,
        task_timeout_s: float = 300.0,
        states: Any | None = None,
    ):
        self.devices, self.demand, self.catalog = tuple(devices), demand, catalog
        self.policy, self.engine = policy, engine
        self._seed, self._shares, self._method = seed, dict(cpu_shares or {}), cpu_share_method
        self._precedence, self._window, self._task_timeout_s, self._states = precedence, window, task_timeout_s, states
        self._journal = History(journal)
        self._arrivals: deque[Live] = deque()
        self._cancelled: deque[int] = deque()
        self._submitting = threading.Lock()
        """Over what `submit` adds to, and over the end of the pipe it wakes the loop with."""
        self._pending: dict[int, TaskFuture] = {}
        self._kept: dict[int, TaskFuture] = {}
        """Of tasks that have ended, the oldest first."""
        self._keys: dict[str, int] = {}
        self._counts = {"answered": 0, "failed": 0, "cancelled": 0}
        self._drained = threading.Condition(self._submitting)
        self._accepting = True
        self._next_task = 0
        self._admission = Admission(demand)
        self._scheduler: Scheduler | None = None
        self._stopping = False
        self._failure: BaseException | None = None
        self._end_reason = "the broker was stopped"
        self._up: Future[None] = Future()
        self._over: Future[None] = Future()
        self._woken, self._wake = -1, -1

    # Lifecycle.

    def __enter__(self) -> Self:
        """Bring the devices up.

        Raises:
            SplitPlaceError: A device did not come up, or some fragment fits none.
        """
        self.demand.check_fits(self.devices)
        self._woken, self._wake = os.pipe()
        os.set_blocking(self._woken, False)
        os.set_blocking(self._wake, False)
        threading.Thread(target=self._run, name="broker", daemon=True).start()
        try:
            self._up.result()
        except BaseException:
            self._end()
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._end()
        if error is None:
            self._over.result()

    def _end(self) -> None:
        self._stopping = True
        self._notify()
        # The loop ends within a tick and ends its devices in bounded time.
        self._over.exception()
        with self._submitting:  # whoever is inside `submit` has still found the broker up, and wakes it
            os.close(self._woken)
            os.close(self._wake)
        self._journal.close()

    def _notify(self) -> None:
        with suppress(BlockingIOError):  # a full pipe wakes as well
            os.write(self._wake, b"!")

    def _run(self) -> None:
        """The broker's thread: nothing escapes it, what goes wrong is found in `_up` and `_over`."""
        try:
            fleet = LiveFleet(self.devices, self.engine, self.catalog, self._shares, self._method, self._woken)
            try:
                fleet.start(lambda: self._stopping)
                self._scheduler = self._schedule(fleet)
                self._up.set_result(None)
                while not self._stopping:
                    self._scheduler.step(self._taken(), self._unwanted())
            finally:
                self._abandon(sys.exception())
                fleet.close()
        except BaseException as error:  # noqa: BLE001 - handed to the thread that enters or leaves the broker
            if not self._up.done():
                self._up.set_exception(error)
            self._over.set_exception(error)
        else:
            self._over.set_result(None)

    def _schedule(self, fleet: LiveFleet) -> Scheduler:
        self._journal.append(
            book.Start(
                created=(datetime.now(UTC) - timedelta(seconds=fleet.now_s())).isoformat(timespec="milliseconds"),
                policy=self.policy.name,
                engine=self.engine.name,
                precedence=self._precedence,
                devices=tuple(fleet.members),
            )
        )
        for member in fleet.members.values():
            assert member.hello is not None
            self._journal.append(
                book.DeviceUp(
                    at_s=member.up_since_s,
                    device=member.name,
                    pid=member.hello.pid,
                    cpu_share=member.hello.cpu_share,
                    cpu_share_method=member.hello.cpu_share_method,
                    core_speed=member.core_speed,
                )
            )
        return Scheduler(
            fleet,
            self.demand,
            self.policy,
            self._seed,
            self._journal,
            precedence=self._precedence,
            window=self._window,
            task_timeout_s=self._task_timeout_s,
            states=self._states,
        )

    def _taken(self) -> Iterator[Live]:
        drain(self._woken)  # before looking, or a wake-up for a task that came in between would be lost
        while self._arrivals:
            yield self._arrivals.popleft()

    def _unwanted(self) -> Iterator[int]:
        while self._cancelled:
            yield self._cancelled.popleft()

    def _abandon(self, error: BaseException | None) -> None:
        """Let no task wait for a broker that is gone."""
        with self._submitting:
            self._stopping, self._failure = True, error
            if error is not None:
                self._end_reason = messages.text(f"the broker failed: {error!r}")
        if self._scheduler is not None:
            self._scheduler.abandon(self._end_reason, self._taken())

    # Tasks.

    def submit(
        self,
        application: str,
        images: messages.Array,
        deadline_s: float,
        labels: messages.Array | None = None,
        *,
        key: str | None = None,
        late: bool = False,
        degrade: bool = False,
    ) -> TaskFuture:
        """Ask for the classes of some images; from any thread.

        Args:
            application: One that the demand has splits for.
            images: (n, ...), n > 0, by the contract of the application's splits; copied, so the caller may go on to use
                its buffer.
            deadline_s: From now.
            labels: True classes, integers (n,); without them p comes from the split's evaluation.
            key: Of the caller's choice: a second task of the same key is the first one, and gets its result.
            late: Whether an answer after the deadline is wanted; it is given in any case.
            degrade: Not yet: expected False.

        Returns:
            A future that always comes to a `TaskResult`, whose outcome may hold an error.

        Raises:
            UsageError: Unknown application.
            OverloadedError: Too many tasks wait, or too many bytes of images.
            SplitPlaceError: Images or labels that are not by contract, or the broker is down.
        """
        scheduler = self._running()
        now_s = scheduler.fleet.now_s()
        if degrade:
            raise UsageError("this broker answers with all branches or not at all: leave out degrade")
        self._admission.check(application, images, labels, deadline_s)
        size_bytes = images.nbytes + (0 if labels is None else labels.nbytes)
        with self._submitting:
            if key is not None and (known := self._find(self._keys.get(key))):
                return known
            self._not_stopping()
            self._admission.take(size_bytes)
        try:  # only what was admitted is copied, and not under the lock
            images, labels = np.array(images, order="C"), None if labels is None else np.array(labels)
            return self._take_in(application, images, labels, deadline_s, now_s, size_bytes, key)
        except BaseException:
            with self._submitting:
                self._admission.left(size_bytes)
            raise

    def _take_in(
        self,
        application: str,
        images: messages.Array,
        labels: messages.Array | None,
        deadline_s: float,
        now_s: float,
        size_bytes: int,
        key: str | None,
    ) -> TaskFuture:
        with self._submitting:
            self._not_stopping()
            task = Task(
                id=self._next_task,
                application=application,
                n=len(images),
                deadline_s=float(deadline_s),
                arrival_s=now_s,
            )
            self._next_task += 1
            live = Live(task, images, labels, TaskFuture(task.id, key))
            live.future.set_running_or_notify_cancel()
            live.future.add_done_callback(lambda _: self._left(live.future, size_bytes))
            self._pending[task.id] = live.future
            if key is not None:
                self._keys[key] = task.id
            self._arrivals.append(live)
            self._notify()
        return live.future

    def answer(self, task_id: int) -> TaskFuture:
        """The result of a task: to come, or kept of one that has ended; from any thread.

        Raises:
            NotFoundError: No such task, or its result is not kept any more.
        """
        with self._submitting:
            found = self._find(task_id)
        if found is None:
            raise NotFoundError(f"no task {task_id}: it never was, or its result is not kept any more")
        return found

    def cancel(self, task_id: int) -> bool:
        """Take a task back, from any thread: it fails, and its devices are told. Answers whether it was under way."""
        with self._submitting:
            if task_id not in self._pending or self._stopping:
                return False
            self._cancelled.append(task_id)
            self._notify()
        return True

    def drain(self) -> None:
        """Take no more tasks, and return when all have ended."""
        with self._drained:
            self._accepting = False
            self._drained.wait_for(lambda: not self._pending)

    def _find(self, task_id: int | None) -> TaskFuture | None:
        return None if task_id is None else self._pending.get(task_id) or self._kept.get(task_id)

    def _not_stopping(self) -> None:
        if self._stopping:
            raise NotReadyError(self._end_reason) from self._failure
        if not self._accepting:
            raise NotReadyError("the fleet is draining: it takes no more tasks")

    def _left(self, future: TaskFuture, size_bytes: int) -> None:
        error = future.result().outcome.error
        with self._drained:
            self._admission.left(size_bytes)
            self._counts["answered" if error is None else "cancelled" if error == CANCELLED else "failed"] += 1
            self._kept[future.task_id] = self._pending.pop(future.task_id)
            if len(self._kept) > KEPT_ANSWERS:
                oldest = self._kept.pop(next(iter(self._kept)))
                self._keys.pop(oldest.key or "", None)
            self._drained.notify_all()

    # What it knows.

    def status(self) -> FleetStatus:
        """Devices and tasks at this moment; from any thread."""
        scheduler = self._running()
        ledger, now_s = scheduler.dispatcher.ledger, scheduler.fleet.now_s()
        devices = []
        for member in scheduler.members:
            rows = ledger.rows(member.row) if member.up else ()
            named = (scheduler.statics.names_F[row] for row in rows if ledger.is_loaded(row, member.row))
            devices.append(
                DeviceStatus(
                    name=member.name,
                    up=member.up,
                    suspected=False,
                    pid=member.hello.pid if member.hello and member.up else None,
                    cpu_share=member.cpu_share,
                    busy_share=member.meter.busy(now_s) if member.up else 0.0,
                    memory_bytes=int(ledger.capacity_bytes_D[member.row]),
                    memory_used_bytes=int(ledger.account_bytes_D[member.row]),
                    fragments=tuple(f"{self.demand.splits[split].split.reference}/{name}" for split, name in named),
                    micro_batches_run=member.meter.micro_batches_run,
                )
            )
        with self._submitting:
            counts, pending = dict(self._counts), len(self._pending)
            accepting = self._accepting and not self._stopping
        running = sum(live.job is not None for live in tuple(scheduler.tasks.values()))
        tasks = TaskTally(waiting=max(pending - running, 0), running=running, **counts)
        return FleetStatus(
            policy=self.policy.name, uptime_s=now_s, accepting=accepting, devices=tuple(devices), tasks=tasks
        )

    @property
    def ended(self) -> bool:
        """Whether it runs no more: it was ended, or has failed."""
        return self._over.done()

    @property
    def events(self) -> tuple[book.Event, ...]:
        """The journal so far."""
        return tuple(self._journal.events)

    @property
    def outcomes(self) -> tuple[TaskOutcome, ...]:
        """Of every task that has left, in that order."""
        return tuple(event.outcome for event in self.events if isinstance(event, book.Finish))

    @property
    def decision_s(self) -> tuple[float, ...]:
        """Wall-clock of every `plan` so far."""
        return tuple(self._running().decision_s)

    @property
    def failed_plans(self) -> int:
        """How many plans the policy failed; the events `plan_failed` say of what."""
        return self._running().failed_plans

    @property
    def states(self) -> Any:
        """What the policy remembers now."""
        return self._running().states

    @property
    def wall_s(self) -> float:
        """Seconds since the run's clock started."""
        return self._running().fleet.now_s()

    @property
    def ram_utilisation(self) -> float:
        """Mean over time and devices of the memory in use, by the broker's account."""
        scheduler = self._running()
        return scheduler.dispatcher.ledger.utilisation(scheduler.fleet.now_s())

    def reports(self) -> tuple[DeviceReport, ...]:
        """What each device is and did so far."""
        scheduler = self._running()
        ledger, now_s = scheduler.dispatcher.ledger, scheduler.fleet.now_s()
        return tuple(
            member.report(
                scheduler.members[0],
                float(ledger.capacity_bytes_D[member.row]),
                float(ledger.peak_bytes_D[member.row]),
                now_s,
            )
            for member in scheduler.members
        )

    def _running(self) -> Scheduler:
        if self._scheduler is None:
            raise NotReadyError("the broker was not started: use it in a with statement")
        return self._scheduler
