"""The broker's loop, on a fake clock: what it makes of silence while it was away itself, and of words too many."""

import pytest

from splitplace.placement.broker import loop as loop_module
from splitplace.placement.protocol import messages
from splitplace.placement.protocol.stream import Received
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
    world.loop.planner.close()


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
    world.loop.planner.close()
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


def test_what_the_fleet_alone_is_told_is_written_a_tick_later(kept):
    """Also if nothing else happens."""
    kept.fleet.held = True
    kept.submit(1.0)
    kept.until(1.0)
    assert len(kept.loop.state.jobs) == 1
    before = kept.loop.store.journal.last
    kept.until(1.0 + 2 * loop_module.TICK_S, step_s=loop_module.TICK_S)
    assert kept.loop.store.journal.last > before


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
