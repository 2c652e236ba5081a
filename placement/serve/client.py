"""A program's end of the door: submit tasks to a fleet that runs in another process, and ask what becomes of them."""

import math
import time
from pathlib import Path
from types import TracebackType
from typing import Self

from splitplace.errors import OverloadedError, UsageError, explained
from splitplace.placement.history import HistoryPage
from splitplace.placement.outcome import TaskFuture
from splitplace.placement.serve import requests
from splitplace.placement.serve.connection import Connection
from splitplace.placement.serve.data_folder import DEFAULT, DataFolder
from splitplace.placement.serve.frames import MAX_TENSOR_BYTES, Array, TensorHeader, tensor
from splitplace.placement.serve.task_inputs import (
    Images,
    Labels,
    check_number,
    check_wish,
    images_of,
    labels_of,
    pick_split,
)
from splitplace.records.fleet_status import FleetStatus
from splitplace.records.split import Split


class Client:
    """A connection to the fleet of a data folder, for any number of threads; a context manager.

    Who closes it takes its tasks back, but those with a `key` and those to `keep`.

    Args:
        data: The folder that the fleet was started with.

    Raises:
        NotReadyError: No fleet runs there, or it is just starting or ending.
        ContractError: It speaks another version.
    """

    @explained()
    def __init__(self, data: str | Path = DEFAULT):
        self.folder = DataFolder(data)
        if not self.folder.pid_file.exists():
            raise self.folder.absent()
        self._connection = Connection(self.folder)
        self._splits: dict[str, Split] | None = None

    @property
    def pid(self) -> int:
        """Of the process that runs the fleet."""
        return self._connection.pid

    @property
    def ended(self) -> bool:
        """Whether nothing can be asked any more: it was closed, or the fleet has ended."""
        return self._connection.ended

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Leave; a second time: nothing."""
        self._connection.close()

    # What may be asked.

    @explained()
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
        volatile: bool = False,
    ) -> TaskFuture:
        """Ask for the classes of some images.

        Args:
            application: One that the fleet serves.
            images: (n, ...), n > 0, of the dtype that the application's splits take; an .npy file of them; image files,
                or a folder of image files, which are taken in the order of their names.
            deadline_s: From now.
            labels: True classes, integers (n,), or an .npy file of them; without, p is the split's measured accuracy.
            key: Of your choice: a second task of the same key is the first one, and gets its result. It is kept.
            keep: Whether the task goes on when this client leaves; `answer` gets its result then.
            late: Whether an answer after the deadline is wanted.
            degrade: Whether an answer of the branches that can be had in time will do.
            volatile: Whether it may end with the fleet's process: its images are not written to the disk, which large
                ones take long for. One with a key never is.

        Returns:
            A future that comes to a `TaskResult`, whose outcome may hold an error; `task_id` is the task's number. The
            task is taken for good when this returns, if it is not volatile.

        Raises:
            UsageError: Unknown application, no such file.
            OverloadedError: Too many tasks wait, or too many bytes of images.
            ContractError: Images or labels that are not by contract, NaN or infinite ones among them.
            NotReadyError: The fleet is draining, or has ended.
        """
        check_wish(deadline_s, key)
        given = [("images", images_of(images, lambda: pick_split(self.applications(), application)))]
        if labels is not None:
            given.append(("labels", labels_of(labels)))
        lines: tuple[TensorHeader, ...]
        values: tuple[Array, ...]
        lines, values = zip(*(tensor(what, value) for what, value in given), strict=True)
        size_bytes = sum(line.size_bytes for line in lines)
        if size_bytes > MAX_TENSOR_BYTES:
            raise OverloadedError(
                f"a task of {size_bytes} bytes, expected at most {MAX_TENSOR_BYTES}: send its images as several tasks"
            )
        message = requests.Submission(
            tensors=lines,
            application=application,
            deadline_s=float(deadline_s),
            key=key,
            keep=keep,
            late=late,
            degrade=degrade,
            volatile=volatile,
        )
        return self._connection.task(message, key, values)

    @explained()
    def answer(self, task_id: int) -> TaskFuture:
        """The result of a task, whoever submitted it: to come, or still kept.

        Args:
            task_id: Its number.

        Raises:
            NotFoundError: No such task, or its result is not kept any more.
            NotReadyError: The fleet has ended.
        """
        return self._connection.task(requests.AnswerWanted(task=check_number(task_id)))

    @explained()
    def cancel(self, task_id: int) -> bool:
        """Take a task back, whoever submitted it: it fails, and its devices are told.

        Args:
            task_id: Its number.

        Returns:
            Whether it was still under way.
        """
        reply = self._connection.ask(requests.Withdrawal(task=check_number(task_id)))
        assert isinstance(reply, requests.Withdrawn)
        return reply.was_under_way

    def status(self) -> FleetStatus:
        """Devices and tasks at this moment."""
        reply = self._connection.ask(requests.StatusWanted())
        assert isinstance(reply, requests.StatusReply)
        return reply.status

    def history(self, after: int = 0) -> HistoryPage:
        """What happened lately, some thousand events.

        Args:
            after: The number of the event to begin with: 0, or what the page before calls `next`.

        Returns:
            A page of them, in the order in which the broker learnt of things; `missed` were forgotten before.
        """
        reply = self._connection.ask(requests.HistoryWanted(after=check_number(after, "event")))
        assert isinstance(reply, requests.HistoryReply)
        return reply.page

    def applications(self) -> dict[str, Split]:
        """What may be submitted: by application, one of its splits, which says what it takes and answers."""
        if self._splits is None:
            reply = self._connection.ask(requests.OffersWanted())
            assert isinstance(reply, requests.Offers)
            self._splits = {split.application: split for split in reply.splits}
        return self._splits

    @explained()
    def invite(self, device: str, valid_s: float = 3600.0) -> str:
        """A token by which one machine may become a device of the fleet, once (`splitplace fleet join TOKEN`).

        It says where the fleet is and which key it has; the machine makes its own key, and whoever was this device
        before is so no more when it joins.

        Args:
            device: Its name in the fleet.
            valid_s: How long it may be used, at most 30 days.

        Raises:
            NotFoundError: There is no such device.
            UsageError: Nobody joins this fleet, or not for so long.
        """
        if not 0 < valid_s < math.inf:
            raise UsageError(f"an invitation for {valid_s} s: expected seconds, more than 0")
        reply = self._connection.ask(requests.InvitationWanted(device=device, valid_s=float(valid_s)))
        assert isinstance(reply, requests.InvitationReply)
        return reply.token

    @explained()
    def revoke(self, device: str) -> None:
        """Put a device out: its key opens nothing from now on, and what it had to run is run elsewhere.

        Raises:
            NotFoundError: There is no such device.
            UsageError: Nobody joins this fleet.
        """
        self._connection.ask(requests.Revocation(device=device))

    def drain(self) -> None:
        """Have the fleet take no more tasks; returns when all have ended."""
        self._connection.ask(requests.DrainWanted(), None)

    def stop(self) -> None:
        """End the fleet; returns when its process has let go of the data folder."""
        self._connection.ask(requests.StopWanted())
        self._connection.wait()
        while self.folder.running() == self.pid:
            time.sleep(0.05)
