"""Any client of tasks, for event loops: the same requests in threads, awaited."""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from types import TracebackType
from typing import Any, Generic, Protocol, Self, TypeVar

from splitplace.placement.outcome import TaskFuture, TaskResult
from splitplace.placement.serve.task_inputs import Images, Labels
from splitplace.records.split import Split


class BlockingClient(Protocol):
    """What `Client` and `RemoteClient` have in common."""

    def submit(
        self,
        application: str,
        images: Images,
        deadline_s: float,
        labels: Labels | None = None,
        *,
        key: str | None = None,
        keep: bool = False,
        late: bool = False,
        degrade: bool = False,
    ) -> TaskFuture:
        """Hand a task in; it is taken for good when this returns."""
        ...

    def answer(self, task_id: int) -> TaskFuture:
        """The result of a task, whoever submitted it."""
        ...

    def cancel(self, task_id: int) -> bool:
        """Take a task back; answers whether it was under way."""
        ...

    def applications(self) -> dict[str, Split]:
        """What may be submitted."""
        ...

    def close(self) -> None:
        """Leave."""
        ...


C = TypeVar("C", bound=BlockingClient)
T = TypeVar("T")

AT_ONCE = 32
"""Requests of one client that are under way; the next one waits for a thread."""


class AwaitedClient(Generic[C]):
    """An asynchronous context manager around a client; nothing of it blocks the event loop.

    Its requests have threads of their own: the loop's are the program's, which a fleet that is away must not fill.

    Args:
        connect: Makes the client.
    """

    def __init__(self, connect: Callable[[], C]):
        self._connect = connect
        self._client: C | None = None
        self._threads = ThreadPoolExecutor(AT_ONCE, "awaited-client")

    async def __aenter__(self) -> Self:
        """Connect; errors as the client's."""
        self._client = await self._in_thread(self._connect)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        leaving = ThreadPoolExecutor(1, "awaited-client")  # the others may all wait for what this ends
        try:
            await asyncio.get_running_loop().run_in_executor(leaving, self.client.close)
        finally:
            leaving.shutdown(wait=False)
            self._threads.shutdown(wait=False)

    async def _in_thread(self, call: Callable[..., T], *args: Any, **options: Any) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._threads, partial(call, *args, **options))

    @property
    def client(self) -> C:
        """The connection; only within the context."""
        assert self._client is not None, "use it in an async with statement"
        return self._client

    async def submit(
        self,
        application: str,
        images: Images,
        deadline_s: float,
        labels: Labels | None = None,
        *,
        key: str | None = None,
        keep: bool = False,
        late: bool = False,
        degrade: bool = False,
    ) -> TaskFuture:
        """As the client's; the task is taken for good when this returns, and `result` waits for its answer."""
        return await self._in_thread(
            self.client.submit,
            application,
            images,
            deadline_s,
            labels,
            key=key,
            keep=keep,
            late=late,
            degrade=degrade,
        )

    async def answer(self, task_id: int) -> TaskFuture:
        """As the client's."""
        return await self._in_thread(self.client.answer, task_id)

    async def result(self, task: TaskFuture) -> TaskResult:
        """What became of a task; who stops waiting does not cancel it."""
        return await asyncio.shield(asyncio.wrap_future(task))

    async def cancel(self, task_id: int) -> bool:
        """As the client's."""
        return await self._in_thread(self.client.cancel, task_id)

    async def applications(self) -> dict[str, Split]:
        """As the client's."""
        return await self._in_thread(self.client.applications)
