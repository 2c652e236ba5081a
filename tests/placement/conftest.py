"""A view to follow by hand: one application, a chain of two layer fragments, two parallel semantic branches.

And the rules that policies break: one bad answer each, for the simulator and for a fleet alike. And a broker that does
what a test says, for the doors in front of it.
"""

import asyncio
import itertools
import shutil
import subprocess
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest

from splitplace.catalog.oci import digest
from splitplace.errors import NotFoundError, NotReadyError, UsageError
from splitplace.placement.broker.history import History
from splitplace.placement.outcome import TaskFuture, TaskOutcome, TaskResult
from splitplace.placement.placers.best_fit import BestFit
from splitplace.records.action import Decide, Evict, Migrate, Place, Wait
from splitplace.records.fleet_status import DeviceStatus, FleetStatus, TaskTally
from splitplace.records.fragment import Fragment, TensorSpec
from splitplace.records.split import INPUT, Edge, Merge, Split
from splitplace.records.view import (
    Containers,
    Devices,
    Finished,
    Foresight,
    Fragments,
    Links,
    Splits,
    Tasks,
    Utilisation,
    View,
)

LAYER, SEMANTIC = 0, 1
PATIENCE_S = 240.0

MakeView = Callable[..., View]


def coming(container: list[int], device_of: dict[tuple[int, int], int]) -> float:
    """What a container of `make_view` has still to receive: an image has 50 bytes, what the chain's head sends 25."""
    task, fragment, device = container
    if device < 0 or (fragment == 1 and device_of.get((task, 0)) == device):
        return 0.0
    return 4 * (25.0 if fragment == 1 else 50.0)


def make_view(
    *,
    memory_bytes: tuple[float, ...] = (100.0, 100.0),
    used_bytes: tuple[float, ...] | None = None,
    up: tuple[bool, ...] | None = None,
    deadlines_s: tuple[float, ...] = (),
    split: tuple[int, ...] | None = None,
    containers: tuple[tuple[int, int, int], ...] = (),
    resident: tuple[tuple[int, int], ...] = (),
    shares_fragments: bool = True,
    finished: Finished | None = None,
    now_s: float = 0.0,
    energy_j: tuple[float, ...] | None = None,
    accuracy: tuple[tuple[float, float], ...] | None = None,
) -> View:
    """Fragments: 0, 1 the chain (10 and 5 s, 60 and 30 bytes), 2, 3 the branches (2 s, 20 bytes each)."""
    n_devices = len(memory_bytes)
    resident_FD = np.zeros((4, n_devices), bool)
    for fragment, device in resident:
        resident_FD[fragment, device] = True
    ones = np.ones(n_devices)
    tasks = len(deadlines_s)
    rows = np.array(containers, np.int64).reshape(-1, 3)
    where = {(task, fragment): device for task, fragment, device in rows.tolist()}
    idle_FD, placed = resident_FD.copy(), rows[rows[:, 2] >= 0]
    idle_FD[placed[:, 1], placed[:, 2]] = False
    return View(
        now_s=now_s,
        interval_s=300.0,
        longest_s=100.0,
        foresight=Foresight(np.array(accuracy)) if accuracy is not None else None,
        applications=("mnist",),
        devices=Devices(
            names=tuple(f"d{i}" for i in range(n_devices)),
            up_D=np.array(up if up is not None else [True] * n_devices),
            cores_D=np.ones(n_devices, np.int64),
            servers_D=np.ones(n_devices, np.int64),
            core_speed_D=ones,
            memory_bytes_D=np.array(memory_bytes),
            memory_used_bytes_D=np.array(used_bytes if used_bytes is not None else [0.0] * n_devices),
            cpu_D=0 * ones,
            net_D=0 * ones,
            disk_D=0 * ones,
            backlog_s_D=0 * ones,
            power_w_D11=np.tile(np.linspace(100.0, 200.0, 11), (n_devices, 1)),
            energy_j_D=np.array(energy_j if energy_j is not None else [0.0] * n_devices),
            resident_FD=resident_FD,
            idle_FD=idle_FD,
            shares_fragments=shares_fragments,
        ),
        links=Links(up_bytes_per_s_D=100 * ones, down_bytes_per_s_D=100 * ones, rtt_s_D=0.2 * ones),
        splits=Splits(
            references=("mnist.mobilenetv2.layer-2", "mnist.mobilenetv2.semantic-2"),
            application_S=np.array([0, 0]),
            strategies=("layer", "semantic"),
            first_S=np.array([0, 2]),
            count_S=np.array([2, 2]),
            top1_S=np.array([0.95, 0.9]),
        ),
        fragments=Fragments(
            split_F=np.array([0, 0, 1, 1]),
            micro_batch_F=np.array([4, 4, 4, 4]),
            latency_s_FD=np.array([10.0, 5.0, 2.0, 2.0])[:, None] * ones,
            memory_bytes_FD=np.array([60.0, 30.0, 20.0, 20.0])[:, None] * ones,
            weight_bytes_F=np.array([50, 20, 10, 10]),
            edge_src_X=np.array([-1, 0, -1, -1]),
            edge_dst_X=np.array([0, 1, 2, 3]),
            edge_bytes_X=np.array([50, 25, 50, 50]),
        ),
        tasks=Tasks(
            id_T=100 + np.arange(tasks),
            application_T=np.zeros(tasks, np.int64),
            n_T=np.full(tasks, 4),
            deadline_s_T=np.array(deadlines_s, np.float64),
            age_s_T=np.zeros(tasks),
            split_T=np.array(split if split is not None else [-1] * tasks, np.int64),
        ),
        containers=Containers(
            task_C=rows[:, 0],
            fragment_C=rows[:, 1],
            device_C=rows[:, 2],
            remaining_C=np.ones(len(rows)),
            coming_bytes_C=np.array([coming(row, where) for row in rows.tolist()], np.float64),
            ready_C=np.ones(len(rows), bool),
        ),
        measure=lambda: Utilisation.none(n_devices),
        finished=finished if finished is not None else Finished.none(),
    )


def make_finished(*rows: tuple[int, float, float, float, int]) -> Finished:
    """Rows of (split, deadline_s, response_s, accuracy, context), all of application 0."""
    split, deadline, response, accuracy, context = (list(column) for column in zip(*rows, strict=True))
    return Finished(
        id_E=np.arange(len(rows)),
        application_E=np.zeros(len(rows), np.int64),
        split_E=np.array(split),
        deadline_s_E=np.array(deadline, np.float64),
        response_s_E=np.array(response, np.float64),
        accuracy_E=np.array(accuracy, np.float64),
        tag_E=np.zeros(len(rows), np.int64),
        context_E=np.array(context),
    )


@pytest.fixture(scope="session")
def view() -> MakeView:
    """Builds views."""
    return make_view


@pytest.fixture(scope="session")
def left() -> Callable[..., Finished]:
    """Builds the tasks that left."""
    return make_finished


class Rogue(BestFit):
    """A whole policy that behaves, the first split for all and best fit, but for what it is told to spoil.

    A policy that changes itself, as none should: `spoil` is what one method answers, when it has something to do, in
    place of the right answer; given that, the view and what there is to do. Once, unless `always`.
    """

    name = "rogue"

    def __init__(self, spoil: "BadAnswer | None" = None, always: bool = False):
        self.spoil, self.always = spoil, always

    def _answer(self, method: str, right: Any, view: View, todo: Any) -> Any:
        bad = self.spoil
        if bad is None or bad.method != method or not len(todo):
            return right
        if not self.always:
            self.spoil = None
        return bad.answer(right, view, todo)

    def decide(self, state: Any, view: View, rng: Any) -> Any:
        """The first split of each task's application."""
        tasks = view.tasks
        right = [
            Decide(int(tasks.id_T[row]), int(np.argmax(view.splits.application_S == tasks.application_T[row])))
            for row in tasks.undecided
        ]
        return self._answer("decide", right, view, right)

    def place(self, state: Any, view: View, requests: Any, rng: Any) -> Any:
        """Best fit."""
        return self._answer("place", super().place(state, view, requests, rng), view, requests)

    def update(self, state: Any, feedback: Any) -> Any:
        """Nothing to learn."""
        return self._answer("update", state, feedback.view, getattr(feedback, "decisions", ()))


class BadAnswer(NamedTuple):
    """One rule broken: by which method's answer, and what is said of it."""

    method: str
    answer: Callable[[Any, View, Any], Any]
    said: str


def throw(error: BaseException) -> Callable[[Any, View, Any], Any]:
    """Raises it."""

    def answer(right: Any, view: View, todo: Any) -> Any:
        raise error

    return answer


def foreign(view: View) -> int:
    """A fragment of another application's split, which nobody ever loads."""
    return int(view.splits.first_S[-1])


def first(**changes: Any) -> Callable[[Any, View, Any], Any]:
    """The right answer, but for fields of its first action; a text is the name of a device."""

    def answer(right: Any, view: View, todo: Any) -> Any:
        rows = {k: view.devices.names.index(v) if v in view.devices.names else v for k, v in changes.items()}
        return [replace(right[0], **rows), *right[1:]]

    return answer


def more(make: Callable[[Place, View], Any]) -> Callable[[Any, View, Any], Any]:
    """The right answer and one action more, made of its first."""
    return lambda right, view, todo: [*right, make(right[0], view)]


class WordlessError(Exception):
    """An error whose own words fail."""

    def __str__(self) -> str:
        raise ValueError


BAD = {
    "decide raises": BadAnswer("decide", throw(ZeroDivisionError("no\nidea")), "ZeroDivisionError: no idea"),
    "decide exits": BadAnswer("decide", throw(SystemExit(3)), "SystemExit: 3"),
    "decide raises what is no Exception": BadAnswer("decide", throw(asyncio.CancelledError()), "CancelledError"),
    "decide raises without words": BadAnswer("decide", throw(WordlessError()), "WordlessError: it fails to say what"),
    "decide never ends": BadAnswer("decide", lambda right, *_: itertools.cycle(right), "not there or decided already"),
    "place never ends": BadAnswer("place", lambda right, *_: itertools.cycle(right), "another action for it already"),
    "decide answers None": BadAnswer("decide", lambda *_: None, "TypeError"),
    "decide answers text": BadAnswer("decide", lambda *_: "up", "no action"),
    "a task is not decided": BadAnswer("decide", lambda *_: [], "is not decided"),
    "a task is decided twice": BadAnswer("decide", lambda right, *_: right * 2, "decided already"),
    "an unknown task is decided": BadAnswer("decide", first(task=99_999), "not there or decided already"),
    "a split that is not": BadAnswer("decide", first(split=99), "split 99 does not exist, there are 2"),
    "a split below 0": BadAnswer("decide", first(split=-1), "split -1 does not exist"),
    "another application's split": BadAnswer("decide", first(split=1), "a split of another application"),
    "a context that is none": BadAnswer("decide", first(context=2), "a context of 0 or 1"),
    "a tag that is no number": BadAnswer("decide", first(tag="mine"), "whole numbers"),
    "a tag too large": BadAnswer("decide", first(tag=2**70), "whole numbers"),
    "decide places": BadAnswer("decide", lambda *_: [Place(0, 0, 0)], "no action that decides"),
    "place raises": BadAnswer("place", throw(KeyError("x")), "KeyError: 'x'"),
    "place answers a number": BadAnswer("place", lambda *_: 7, "TypeError"),
    "place answers text": BadAnswer("place", lambda *_: ["up"], "'up' is no action"),
    "all are left out": BadAnswer("place", lambda *_: [], "3 fragments have no device and do not wait"),
    "one is left out": BadAnswer("place", lambda right, *_: right[1:], "1 fragments have no device and do not wait"),
    "an unknown task is placed": BadAnswer("place", first(task=99_999), "no such decided task"),
    "a fragment that is not": BadAnswer("place", first(fragment=99), "the task's split has the fragments 0..2"),
    "another split's fragment": BadAnswer("place", first(fragment=3), "the task's split has the fragments 0..2"),
    "a device that is not": BadAnswer("place", first(device=3), "there are 3 devices"),
    "a device below 0": BadAnswer("place", first(device=-1), "there are 3 devices"),
    "half a device": BadAnswer("place", first(device=0.5), "whole numbers"),
    "a device that is down": BadAnswer("place", first(device="dead"), "dead is down"),
    "a device that is full": BadAnswer("place", first(device="tiny"), "bytes free, it needs"),
    "placed twice": BadAnswer("place", more(lambda place, _: place), "another action for it already"),
    "placed and waits": BadAnswer(
        "place", more(lambda place, _: Wait(place.task, place.fragment)), "another action for it already"
    ),
    "placed and moved": BadAnswer(
        "place", more(lambda place, _: Migrate(place.task, place.fragment, 0)), "another action for it already"
    ),
    "moved from nowhere": BadAnswer(
        "place",
        lambda right, *_: [Migrate(right[0].task, right[0].fragment, 0), *right[1:]],
        "no device to move from",
    ),
    "unloads what is not there": BadAnswer(
        "place", more(lambda _, view: Evict(foreign(view), 0)), "no idle weights of it there"
    ),
    "unloads no fragment": BadAnswer("place", more(lambda _, view: Evict(-1, 0)), "no idle weights of it there"),
    "unloads from no device": BadAnswer("place", more(lambda _, view: Evict(0, -1)), "there are 3 devices"),
    "place decides": BadAnswer("place", more(lambda place, _: Decide(place.task, 0)), "decided already"),
    "update raises": BadAnswer("update", throw(RuntimeError("full")), "RuntimeError: full"),
}  # fmt: skip


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """A test that takes `bad` runs for every rule."""
    if "bad" in metafunc.fixturenames:
        metafunc.parametrize("bad", list(BAD.values()), ids=list(BAD))


@pytest.fixture(scope="session")
def rogue() -> type[Rogue]:
    """The policy above."""
    return Rogue


class FakeBroker:
    """Takes tasks of `pixels` and answers them when it is told to; the logits are the images' first column."""

    def __init__(self) -> None:
        self.takes_at_once = False
        """Else who hands in has to wait."""
        self.threads: list[str] = []
        """That tasks were handed in by."""
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
        self.waiting = 0
        """Submissions that wait until they may."""
        self.waiting_tasks = 0
        """What the status says of the queue."""
        self.changed = threading.Condition()
        self.keys: dict[str, int] = {}
        self._numbers = itertools.count()
        self.book = History()
        """What it tells of what happened."""
        self.devices = (
            DeviceStatus(
                name="d", up=True, suspected=False, cpu_share=1.0, busy_share=0.5, memory_bytes=9, memory_used_bytes=3,
                fragments=("pixels.m.full/full",), micro_batches_run=2,
            ),
        )  # fmt: skip
        self.estimates = ()
        self.policy, self.now_s = "p", 1.0

    def submit(self, application, images, deadline_s, labels=None, **options):
        """Waits until it may."""
        self.threads.append(threading.current_thread().name)
        if application != "pixels":
            raise UsageError(f"unknown application {application!r}: expected one of pixels")
        if self.draining:
            raise NotReadyError("the fleet is draining: it takes no more tasks")
        with self.changed:
            self.waiting += 1
            self.changed.notify_all()
        self.may_submit.wait(PATIENCE_S)
        with self.changed:
            if options["key"] in self.keys:
                return self.tasks[self.keys[options["key"]]]
            task = TaskFuture(next(self._numbers), options["key"])
            task.set_running_or_notify_cancel()
            if options["key"] is not None:
                self.keys[options["key"]] = task.task_id
            self.tasks[task.task_id], self.images[task.task_id] = task, images
            self.labels[task.task_id], self.options[task.task_id] = labels, options | {"deadline_s": deadline_s}
            self.changed.notify_all()
        if self.at_once:
            self.finish(task.task_id)
        return task

    def submit_at_once(self, application, images, deadline_s, labels=None, **wish):
        """If it takes any so."""
        if not self.takes_at_once:
            return None
        return self.submit(application, images, deadline_s, labels, key=None, volatile=True, **wish)

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
        """One device, if the test says nothing else."""
        tally = TaskTally(waiting=self.waiting_tasks, running=len(self.tasks), answered=0, failed=0, cancelled=0)
        return FleetStatus(
            policy=self.policy, uptime_s=self.now_s, accepting=not self.draining, devices=self.devices, tasks=tally,
            estimates=self.estimates,
        )  # fmt: skip

    def history(self, after=0, most=1_000):
        """What the test says."""
        return self.book.page(after, most)

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

    def forget(self, task_id):
        """Keep its result no longer: what it was called by is free."""
        with self.changed:
            del self.tasks[task_id]
            self.keys = {key: task for key, task in self.keys.items() if task != task_id}

    def until(self, what: Callable[[], bool]) -> bool:
        """Whether it came about; wakes with each task that is taken or cancelled."""
        with self.changed:
            return self.changed.wait_for(what, PATIENCE_S)


@pytest.fixture(scope="session")
def let_go() -> Iterator[Callable[[ExitStack], None]]:
    """Closes servers while the next test goes on: one takes a fifth of a second to see that it is to end."""
    with ThreadPoolExecutor(8) as pool:
        closing = []
        yield lambda servers: closing.append(pool.submit(servers.close))
        for closed in closing:
            closed.result()


@pytest.fixture
def certificate(tmp_path: Path) -> Any:
    """Of this machine's own making, for 127.0.0.1."""
    from splitplace.placement.http.server import Certificate

    chain, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    command += ["-keyout", str(key), "-out", str(chain), "-days", "2", "-subj", "/CN=localhost"]
    subprocess.run([*command, "-addext", "subjectAltName=IP:127.0.0.1"], check=True, capture_output=True)
    return Certificate(chain, key)


@pytest.fixture
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
def images() -> Callable[[int], np.ndarray]:
    """Random pixels, (n, 1, 2, 2)."""
    return lambda n: np.random.default_rng(n).integers(0, 256, (n, 1, 2, 2), np.uint8)


@pytest.fixture(scope="session")
def device_image() -> str:
    """What podman calls an image of this program, as `fleet start --engine podman` makes it."""
    from splitplace.api import device_image as module

    assert shutil.which("podman"), "podman is not installed: `apt-get install podman runc iptables`, or run .ci/run"
    return module.device_image()
