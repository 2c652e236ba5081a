"""The broker: devices up, tasks in, answers out. What a program embeds to run splits on a live fleet."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from splitplace.errors import NotReadyError
from splitplace.inference.cpu_share import ShareMethod
from splitplace.inference.encoded_images import check_decodes
from splitplace.open_files import check_open_files
from splitplace.placement.broker import events as ev
from splitplace.placement.broker.answers import BrokerFuture
from splitplace.placement.broker.fleet import LiveFleet
from splitplace.placement.broker.handing_in import HandingIn, WouldWaitError
from splitplace.placement.broker.history import History
from splitplace.placement.broker.loop import Loop
from splitplace.placement.broker.loop_thread import LoopThread
from splitplace.placement.broker.observed import ObservedRun
from splitplace.placement.broker.pace import pace
from splitplace.placement.broker.reports import device_statuses, learned, tally
from splitplace.placement.broker.ring import Inputs
from splitplace.placement.broker.setup import Setup
from splitplace.placement.broker.store import Store
from splitplace.placement.engines.engine import Engine
from splitplace.placement.engines.joined import as_joined
from splitplace.placement.policy import Policy
from splitplace.placement.protocol import fields
from splitplace.records.demand import Demand
from splitplace.records.device import Device
from splitplace.records.fleet_status import FleetStatus

FILES, FILES_OF_DEVICE = 48, 11
"""That a broker has open at most, with its disk, its door and some clients: without devices, and for each of them."""


class Broker(ObservedRun):
    """A live fleet, as a context manager: devices are up inside, and nothing of them is left outside.

    A device that ends or falls silent is started again, and what it had to run is run elsewhere, from the last
    micro-batch that was answered. With `data`, a task is on disk when `submit` returns, and the next broker with the
    same folder goes on with it, however this one ended.

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
        inputs: A task's input goes from the broker to each fragment that takes it (`broadcast`), or to the first, which
            passes it on (`ring`).
        wire: A task's images travel as their pixels (`raw`), or each as a PNG (`encoded`) where it is of one or three
            channels of uint8: made once, as the task is handed in, and undone by each device that takes it.
        window: Micro-batches a sender may have under way on one stream.
        journal: File for the history of the run, besides the last of it in `events`.
        data: Folder for what is to outlive this process; none, and its tasks end with it.
        task_timeout_s: A task without an answer for so long fails, whatever its deadline.
        interval_s: Decide and place once an interval of so many seconds (`pace.py`); at once if not stated.
        states: What the policy starts from, where the data folder has nothing of it.
        stated: What the devices stand for, where they are emulated: a trained state is for these.

    Raises:
        MissingExtraError: Images are to travel as PNG, and Pillow is not installed here.
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
        precedence: fields.Precedence = "pipelined",
        inputs: Inputs = "broadcast",
        wire: fields.Wire = "raw",
        window: int = 4,
        journal: Path | None = None,
        data: Path | None = None,
        task_timeout_s: float = 300.0,
        interval_s: float | None = None,
        retain_s: float | None = None,
        states: Any | None = None,
        stated: Sequence[Device] | None = None,
    ):
        self.devices, self.demand, self.catalog = tuple(devices), demand, catalog
        self.policy, self.engine = policy, engine
        self._seed, self._shares, self._method = seed, dict(cpu_shares or {}), cpu_share_method
        self._states, self._data, self._retain_s = states, data, retain_s
        self._interval_s, self._inputs = interval_s, inputs
        if wire == "encoded":
            check_decodes()
        self._setup = Setup(
            demand, self.devices, precedence, window, task_timeout_s, None if stated is None else tuple(stated), wire
        )
        super().__init__(LoopThread(self._opened), History(journal))
        self._tasks = HandingIn(self._thread, demand, wire)
        self._store: Store | None = None

    # Lifecycle.

    def __enter__(self) -> Self:
        """Bring the devices up; those that did not come up yet may join later.

        Raises:
            OverloadedError: This process may not have as many files open as the fleet takes.
            SplitPlaceError: No device came up, some fragment fits none, the data folder cannot be used, or this broker
                has run before.
        """
        if self._thread.begun:
            raise NotReadyError("a broker runs once: make another one for another run")
        self.demand.check_fits(self.devices)
        count = len(self.devices)
        check_open_files(FILES + FILES_OF_DEVICE * count, f"a fleet of {count} device{'s'[: count != 1]}")
        try:
            self._thread.start()
        except BaseException:
            self._history.close()
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if self.elsewhere:  # who was forked leaves: nothing of the fleet is its own
            return
        self._thread.end()
        self._history.close()
        if error is None:
            self._thread.check()

    @contextmanager
    def _opened(self, thread: LoopThread) -> Iterator[Loop]:
        """The data folder, the devices and the loop; in the loop's thread."""
        with ExitStack() as inside:
            if self._data is not None:
                self._store = Store(self._data, self._setup, retain_s=self._retain_s)
                inside.callback(self._store.close)
            fleet = LiveFleet(
                self.devices, self.engine, self.catalog, self._shares, self._method, thread.woken,
                self._setup.max_frame_bytes, self._setup.wire,
            )  # fmt: skip
            inside.callback(fleet.close)
            fleet.start(lambda: thread.stopping)
            yield self._open(fleet)

    def _open(self, fleet: LiveFleet) -> Loop:
        loop = Loop(
            fleet, self._setup, self.policy, pace(self._setup, self._interval_s), self._seed, self._history,
            store=self._store, states=self._states, wake=self._thread.wake, leaving=self._tasks.leaving,
        )  # fmt: skip
        fleet.origin_s -= loop.state.now_s  # one clock over all brokers that this data folder has had
        first = self._tasks.take_over(loop.state, self._store)
        created = datetime.now(UTC) - timedelta(seconds=fleet.now_s())
        opened = ev.BrokerOpened(
            at_s=loop.state.now_s,
            created=created.isoformat(timespec="milliseconds"),
            policy=self.policy.name,
            engine=self.engine.name,
            devices=self._setup.names,
            inputs=self._inputs,
            next_task=first,
        )
        loop.step([opened])
        return loop

    # Tasks.

    def submit(
        self,
        application: str,
        images: fields.Array,
        deadline_s: float,
        labels: fields.Array | None = None,
        *,
        late: bool = False,
        degrade: bool = False,
        key: str | None = None,
        volatile: bool = False,
    ) -> BrokerFuture:
        """Ask for the classes of some images; from any thread.

        Args:
            application: One that the demand has splits for.
            images: (n, ...), n > 0, by the contract of the application's splits; copied, so the caller may go on to use
                its buffer, but where they lie in `bytes` of their size, which nobody can change.
            deadline_s: From now. A task that has no answer by then fails, and its work leaves the devices.
            labels: True classes, integers (n,); without them p comes from the split's evaluation.
            late: An answer after the deadline is still wanted.
            degrade: At the deadline, the classes that are there are an answer (`outcome.missing_classes`).
            key: The caller's own name for the task, for a broker with a data folder: handed in again under the same
                key, also to the next broker, it is the same task.
            volatile: It may end with this process, and its images stay out of the data folder: of a caller that has
                told nobody that the task is taken. One with a key never is.

        Returns:
            A future that comes to a `TaskResult`, whose outcome may hold an error. With a data folder the task is on
            disk by now, if it is not volatile; a volatile one is handed in without a wait, and its future raises the
            `OverloadedError` where there is no room on the disk.

        Raises:
            UsageError: Unknown application.
            OverloadedError: Too many tasks wait, too many bytes of images, or no room on the disk.
            SplitPlaceError: Images or labels that are not by contract, or the broker is down.
        """
        self._running()
        answer, written = self._tasks.submit(
            application, images, deadline_s, labels, late, degrade, key, volatile and key is None
        )
        if self._store is not None:
            self._thread.result(written)
        return answer

    def submit_at_once(
        self,
        application: str,
        images: fields.Array,
        deadline_s: float,
        labels: fields.Array | None = None,
        *,
        late: bool = False,
        degrade: bool = False,
    ) -> BrokerFuture | None:
        """As `submit` of a volatile task, for who cannot wait; None where it would: for PNG to be made, or for a disk.

        For a disk it would while nothing could be written yet, and where more tasks than `NUMBERS_AHEAD` came, and were
        refused for want of room or were known by their keys, since the last one that was taken on.
        """
        self._running()
        try:
            return self._tasks.submit(application, images, deadline_s, labels, late, degrade, None, True, True)[0]
        except WouldWaitError:
            return None

    def answer(self, task_id: int) -> BrokerFuture:
        """The future of a task that was handed in before, also to an earlier broker with this data folder.

        Raises:
            NotFoundError: There is no such task, or its result is not kept any more.
            IntegrityError: Its result is damaged.
        """
        self._running()
        return self._tasks.answer(task_id)

    def cancel(self, task_id: int) -> bool:
        """Drop a task; answers whether it had not left yet. Its future says that it was cancelled."""
        self._running()
        if there := self._tasks.has(task_id):
            self._tasks.drop(task_id)
        return there

    def drain(self) -> None:
        """Take no more tasks, and return when all have ended, or the broker has."""
        self._running()
        self._tasks.drain()

    # Who is in it.

    def invite(self, device: str, valid_s: float) -> str:
        """A token by which one machine may become a device, once; from any thread.

        Args:
            device: Its name in the fleet.
            valid_s: How long it may be used.

        Raises:
            NotFoundError: There is no such device.
            UsageError: Nobody joins this fleet, or not for so long.
        """
        return as_joined(self._running().fleet.engine).invite(device, valid_s)

    def revoke(self, device: str) -> None:
        """Put a device out: its key opens nothing from now on, and what it had to run is run elsewhere.

        Raises:
            NotFoundError: There is no such device.
            UsageError: Nobody joins this fleet.
        """
        as_joined(self._running().fleet.engine).revoke(device)
        self._thread.wake()

    # What it knows.

    def status(self) -> FleetStatus:
        """Devices and tasks at this moment; from any thread."""
        loop = self._running()
        takes = not (self._thread.stopping or self._tasks.draining)
        return FleetStatus(
            policy=self.policy.name,
            engine=self.engine.name,
            interval_s=self._interval_s,
            inputs=self._inputs,
            wire=self._setup.wire,
            uptime_s=loop.fleet.now_s(),
            accepting=takes and (self._store is None or self._store.accepting),
            devices=device_statuses(loop),
            tasks=tally(loop.state),
            estimates=learned(loop),
        )
