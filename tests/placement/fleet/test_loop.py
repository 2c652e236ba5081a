"""The broker's loop, on a fake clock: what it makes of silence while it was away itself, and of words too many."""

from types import SimpleNamespace

import numpy as np
import pytest

from splitplace.errors import OverloadedError
from splitplace.placement.broker import effects as do
from splitplace.placement.broker import events as ev
from splitplace.placement.broker import health, stuck
from splitplace.placement.broker import loop as loop_module
from splitplace.placement.broker.answers import BrokerFuture
from splitplace.placement.broker.awaited import HandedIn
from splitplace.placement.broker.history import History
from splitplace.placement.callbacks import Callbacks
from splitplace.placement.protocol import messages
from splitplace.placement.protocol.stream import Received
from tests.placement.fleet.conftest import WIDTH
from tests.placement.fleet.test_pace import World


@pytest.fixture
def world():
    """A loop with a task under way on device a, which says nothing of it."""
    world = World()
    world.fleet.suspected = []
    world.fleet.suspect = world.fleet.suspected.append
    world.fleet.held = True
    world.submit(1.0)
    world.until(1.5)
    yield world
    world.loop.consulting.planner.close()


def test_a_device_that_does_nothing_is_suspected(world):
    """While the loop listened all the time; it is asked to show that it can do something."""
    world.until(10.0)
    assert world.fleet.suspected == [0] and world.loop.state.devices[0].silent


def test_nobody_is_suspected_for_a_loop_that_was_away(world):
    """At a slow disk, for a hundred seconds: what a device did meanwhile nobody could hear."""
    world.fleet.clock_s += 100.0
    world.until(world.fleet.clock_s + loop_module.STUCK_S - 0.5)
    assert not world.fleet.suspected
    world.until(world.fleet.clock_s + 5.0)
    assert world.fleet.suspected


def idle(world, until_s):
    """Device a says until then, ping by ping, that it has nothing to compute."""
    while world.fleet.clock_s < until_s:
        world.loop.members[0].idle_s = world.fleet.clock_s
        world.until(world.fleet.clock_s + health.PING_EVERY_S)


def test_a_device_that_waits_for_its_input_is_not_suspected(world):
    """Over a slow road a micro-batch takes longer than a hung device is given; from then on it is held to that."""
    idle(world, 50.0)
    assert not world.fleet.suspected
    world.until(world.fleet.clock_s + loop_module.STUCK_S - 1.0)
    assert not world.fleet.suspected
    world.until(world.fleet.clock_s + 5.0)
    assert world.fleet.suspected


@pytest.mark.parametrize("losses", [0, 1, 3])
def test_a_device_that_was_lost_while_it_loaded_has_twice_the_time(world, losses):
    """However slow it is, it gets there; a first load that hangs is found out in a minute."""
    device, limit_s = world.loop.state.devices[0], stuck.LOAD_S * 2**losses
    device.losses = losses
    for resident in world.loop.state.ledger.held[0].values():
        resident.loaded = False
    world.until(device.progressed_s + limit_s - 1.0)
    assert not world.fleet.suspected
    world.until(world.fleet.clock_s + 3.0)
    assert world.fleet.suspected


def test_a_device_that_waits_for_ever_is_suspected(world):
    """What it was sent may be lost, whatever anybody says."""
    idle(world, stuck.WAIT_S + 10.0)
    assert world.fleet.suspected


@pytest.fixture
def kept(tmp_path):
    """A loop that keeps a journal, and how many events were on the disk after each time that something was written."""
    world = World(folder=tmp_path / "data")
    store, world.written = world.loop.store, []
    commit = store.commit

    def counted():
        before, error = store.journal.last, commit()
        if store.journal.last != before:
            world.written.append(store.journal.last)
        return error

    store.commit = counted
    yield world
    world.loop.consulting.planner.close()
    store.journal.close()


def test_a_tasks_way_is_written_when_it_is_taken_on_and_when_it_ends(kept):
    """Its plan, and what devices say of it, wait for the end: two waits for the disk a task."""
    kept.submit(1.0)  # a device has the fragment then
    kept.until(2.0)
    kept.written.clear()
    answer = kept.submit(2.0)
    assert len(kept.written) == 1 and not answer.done()  # it is on the disk before it is begun
    kept.until(2.0)
    assert len(kept.written) == 2 and answer.done()


def test_a_volatile_task_waits_for_no_disk(kept):
    """It is begun and answered at once; that it came and went is written together, a tick later."""
    kept.submit(1.0)  # a device has the fragment then
    kept.until(2.0)
    kept.written.clear()
    kept.told.clear()
    answer = kept.submit(2.0, volatile=True)
    kept.until(2.0)
    assert kept.told == [None] and answer.done() and not kept.written
    kept.until(2.0 + 2 * loop_module.TICK_S, step_s=loop_module.TICK_S)
    assert len(kept.written) == 1
    assert sum(b'"accepted"' in body for _, body in kept.loop.store.journal.history()) == 2


def test_a_volatile_task_that_the_disk_knows_of_ends_there_first(kept):
    """Else a broker that came after a kill would end it once more."""
    kept.submit(1.0)
    kept.until(2.0)
    kept.fleet.held, sent, send = True, [], kept.fleet.send
    kept.fleet.send = lambda *message: (sent.append(message), send(*message))
    answer = kept.submit(2.0, volatile=True)
    kept.until(2.0 + 2 * loop_module.TICK_S, step_s=loop_module.TICK_S)
    kept.written.clear()
    answer.settle = lambda result: kept.written.append("told")
    kept.fleet.held = False
    send(*sent[-1])  # the images are run now
    kept.until(kept.fleet.clock_s)
    assert len(kept.written) == 2 and kept.written[1] == "told"


def test_a_volatile_task_that_takes_long_is_written_a_tick_later(kept):
    """Whoever comes after a kill says of it what became of it."""
    kept.submit(1.0)
    kept.until(2.0)
    kept.fleet.held = True
    kept.submit(2.0, volatile=True)
    before = kept.loop.store.journal.last
    kept.until(2.0 + 2 * loop_module.TICK_S, step_s=loop_module.TICK_S)
    assert kept.loop.store.journal.last > before and len(kept.loop.state.tasks) == 1


def test_a_volatile_task_is_refused_where_the_disk_is_full(kept, disk):
    """From the tick on that finds it so; one that was begun before that ends all the same."""
    kept.submit(1.0)
    kept.until(2.0)
    kept.told.clear()
    disk.full = True
    begun = kept.submit(2.0, volatile=True)
    kept.until(2.0 + 2 * loop_module.TICK_S, step_s=loop_module.TICK_S)
    kept.submit(2.0 + 2 * loop_module.TICK_S, volatile=True)
    assert begun.done() and kept.told[0] is None and isinstance(kept.told[1], OverloadedError)


def test_who_was_refused_and_asks_again_is_served(kept, disk):
    """By the same key: it stood for no task, and so for no result, also for a broker that comes after."""
    disk.full = True
    refused = kept.submit(1.0, key="k")
    assert isinstance(kept.told[-1], OverloadedError)
    disk.full = False
    kept.until(3.0)
    again = kept.submit(3.0, key="k")
    kept.until(4.0)
    assert kept.told[-1] is None and again.task_id != refused.task_id
    assert again.result().outcome.error is None
    assert kept.submit(4.0, key="k").task_id == again.task_id
    assert kept.loop.store.state(kept.loop.rules).keys == kept.loop.state.keys == {"k": again.task_id}


class CountedFile:
    """A file that counts how often it was written to the system."""

    def __init__(self, file):
        self.file, self.flushed = file, 0
        self.write, self.close = file.write, file.close

    def flush(self):
        """As the file's."""
        self.flushed += 1
        self.file.flush()


def test_what_a_step_has_to_note_is_written_at_once(kept, tmp_path):
    """Not event by event; and a task's end is in the file before anybody is told of it."""
    kept.submit(1.0)
    kept.until(2.0)
    history = kept.loop.history = History(tmp_path / "history.jsonl")
    found = []
    answer = kept.submit(2.0)
    answer.settle = lambda result: found.append((tmp_path / "history.jsonl").read_text().count('"finish"'))
    kept.until(2.0)
    assert found == [1]
    history._file = CountedFile(history._file)
    kept.loop._todo = [do.Note(event) for event in history.events[:5]]
    kept.loop._do()
    assert history._file.flushed == 1
    history.close()


def test_what_the_fleet_alone_is_told_is_written_a_tick_later(kept):
    """Also if nothing else happens."""
    kept.fleet.held = True
    kept.submit(1.0)
    kept.until(1.0)
    assert len(kept.loop.state.jobs) == 1
    before = kept.loop.store.journal.last
    kept.until(1.0 + 2 * loop_module.TICK_S, step_s=loop_module.TICK_S)
    assert kept.loop.store.journal.last > before


@pytest.fixture
def disk(kept, monkeypatch):
    """The same, on a disk that is full when it is told so."""
    journal, disk = kept.loop.store.journal, SimpleNamespace(full=False)
    transact, restore = journal._transact, journal._ballast.restore

    def write(work):
        if disk.full:
            journal._ballast.release()
            raise OverloadedError("no space left on device")
        transact(work)

    monkeypatch.setattr(journal, "_transact", write)
    monkeypatch.setattr(journal._ballast, "restore", lambda: None if disk.full else restore())
    return disk


def test_after_a_full_disk_an_idle_fleet_takes_tasks_again(kept, disk):
    """What could not be written is, and the ballast is back, though nothing happens any more."""
    kept.submit(1.0)
    disk.full = True
    kept.until(2.0)  # the task ends: nobody can write it down
    store = kept.loop.store
    assert store.journal._pending and not store.accepting
    disk.full = False
    kept.until(2.0 + 2 * loop_module.TICK_S, step_s=loop_module.TICK_S)
    assert not store.journal._pending and store.accepting


@pytest.mark.parametrize("full", [False, True])
def test_a_key_that_comes_twice_at_once_is_told_twice_what_the_disk_says(kept, disk, full):
    """Nobody is told that it is taken on before that is on the disk, or if it never gets there."""
    journal, told = kept.loop.store.journal, list[tuple[int, object]]()
    first = kept.loop.state.next_task
    posts = []
    for task in (first, first + 1):
        event = ev.TaskAccepted(at_s=0.0, task=task, application="toy", n=3, deadline_s=9.0, inputs="", key="one")
        answer = BrokerFuture(task, Callbacks(), lambda task: None)
        images = np.zeros((3, WIDTH), np.float32)
        posts.append(HandedIn(event, images, answer, lambda error: told.append((journal.last, error))))
    before, disk.full = journal.last, full
    kept.loop.step(posts)
    assert len(told) == 2
    for last, error in told:
        assert (error is not None) if full else (error is None and last > before)


def test_a_plan_is_not_asked_for_again_because_it_was_made(world):
    """The same view would have the same answer; somebody else's task is a reason."""
    asked = len(world.policy.asked)
    world.until(world.fleet.clock_s)
    assert len(world.policy.asked) == asked
    world.submit(world.fleet.clock_s)
    world.until(world.fleet.clock_s)
    assert len(world.policy.asked) == asked + 1


def test_a_credit_too_many_is_passed_over(world):
    """A device may say what it likes: the broker goes on."""
    (job,) = world.loop.state.jobs
    member = world.fleet.members["a"]
    surplus = messages.Credit(job=job, src="input", dst="f0", count=5)
    world.fleet.said = [(member, Received("a", surplus, {}))]
    world.loop.step([])
    assert list(world.loop.state.jobs) == [job]
