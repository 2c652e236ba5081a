"""What nobody wants any more leaves queues and devices in the loop's next turn, and wastes one micro-batch at most.

The broker's loop on a fake clock, with a device's own runtime, whose worker does one thing when a test says so: runs
are counted. And how long a device may be silent before that is noticed, as configured: counted in pings and ticks.
"""

from concurrent.futures import Future
from types import SimpleNamespace

import numpy as np
import pytest

from splitplace.inference.cpu_share import open_share
from splitplace.placement.broker import events as ev
from splitplace.placement.broker import health, loop, pace
from splitplace.placement.broker.answers import BrokerFuture
from splitplace.placement.broker.awaited import HandedIn
from splitplace.placement.broker.health import DeviceHealth
from splitplace.placement.broker.leaving import CANCELLED
from splitplace.placement.broker.member import Member
from splitplace.placement.callbacks import Callbacks
from splitplace.placement.device.config import DeviceConfig
from splitplace.placement.device.fragments import TimedWork
from splitplace.placement.device.host import DeviceRuntime
from splitplace.placement.protocol import fields, messages
from splitplace.placement.protocol.keys import Accesses
from splitplace.placement.protocol.stream import Received
from tests.placement.fleet.conftest import CLASSES, MICRO_BATCH, WIDTH, make_device
from tests.placement.fleet.test_pace import GRAPH, FakeFleet, World

AT_ONCE_S = 0.05
SILENCE_S = 5.0
MANY = 10 * MICRO_BATCH


class StepWorker:
    """As a `SessionWorker`; what it was given is done when `finish` is called."""

    def __init__(self):
        self.orders, self.work = [], None

    @property
    def idle(self):
        """Nothing is under way."""
        return self.work is None

    def order(self, work, then):
        """For later."""
        self.orders.append((work, then))

    def start_order(self):
        """The next one."""
        if not self.orders:
            return False
        self.work = self.orders.pop(0)
        return True

    def start(self, work, then):
        """This."""
        self.work = work, then

    def collect(self):
        """What is done was told of by `finish`."""

    def finish(self):
        """Do what is under way."""
        (work, then), self.work, future = self.work, None, Future()
        future.set_result(work())
        then(future)


class CountedFragments:
    """As a device's `LoadedFragments`; each run is written down, and gives zeros."""

    def __init__(self):
        self.runs = []
        self.origins = SimpleNamespace(get=lambda *_: None)

    def contract(self, digest):
        """Of the one."""
        return GRAPH.split.by_name["f0"]

    def work(self, digest, values):
        """A run."""

        def run():
            self.runs.append(len(values["x"]))
            return TimedWork({"f0.out": np.zeros((len(values["x"]), CLASSES), np.float32)}, 0.0, 0.0, 0.0)

        return run

    def ran(self, digest, took):
        """Counted in `runs`."""

    def moved(self, digest, sent=None, received=None):
        """Of no matter."""


class DeviceFleet(FakeFleet):
    """The devices of a `World`, of which the first is a runtime: what is said to it is taken in at once."""

    def __init__(self, tmp_path):
        super().__init__("ab")
        self.told = []
        """What was said to it, and when."""
        node = SimpleNamespace(
            watch=lambda _: None, unreachable=frozenset(), relayed=frozenset(), take_back=lambda *_: None,
            send=lambda peer, message, values=(): self._say(message, values),
        )  # fmt: skip
        access = Accesses.of(("a",), same_machine=True).by_name["a"]
        config = DeviceConfig(
            name="a", catalog=str(tmp_path), threads=1, access=access, incarnation=1, broker_endpoint="tcp://127.0.0.1:1",
            broker_incarnation=1,
        )  # fmt: skip
        self.device = DeviceRuntime(config, node, open_share(1.0, 1, "none"))
        self.device.worker, self.device.fragments = StepWorker(), CountedFragments()

    def _say(self, message, values):
        named = dict(zip((frame.name for frame in message.frames), values, strict=True)) if values else {}
        self.said.append((self.members["a"], Received("a", message, named)))

    def send(self, name, message, values=()):
        """Loads take no time; all else is the device's."""
        if isinstance(message, messages.Load):
            super().send(name, message, values)
            return
        self.told.append((self.clock_s, message))
        named = dict(zip((frame.name for frame in message.frames), values, strict=True)) if values else {}
        self.device._handle(Received(fields.BROKER, message, named))
        self.device._advance()

    def finish(self):
        """The device ends what it does, and goes on."""
        self.device.worker.finish()
        self.device._advance()


@pytest.fixture
def world(tmp_path, monkeypatch):
    """A loop with a store, and a task of ten micro-batches of which the device runs one."""
    monkeypatch.setattr("tests.placement.fleet.test_pace.FakeFleet", lambda _: DeviceFleet(tmp_path))
    world = World(folder=tmp_path / "data")
    world.submit(1.0)  # the device has the fragment then
    while world.loop.state.tasks:
        if not world.fleet.device.worker.idle:
            world.fleet.finish()
        world.until(world.fleet.clock_s)
    world.fleet.device.fragments.runs.clear()
    yield world
    world.loop.consulting.planner.close()
    world.loop.store.close()


def begin(world, deadline_s=1e4):
    """A task of ten micro-batches; its future. The device is at the second of them, and has more."""
    task = world.loop.state.next_task
    event = ev.TaskAccepted(
        at_s=world.fleet.now_s(), task=task, application="toy", n=MANY, deadline_s=deadline_s, inputs=""
    )
    answer = BrokerFuture(task, Callbacks(), lambda task: None)
    world.loop.step([HandedIn(event, np.zeros((MANY, WIDTH), np.float32), answer, lambda error: None)])
    world.until(world.fleet.clock_s)
    world.fleet.finish()
    world.until(world.fleet.clock_s)
    assert world.fleet.device.containers.held_bytes and not world.fleet.device.worker.idle
    world.fleet.told.clear()
    return answer


def cancel(world, answer):
    """Its client does not want it any more, or has gone: the loop is handed this, and woken."""
    world.loop.step([ev.TaskCancelled(at_s=world.fleet.now_s(), task=answer.task_id, reason=CANCELLED)])


def expire(world, answer):
    """Time passes, up to the first turn of the loop that can know that the deadline is over."""
    world.fleet.clock_s = world.loop.state.next_alarm_s
    world.loop.step([])


@pytest.mark.parametrize(("how", "said"), [(cancel, CANCELLED), (expire, "its deadline of 3 s has passed")])
def test_what_nobody_wants_leaves_the_device_in_the_same_turn(world, how, said):
    """It is told so in the turn in which the broker learns of it, drops what it holds, and ends one run at most."""
    device, answer = world.fleet.device, begin(world, 3.0)
    before, job = len(device.fragments.runs), next(iter(world.loop.state.jobs))
    how(world, answer)
    assert world.fleet.told == [(world.fleet.clock_s, messages.Cancel(job=job))]
    assert len(device.containers) == 0 and device.containers.held_bytes == 0
    assert answer.result(0).outcome.error.startswith(said) and not world.loop.state.jobs
    while not device.worker.idle:
        world.fleet.finish()
        world.until(world.fleet.clock_s)
    world.until(world.fleet.clock_s + 5.0)
    assert len(device.fragments.runs) - before <= 1
    assert len(world.fleet.told) == 1  # nor is any more of it sent


@pytest.mark.parametrize("how", [cancel, expire])
def test_what_nobody_wants_leaves_the_device_before_the_disk_is_waited_for(world, how):
    """Its client is told when that is on the disk; the device had been told by then, however slow the disk is."""
    answer, commit, seen = begin(world, 3.0), world.loop.store.commit, []

    def slow():
        seen.append((len(world.fleet.told), answer.done()))
        return commit()

    world.loop.store.commit = slow
    how(world, answer)
    assert seen == [(1, False)] and answer.done()


def test_the_next_task_runs_after_the_micro_batch_under_way(world):
    """It waits for nothing else of the one that was dropped."""
    answer = begin(world)
    device, before = world.fleet.device, len(world.fleet.device.fragments.runs)
    other = world.hand_in(world.fleet.now_s())
    world.until(world.fleet.clock_s)
    cancel(world, answer)
    world.fleet.finish()  # what was under way
    world.fleet.finish()  # of three images: the other's
    world.until(world.fleet.clock_s)
    assert other.result(0).outcome.error is None and device.fragments.runs[before:] == [MICRO_BATCH, 3]


def test_the_loop_is_never_away_for_longer_than_at_once():
    """However little happens: a deadline that passes while it waits is known within that."""
    setup = World().loop.setup
    waits = pace.Immediate(setup), pace.Intervals(0.1), pace.Intervals(300.0)
    assert all(0 < one.wait_s(now_s) <= AT_ONCE_S for one in waits for now_s in (0.0, 0.05, 0.0999, 299.99, 1e6))


@pytest.mark.parametrize("heard_s", np.linspace(0.0, health.PING_EVERY_S, 7).tolist())
def test_a_device_that_falls_silent_is_doubted_within_five_seconds(heard_s):
    """As pings are configured, whenever between two of them it says its last word, with the loop's longest waits."""
    sent = []
    member = Member(make_device("a"), 0, 1.0)
    watched = DeviceHealth(lambda name, message: sent.append(message))
    at_s = last_word_s = 0.0
    while True:
        at_s += pace.TICK_S
        watched.ping([member], at_s)
        if at_s <= 3.0 + heard_s:
            member.unanswered, last_word_s = 0, at_s
        if watched.doubts([member]):
            break
        assert at_s < 60.0
    assert member.doubted and health.DOUBT_AFTER * health.PING_EVERY_S < at_s - last_word_s <= SILENCE_S
    assert all(isinstance(message, messages.Ping) for message in sent)


def test_a_device_that_answers_pings_and_does_nothing_is_suspected_within_five_seconds():
    """As the looks of the loop are configured: its last sign of work is as long ago, at most."""
    world = World()
    try:
        world.fleet.suspect = lambda row: suspected.append((world.fleet.clock_s, row))
        world.fleet.held, suspected = True, []
        world.submit(1.0)
        began_s = world.fleet.clock_s
        while not suspected:
            world.until(world.fleet.clock_s + pace.TICK_S, step_s=pace.TICK_S)
            assert world.fleet.clock_s < 60.0
        assert loop.STUCK_S < suspected[0][0] - began_s <= SILENCE_S and suspected[0][1] == 0
    finally:
        world.loop.consulting.planner.close()
