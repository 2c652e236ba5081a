"""The client of a fleet on this machine, for event loops."""

from pathlib import Path

from splitplace.placement.history import HistoryPage
from splitplace.placement.serve.awaited_client import AwaitedClient
from splitplace.placement.serve.client import Client
from splitplace.placement.serve.data_folder import DEFAULT
from splitplace.records.fleet_status import FleetStatus


class AsyncClient(AwaitedClient[Client]):
    """As `Client`, an asynchronous context manager: nothing of it blocks the event loop.

    Args:
        data: The folder that the fleet was started with.
    """

    def __init__(self, data: str | Path = DEFAULT):
        super().__init__(lambda: Client(data))

    async def history(self, after: int = 0) -> HistoryPage:
        """As `Client.history`."""
        return await self._in_thread(self.client.history, after)

    async def status(self) -> FleetStatus:
        """As `Client.status`."""
        return await self._in_thread(self.client.status)

    async def invite(self, device: str, valid_s: float = 3600.0) -> str:
        """As `Client.invite`."""
        return await self._in_thread(self.client.invite, device, valid_s)

    async def revoke(self, device: str) -> None:
        """As `Client.revoke`."""
        await self._in_thread(self.client.revoke, device)

    async def drain(self) -> None:
        """As `Client.drain`."""
        await self._in_thread(self.client.drain)

    async def stop(self) -> None:
        """As `Client.stop`."""
        await self._in_thread(self.client.stop)
