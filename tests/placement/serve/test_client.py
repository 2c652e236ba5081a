"""What a client of a data folder asks beyond what every client does, which test_client_contract.py has."""

import asyncio
import os
import threading

import numpy as np
import pytest

from splitplace.errors import NotReadyError, OverloadedError, UsageError
from splitplace.placement.serve import client as client_module
from splitplace.placement.serve.async_client import AsyncClient
from splitplace.placement.serve.client import Client
from tests.placement.dashboard.conftest import Told

PATIENCE_S = 240.0


def test_options_are_the_brokers_own(client, broker, images):
    """A key and a deadline as they were given, and whether the task may end with the fleet's process."""
    task = client.submit("pixels", images(1), 2.5, key="mine", volatile=True)
    told = broker.options[task.task_id]
    assert told == {"deadline_s": 2.5, "key": "mine", "volatile": True} | {"late": False, "degrade": False}


def test_what_happened_is_read_page_by_page(client, broker):
    """As the broker has it, events of every kind; a number that is none is a mistake of the caller's."""
    task = Told(3)
    for event in [*task.whole(), task.put_back(1.0), task.load(0.0, 1.0, "a", "d-0")]:
        broker.book.append(event)
    page = client.history()
    assert page == broker.book.page(0) and len(page.events) == page.next == 10
    assert client.history(page.next).events == () and client.history(4).events == page.events[4:]
    with pytest.raises(UsageError, match="expected a number from 0"):
        client.history(-1)


def test_many_clients_at_once(door, broker, images):
    """Twenty clients of ten tasks each, from as many threads: everyone gets his own answers."""
    broker.at_once, failed = True, []

    def visit(number):
        with Client(door.folder.path) as client:
            x = images(number + 1)
            results = [task.result(PATIENCE_S) for task in [client.submit("pixels", x, 1000.0) for _ in range(10)]]
            failed.extend(number for result in results if not np.array_equal(result.logits, x.reshape(-1, 4)))

    threads = [threading.Thread(target=visit, args=(number,)) for number in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE_S)
    assert len(broker.tasks) == 200 and failed == [] and broker.cancelled == []


def test_a_task_beyond_the_bound_is_not_even_sent(client, images, monkeypatch):
    """With what was got, what is expected, and what to do."""
    monkeypatch.setattr(client_module, "MAX_TENSOR_BYTES", 100)
    with pytest.raises(OverloadedError, match="a task of 120 bytes, expected at most 100: send its images as several"):
        client.submit("pixels", images(30), 1000.0)


def test_who_leaves_before_his_task_was_taken(stranger, broker):
    """It is taken back as soon as the broker has it: nobody is there to want it."""
    broker.may_submit.clear()
    guest = stranger()
    guest.knock()
    line = {"dtype": "uint8", "shape": [1, 1, 2, 2]}
    guest.say({"type": "submit", "request": 2, "tensors": [line], "application": "pixels", "deadline_s": 1.0}, b"1234")
    guest.say({"type": "status", "request": 3})
    assert guest.hear()["request"] == 3  # the submission is under way by now
    guest.socket.close()
    broker.may_submit.set()
    assert broker.until(lambda: broker.cancelled == [0])


def test_drain_waits_and_nobody_else_does(door, client, broker, images):
    """Several may wait for it; status is told and submissions are refused meanwhile."""
    with Client(door.folder.path) as other:
        waiting = [threading.Thread(target=each.drain) for each in (client, other)]
        for thread in waiting:
            thread.start()
        while client.status().accepting:
            pass
        with pytest.raises(NotReadyError, match="draining"):
            client.submit("pixels", images(1), 1000.0)
        assert all(thread.is_alive() for thread in waiting)
        broker.drained.set()
        for thread in waiting:
            thread.join(PATIENCE_S)
            assert not thread.is_alive()


def test_the_end_is_told_to_who_waits(broker, folder, images):
    """What became of his task if it ended with the broker; else that the fleet has ended."""
    from splitplace.placement.serve.door import Door

    with folder.claimed():
        with Door(broker, [], folder, lambda: None) as door:
            client = Client(folder.path)
            ended, open_end = (client.submit("pixels", images(1), 1000.0) for _ in range(2))
            door.close()
            broker.finish(ended.task_id, "the broker was stopped")
        assert ended.result(PATIENCE_S).outcome.error == "the broker was stopped"
        with pytest.raises(NotReadyError, match="has ended"):
            open_end.result(PATIENCE_S)
        with pytest.raises(NotReadyError, match="has ended"):
            client.status()
        client.close()
    assert broker.cancelled == []  # a fleet that ends keeps what it was given


def test_stop_is_passed_on(client, stopped):
    """To whoever runs the fleet."""
    from splitplace.placement.serve import requests

    assert isinstance(client._connection.ask(requests.StopWanted()), requests.Done)
    assert stopped.wait(PATIENCE_S)


def test_in_an_event_loop(door):
    """What the fleet of a data folder is asked beyond tasks, awaited."""

    async def visit():
        async with AsyncClient(door.folder.path) as client:
            return (await client.status()).policy, (await client.history()).next

    assert asyncio.run(visit()) == ("p", 0)


def test_a_process_that_was_forked_off_leaves_the_client_as_it_is(client):
    """As where it leaves the context that its program is written in; what it asks is refused: nobody hears for it."""
    child = os.fork()
    if child == 0:
        try:
            with pytest.raises(NotReadyError, match="this one was forked from it"):
                client.status()
            client.close()
            client.close()
            os._exit(7)
        finally:
            os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
    assert client.status().policy == "p"
