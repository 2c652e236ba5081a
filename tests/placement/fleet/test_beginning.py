"""When an attempt's inputs begin to flow: behind the orders, and once whoever gets tensors of others knows of it."""

from concurrent.futures import Future

import pytest

from splitplace.placement.broker import events as ev
from splitplace.placement.broker.effects import StartFeed, Tell
from splitplace.placement.broker.rules import Rules
from splitplace.placement.broker.setup import Setup
from splitplace.placement.outcome import TaskFuture, TaskOutcome, TaskResult, when_settled
from splitplace.placement.protocol import messages
from splitplace.records.action import Decide, Place
from tests.placement.fleet.conftest import chain, demand_of, make_device


class Fleet:
    """The rules, two devices that are up, and what they are told."""

    def __init__(self):
        self.setup = Setup(demand_of(chain()), (make_device("a"), make_device("b")), "pipelined", 4, 1e3)
        self.rules, self.state = Rules(self.setup), self.setup.first()
        for device in range(2):
            known = {"pid": 1, "cpu_share": 1.0, "cpu_share_method": "none", "core_speed": 1.0}
            self.happen(ev.DeviceJoined(at_s=0.0, device=device, **known))

    def happen(self, event):
        """What is to be done about it: orders as (device, fragment), and `feed`."""
        done = []
        for effect in self.rules.apply(self.state, event):
            match effect:
                case Tell(device=device, message=messages.Assign(fragment=fragment)):
                    done.append((device, fragment))
                case StartFeed():
                    done.append("feed")
        return done

    def place(self, *devices):
        """A task comes, and its three fragments get these devices."""
        task = self.state.next_task
        known = {"application": "toy", "n": 3, "deadline_s": 100.0, "inputs": ""}
        self.happen(ev.TaskAccepted(at_s=1.0, task=task, **known))
        placed = tuple(Place(task, row, device) for row, device in enumerate(devices))
        return self.happen(ev.PlanMade(at_s=1.0, decision_s=0.0, decided=(Decide(task, 0),), placed=placed))

    def load(self, *devices):
        """All that these devices hold is loaded."""
        done = []
        for device in devices:
            for row in tuple(self.state.ledger.held[device]):
                known = {"digest": self.setup.digest(row), "start_s": 1.0, "end_s": 1.0}
                done += self.happen(ev.DeviceLoaded(at_s=1.0, device=device, **known))
        return done


@pytest.fixture
def fleet():
    """One."""
    return Fleet()


def test_one_devices_inputs_come_right_behind_its_orders(fleet):
    """Nobody else sends it anything: there is nothing to wait for once its fragments are loaded."""
    assert fleet.place(0, 0, 0) == [(0, "f0"), (0, "f1"), (0, "f2")]
    assert fleet.load(0) == ["feed"]
    assert fleet.place(0, 0, 0) == [(0, "f0"), (0, "f1"), (0, "f2"), "feed"]


def test_who_has_tensors_of_another_device_is_waited_for(fleet):
    """Those alone: what comes to a device that does not know of its fragment yet would be lost."""
    fleet.place(0, 1, 1)
    fleet.load(0, 1)
    assert fleet.place(0, 1, 1) == [(0, "f0"), (1, "f2"), (1, "f1")]
    job = max(fleet.state.jobs)
    assert fleet.state.jobs[job].unassigned == {"f1"}
    assert fleet.happen(ev.DeviceAssigned(at_s=1.0, job=job, fragment="f1")) == ["feed"]


def test_a_word_that_nobody_waits_for_begins_nothing_again(fleet):
    """As one that comes late has it."""
    fleet.place(0, 0, 0)
    fleet.load(0)
    assert fleet.happen(ev.DeviceAssigned(at_s=1.0, job=max(fleet.state.jobs), fragment="f0")) == []


def test_who_only_wakes_somebody_is_called_by_whoever_settles_a_future():
    """As it is settled, in no other thread; a future that is settled calls at once."""
    outcome = TaskOutcome(id=1, application="toy", n=3, deadline_s=9.0, arrival_s=0.0, error="over")
    future, called = TaskFuture(1), list[Future[TaskResult]]()
    when_settled(future, called.append)
    assert not called
    future.set_result(TaskResult(outcome))
    assert called == [future]
    when_settled(future, called.append)
    assert called == [future, future]


def test_what_users_hang_on_a_future_is_called_by_no_thread_that_holds_the_brokers_locks():
    """Else it could ask nothing of the fleet, for ever: there is no way on a task's future but `add_done_callback`."""
    assert {name for name in vars(TaskFuture) if not name.startswith("_")} == {"add_done_callback", "ticket"}
