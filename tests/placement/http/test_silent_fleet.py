"""A fleet that says nothing, as when its process is stopped: whoever asks is answered all the same, and in time."""

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from splitplace.placement.http import desk
from splitplace.placement.http.body import Coming
from splitplace.placement.http.desk import TaskDesk, TaskOrder, patience_s
from splitplace.placement.http.limits import Limits
from splitplace.placement.http.requests import Wish
from splitplace.placement.serve.kept_word import KeptWord, SilentFleetError

PATIENCE_S = 240.0


@pytest.fixture
def silent(broker):
    """The broker, which says how it is no more until it may."""
    status, may = broker.status, threading.Event()

    def said():
        assert may.wait(PATIENCE_S)
        return status()

    broker.status, broker.may_say = said, may
    yield broker
    may.set()
    broker.may_submit.set()


@pytest.fixture
def begun(silent, monkeypatch):
    """Nobody is waited for when as many threads as may be, one if a test says no more, wait for the fleet."""
    asked, most = [], [1]

    def patience(wish, left_s):
        asked.append(left_s)
        assert silent.until(lambda: silent.waiting >= min(len(asked), most[0]))
        return 0.01

    monkeypatch.setattr(desk, "patience_s", patience)
    silent.may_submit.clear()
    return most


def test_a_deadline_holds_where_the_fleet_takes_no_task(front, image, silent, monkeypatch):
    """503 a moment after it, with when to come again and without asking the fleet for that."""
    monkeypatch.setattr(desk, "GRACE_S", 0.01)
    silent.may_submit.clear()
    door = front(fleet_s=1000.0)
    door.service.clock = lambda: 0.0
    refused = door.infer({"inputs": [image], "parameters": {"deadline_s": 0.2}})
    assert refused.status == 503 and "had not taken it" in refused.error and refused.headers["retry-after"] == "5"


def test_a_task_that_is_taken_when_nobody_waits_any_more_is_taken_back(front, image, silent, begun):
    """The fleet is told as soon as it has taken it; what came in for the task counts until then."""
    door = front(fleet_s=1000.0)
    assert door.infer({"inputs": [image]}).status == 503
    assert silent.until(lambda: silent.waiting == 1) and door.service.coming._held > 0
    silent.may_submit.set()
    assert silent.until(lambda: silent.cancelled == [0])
    while door.service.coming._held:
        threading.Event().wait(0.01)


def test_a_task_that_no_thread_has_begun_with_is_not_handed_over(silent, begun, monkeypatch):
    """As many as threads wait for the fleet; those behind them are forgotten with their deadlines."""
    monkeypatch.setattr(desk, "SUBMITTING", 2)
    begun[0] = 2
    order = TaskOrder("pixels", np.zeros((1, 1, 2, 2), np.uint8), None, Wish(), 0.1, None)
    made, coming = TaskDesk(silent, Limits()), Coming(100)

    async def hand_in():
        with coming.hold() as hold:
            hold.add(4)
            with pytest.raises(SilentFleetError):
                await made.submit(order, hold)

    async def hand_in_many():
        await asyncio.gather(*(hand_in() for _ in range(12)))
        assert coming._held == 8  # of those that threads have
        silent.may_submit.set()
        while len(silent.cancelled) < 2:
            await asyncio.sleep(0.01)

    asyncio.run(hand_in_many())
    assert len(silent.tasks) == 2 and coming._held == 0
    made.close()


def test_a_deadline_holds_where_the_fleet_says_nothing_of_a_task(front, image, broker, monkeypatch):
    """503 a moment after it; the task is taken back, but where its id promises that it goes on."""
    monkeypatch.setattr(desk, "GRACE_S", 0.01)
    monkeypatch.setattr(desk, "patience_s", lambda wish, left_s: None)  # of the handing over alone
    door = front()
    door.service.clock = lambda: 0.0
    for more in ({}, {"id": "a"}):
        refused = door.infer({"inputs": [image], "parameters": {"deadline_s": 0.3}} | more)
        assert refused.status == 503 and "the fleet said nothing until" in refused.error
    assert broker.until(lambda: broker.cancelled == [0]) and len(broker.tasks) == 2


def test_who_is_not_waited_for():
    """A late answer is wanted whenever, a task left behind is not waited for; all others until their deadlines."""
    assert patience_s(Wish(late=True), 3.0) is patience_s(Wish(detach=True), 3.0) is None
    assert (patience_s(Wish(), 3.0), patience_s(Wish(), -9.0)) == (4.0, 1.0)


@pytest.mark.parametrize("path", ["/v2/health/ready", "/v2/models/pixels/ready"])
def test_it_is_not_ready(front, silent, path):
    """Told in time, and that it lives."""
    door = front(fleet_s=0.1)
    refused = door.ask("GET", path)
    assert refused.status == 503 and "did not answer within 0.1 s" in refused.error
    assert door.ask("GET", "/v2/health/live").status == 200
    silent.may_say.set()
    while door.ask("GET", path).status != 200:  # the threads' turn
        pass


def test_what_is_asked_of_a_task_is_answered_in_time(front, broker, monkeypatch):
    """What became of it, and that it be cancelled: 503."""
    may = threading.Event()
    for name in ("answer", "cancel"):
        monkeypatch.setattr(broker, name, lambda task: may.wait(PATIENCE_S))
    door = front(fleet_s=0.1)
    for method in ("GET", "DELETE"):
        refused = door.ask(method, "/v2/splitplace/tasks/0")
        assert refused.status == 503 and "did not answer within 0.1 s" in refused.error
    may.set()


def test_its_word_is_asked_for_once(front, silent):
    """However many want to know whether it is ready, without a token: other questions have their threads."""
    asked, door = [], front(fleet_s=1000.0)
    said = silent.status
    silent.status = lambda: asked.append(0) or said()
    with ThreadPoolExecutor(8) as pool:
        answers = [pool.submit(door.ask, "GET", "/v2/health/ready") for _ in range(8)]
        while door.service.metrics.under_way._value.get() < 8:
            threading.Event().wait(0.01)
        assert door.ask("DELETE", "/v2/splitplace/tasks/0").status == 200
        silent.may_say.set()
        assert {answer.result(PATIENCE_S).status for answer in answers} == {200}
    assert len(asked) == 1


def test_a_word_is_kept_for_a_moment_and_a_refusal_is_not():
    """By the clock; what was an error is asked again at once."""
    now, asked, told = [0.0], [], [RuntimeError("gone"), "a", "b"]

    async def ask():
        asked.append(now[0])
        said = told.pop(0)
        if isinstance(said, Exception):
            raise said
        return said

    async def listen():
        word = KeptWord(ask, 5.0, PATIENCE_S, lambda: now[0])
        with pytest.raises(RuntimeError, match="gone"):
            await word()
        found = []
        for now[0] in (1.0, 5.9, 6.0):
            found.append(await word())
        return found

    assert asyncio.run(listen()) == ["a", "a", "b"] and asked == [0.0, 1.0, 6.0]


def test_a_word_that_came_too_late_is_there_for_who_comes_again():
    """A fleet that takes longer than anybody waits would be asked anew each time, and nobody would ever hear."""
    now, asked = [0.0], []

    async def listen():
        may = asyncio.Event()

        async def ask():
            asked.append(now[0])
            await may.wait()
            return "a"

        word = KeptWord(ask, 1.0, 0.01, lambda: now[0])
        with pytest.raises(SilentFleetError):
            await word()
        now[0] = 8.0
        may.set()
        while word._said is None:
            await asyncio.sleep(0.01)
        now[0] += SilentFleetError.retry_after_s
        return await word()

    assert asyncio.run(listen()) == "a" and asked == [0.0]
