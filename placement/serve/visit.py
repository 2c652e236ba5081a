"""One client of the door: what it says, what it is told, and what becomes of its tasks when it leaves."""

import asyncio
import logging
import os
import socket
import struct
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING

from splitplace.errors import ContractError, NotReadyError, OverloadedError, SplitPlaceError
from splitplace.placement.outcome import TaskFuture
from splitplace.placement.serve import requests
from splitplace.placement.serve.frames import (
    LENGTH,
    MAX_REQUEST_BYTES,
    Array,
    Message,
    arrays,
    head,
    parse,
    tensor,
)
from splitplace.placement.serve.settled import ended

if TYPE_CHECKING:
    from splitplace.placement.serve.door import Door

log = logging.getLogger(__name__)

CHUNK_BYTES = 2**20
FRAME_TIMEOUT_S = 60.0
"""How long one message may take to come in, once it has begun."""
KNOCK_TIMEOUT_S = 10.0
SEND_TIMEOUT_S = 30.0
"""How long a client may take to read what it is told."""
MAX_REQUESTS = 12_000
"""Under way of one client: more than a broker takes tasks."""
MAX_SUBMISSIONS = 8
"""Of one client that wait for the broker to take them."""
ROOT = 0
"""May come in as the fleet's own user may: the system lets it anyway."""
_CREDENTIALS = struct.Struct("3i")
"""What SO_PEERCRED answers: process, user, group."""


class _Coming:
    """What came in with a request, and is held at the door until the broker has it."""

    def __init__(self, values: list[Array], release: Callable[[], None]):
        self.values, self._release = values, release

    def let_go(self) -> None:
        """The broker has it, or nobody wants it any more; what is let go already stays so."""
        release, self._release = self._release, lambda: None
        self.values = []
        release()


class Visit:
    """A client, from its knock until it leaves or is shown out."""

    def __init__(self, door: "Door", reader: asyncio.StreamReader, writer: asyncio.StreamWriter):
        self._door, self._reader, self._writer = door, reader, writer
        self._speaking = asyncio.Lock()
        self._submissions = asyncio.Semaphore(MAX_SUBMISSIONS)
        self.under_way: set[asyncio.Task[None]] = set()
        """Requests whose last reply has not been sent."""
        self._leaving = threading.Lock()
        self._gone = False
        writer.transport.set_write_buffer_limits(0)  # what is said is on its way before the next is
        self._tasks: set[int] = set()
        """Of the broker, which nobody else wants."""

    async def run(self, turned_away: str = "") -> None:
        """Answer until the client leaves; it is told the reason where it is turned away at once."""
        try:
            self._check_user()
            if turned_away:
                raise OverloadedError(turned_away)
            await self._welcome()
            while not self._door.closed:
                await self._begin(*await self._hear(FRAME_TIMEOUT_S))
        except (EOFError, ConnectionError):
            pass  # it left
        except TimeoutError:
            await self._refuse(0, NotReadyError("the message took too long to come in"))
        except SplitPlaceError as error:
            await self._refuse(0, error)
        finally:
            await self._leave()

    def end(self) -> None:
        """Show it out: it hears no more."""
        for request in self.under_way:
            request.cancel()
        self._writer.transport.abort()

    def _check_user(self) -> None:
        """The folder lets nobody else in; this holds where somebody has opened it."""
        asked = self._writer.get_extra_info("socket").getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12)
        _, user, _ = _CREDENTIALS.unpack(asked)
        if user not in (ROOT, os.geteuid()):
            raise ContractError(f"user {user} asks for a fleet of user {os.geteuid()}")

    async def _welcome(self) -> None:
        try:
            message, _ = await asyncio.wait_for(self._hear(KNOCK_TIMEOUT_S), KNOCK_TIMEOUT_S)
        except ContractError as error:
            raise ContractError(f"the first message: {error}") from error
        if not isinstance(message, requests.Knock):
            raise ContractError(f"a {message.type} before any knock")
        if message.version != requests.VERSION:
            older = "the client" if message.version < requests.VERSION else "the fleet"
            raise ContractError(
                f"the fleet speaks version {requests.VERSION}, the client {message.version}: update {older}, which is "
                "older"
            )
        await self._say(requests.Welcome(request=message.request, version=requests.VERSION, pid=self._door.pid))

    # Messages.

    async def _hear(self, timeout_s: float) -> tuple[requests.Request, list[Array] | None]:
        """The next message with its tensors; without, where there was no room for them."""
        first = await self._reader.readexactly(1)  # a client may be silent as long as it likes
        async with asyncio.timeout(timeout_s):
            (size,) = LENGTH.unpack(first + await self._reader.readexactly(LENGTH.size - 1))
            if size > MAX_REQUEST_BYTES:
                raise ContractError(f"a header of {size} bytes, expected at most {MAX_REQUEST_BYTES}")
            message: requests.Request = parse(requests.REQUESTS, await self._reader.readexactly(size))
            data = await self._data(sum(tensor.size_bytes for tensor in message.tensors))
        return message, None if data is None else arrays(message.tensors, data)

    async def _data(self, size: int) -> bytearray | None:
        """As much as a header announced, held at the door; none if there was no room, and it was read for nothing."""
        data, left, room = bytearray(), size, True
        try:
            while left:
                chunk = await self._reader.read(min(CHUNK_BYTES, left))
                if not chunk:
                    raise EOFError
                left -= len(chunk)
                if room and self._door.hold(len(chunk)):
                    data += chunk
                elif room:
                    room = False
                    self._door.release(len(data))
                    data.clear()
        except BaseException:
            self._door.release(len(data))
            raise
        return data if room else None

    async def _say(self, message: Message, values: Sequence[Array] = ()) -> None:
        async with self._speaking:
            self._writer.write(head(message))
            for value in values:
                if value.size:
                    self._writer.write(value.data.cast("B"))
            try:
                async with asyncio.timeout(SEND_TIMEOUT_S):
                    await self._writer.drain()
            except TimeoutError:
                self._writer.transport.abort()
                raise ConnectionAbortedError("it does not read") from None

    async def _refuse(self, request: int, error: SplitPlaceError) -> None:
        with suppress(ConnectionError):
            reason = " ".join(str(error).split())[:2000]
            await self._say(requests.Refusal(request=request, cause=error.cause, reason=reason))

    # Requests.

    async def _begin(self, message: requests.Request, values: list[Array] | None) -> None:
        """Start on a request; waits only where this client has submitted more than the broker has looked at."""
        held = sum(tensor.size_bytes for tensor in message.tensors) if values is not None else 0
        if len(self.under_way) >= MAX_REQUESTS or values is None:
            self._door.release(held)
            many = f"{MAX_REQUESTS} requests of this client" if values is not None else "the tasks that come in"
            await self._refuse(message.request, OverloadedError(f"{many} are all that is taken on: try again later"))
            return
        submission = isinstance(message, requests.Submission)
        if submission:
            await self._submissions.acquire()

        def release() -> None:
            self._door.release(held)
            if submission:
                self._submissions.release()

        coming = _Coming(values, release)
        task = asyncio.create_task(self._carry_out(message, coming))
        self.under_way.add(task)
        task.add_done_callback(self.under_way.discard)
        task.add_done_callback(lambda _: coming.let_go())

    async def _carry_out(self, message: requests.Request, coming: _Coming) -> None:
        try:
            await self._reply(message, coming)
        except ConnectionError:
            pass  # it left: `run` hears of it as well
        except SplitPlaceError as error:
            await self._refuse(message.request, error)
        except Exception as error:
            log.exception("a request of the kind %s", message.type)
            await self._refuse(message.request, SplitPlaceError(f"the fleet failed: {error!r}"))

    async def _reply(self, message: requests.Request, coming: _Coming) -> None:
        number, broker = message.request, self._door.broker
        match message:
            case requests.Submission():
                await self._submit(message, coming)
            case requests.AnswerWanted(task=task):
                future = await self._door.asking(lambda: broker.answer(task))
                await self._say(requests.Acknowledged(request=number, task=future.task_id))
                await self._tell(number, future)
            case requests.Withdrawal(task=task):
                was = await self._door.asking(lambda: broker.cancel(task))
                await self._say(requests.Withdrawn(request=number, was_under_way=was))
            case requests.StatusWanted():
                await self._say(requests.StatusReply(request=number, status=await self._door.asking(broker.status)))
            case requests.HistoryWanted(after=after):
                page = await self._door.asking(lambda: broker.history(after))
                await self._say(requests.HistoryReply(request=number, page=page))
            case requests.OffersWanted():
                await self._say(requests.Offers(request=number, splits=self._door.splits))
            case requests.InvitationWanted(device=device, valid_s=valid_s):
                token = await self._door.asking(lambda: broker.invite(device, valid_s))
                await self._say(requests.InvitationReply(request=number, token=token))
            case requests.Revocation(device=device):
                await self._door.asking(lambda: broker.revoke(device))
                await self._say(requests.Done(request=number))
            case requests.DrainWanted():
                await self._door.drain()
                await self._say(requests.Done(request=number))
            case requests.StopWanted():
                await self._say(requests.Done(request=number))
                self._door.stop()
            case requests.Knock():
                raise ContractError("a second knock")

    async def _submit(self, message: requests.Submission, coming: _Coming) -> None:
        if not coming.values:
            raise ContractError("a task without images")
        hand_in = partial(self._hand_in, message, *coming.values)
        future = await self._door.submitting(hand_in)
        del hand_in
        coming.let_go()
        await self._say(requests.Acknowledged(request=message.request, task=future.task_id))
        await self._tell(message.request, future)

    def _hand_in(self, message: requests.Submission, images: Array, labels: Array | None = None) -> TaskFuture:
        """In a thread of the pool: the client may leave meanwhile, and its task must not be forgotten."""
        broker = self._door.broker
        future = broker.submit(
            message.application,
            images,
            message.deadline_s,
            labels,
            key=message.key,
            late=message.late,
            degrade=message.degrade,
            volatile=message.volatile,
        )
        if message.keep or message.key is not None:
            return future
        with self._leaving:
            if not self._gone:
                self._tasks.add(future.task_id)
                return future
        broker.cancel(future.task_id)
        return future

    async def _tell(self, request: int, future: TaskFuture) -> None:
        try:
            result = await ended(future)
        finally:
            if future.done():  # also where it was refused; else its client leaves, and takes it back
                self._tasks.discard(future.task_id)
        if result.logits is None:
            await self._say(requests.AnswerReply(request=request, outcome=result.outcome))
            return
        line, logits = tensor("logits", result.logits)
        await self._say(requests.AnswerReply(request=request, outcome=result.outcome, tensors=(line,)), [logits])

    async def _leave(self) -> None:
        with self._leaving:
            self._gone = True
            unwanted = () if self._door.closed else tuple(self._tasks)
        for request in tuple(self.under_way):
            request.cancel()
        self._writer.close()
        for task in unwanted:
            await self._door.asking(partial(self._door.broker.cancel, task))
