"""What the door asks of a broker. `placement.broker` has one; the door's tests have another."""

from typing import Protocol, runtime_checkable

from splitplace.placement.history import HistoryPage
from splitplace.placement.outcome import TaskFuture
from splitplace.placement.serve.frames import Array
from splitplace.records.fleet_status import FleetStatus


class ServedBroker(Protocol):
    """Every method may be called from any thread, and by several at once; `submit` and `drain` may take their time."""

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
        """Take a task on: it is acknowledged when this returns; a volatile one is not, and may end with the broker."""
        ...

    def answer(self, task_id: int) -> TaskFuture:
        """The result of a task, to come or kept."""
        ...

    def cancel(self, task_id: int) -> bool:
        """Take a task back; answers whether it was under way."""
        ...

    def status(self) -> FleetStatus:
        """Devices and tasks at this moment."""
        ...

    def history(self, after: int = 0) -> HistoryPage:
        """What happened lately, from an event on: a page of it."""
        ...

    def drain(self) -> None:
        """Take no more tasks; returns when all have ended."""
        ...


class ManagedBroker(ServedBroker, Protocol):
    """And what the door of the data folder asks besides: who may enter that may say who is in the fleet."""

    def invite(self, device: str, valid_s: float) -> str:
        """A token by which a machine may become a device, once."""
        ...

    def revoke(self, device: str) -> None:
        """Put a device out."""
        ...


@runtime_checkable
class TakesAtOnce(Protocol):
    """What a fleet of this very process can do besides: no other process has to be waited for."""

    def submit_at_once(
        self,
        application: str,
        images: Array,
        deadline_s: float,
        labels: Array | None = None,
        *,
        late: bool = False,
        degrade: bool = False,
    ) -> TaskFuture | None:
        """As `ServedBroker.submit` of a volatile task, without a wait; None where a disk had to be waited for."""
        ...
