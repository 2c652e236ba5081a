"""The thread in which a policy is asked and what it remembers is kept: whatever its code does there ends nothing."""

import logging
import threading

import numpy as np
import pytest

from splitplace.placement.broker import planning, policy_folder
from splitplace.placement.broker.planning import MOST_LEFT_BEHIND, Planner
from splitplace.placement.broker.policy_folder import PolicyFolder
from splitplace.placement.broker.setup import Setup, view_at_rest
from tests.placement.fleet.conftest import chain, demand_of, make_device
from tests.placement.fleet.test_pace import Watcher, World

DEMAND, DEVICES = demand_of(chain()), (make_device("a"),)
VIEW = view_at_rest(DEMAND, DEVICES, 300.0)
PATIENCE_S = 240.0


class Hangs(Watcher):
    """A policy that thinks until it is let go."""

    name = "hangs"

    def __init__(self):
        super().__init__()
        self.go, self.begun, self.calls = threading.Event(), threading.Semaphore(0), 0

    def decide(self, state, view, rng):
        """Counts; waits."""
        self.calls += 1
        self.begun.release()
        assert self.go.wait(PATIENCE_S)
        return []


class Packs(Watcher):
    """A policy whose state can be saved, by whatever `packing` does."""

    name = "packs"

    def __init__(self, packing):
        super().__init__()
        self.packing, self.threads = packing, []

    def pack(self, state):
        """In which thread, is noted."""
        self.threads.append(threading.current_thread().name)
        return self.packing()

    def unpack(self, packed, view):
        """Nothing of it is kept."""


@pytest.fixture
def asked():
    """A policy that hangs, its planner, and how often that has said that there is news."""
    policy, news = Hangs(), threading.Semaphore(0)
    planner = Planner(policy, None, np.random.default_rng(0), news.release)
    yield policy, planner, news
    policy.go.set()
    planner.close()


def left_behind(policy, planner, monkeypatch):
    """Ask as often as a thread begins to think; answers what the plans failed of."""
    said = []
    for _ in range(MOST_LEFT_BEHIND):
        planner.ask(VIEW, 0)
        assert policy.begun.acquire(timeout=PATIENCE_S)
        with monkeypatch.context() as patch:
            patch.setattr(planning, "PLAN_LIMIT_S", -1.0)
            said.append(planner.take().failure)
    return said


def test_a_policy_that_hangs_leaves_few_threads_behind(asked, monkeypatch):
    """Then its plans fail at once, by its name, and it is not asked."""
    policy, planner, _ = asked
    said = left_behind(policy, planner, monkeypatch)
    assert all("expected at most" in failure.reason for failure in said)
    for _ in range(20):
        planner.ask(VIEW, 0)
        answer = planner.take()
        assert answer.failure.policy == "hangs" and not planner.busy
        assert f"still thinks of {MOST_LEFT_BEHIND} plans" in answer.failure.reason
    assert policy.calls == MOST_LEFT_BEHIND


def test_it_is_asked_again_when_one_of_them_has_come_back(asked, monkeypatch):
    """Their answers are dropped, the next one is taken."""
    policy, planner, news = asked
    left_behind(policy, planner, monkeypatch)
    threads = list(planner._left_behind)
    policy.go.set()
    for thread in threads:
        thread.join(PATIENCE_S)
    assert planner.take() is None
    while news.acquire(blocking=False):
        pass
    planner.ask(VIEW, 0)
    assert news.acquire(timeout=PATIENCE_S)
    assert planner.take().failure is None and policy.calls == MOST_LEFT_BEHIND + 1


def test_a_plan_fails_for_which_no_thread_is_to_be_had(asked, monkeypatch):
    """Where the system gives none, in place of one that was left behind; the planner goes on when it does again."""
    policy, planner, news = asked
    planner.ask(VIEW, 0)
    assert policy.begun.acquire(timeout=PATIENCE_S)
    with monkeypatch.context() as patch:
        patch.setattr(planning, "PLAN_LIMIT_S", -1.0)
        planner.take()
    policy.go.set()
    planner._left_behind[0].join(PATIENCE_S)
    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", no_thread)
        for _ in range(2):
            planner.ask(VIEW, 0)
            assert "it cannot be asked now: can't start new thread" in planner.take().failure.reason
    while news.acquire(blocking=False):
        pass
    planner.ask(VIEW, 0)
    assert news.acquire(timeout=PATIENCE_S)
    assert planner.take().failure is None


def no_thread(thread):
    """As where a machine runs as many as it may."""
    raise RuntimeError("can't start new thread")


class Raises(Watcher):
    """A policy that raises this whenever it decides."""

    name = "raises"

    def __init__(self, error):
        super().__init__()
        self.error = error

    def decide(self, state, view, rng):
        """Raises."""
        raise self.error


@pytest.mark.parametrize("error", [KeyboardInterrupt(), SystemExit(3), GeneratorExit(), MemoryError()], ids=repr)
def test_whatever_a_policy_raises_fails_its_plan_at_once(error):
    """What would end a program, too: nobody presses Ctrl-C in this thread, and it goes on."""
    news = threading.Semaphore(0)
    planner = Planner(Raises(error), None, np.random.default_rng(0), news.release)
    for _ in range(2):
        planner.ask(VIEW, 0)
        assert news.acquire(timeout=PATIENCE_S)
        failure = planner.take().failure
        assert failure.policy == "raises" and type(error).__name__ in failure.reason
    planner.close()


def cannot():
    """What no policy folder expects."""
    raise ValueError("cannot be packed")


@pytest.fixture
def folder(tmp_path):
    """Of a policy."""
    return PolicyFolder(tmp_path / "policy", Setup(DEMAND, DEVICES, "pipelined", 4, 300.0))


def test_a_policy_that_cannot_be_packed_is_not_kept_and_that_is_said_by_name(folder, caplog):
    """Whatever it raises; the planner's thread goes on, and it alone has called it."""
    policy = Packs(cannot)
    planner = Planner(policy, None, np.random.default_rng(0), lambda: None)
    for _ in range(2):
        planner.keep(folder.save)
        assert planner._kept.wait(PATIENCE_S)
    planner.close()
    assert policy.threads == ["broker-plan"] * 2
    said = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    assert said == ["policy packs: what it remembers could not be saved: ValueError: cannot be packed"] * 2


def test_a_plan_is_not_waited_for_by_who_packs_for_ever(folder, monkeypatch):
    """It fails as one that thinks too long, and the next is made in another thread."""
    go, begun, news = threading.Event(), threading.Event(), threading.Semaphore(0)

    def packing():
        begun.set()
        go.wait(PATIENCE_S)
        cannot()

    policy = Packs(packing)
    planner = Planner(policy, None, np.random.default_rng(0), news.release)
    planner.keep(folder.save)
    assert begun.wait(PATIENCE_S)
    planner.keep(folder.save)  # while it is at it: nothing more
    planner.ask(VIEW, 0)
    with monkeypatch.context() as patch:
        patch.setattr(planning, "PLAN_LIMIT_S", -1.0)
        assert "expected at most" in planner.take().failure.reason
    planner.ask(VIEW, 0)
    assert news.acquire(timeout=PATIENCE_S)
    assert planner.take().failure is None and len(policy.threads) == 1
    go.set()
    planner.close()


def test_a_broker_whose_policy_cannot_be_packed_goes_on(tmp_path, monkeypatch, caplog, eventually):
    """Tasks are answered after it as before, and it ends in order."""
    monkeypatch.setattr(policy_folder, "SAVE_EVERY_S", 0.0)
    policy = Packs(cannot)
    world = World(policy=policy, folder=tmp_path / "data")

    def tried():
        world.until(world.fleet.clock_s + 0.25)
        return len(policy.threads) > 2

    eventually(tried)
    answer = world.submit(world.fleet.clock_s)
    world.until(world.fleet.clock_s + 5.0)
    assert answer.result(0).outcome.error is None
    world.loop.close("it was stopped", [])
    world.loop.store.close()
    assert set(policy.threads) == {"broker-plan"} and "policy packs: what it remembers" in caplog.text
