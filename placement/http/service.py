"""What every route uses: the fleet's desk, what is served, what comes in and goes out, and what is noted of it."""

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, TypeVar

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive

from splitplace.errors import NotReadyError, SplitPlaceError, UsageError
from splitplace.placement.dashboard.watch import FleetWatch
from splitplace.placement.http import codec, compression, models
from splitplace.placement.http.access import Visited
from splitplace.placement.http.body import Coming, Hold, read_body
from splitplace.placement.http.desk import AT_ONCE_BYTES, TaskDesk, TaskOrder
from splitplace.placement.http.guard import Caller, Guard
from splitplace.placement.http.ids import Bytes, NamedRequest, said_by
from splitplace.placement.http.limits import Limits
from splitplace.placement.http.metrics import HttpMetrics
from splitplace.placement.http.statistics import ModelStatistics
from splitplace.placement.outcome import TaskFuture, TaskOutcome, TaskResult
from splitplace.placement.serve.kept_word import KeptWord
from splitplace.placement.serve.served import ServedBroker
from splitplace.records.base import Record
from splitplace.records.split import Split

R = TypeVar("R", bound=Record)

JSON, BINARY = "application/json", "application/octet-stream"
SPLITS_KEPT_S = 5.0
"""How long the fleet's word on what it serves is taken for true."""
FLEET_GONE_S = 5
"""When to come again where the fleet does not answer."""
ONGOING = "splitplace.ongoing"
"""Where a request's scope has it."""


@dataclass
class Asked:
    """What became of a request to a model."""

    outcome: TaskOutcome | None = None
    detached: bool = False


@dataclass(kw_only=True)
class Ongoing:
    """One request, while it is under way, whatever it came by."""

    received_s: float
    visited: Visited
    hold: Hold
    caller: Caller = field(default_factory=Caller)


@dataclass(kw_only=True)
class OngoingRequest(Ongoing):
    """One over HTTP."""

    receive: Receive
    expects: bool = False
    """Whether its client waits to be told to send its body."""
    body_read: bool = False

    async def gone(self) -> None:
        """Returns when the client has hung up."""
        while (await self.receive())["type"] != "http.disconnect":
            pass


class HttpService:
    """One front door, as its routes see it.

    Args:
        broker: The fleet.
        applications: What it serves, by name; may block.
        limits: In force.
        guard: Who may come in.
        version: Of this program, which the server's metadata state.
        clock: Seconds.
    """

    def __init__(
        self,
        broker: ServedBroker,
        applications: Callable[[], Mapping[str, Split]],
        limits: Limits,
        guard: Guard,
        version: str,
        clock: Callable[[], float] = time.monotonic,
    ):
        self.limits, self.guard, self.version, self.clock = limits, guard, version, clock
        self.desk, self.metrics = TaskDesk(broker, limits, clock), HttpMetrics()
        self.watch = FleetWatch(broker, self.desk.asking, limits.watchers, limits.watchers_of_one, limits.fleet_s)
        self.coming = Coming(limits.coming_bytes)
        self.unloaded: set[str] = set()
        """Models that somebody has taken out of service at this front door."""
        self._applications = applications
        self.splits = KeptWord(
            lambda: self.desk.asking(self._applications), SPLITS_KEPT_S, limits.fleet_s, lambda: self.clock()
        )
        """What the fleet serves, by application; `SilentFleetError` where it does not say."""
        self._statistics: dict[str, ModelStatistics] = {}

    def ongoing(self, request: Request) -> OngoingRequest:
        """What is known of a request."""
        ongoing: OngoingRequest = request.scope[ONGOING]
        return ongoing

    def caller(self, request: Request) -> Caller:
        """Who asks."""
        return self.ongoing(request).caller

    async def model(self, request: Request) -> Split:
        """The one that a path names."""
        where = request.path_params
        return models.pick(await self.splits(), where["model"], where.get("version", ""))

    def check_loaded(self, name: str) -> None:
        """Refuse a model that was taken out of service.

        Raises:
            NotReadyError: It was.
        """
        if name in self.unloaded:
            raise NotReadyError(f"model {name} is unloaded: POST v2/repository/models/{name}/load brings it back")

    async def check_ready(self) -> None:
        """Refuse where the fleet takes no tasks.

        Raises:
            NotReadyError: And why.
        """
        status = await self.desk.status()
        if not status.accepting:
            raise NotReadyError("the fleet takes no tasks: it is draining, or has no disk to write them to")
        if not any(device.up for device in status.devices):
            raise NotReadyError("no device of the fleet is up")

    async def index(self, ready_only: bool) -> list[dict[str, str]]:
        """Every model, and whether it is served here."""
        entries = [
            {"name": name, "version": models.VERSION, "state": "UNAVAILABLE", "reason": "unloaded"}
            if name in self.unloaded
            else {"name": name, "version": models.VERSION, "state": "READY", "reason": ""}
            for name in sorted(await self.splits())
        ]
        return [entry for entry in entries if not (ready_only and entry["state"] != "READY")]

    def load(self, split: Split, parameters: Iterable[str]) -> None:
        """Serve a model that was unloaded; what is in the catalog is the fleet's.

        Raises:
            UsageError: Something is stated of it.
        """
        if stated := sorted(parameters):
            raise UsageError(f"parameters {', '.join(stated)[:200]}: a model is loaded as the catalog has it")
        self.unloaded.discard(split.application)

    def statistics_of(self, name: str) -> ModelStatistics:
        """What was answered for a model so far."""
        return self._statistics.setdefault(name, ModelStatistics(name))

    @contextmanager
    def noting(self, ongoing: Ongoing, name: str) -> "Iterator[Asked]":
        """Note what becomes of a request to a model, which must be in service.

        Raises:
            NotReadyError: It is not.
        """
        self.check_loaded(name)
        ongoing.visited.model, asked = name, Asked()
        try:
            yield asked
        finally:
            if not asked.detached:
                self.statistics_of(name).note(self.clock() - ongoing.received_s, asked.outcome, time.time())
            if asked.outcome is not None:
                self.metrics.answers.labels(name, asked.outcome.split or "").inc()

    async def hand_over(self, ongoing: Ongoing, order: TaskOrder) -> TaskFuture:
        """Give a task to the fleet; it is noted whose it is.

        Until then its images count, where they are larger than what came in for them.
        """
        ongoing.hold.add(max(order.images.nbytes - ongoing.hold.size, 0))
        future = await self.desk.submit(order, ongoing.hold)
        ongoing.visited.task = future.task_id
        ongoing.hold.let_go()
        return future

    async def wait(self, request: Request, future: TaskFuture, keep: bool, wait_s: float | None) -> TaskResult:
        """As `TaskDesk.result`, for the client of a request."""
        return await self.desk.result(future, self.ongoing(request).gone(), keep, wait_s)

    async def document(self, request: Request, kind: type[R]) -> R:
        """A small JSON document, which may be left out where it has nothing to say.

        Raises:
            ContractError: It is none.
            TooLargeError: It is more than that.
        """
        body = await self.body(request, AT_ONCE_BYTES)
        return codec.parse(kind, bytes(body)) if body else kind()

    async def body(self, request: Request, most: int | None = None) -> bytes | bytearray:
        """A request's body, in bounds and decompressed; of at most so many bytes, where fewer are expected."""
        limits = self.limits if most is None else replace(self.limits, body_bytes=min(most, self.limits.body_bytes))
        ongoing = self.ongoing(request)
        length, coding = request.headers.get("content-length"), request.headers.get("content-encoding", "")
        coding = compression.coding_of(coding)
        found = await read_body(ongoing.receive, length, limits, ongoing.hold)
        ongoing.body_read, ongoing.visited.bytes_in = True, len(found)
        if not coding:
            return found
        work = partial(compression.decompress, found, coding, limits.body_bytes, ongoing.hold.add)
        return await self.desk.working(work)

    async def told(self, request: Request, body: bytes, header_length: int | None) -> Response:
        """An answer, compressed where its client asks for that."""
        headers = {"vary": "Accept-Encoding"}
        if header_length is not None:
            headers["Inference-Header-Content-Length"] = str(header_length)
        coding = compression.wanted(request.headers.get("accept-encoding", ""))
        if coding and len(body) >= compression.WORTH_BYTES:
            headers["content-encoding"] = coding
            body = await self.computing(len(body), partial(compression.compress, body, coding))
        kind = JSON if header_length is None else BINARY
        return Response(body, headers=headers, media_type=kind)

    async def computing(self, size: int, work: Callable[[], Any]) -> Any:
        """What takes as long as so many bytes do: at once, or in a thread."""
        return work() if size <= AT_ONCE_BYTES else await self.desk.working(work)

    async def decoding(self, text: int, size: int, work: Callable[[], Any]) -> Any:
        """What makes arrays of a request of so many bytes, so many of them text."""
        return await self.desk.parsing(work) if text > AT_ONCE_BYTES else await self.computing(size, work)

    async def named(
        self, caller: Caller, application: str, request_id: str, size: int, said: Callable[[], Iterable[Bytes]]
    ) -> NamedRequest | None:
        """A request with an id; None without one.

        Args:
            caller: Who asks.
            application: The model that is asked.
            request_id: Empty without one.
            size: Of all that it says, in bytes.
            said: Gives that, the same for the same request.
        """
        if not request_id:
            return None
        digest = await self.computing(size, lambda: said_by(said()))
        return NamedRequest(caller.name, application, request_id, digest)

    def left_s(self, ongoing: Ongoing, *stated: float | None) -> float:
        """What is left of a deadline, which counts from the receipt of the request: of the first that is stated."""
        deadline_s = next((seconds for seconds in stated if seconds is not None), self.limits.deadline_s)
        return deadline_s - (self.clock() - ongoing.received_s)

    async def retry_after_s(self, error: SplitPlaceError) -> int | None:
        """When to come again with what was refused, whole seconds; None: it would be refused again."""
        if error.http_status not in (429, 503):
            return None
        try:
            return getattr(error, "retry_after_s", None) or await self.desk.retry_after_s()
        except SplitPlaceError:  # the fleet is not there
            return FLEET_GONE_S

    def note_end(self, ongoing: Ongoing, method: str) -> None:
        """Count a request that is over, and write it into the access log."""
        visited, metrics = ongoing.visited, self.metrics
        visited.seconds, visited.token = self.clock() - ongoing.received_s, ongoing.caller.name
        metrics.requests.labels(visited.route, method, visited.status, visited.token).inc()
        metrics.seconds.labels(visited.route).observe(visited.seconds)
        metrics.bytes_in.inc(visited.bytes_in)
        metrics.bytes_out.inc(visited.bytes_out)
        visited.write()
