"""The server: clients of this user, at a socket in the data folder, in a thread of its own beside the broker's loop.

The door waits for clients in an event loop, and for the broker in threads of a pool, so that neither waits for the
other. What clients may make it hold is bounded: visits, requests, and bytes of tasks that are still coming in.
"""

import asyncio
import logging
import os
import socket
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType
from typing import Self, TypeVar

from splitplace.placement.serve.data_folder import DataFolder
from splitplace.placement.serve.frames import MAX_TENSOR_BYTES
from splitplace.placement.serve.served import ManagedBroker
from splitplace.placement.serve.visit import CHUNK_BYTES, Visit
from splitplace.records.split import Split

log = logging.getLogger(__name__)

T = TypeVar("T")

MAX_VISITS = 200
MAX_COMING_BYTES = MAX_TENSOR_BYTES
"""Of tasks that are on their way in or being submitted, over all clients; the broker bounds what it has taken."""
SUBMITTING, ASKING = 16, 4
"""Threads that wait for the broker to take a task, and for all else."""
LAST_WORDS_S = 2.0
"""How long clients may take to hear what became of their tasks when the fleet has ended."""


class Door:
    """Serves a broker: `open` it when the broker is up, `close` it before the broker ends, and `finish` it after.

    Args:
        broker: What is asked.
        splits: One of each application, told to clients that read image files.
        folder: Claimed by this process; its socket is made.
        stop: Called, in the door's thread, when a client asks for the end.
    """

    def __init__(self, broker: ManagedBroker, splits: Sequence[Split], folder: DataFolder, stop: Callable[[], None]):
        self.broker, self.splits, self.folder, self.stop = broker, tuple(splits), folder, stop
        self.closed = False
        """Whether nothing more may be asked; who leaves now leaves his tasks."""
        self._visits: set[Visit] = set()
        self._coming_bytes = 0
        self._submitting = ThreadPoolExecutor(SUBMITTING, "door-submit")
        self._asking = ThreadPoolExecutor(ASKING, "door-ask")
        self._drained: Future[None] | None = None
        self._loop = asyncio.new_event_loop()
        self._end = asyncio.Event()
        self._thread = threading.Thread(target=self._run, name="door", daemon=True)

    def open(self) -> None:
        """Let clients in.

        Raises:
            OSError: There can be no socket in the folder.
        """
        listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            with self.folder.address() as address:
                listening.bind(address)
            self.folder.socket.chmod(0o600)
            listening.listen(MAX_VISITS)  # only now may anyone connect
        except BaseException:
            listening.close()
            raise
        serving = asyncio.start_unix_server(self._receive, sock=listening, limit=CHUNK_BYTES)
        self._thread.start()
        asyncio.run_coroutine_threadsafe(serving, self._loop).result()

    def close(self) -> None:
        """Let nobody in and take no requests any more; clients still hear what becomes of their tasks."""
        self.closed = True
        self.folder.remove_socket()

    def finish(self) -> None:
        """Show everybody out, once the broker has ended; nothing, if it was not open."""
        if self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._end.set)
            self._thread.join()
        self._submitting.shutdown(wait=False)
        self._asking.shutdown(wait=False)

    def __enter__(self) -> Self:
        self.open()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()
        self.finish()

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        try:
            self._loop.run_until_complete(self._until_end())
        finally:
            self._loop.close()

    async def _until_end(self) -> None:
        await self._end.wait()
        owed = {task for visit in self._visits for task in visit.under_way}
        if owed:
            await asyncio.wait(owed, timeout=LAST_WORDS_S)
        for visit in self._visits:
            visit.end()
        while running := asyncio.all_tasks() - {asyncio.current_task()}:
            await asyncio.wait(running)

    async def _receive(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        visit = Visit(self, reader, writer)
        full = len(self._visits) >= MAX_VISITS
        self._visits.add(visit)
        try:
            await visit.run(f"{MAX_VISITS} clients are here already: try again later" if full else "")
        finally:
            self._visits.discard(visit)

    # What a visit asks of the door.

    def hold(self, size_bytes: int) -> bool:
        """Make room for bytes that come in; answers whether there is any."""
        if self._coming_bytes + size_bytes > MAX_COMING_BYTES:
            return False
        self._coming_bytes += size_bytes
        return True

    def release(self, size_bytes: int) -> None:
        """They have left, or were taken."""
        self._coming_bytes -= size_bytes

    async def submitting(self, work: Callable[[], T]) -> T:
        """What may wait for a disk, in a thread."""
        return await self._loop.run_in_executor(self._submitting, work)

    async def asking(self, work: Callable[[], T]) -> T:
        """What takes a moment, in a thread."""
        return await self._loop.run_in_executor(self._asking, work)

    async def drain(self) -> None:
        """Wait until the broker has drained; however many ask, one thread waits."""
        if self._drained is None or (self._drained.done() and self._drained.exception()):
            self._drained = Future()
            threading.Thread(target=self._drain, args=(self._drained,), name="door-drain", daemon=True).start()
        await asyncio.shield(asyncio.wrap_future(self._drained))

    def _drain(self, drained: "Future[None]") -> None:
        try:
            self.broker.drain()
        except BaseException as error:  # noqa: BLE001 - handed to those who asked
            drained.set_exception(error)
        else:
            drained.set_result(None)

    @property
    def pid(self) -> int:
        """Of the process that runs the fleet."""
        return os.getpid()
