"""A task that failed on a device is tried on another first: on a fake clock, with devices of a few lines."""

import numpy as np
import pytest

from splitplace.placement.broker import avoiding, setbacks
from splitplace.placement.broker.member import Change
from splitplace.placement.history import DeviceDown, FragmentPlaced
from splitplace.placement.protocol import messages
from splitplace.placement.protocol.stream import Received
from splitplace.records.action import Place
from tests.placement.fleet.test_pace import Watcher, World


class FirstUp(Watcher):
    """Places all on the first device that is shown as up."""

    def place(self, state, view, requests, rng):
        """If there is one."""
        ids, up = view.tasks.id_T.tolist(), np.flatnonzero(view.devices.up_D)
        return [Place(ids[request.task], request.fragments[0], int(up[0])) for request in requests if len(up)]


class SickFleet(World):
    """Two devices, some of which fail whatever they have to run."""

    def __init__(self, *sick, interval_s=None):
        super().__init__(interval_s, policy=FirstUp())
        self.sick, send = set(sick), self.fleet.send

        def failing(name, message, values=()):
            if isinstance(message, messages.Tensors) and name in self.sick:
                failed = messages.Failed(job=message.job, fragment=message.dst, error="sick")
                self.fleet.said.append((self.fleet.members[name], Received(name, failed, [])))
            else:
                send(name, message, values)

        self.fleet.send = failing
        self.killed = []
        """When which device was, by its row."""
        self.fleet.kill = lambda row: self.killed.append((self.fleet.clock_s, row))
        self.fleet.launch = self.launched

    def launched(self, row):
        """It is up at once."""
        self.fleet.changes.append(Change(tuple(self.fleet.members.values())[row], "joined"))

    def placed(self, task):
        """Where a task was tried, in order."""
        events = self.loop.history.events
        return "".join(event.device for event in events if isinstance(event, FragmentPlaced) and event.task == task)


@pytest.fixture
def fleet():
    """Makes fleets, and ends them."""
    made = []

    def make(*args, **kwargs):
        made.append(SickFleet(*args, **kwargs))
        return made[-1]

    yield make
    for one in made:
        one.loop.consulting.planner.close()


@pytest.mark.parametrize("interval_s", [None, 10.0])
def test_a_task_that_failed_is_tried_on_another_device(fleet, interval_s):
    """At once or at the next interval's end, however much later that is; and no task fails of one sick device."""
    one = fleet("a", interval_s=interval_s)
    answers = [one.submit(40.0 * number) for number in range(3)]
    one.until(150.0)
    assert [answer.result(0).outcome.error for answer in answers] == [None] * 3
    assert [one.placed(task) for task in range(3)] == ["ab"] * 3


def test_a_task_that_failed_everywhere_is_its_own_fault(fleet):
    """Each device has been tried before one is tried again, and none of them rests for it."""
    one = fleet("a", "b")
    answer = one.submit(1.0)
    one.until(20.0)
    assert "sick" in answer.result(0).outcome.error
    assert sorted(one.placed(0)[:2]) == ["a", "b"] and len(one.placed(0)) == setbacks.MAX_SETBACKS
    assert not any(device.failing or device.rested_until_s > 20.0 for device in one.loop.state.devices)


@pytest.mark.parametrize("of_file", [True, False])
def test_no_device_rests_for_a_file_that_is_missing(fleet, of_file):
    """Many tasks fail that need it, with the reason; were it the devices that cannot open it, they would rest."""
    one = fleet()
    send = one.fleet.send

    def send_but_load(name, message, values=()):
        if isinstance(message, messages.Load):
            said = messages.LoadFailed(digest=message.fragment.digest, error="no such file", of_file=of_file)
            one.fleet.said.append((one.fleet.members[name], Received(name, said, [])))
        else:
            send(name, message, values)

    one.fleet.send = send_but_load
    answers = [one.submit(1.0) for _ in range(8)]
    one.until(3.0)
    rested = any(device.rested_until_s for device in one.loop.state.devices)
    assert rested is not of_file and bool(one.killed) <= rested
    if of_file:
        assert all("no such file" in answer.result(0).outcome.error for answer in answers)
        one.fleet.send = send
        later = one.submit(4.0)
        one.until(5.0)
        assert later.result(0).outcome.error is None


def test_the_only_device_is_tried_again(fleet):
    """Where there is no other, nothing is gained by leaving it out."""
    one = fleet("a")
    one.loop.state.devices[1].up = False
    answer = one.submit(1.0)
    one.until(1.25)
    one.sick.clear()
    one.until(20.0)
    assert answer.result(0).outcome.error is None and set(one.placed(0)) == {"a"}


def test_a_device_is_left_out_for_a_moment_and_for_one_plan_in_any_case(fleet):
    """A task that finds no place on the others has it back; it is not out before the task has its turn again."""
    one, out = fleet("a"), avoiding.Avoiding()
    answer, state = one.submit(1.0), one.loop.state
    task = state.tasks[0]
    task.failed_on, task.job = {0}, None
    assert out.devices(state, [], 2.0) == set()
    assert out.devices(state, [task], 50.0) == {0}
    assert out.devices(state, [task], 50.0 + avoiding.AVOID_S) == {0}
    assert out.devices(state, [task], 50.1 + avoiding.AVOID_S) == set()
    task.setbacks, task.failed_on = 2, {1}
    assert out.devices(state, [task], 60.0) == {1}
    state.devices[0].up = False
    assert out.devices(state, [task], 60.0) == set()
    assert not answer.done()


def test_two_tasks_that_failed_on_different_devices_do_not_leave_none(fleet):
    """Who waits longer avoids its own; the other one has what is left."""
    one, out = fleet(), avoiding.Avoiding()
    one.fleet.held = True
    for at_s in (1.0, 2.0):
        one.submit(at_s)
    first, second = one.loop.state.tasks.values()
    first.failed_on, second.failed_on, first.job, second.job = {0}, {1}, None, None
    assert out.devices(one.loop.state, [first, second], 3.0) == {0}


def down(fleet):
    """The reasons why devices were ended."""
    return [event.reason for event in fleet.loop.history.events if isinstance(event, DeviceDown)]


def test_a_device_that_fails_after_a_rest_as_well_is_started_again(fleet):
    """Its process may be at fault: with a new one it runs what it is given, and no task failed meanwhile."""
    one = fleet("a")
    launched = one.fleet.launch

    def mended(row):
        one.sick.clear()
        launched(row)

    one.fleet.launch = mended
    answers = [one.submit(float(at_s)) for at_s in range(1, 40)]
    one.until(60.0)
    assert [answer.result(0).outcome.error for answer in answers] == [None] * len(answers)
    assert [row for _, row in one.killed] == [0]
    assert down(one) == ["4 tasks in a row failed there, also after a rest: sick"]
    assert one.placed(38) == "a" and not one.loop.state.devices[0].rests


def test_a_device_that_no_start_mends_is_started_again_ever_later(fleet):
    """Twice as long between two, up to the longest rest; tasks have their answers from the other one."""
    one = fleet("a")
    answers = [one.submit(float(at_s)) for at_s in range(1, 300)]
    one.until(310.0)
    assert [answer.result(0).outcome.error for answer in answers] == [None] * len(answers)
    assert len(one.killed) > 5 and {row for _, row in one.killed} == {0}
    for number, between_s in enumerate(np.diff([at_s for at_s, _ in one.killed])):
        assert between_s >= min(2 ** (number + 1) * setbacks.REST_S, setbacks.MAX_REST_S)


def test_tasks_that_fail_everywhere_have_no_device_started_again(fleet):
    """However many come one after another, on devices that run nothing else."""
    one = fleet("a", "b")
    for number in range(20):
        one.submit(10.0 * number)
    one.until(220.0)
    assert one.killed == [] and not any(device.rests for device in one.loop.state.devices)
