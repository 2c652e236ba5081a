"""A client that dials again: the fleet behind it may end and be started anew."""

import threading
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Self, TypeVar

from splitplace.placement.history import HistoryPage
from splitplace.placement.outcome import TaskFuture
from splitplace.placement.serve.client import Client
from splitplace.placement.serve.frames import Array
from splitplace.records.fleet_status import FleetStatus
from splitplace.records.split import Split

T = TypeVar("T")


class StandingClient:
    """As `Client`, for any number of threads; a context manager.

    While no fleet runs in the folder every call raises `NotReadyError`; tasks that were under way when it ended come to
    that error, and those with a key are the next fleet's, which the same key finds.

    Args:
        data: The folder that the fleet was started with.

    Raises:
        NotReadyError: No fleet runs there.
        ContractError: It speaks another version.
    """

    def __init__(self, data: str | Path):
        self._data = data
        self._dialling = threading.Lock()
        self._closed = False
        self._client = Client(data)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Leave, for good."""
        with self._dialling:
            self._closed = True
            self._client.close()

    def submit(
        self,
        application: str,
        images: Array,
        deadline_s: float,
        labels: Array | None = None,
        *,
        key: str | None = None,
        late: bool = False,
        degrade: bool = False,
        volatile: bool = False,
    ) -> TaskFuture:
        """As `Client.submit`."""
        wish = {"late": late, "degrade": degrade, "volatile": volatile}
        return self._ask(lambda client: client.submit(application, images, deadline_s, labels, key=key, **wish))

    def answer(self, task_id: int) -> TaskFuture:
        """As `Client.answer`."""
        return self._ask(lambda client: client.answer(task_id))

    def cancel(self, task_id: int) -> bool:
        """As `Client.cancel`."""
        return self._ask(lambda client: client.cancel(task_id))

    def status(self) -> FleetStatus:
        """As `Client.status`."""
        return self._ask(lambda client: client.status())

    def history(self, after: int = 0) -> HistoryPage:
        """As `Client.history`."""
        return self._ask(lambda client: client.history(after))

    def applications(self) -> dict[str, Split]:
        """As `Client.applications`."""
        return self._ask(lambda client: client.applications())

    def drain(self) -> None:
        """As `Client.drain`."""
        self._ask(lambda client: client.drain())

    def _ask(self, what: Callable[[Client], T]) -> T:
        with self._dialling:
            if self._client.ended and not self._closed:
                self._client.close()
                self._client = Client(self._data)
            client = self._client
        return what(client)
