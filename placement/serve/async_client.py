"""The client for event loops: the same requests, awaited."""

import asyncio
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from splitplace.placement.outcome import TaskFuture, TaskResult
from splitplace.placement.serve.client import Client
from splitplace.placement.serve.data_folder import DEFAULT
from splitplace.placement.serve.frames import Array
from splitplace.records.fleet_status import FleetStatus
from splitplace.records.split import Split


class AsyncClient:
    """As `Client`, an asynchronous context manager: nothing of it blocks the event loop.

    Args:
        data: The folder that the fleet was started with.
    """

    def __init__(self, data: str | Path = DEFAULT):
        self._data = data
        self._client: Client | None = None

    async def __aenter__(self) -> Self:
        """Connect.

        Raises:
            NotReadyError: No fleet runs there, or it is just starting or ending.
        """
        self._client = await asyncio.to_thread(Client, self._data)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        await asyncio.to_thread(self.client.close)

    @property
    def client(self) -> Client:
        """The connection; only within the context."""
        assert self._client is not None, "use it in an async with statement"
        return self._client

    async def submit(
        self,
        application: str,
        images: str | Path | Sequence[str | Path] | Array,
        deadline_s: float,
        labels: str | Path | Array | None = None,
        *,
        key: str | None = None,
        keep: bool = False,
        late: bool = False,
        degrade: bool = False,
    ) -> TaskFuture:
        """As `Client.submit`; the task is taken for good when this returns, and `result` waits for its answer."""
        return await asyncio.to_thread(
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
        """As `Client.answer`."""
        return await asyncio.to_thread(self.client.answer, task_id)

    async def result(self, task: TaskFuture) -> TaskResult:
        """What became of a task; who stops waiting does not cancel it."""
        return await asyncio.shield(asyncio.wrap_future(task))

    async def cancel(self, task_id: int) -> bool:
        """As `Client.cancel`."""
        return await asyncio.to_thread(self.client.cancel, task_id)

    async def status(self) -> FleetStatus:
        """As `Client.status`."""
        return await asyncio.to_thread(self.client.status)

    async def applications(self) -> dict[str, Split]:
        """As `Client.applications`."""
        return await asyncio.to_thread(self.client.applications)

    async def drain(self) -> None:
        """As `Client.drain`."""
        await asyncio.to_thread(self.client.drain)

    async def stop(self) -> None:
        """As `Client.stop`."""
        await asyncio.to_thread(self.client.stop)
