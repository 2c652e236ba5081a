"""A client that dials again: the fleet behind it may end and be started anew."""

import threading
from collections.abc import Callable
from concurrent.futures import Future
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
        self._turning = threading.Lock()
        """Over the client; nobody waits for a fleet with it."""
        self._closed = False
        self._client = Client(data)
        self._dialled: Future[Client] | None = None
        """The next one, while somebody dials."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Leave, for good."""
        with self._turning:
            self._closed, client = True, self._client
        client.close()

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
        return what(self._connected())

    def _connected(self) -> Client:
        """The client, or the next where the fleet of this one has ended: one thread dials, and others wait for it."""
        with self._turning:
            if self._closed or not self._client.ended:
                return self._client
            dialled, dials = self._dialled, self._dialled is None
            if dialled is None:
                dialled = self._dialled = Future()
        if dials:
            self._dial(dialled)
        return dialled.result()

    def _dial(self, dialled: "Future[Client]") -> None:
        try:
            client = Client(self._data)
        except BaseException as error:  # noqa: BLE001 - raised by `result`, in whichever thread asks for it
            with self._turning:
                self._dialled = None
            dialled.set_exception(error)
            return
        with self._turning:
            former, self._client, self._dialled = self._client, client, None
            unwanted = self._closed
        former.close()
        if unwanted:
            client.close()
        dialled.set_result(client)
