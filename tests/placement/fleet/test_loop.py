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


def test_a_credit_too_many_is_passed_over(world):
    """A device may say what it likes: the broker goes on."""
    (job,) = world.loop.state.jobs
    member = world.fleet.members["a"]
    surplus = messages.Credit(job=job, src="input", dst="f0", count=5)
    world.fleet.said = [(member, Received("a", surplus, {}))]
    world.loop.step([])
    assert list(world.loop.state.jobs) == [job]
