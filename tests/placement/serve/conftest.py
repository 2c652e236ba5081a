"""A door in front of a broker that does what a test says, with clients and with bytes from no client of ours."""

import itertools
import json
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from splitplace.catalog.oci import digest
from splitplace.errors import NotFoundError, NotReadyError, UsageError
from splitplace.placement.outcome import TaskFuture, TaskOutcome, TaskResult
from splitplace.placement.serve.client import Client
from splitplace.placement.serve.data_folder import DataFolder
from splitplace.placement.serve.door import Door
from splitplace.records.fleet_status import DeviceStatus, FleetStatus, TaskTally
from splitplace.records.fragment import Fragment, TensorSpec
from splitplace.records.split import INPUT, Edge, Merge, Split

PATIENCE_S = 30.0


class FakeBroker:
    """Takes tasks of `pixels` and answers them when it is told to; the logits are the images' first column."""

    def __init__(self) -> None:
        self.tasks: dict[int, TaskFuture] = {}
        self.images: dict[int, np.ndarray] = {}
        self.labels: dict[int, np.ndarray | None] = {}
        self.options: dict[int, dict[str, Any]] = {}
        self.cancelled: list[int] = []
        self.may_submit = threading.Event()
        self.may_submit.set()
        self.drained = threading.Event()
        self.draining = False
        self.at_once = False
        self.changed = threading.Condition()
        self._numbers = itertools.count()

    def submit(self, application, images, deadline_s, labels=None, **options):
        """Waits until it may."""
        if application != "pixels":
            raise UsageError(f"unknown application {application!r}: expected one of pixels")
        if self.draining:
            raise NotReadyError("the fleet is draining: it takes no more tasks")
        self.may_submit.wait(PATIENCE_S)
        task = TaskFuture(next(self._numbers), options["key"])
        task.set_running_or_notify_cancel()
        with self.changed:
            self.tasks[task.task_id], self.images[task.task_id] = task, images
            self.labels[task.task_id], self.options[task.task_id] = labels, options | {"deadline_s": deadline_s}
            self.changed.notify_all()
        if self.at_once:
            self.finish(task.task_id)
        return task

    def answer(self, task_id):
        """Of those it took."""
        if task_id not in self.tasks:
            raise NotFoundError(f"no task {task_id}")
        return self.tasks[task_id]

    def cancel(self, task_id):
        """Notes it; the task fails."""
        under_way = task_id in self.tasks and not self.tasks[task_id].done()
        with self.changed:
            self.cancelled.append(task_id)
            self.changed.notify_all()
        if under_way:
            self.finish(task_id, "it was cancelled")
        return under_way

    def status(self):
        """One device."""
        device = DeviceStatus(
            name="d", up=True, suspected=False, cpu_share=1.0, busy_share=0.5, memory_bytes=9, memory_used_bytes=3,
            fragments=("pixels.m.full/full",), micro_batches_run=2,
        )  # fmt: skip
        tally = TaskTally(waiting=0, running=len(self.tasks), answered=0, failed=0, cancelled=0)
        return FleetStatus(policy="p", uptime_s=1.0, accepting=not self.draining, devices=(device,), tasks=tally)

    def drain(self):
        """Until the test says so."""
        self.draining = True
        assert self.drained.wait(PATIENCE_S)

    def finish(self, task_id, error=None):
        """End a task."""
        known = {"id": task_id, "application": "pixels", "n": len(self.images[task_id]), "deadline_s": 1.0}
        if error is not None:
            self.tasks[task_id].set_result(TaskResult(TaskOutcome(**known, arrival_s=0.0, error=error)))
            return
        outcome = TaskOutcome(
            **known, arrival_s=0.0, split="pixels.m.full", strategy="full", wait_s=0.0, execute_s=0.5, transfer_s=0.0,
            response_s=0.5, p=1.0, p_source="prior",
        )  # fmt: skip
        logits = self.images[task_id].reshape(len(self.images[task_id]), -1).astype(np.float32)
        self.tasks[task_id].set_result(TaskResult(outcome, logits))

    def until(self, what: Callable[[], bool]) -> bool:
        """Whether it came about; wakes with each task that is taken or cancelled."""
        with self.changed:
            return self.changed.wait_for(what, PATIENCE_S)


def pixels() -> Split:
    """What the fake broker serves: 2x2 grey pixels as four logits."""
    fragment = Fragment(
        name="full",
        inputs=(TensorSpec(name="image", dtype="uint8", shape=("batch", 1, 2, 2)),),
        outputs=(TensorSpec(name="logits", dtype="float32", shape=("batch", 4)),),
        classes=(0, 1, 2, 3),
        params=0,
        flops_per_sample=0,
        weight_bytes=0,
        digest=digest(b""),
    )
    return Split(
        application="pixels",
        model="m",
        strategy="full",
        fragments=(fragment,),
        edges=(Edge(src=INPUT, dst="full", tensor="image", bytes_per_sample=4),),
        merge=Merge(kind="identity", class_order=(0, 1, 2, 3)),
        class_names=("a", "b", "c", "d"),
    )


@pytest.fixture
def broker() -> FakeBroker:
    """It."""
    return FakeBroker()


@pytest.fixture
def folder(tmp_path: Path) -> DataFolder:
    """A data folder, made."""
    folder = DataFolder(tmp_path / "fleet")
    folder.prepare()
    return folder


@pytest.fixture
def stopped() -> threading.Event:
    """Set when a client asks for the end."""
    return threading.Event()


@pytest.fixture
def door(broker: FakeBroker, folder: DataFolder, stopped: threading.Event) -> Iterator[Door]:
    """Open."""
    with folder.claimed(), Door(broker, [pixels()], folder, stopped.set) as door:
        yield door


@pytest.fixture
def client(door: Door) -> Iterator[Client]:
    """Connected."""
    with Client(door.folder.path) as client:
        yield client


@pytest.fixture
def images() -> Callable[[int], np.ndarray]:
    """Random pixels, (n, 1, 2, 2)."""
    return lambda n: np.random.default_rng(n).integers(0, 256, (n, 1, 2, 2), np.uint8)


class Stranger:
    """Somebody at the socket who says what a test likes."""

    def __init__(self, folder: DataFolder):
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.settimeout(PATIENCE_S)
        self.socket.connect(str(folder.socket))

    def say(self, message: Any, data: bytes = b"") -> None:
        """A header, or bytes in its place."""
        text = message if isinstance(message, bytes) else json.dumps(message).encode()
        self.socket.sendall(struct.pack(">I", len(text)) + text + data)

    def knock(self, version: int = 1) -> dict[str, Any]:
        """As a client begins."""
        self.say({"type": "knock", "request": 1, "version": version})
        return self.hear()

    def hear(self) -> dict[str, Any]:
        """A reply without tensors."""
        (size,) = struct.unpack(">I", self._exactly(4))
        return json.loads(self._exactly(size))

    def shown_out(self) -> bool:
        """Whether the door has ended the visit; what it still had to say is passed over."""
        try:
            while self.socket.recv(2**16):
                pass
        except ConnectionError:
            return True
        except TimeoutError:
            return False
        return True

    def _exactly(self, size: int) -> bytes:
        data = b""
        while len(data) < size:
            data += (got := self.socket.recv(size - len(data)))
            assert got, "the door ended the visit"
        return data


@pytest.fixture
def stranger(door: Door) -> Iterator[Callable[[], Stranger]]:
    """Makes them; they leave with the test."""
    with ExitStack() as leaving:

        def make() -> Stranger:
            made = Stranger(door.folder)
            leaving.callback(made.socket.close)
            return made

        yield make
