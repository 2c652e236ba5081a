"""A policy that raises, breaks a rule or takes too long fails its own plan, by name; the fleet lives, tasks wait."""

import hashlib
import os
import signal
import time
from types import SimpleNamespace

import numpy as np
import pytest

from splitplace.errors import SplitPlaceError
from splitplace.placement import history as book
from splitplace.placement.broker import fleet as live_fleet
from splitplace.placement.broker import health, loop, pace, planning, setbacks
from splitplace.placement.broker.broker import Broker
from splitplace.placement.engines.local import LocalEngine
from splitplace.placement.placers.best_fit import BestFit
from splitplace.records.action import Decide, Migrate, Place

pytestmark = pytest.mark.slow
PATIENCE_S = 240.0
ASLEEP = SimpleNamespace(method="place", said="KeyError: 'asleep'", answer=lambda *_: {}["asleep"])


def failures(broker):
    """The failed plans in the journal."""
    return [event for event in broker.events if isinstance(event, book.PlanFailed)]


@pytest.fixture(scope="module")
def fleet(toy, rogue, tmp_path_factory):
    """A device that has room, one that has none and one that is gone; a failed plan is tried again at once."""
    folder = tmp_path_factory.mktemp("catalog")
    (folder / "blobs" / "sha256").mkdir(parents=True)
    graphs = toy.chain("toy"), toy.tree("other")
    for model in (model for graph in graphs for model in graph.models.values()):
        (folder / "blobs" / "sha256" / hashlib.sha256(model).hexdigest()).write_bytes(model)
    devices = [toy.make_device("ok", 12), toy.make_device("tiny", 0), toy.make_device("dead", 12)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pace, "RETRY_S", 0.0)
        patch.setattr(setbacks, "MAX_RELAUNCH_S", 1e9)
        patch.setattr(setbacks, "RELAUNCH_S", 1e9)  # it stays gone, however slow the machine
        patch.setattr(live_fleet, "JOIN_S", live_fleet.START_TIMEOUT_S)  # all are there at the start
        patch.setattr(health, "DOUBT_AFTER", 10**9)  # and no news of theirs has it plan before it is told to
        patch.setattr(loop, "STUCK_S", 1e9)
        with Broker(devices, toy.demand_of(*graphs), folder, rogue(), LocalEngine()) as broker:
            os.kill(broker.engine.pid("dead"), signal.SIGKILL)
            end = time.monotonic() + PATIENCE_S
            while not any(isinstance(event, book.DeviceDown) for event in broker.events) and time.monotonic() < end:
                time.sleep(0.01)
            yield broker


def test_a_plan_that_breaks_a_rule_fails_by_name(fleet, images, bad):
    """The same rules as in the simulator: one line in the journal, and the next plan places the task."""
    before, down = len(failures(fleet)), sum(isinstance(event, book.DeviceDown) for event in fleet.events)
    fleet.policy.spoil = bad
    outcome = fleet.submit("toy", images(5), 1000.0).result(PATIENCE_S).outcome
    assert outcome.error is None
    (event,) = failures(fleet)[before:]
    assert event.policy == "rogue"
    assert bad.said in event.reason and "\n" not in event.reason
    assert fleet.failed_plans == before + 1
    assert sum(isinstance(event, book.DeviceDown) for event in fleet.events) == down == 1


def test_a_policy_that_fails_every_plan_fails_its_tasks(start, toy, rogue, images, monkeypatch, eventually, turn_clock):
    """Each after its time, with the policy's name and the reason; it is not asked more often than once a second."""
    monkeypatch.setattr(pace, "RETRY_S", 1.0)
    with start(toy.chain(), devices=[toy.make_device("a")], policy=rogue(ASLEEP, always=True)) as broker:
        task = broker.submit("toy", images(5), 100.0)
        eventually(lambda: len(failures(broker)) >= 2)
        count, now_s = len(failures(broker)), broker.wall_s
        turn_clock(100.0)
        outcome = task.result(PATIENCE_S).outcome
    assert outcome.error == "its deadline of 100 s has passed: policy rogue failed: KeyError: 'asleep'"
    assert count <= now_s + 1


def test_a_plan_that_takes_too_long_fails(start, toy, rogue, images, monkeypatch):
    """By a clock that the policy turns itself. What it answered is not carried out, though it was right."""
    turned = [0.0]
    monkeypatch.setattr(planning, "perf_counter", lambda: time.perf_counter() + turned[0])

    class Thinker(rogue):
        def place(self, state, view, requests, rng):
            if requests and not turned[0]:
                turned[0] = 1e6
            return super().place(state, view, requests, rng)

    with start(toy.chain(), devices=[toy.make_device("a")], policy=Thinker()) as broker:
        outcome = broker.submit("toy", images(5), 1000.0).result(PATIENCE_S).outcome
    assert outcome.error is None
    (event,) = failures(broker)
    assert event.reason.startswith("it took 10000") and event.reason.endswith("s for a plan, expected at most 10 s")
    decided = [event for event in broker.events if isinstance(event, book.Decided)]
    assert len(decided) == 1 and broker.events.index(decided[0]) > broker.events.index(event)


def test_a_pause_of_the_broker_is_no_silence_of_the_devices(start, toy, rogue, images, monkeypatch):
    """A plan longer than a device may be silent: nobody listened meanwhile, and nobody is given up for it.

    By a clock that the policy turns itself.
    """
    turned = [0.0]
    clock = SimpleNamespace(monotonic=lambda: time.monotonic() + turned[0])
    monkeypatch.setattr("splitplace.placement.broker.fleet.time", clock)

    class Thinker(rogue):
        def place(self, state, view, requests, rng):
            if requests and not turned[0]:
                turned[0] = 100.0
            return super().place(state, view, requests, rng)

    with start(toy.chain(), devices=[toy.make_device(name) for name in "ab"], policy=Thinker()) as broker:
        assert broker.submit("toy", images(5), 1000.0).result(PATIENCE_S).outcome.error is None
        assert not any(isinstance(event, book.DeviceDown) for event in broker.events)


def test_a_policy_that_fails_at_once_is_named(start, toy, rogue):
    """Its `init` raises: the fleet does not come up, and says whose fault that is."""
    policy = rogue()
    policy.init = lambda view: {}["x"]
    broker = start(toy.chain(), devices=[toy.make_device("a")], policy=policy)
    with pytest.raises(SplitPlaceError, match=r"^policy rogue failed: KeyError: 'x'$"), broker:
        pytest.fail("it came up")


def test_a_move_to_where_it_is_changes_nothing(start, toy, rogue, undisturbed, eventually):
    """No new attempt, no event, no word to the devices."""

    class Stayer(rogue):
        def place(self, state, view, requests, rng):
            c, ids = view.containers, view.tasks.id_T
            rows = zip(c.task_C.tolist(), c.fragment_C.tolist(), c.device_C.tolist(), strict=True)
            stay = [Migrate(int(ids[task]), fragment, device) for task, fragment, device in rows if device >= 0]
            return [*super().place(state, view, requests, rng), *stay]

    with start(toy.chain(), devices=[toy.make_device("a", 12)], policy=Stayer()) as broker:
        os.kill(broker.engine.pid("a"), signal.SIGSTOP)  # so that the first task is placed and cannot start
        first = broker.submit("toy", np.zeros((5, toy.width), np.float32), 1000.0)
        eventually(lambda: any(isinstance(event, book.FragmentPlaced) for event in broker.events))
        second = broker.submit("toy", np.zeros((5, toy.width), np.float32), 1000.0)
        eventually(lambda: any(event.task == 1 for event in broker.events if isinstance(event, book.FragmentPlaced)))
        os.kill(broker.engine.pid("a"), signal.SIGCONT)
        assert [task.result(PATIENCE_S).outcome.error for task in (first, second)] == [None, None]
    assert {event.attempt for event in broker.events if isinstance(event, book.FragmentPlaced)} == {0}
    assert not any(isinstance(event, book.FragmentMigrated) for event in broker.events) and not failures(broker)


class Numpyish(BestFit):
    """A whole policy that counts by numpy, as many do."""

    name = "numpyish"

    def decide(self, state, view, rng):
        """The first split."""
        return [Decide(task, np.int64(0), tag=np.int32(7)) for task in view.tasks.id_T[view.tasks.undecided]]

    def place(self, state, view, requests, rng):
        """Best fit."""
        placed = super().place(state, view, requests, rng)
        return [Place(np.int64(a.task), np.int32(a.fragment), np.int8(a.device)) for a in placed]


def test_a_policy_that_counts_by_numpy_is_served_and_kept(start, toy, images, tmp_path):
    """Its broker ends in order, which writes everything down, and the next one goes on from there."""
    fleet = {"devices": [toy.make_device("a")], "policy": Numpyish(), "data": tmp_path / "data"}
    with start(toy.chain(), **fleet) as broker:
        first = broker.submit("toy", images(5), 1000.0, key="first").result(PATIENCE_S)
    assert first.outcome.error is None
    with start(toy.chain(), **fleet) as broker:
        again = broker.submit("toy", images(5), 1000.0, key="first").result(PATIENCE_S)
        assert again.outcome == first.outcome
