"""The client of a front door, for event loops."""

from functools import partial
from pathlib import Path

from splitplace.placement.outcome import TaskFuture
from splitplace.placement.remote.remote_client import RemoteClient
from splitplace.placement.serve.awaited_client import AwaitedClient


class AsyncRemoteClient(AwaitedClient[RemoteClient]):
    """As `RemoteClient`, an asynchronous context manager: nothing of it blocks the event loop.

    Args:
        url: As there, like the others.
        token: The bearer token.
        token_file: A file that holds it.
        ca: PEM file of who vouches for the server's certificate.
    """

    def __init__(
        self,
        url: str,
        token: str | None = None,
        *,
        token_file: str | Path | None = None,
        ca: str | Path | None = None,
    ):
        super().__init__(partial(RemoteClient, url, token, token_file=token_file, ca=ca))

    async def answer(self, task_id: int | str) -> TaskFuture:
        """As `RemoteClient.answer`."""
        return await self._in_thread(self.client.answer, task_id)

    async def cancel(self, task_id: int | str) -> bool:
        """As `RemoteClient.cancel`."""
        return await self._in_thread(self.client.cancel, task_id)
