"""Carries placements out: memory reserved, fragments loaded, parts assigned, inputs streamed, answers gathered."""

import logging
from collections.abc import Callable

from splitplace.errors import ContractError, SplitPlaceError
from splitplace.placement.broker import history as book
from splitplace.placement.broker.fleet import LiveFleet, Lost, Member
from splitplace.placement.broker.history import History
from splitplace.placement.broker.job import Job
from splitplace.placement.broker.ledger import Ledger
from splitplace.placement.broker.task import Live
from splitplace.placement.broker.view import Statics
from splitplace.placement.outcome import TaskResult
from splitplace.placement.protocol import messages
from splitplace.placement.protocol.outflow import Outflow, Values
from splitplace.placement.protocol.stream import Received
from splitplace.records.demand import Demand
from splitplace.records.split import Split

log = logging.getLogger(__name__)

Leave = Callable[[Live, TaskResult], None]


class Dispatcher:
    """Jobs on devices. Device rows and fragment rows are those of the view.

    Args:
        leave: Called with each task that is answered or failed, while its job is still known.
    """

    def __init__(
        self,
        fleet: LiveFleet,
        demand: Demand,
        statics: Statics,
        journal: History,
        leave: Leave,
        *,
        precedence: messages.Precedence,
        window: int,
    ):
        self.fleet, self.demand, self.statics, self.journal, self._leave = fleet, demand, statics, journal, leave
        self.precedence, self.window = precedence, window
        self.members = tuple(fleet.members.values())
        self.ledger = Ledger(demand, tuple(member.device for member in self.members), statics.fragments)
        self._jobs: dict[int, tuple[Live, Job]] = {}
        self._next_job = 0

    # What the plan orders.

    def start(self, live: Live, devices: dict[int, int]) -> None:
        """Reserve memory, order loads, tell every device its part; the input follows when all are ready."""
        assert live.demand is not None and live.job is None
        now_s = self.fleet.now_s()
        names = {self._fragment(row)[1]: self.members[device].name for row, device in devices.items()}
        job = Job(self._next_job, live.demand, live.images, names, self.precedence, self.window, placed_s=now_s)
        self._next_job += 1
        self._jobs[job.id] = live, job
        live.job = job
        for row, device in devices.items():
            name, member = self._fragment(row)[1], self.members[device]
            assert member.up, f"task {live.task.id} was placed on {member.name}, which is down"
            self.journal.append(
                book.FragmentPlaced(
                    at_s=now_s, task=live.task.id, attempt=live.attempts, fragment=name, device=member.name
                )
            )
            if self.ledger.reserve(job.id, row, device, now_s):
                self.fleet.send(member.name, messages.Load(fragment=live.split.by_name[name]))
        live.attempts += 1
        for device_name, assign in job.assignments():
            self.fleet.send(device_name, assign)

    def drop(self, live: Live, cancel: bool) -> None:
        """Forget a task's job and free what it used; its fragments stay loaded. `cancel` tells the devices, too."""
        job = live.job
        assert job is not None
        for name, device in job.devices.items():
            self.fleet.members[device].meter.fragments_run += job.done[name] == job.total
        if cancel:
            for device in sorted(set(job.devices.values())):
                self.fleet.send(device, messages.Cancel(job=job.id))
        self.ledger.release(job.id)
        del self._jobs[job.id]
        live.job = None

    def migrate(self, live: Live, devices: dict[int, int]) -> None:
        """Move fragments of a task that has not started; one that runs stays where it is."""
        job = live.job
        if job is None or job.started_s is not None:
            log.warning("task %d is not migrated: it %s", live.task.id, "runs already" if job else "has no place")
            return
        assert live.decision is not None
        now_s = self.fleet.now_s()
        after = {
            row: self.fleet.members[job.devices[self._fragment(row)[1]]].row
            for row in self.statics.splits.fragments(live.decision.split)
        }
        devices = {row: device for row, device in devices.items() if device != after[row]}
        if not devices:
            return
        for row, device in devices.items():
            source, target = self.members[after[row]].name, self.members[device].name
            name = self._fragment(row)[1]
            self.journal.append(
                book.FragmentMigrated(at_s=now_s, task=live.task.id, fragment=name, source=source, device=target)
            )
        self.drop(live, cancel=True)
        self.start(live, after | devices)

    def evict(self, row: int, device: int) -> None:
        """Unload an idle fragment; one that is not there: nothing."""
        now_s, member = self.fleet.now_s(), self.members[device]
        if not self.ledger.evict(row, device, now_s):
            return
        split, name = self._fragment(row)
        digest = split.by_name[name].digest
        if digest not in {self._digest(other) for other in self.ledger.rows(device)}:
            self.fleet.send(member.name, messages.Unload(digest=digest))
        self.journal.append(book.FragmentEvicted(at_s=now_s, device=member.name, split=split.reference, fragment=name))

    # What the devices say.

    def handle(self, member: Member, received: Received) -> None:
        """Take in one message of a device."""
        match received.message:
            case messages.Loaded():
                self._loaded(member, received.message)
            case messages.LoadFailed(digest=digest, error=error):
                self._load_failed(member, digest, error)
            case messages.Refused(peer=peer, error=error):
                log.warning("%s refused a message of %s: %s", member.name, peer, error)
            case message:
                self._handle_job(member, message, received.values)

    def _handle_job(self, member: Member, message: messages.Message, values: Values) -> None:
        live, job = self._jobs.get(getattr(message, "job", -1), (None, None))
        if live is None or job is None:
            return  # of a job that is over
        try:
            match message:
                case messages.Assigned(fragment=fragment) if job.devices.get(fragment) == member.name:
                    job.unacknowledged.discard(fragment)
                    self._begin(job)
                case messages.Credit(dst=dst, count=count) if dst in job.inputs and job.devices[dst] == member.name:
                    job.inputs[dst].grant(count)
                    self._stream(job)
                case messages.Ran():
                    job.ran(member.name, self._on_clock(message))
                    self._note_run(member, live, job, self._on_clock(message))
                case messages.Tensors():
                    job.accept(member.name, message, values)
                    self.fleet.send(member.name, messages.Credit(job=job.id, src=message.src, dst=message.dst, count=1))
                    self._note_answer(live, job, message)
                case messages.Failed(fragment=fragment, error=error):
                    raise SplitPlaceError(f"{fragment} failed: {error}")
                case _:
                    raise ContractError(f"it sent a {message.type} that nobody asked for")
        except SplitPlaceError as error:
            self._leave(live, live.failed(f"device {member.name}: {error}"))
            return
        if job.complete:
            self._leave(live, live.answered(self.fleet.now_s()))

    def _loaded(self, member: Member, message: messages.Loaded) -> None:
        for row in self.ledger.rows(member.row):
            if self._digest(row) != message.digest or self.ledger.is_loaded(row, member.row):
                continue
            self.ledger.loaded(row, member.row)
            split, name = self._fragment(row)
            self.journal.append(
                book.FragmentLoaded(
                    device=member.name,
                    split=split.reference,
                    fragment=name,
                    digest=message.digest,
                    start_s=self.fleet.on_clock(message.start_s),
                    end_s=self.fleet.on_clock(message.end_s),
                )
            )
        for _, job in tuple(self._jobs.values()):
            self._begin(job)

    def _load_failed(self, member: Member, digest: str, error: str) -> None:
        rows = [row for row in self.ledger.rows(member.row) if self._digest(row) == digest]
        for live, job in tuple(self._jobs.values()):
            needs = {name for name, device in job.devices.items() if device == member.name}
            if any(job.split.by_name[name].digest == digest for name in needs):
                self._leave(live, live.failed(f"device {member.name} cannot load {digest}: {error}"))
        for row in rows:
            self.ledger.forget(row, member.row, self.fleet.now_s())

    def lose(self, lost: Lost) -> None:
        """A device is gone: tasks that have started there fail, the others wait for a new place."""
        now_s, name = self.fleet.now_s(), lost.member.name
        self.journal.append(book.DeviceDown(at_s=now_s, device=name, reason=lost.reason))
        log.warning("device %s is lost: %s", name, lost.reason)
        for live, job in tuple(self._jobs.values()):
            if name not in job.devices.values():
                continue
            if job.started_s is None:
                self.drop(live, cancel=True)
            else:
                self._leave(live, live.failed(f"device {name} is lost: {lost.reason}"))
        self.ledger.lost(lost.member.row, now_s)

    # A job's own course.

    def _begin(self, job: Job) -> None:
        """Start the input stream as soon as every device is ready for it."""
        if job.started_s is not None or job.unacknowledged:
            return
        split = self.statics.splits.references.index(job.split.reference)
        for row in self.statics.splits.fragments(split):
            if not self.ledger.is_loaded(row, self.fleet.members[job.devices[self._fragment(row)[1]]].row):
                return
        job.started_s = self.fleet.now_s()
        self._stream(job)

    def _stream(self, job: Job) -> None:
        for flow in job.fill():
            flow.flush(self._send)

    def _send(self, flow: Outflow, micro_batch: int, values: Values) -> None:
        sent_s = self.fleet.now_s() + self.fleet.origin_s
        header = messages.tensors(flow.job, flow.src, flow.outlet.dst, micro_batch, sent_s, values)
        self.fleet.send(flow.outlet.device, header, list(values.values()))

    def _on_clock(self, ran: messages.Ran) -> messages.Ran:
        times = {name: self.fleet.on_clock(getattr(ran, name)) for name in ("sent_s", "ready_s", "start_s", "end_s")}
        return ran.model_copy(update=times)

    def _note_run(self, member: Member, live: Live, job: Job, ran: messages.Ran) -> None:
        member.meter.ran(ran.start_s, ran.end_s)
        self.journal.append(
            book.MicroBatchRun(
                device=member.name,
                task=live.task.id,
                split=job.split.reference,
                strategy=job.split.strategy,
                fragment=ran.fragment,
                micro_batch=ran.micro_batch,
                samples=ran.samples,
                start_s=ran.start_s,
                end_s=ran.end_s,
            )
        )
        size_bytes = 0
        for edge in job.split.edges:
            if edge.dst == ran.fragment and job.devices.get(edge.src) != member.name:
                size_bytes += edge.bytes_per_sample * ran.samples
                if edge.src in job.devices:
                    self.fleet.members[job.devices[edge.src]].meter.sent(
                        ran.ready_s, edge.bytes_per_sample * ran.samples
                    )
        if size_bytes:
            self._note_send(live, ran.fragment, member.name, ran.micro_batch, size_bytes, (ran.sent_s, ran.ready_s))

    def _note_answer(self, live: Live, job: Job, message: messages.Tensors) -> None:
        span = (self.fleet.on_clock(message.sent_s), self.fleet.now_s())
        job.transfers.append(span)
        size_bytes = sum(frame.size_bytes for frame in message.frames)
        self.fleet.members[job.devices[message.src]].meter.sent(span[1], size_bytes)
        self._note_send(live, message.dst, messages.BROKER, message.micro_batch, size_bytes, span)

    def _note_send(
        self, live: Live, dst: str, device: str, micro_batch: int, size_bytes: int, span: tuple[float, float]
    ) -> None:
        start_s, end_s = span
        self.journal.append(
            book.Send(
                task=live.task.id,
                dst=dst,
                device=device,
                micro_batch=micro_batch,
                bytes=size_bytes,
                start_s=start_s,
                end_s=max(end_s, start_s),
            )
        )

    def _fragment(self, row: int) -> tuple[Split, str]:
        split, name = self.statics.names_F[row]
        return self.demand.splits[split].split, name

    def _digest(self, row: int) -> str:
        split, name = self._fragment(row)
        return split.by_name[name].digest
