"""One connection to the door, for any number of threads: each request waits for the reply of its number."""

import itertools
import os
import socket
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from contextlib import suppress

from splitplace.errors import (
    ContractError,
    IntegrityError,
    NotFoundError,
    NotReadyError,
    OverloadedError,
    SplitPlaceError,
    UsageError,
)
from splitplace.placement.callbacks import Callbacks
from splitplace.placement.outcome import TaskFuture, TaskResult
from splitplace.placement.serve import requests
from splitplace.placement.serve.data_folder import DataFolder
from splitplace.placement.serve.frames import (
    LENGTH,
    MAX_REPLY_BYTES,
    MAX_REQUEST_BYTES,
    Array,
    Message,
    arrays,
    head,
    parse,
)

KINDS: dict[str, type[SplitPlaceError]] = {
    error.cause: error
    for error in (
        SplitPlaceError, UsageError, NotFoundError, ContractError, NotReadyError, OverloadedError, IntegrityError
    )
}  # fmt: skip
"""What a refusal is raised as, by its cause."""
REPLY_TIMEOUT_S = 120.0
"""How long the door may take to reply to what takes a moment."""

CLOSED = -1
"""A socket's descriptor that is none."""

Replied = tuple[requests.Reply, list[Array]]


def connect(folder: DataFolder) -> socket.socket:
    """A connection to the fleet of a folder.

    Raises:
        NotReadyError: No fleet answers there.
    """
    knocking = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        with folder.address() as address:
            knocking.connect(address)
    except OSError as error:
        knocking.close()
        raise folder.absent() from error
    return knocking


class Connection:
    """To the fleet of a folder, until one of the two leaves.

    Args:
        folder: Of a fleet.

    Raises:
        NotReadyError: No fleet answers there.
        ContractError: It speaks another version.
    """

    def __init__(self, folder: DataFolder):
        self._folder, self._process = folder, os.getpid()
        self._socket = connect(folder)
        self._numbers = itertools.count(1)
        self._speaking = threading.Lock()
        self._waiting = threading.Lock()
        """Over what is waited for, and over the end."""
        self._calls: dict[int, Future[requests.Reply]] = {}
        self._tasks: dict[int, TaskFuture] = {}
        """By request: tasks whose answers are to come."""
        self._ended: SplitPlaceError | None = None
        self._callbacks = Callbacks()
        """What a user has called when a task is done may ask the fleet: its reply is read in the reader's thread."""
        self._reader = threading.Thread(target=self._read, name="client", daemon=True)
        self._reader.start()
        try:
            welcome = self.ask(requests.Knock(version=requests.VERSION))
        except BaseException:
            self.close()
            raise
        assert isinstance(welcome, requests.Welcome)
        self.pid = welcome.pid

    @property
    def ended(self) -> bool:
        """Whether nothing can be asked any more."""
        return self._ended is not None

    @property
    def elsewhere(self) -> bool:
        """Whether this is another process: forked from the one that connected, which hears what the fleet says."""
        return os.getpid() != self._process

    def close(self) -> None:
        """Leave; a second time: nothing. In a process that was forked off: let go of it, and no more."""
        if self.elsewhere:
            self._ended = NotReadyError("the client was closed")
            if (handle := self._socket.detach()) != CLOSED:
                os.close(handle)
            return
        self._end(NotReadyError("the client was closed"))
        with suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self.wait()
        self._socket.close()

    def wait(self) -> None:
        """Until the other side has left."""
        self._reader.join()

    def ask(self, message: requests.Request, timeout_s: float | None = REPLY_TIMEOUT_S) -> requests.Reply:
        """The reply to a request.

        Raises:
            SplitPlaceError: It was refused, or the fleet has ended.
        """
        return self._exchange(message, timeout_s)

    def task(self, message: requests.Request, key: str | None = None, values: Sequence[Array] = ()) -> TaskFuture:
        """The answer to come of a request that has two replies: that the task is known, and what became of it.

        Raises:
            SplitPlaceError: As `ask`.
        """
        future = TaskFuture(key=key, callbacks=self._callbacks)
        future.set_running_or_notify_cancel()
        accepted = self._exchange(message, REPLY_TIMEOUT_S, values, future)
        assert isinstance(accepted, requests.Acknowledged)
        return future

    def _exchange(
        self,
        message: requests.Request,
        timeout_s: float | None,
        values: Sequence[Array] = (),
        future: TaskFuture | None = None,
    ) -> requests.Reply:
        if self.elsewhere:
            raise NotReadyError(
                f"process {self._process} has connected to the fleet in {self._folder.path}, and this one was forked "
                "from it: connect here by a client of its own"
            )
        number = next(self._numbers)
        call: Future[requests.Reply] = Future()
        with self._waiting:
            if self._ended is not None:
                raise type(self._ended)(str(self._ended))
            self._calls[number] = call
            if future is not None:
                self._tasks[number] = future
        try:
            self._send(message.model_copy(update={"request": number}), values)
            return call.result(timeout_s)
        except TimeoutError:
            raise NotReadyError(f"the fleet in {self._folder.path} did not answer within {timeout_s:.0f} s") from None
        finally:
            if not call.done() or call.exception() is not None:
                with self._waiting:
                    self._calls.pop(number, None)
                    self._tasks.pop(number, None)

    def _send(self, message: Message, values: Sequence[Array]) -> None:
        data = head(message)
        if len(data) > MAX_REQUEST_BYTES:
            raise ContractError(f"a request of {len(data)} bytes, expected at most {MAX_REQUEST_BYTES}")
        with self._speaking, suppress(OSError):  # it has ended: the reader hears why
            self._socket.sendall(data)
            for value in values:
                if value.size:
                    self._socket.sendall(value.data.cast("B"))

    # What is heard, in a thread.

    def _read(self) -> None:
        gone = NotReadyError(f"the fleet in {self._folder.path} has ended")
        try:
            with self._socket.makefile("rb") as stream:
                while True:
                    self._take(*self._reply(stream.read))
        except (EOFError, OSError):
            self._end(gone)
        except SplitPlaceError as error:
            self._end(error)
        except Exception as error:  # no room for an answer, say: else whoever asks would wait for a thread that is gone
            self._end(SplitPlaceError(f"what the fleet said could not be taken in: {error!r}"))
            raise

    def _reply(self, read: Callable[[int], bytes]) -> Replied:
        def exactly(size: int) -> bytes:
            data = read(size)
            if len(data) < size:
                raise EOFError
            return data

        (size,) = LENGTH.unpack(exactly(LENGTH.size))
        if size > MAX_REPLY_BYTES:
            raise ContractError(f"the fleet sent a header of {size} bytes, expected at most {MAX_REPLY_BYTES}")
        reply: requests.Reply = parse(requests.REPLIES, exactly(size))
        data = bytearray(exactly(sum(line.size_bytes for line in reply.tensors)))
        return reply, arrays(reply.tensors, data)

    def _take(self, reply: requests.Reply, values: list[Array]) -> None:
        if isinstance(reply, requests.Refusal) and reply.request == 0:
            raise KINDS[reply.cause](reply.reason)
        with self._waiting:
            call, future = self._calls.pop(reply.request, None), self._tasks.get(reply.request)
            if isinstance(reply, requests.AnswerReply | requests.Refusal):
                self._tasks.pop(reply.request, None)
        if isinstance(reply, requests.Refusal):
            error = KINDS[reply.cause](reply.reason)
            for waiting in (call,) if call is not None else (future,):
                if waiting is not None:
                    waiting.set_exception(error)
            return
        if isinstance(reply, requests.Acknowledged) and future is not None:
            future.task_id = reply.task
        if isinstance(reply, requests.AnswerReply) and future is not None:
            future.set_result(TaskResult(reply.outcome, values[0] if values else None))
        if call is not None:
            call.set_result(reply)

    def _end(self, error: SplitPlaceError) -> None:
        """Nothing more is to be heard: whoever waits is told why."""
        with self._waiting:
            self._ended = self._ended or error
            left: list[Future[requests.Reply] | TaskFuture] = [*self._calls.values(), *self._tasks.values()]
            self._calls, self._tasks = {}, {}
        for future in left:
            future.set_exception(self._ended)
