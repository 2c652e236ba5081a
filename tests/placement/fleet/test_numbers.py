"""No number that a task was called by is another task's, whoever was killed when: three brokers of one folder."""

import os
import shutil
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from splitplace.errors import ContractError, OverloadedError
from splitplace.placement.broker import loop as loop_module
from splitplace.placement.broker import store as store_module
from splitplace.placement.broker.broker import Broker
from splitplace.placement.broker.store import Store
from splitplace.placement.engines.local import LocalEngine
from tests.placement.fleet.conftest import WIDTH, demand_of
from tests.placement.fleet.test_pace import GRAPH, FakeFleet, Watcher

AHEAD = 5


class Started:
    """A broker, stepped by hand, whose policy is slow: nothing is begun, so that nothing ends when it likes."""

    def __init__(self, folder):
        self.fleet = FakeFleet("ab")
        self.policy = Watcher()
        self.policy.slow = True
        devices = tuple(member.device for member in self.fleet.members.values())
        self.broker = Broker(devices, demand_of(GRAPH), folder, self.policy, LocalEngine(), data=folder)
        self.thread = self.broker._thread
        self.thread.process = os.getpid()
        self.thread.woken, self.thread._wake = os.pipe2(os.O_NONBLOCK)
        self.store = self.broker._store = Store(folder, self.broker._setup)
        self.thread.loop = self.loop = self.broker._open(self.fleet)

    def submit(self, key=None, *, volatile=True):
        """A task comes, and is looked at once; its number, by which its client may cancel it from now on."""
        images = np.zeros((3, WIDTH), np.float32)
        answer, written = self.broker._tasks.submit("toy", images, 1e5, None, False, False, key, volatile)
        self.loop.step(self.thread.taken())
        written.result(0)
        if answer.done():  # nothing ends yet: it was refused
            answer.result()
        return answer.task_id

    def close(self):
        """Let go of the folder, and of what is open."""
        self.policy.slow = False
        self.loop.consulting.planner.close()
        self.store.close()
        with self.thread.changed:  # the policy's thread may be about to wake somebody
            self.thread.stopping = True
            os.close(self.thread.woken)
            os.close(self.thread._wake)


class Brokers:
    """One after another, each with what is on the disk of the one before."""

    def __init__(self, folder):
        self.folder, self.count, self.now = folder, 0, None

    def start(self):
        """The next one."""
        self.now = Started(self.folder / str(self.count))
        return self.now

    def kill(self):
        """The next one finds what was on the disk at this moment."""
        self.count += 1
        shutil.copytree(self.folder / str(self.count - 1), self.folder / str(self.count))
        self.end()

    def stop(self):
        """In order: it leaves a snapshot."""
        self.now.policy.slow = False
        self.now.loop.close("the broker was stopped", self.now.thread.taken())
        self.end()

    def end(self):
        """Of this test, too."""
        if self.now is not None:
            self.now.close()
        self.now = None


@pytest.fixture
def brokers(tmp_path, monkeypatch):
    """Of one folder."""
    for module in (store_module, loop_module):
        monkeypatch.setattr(module, "NUMBERS_AHEAD", AHEAD)
    made = Brokers(tmp_path)
    yield made
    made.end()


def written(broker):
    """How many acceptances are on the disk."""
    return sum(b'"accepted"' in body for _, body in broker.store.journal.history())


def test_the_first_broker_of_a_folder_begins_at_0(brokers):
    """Nobody can have given a number there; and a volatile task is told of before it is on the disk."""
    broker = brokers.start()
    assert [broker.submit() for _ in range(3)] == [0, 1, 2] and written(broker) == 0


def test_a_broker_that_ends_in_order_hides_no_kill_before_it(brokers):
    """It took no task, and its snapshot says nothing of numbers but what it began with."""
    told = [brokers.start().submit()]
    brokers.kill()
    brokers.start()
    brokers.stop()
    assert brokers.start().submit() > max(told)


def test_a_kill_after_a_kill(brokers):
    """Before any acceptance was on the disk, each time."""
    told = []
    for _ in range(4):
        broker = brokers.start()
        told += [broker.submit(), broker.submit()]
        assert written(broker) == 0
        brokers.kill()
    assert len(set(told)) == len(told) == 8 and told == sorted(told)


def test_a_kill_right_after_a_snapshot(brokers):
    """No event behind it says that somebody went on."""
    told = []
    for _ in range(3):
        broker = brokers.start()
        told.append(broker.submit())
        broker.store.snapshots.take(broker.loop.state)
        told.append(broker.submit())
        brokers.kill()
    assert len(set(told)) == len(told) == 6 and told == sorted(told)


@pytest.mark.parametrize("wasted", ["refused", "known"])
def test_numbers_that_no_event_tells_of(brokers, monkeypatch, wasted):
    """Of refused tasks, and of tasks known by their keys, however many: who comes behind them waits for the disk."""
    told = []
    for _ in range(3):
        broker = brokers.start()
        told.append(broker.submit("mine", volatile=False))
        for _ in range(2 * AHEAD):
            if wasted == "known":
                assert broker.submit("mine", volatile=False) == told[0]
                continue
            with monkeypatch.context() as full:
                full.setattr(Store, "accepting", False)
                with pytest.raises(OverloadedError):
                    broker.submit()
        before = written(broker)
        told.append(broker.submit())
        assert written(broker) == before + 1
        told.append(broker.submit())
        assert written(broker) == before + 1
        brokers.kill()
    new = [task for task in told if task != told[0]]
    assert len(set(new)) == len(new) == 6 and min(new) > told[0]


def test_a_known_key_is_its_task_whatever_comes_with_it(brokers):
    """What a new task is held against may be another than it was: another broker's, of another demand."""
    broker, images = brokers.start(), np.zeros((3, WIDTH), np.float32)
    told = broker.submit("mine", volatile=False)
    with ThreadPoolExecutor(1) as beside:

        def ask(key):
            asking = beside.submit(broker.broker.submit, "toy", images, 1e5, np.array([0, 1, 99]), key=key)
            while not asking.done():
                broker.loop.step(broker.thread.taken())
            return asking.result()

        assert ask("mine").task_id == told
        with pytest.raises(ContractError, match=r"^label 99 of image 2"):
            ask("another")


def test_who_cannot_wait_is_sent_to_who_can_until_numbers_are_covered_again(brokers, monkeypatch):
    """Behind refused ones: the next that is taken on, which waited for the disk, covers those after it."""
    broker, images = brokers.start(), np.zeros((3, WIDTH), np.float32)
    with monkeypatch.context() as full:
        full.setattr(Store, "accepting", False)
        for _ in range(AHEAD):
            with pytest.raises(OverloadedError):
                broker.submit()
    assert broker.broker.submit_at_once("toy", images, 1e5) is None
    waited = broker.submit()
    at_once = broker.broker.submit_at_once("toy", images, 1e5)
    assert at_once is not None and at_once.task_id == waited + 1 and not at_once.done()
    broker.loop.step(broker.thread.taken())


def test_more_volatile_tasks_than_numbers_ahead(brokers):
    """In one tick: the one that is too far behind those on the disk waits until it is there itself."""
    broker, on_disk = brokers.start(), []
    for _ in range(3 * AHEAD):
        last = broker.submit()
        on_disk.append(written(broker))
    brokers.kill()
    assert on_disk[AHEAD - 1] == 0 and on_disk[AHEAD] == AHEAD + 1
    assert brokers.start().submit() > last
