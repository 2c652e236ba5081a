"""What a client asks, the door passes on, and the broker's answer comes back: to whom it belongs, and once."""

import asyncio
import threading

import numpy as np
import pytest
from PIL import Image

from splitplace.errors import ContractError, NotFoundError, NotReadyError, OverloadedError, UsageError
from splitplace.placement.serve import client as client_module
from splitplace.placement.serve.async_client import AsyncClient
from splitplace.placement.serve.client import Client
from tests.placement.dashboard.conftest import Told

PATIENCE_S = 30.0


def test_a_task_goes_in_and_its_answer_comes_out(client, broker, images):
    """Images, labels, deadline and options as they were given; logits, bit by bit, and the outcome back."""
    x, y = images(5), np.arange(5)
    task = client.submit("pixels", x, 2.5, y, key="mine", late=True, degrade=True, volatile=True)
    np.testing.assert_array_equal(broker.images[task.task_id], x)
    np.testing.assert_array_equal(broker.labels[task.task_id], y)
    wished = {"late": True, "degrade": True, "volatile": True}
    assert broker.options[task.task_id] == {"deadline_s": 2.5, "key": "mine"} | wished
    assert not task.done()
    broker.finish(task.task_id)
    result = task.result(PATIENCE_S)
    np.testing.assert_array_equal(result.logits, x.reshape(5, 4))
    assert result.logits.dtype == np.float32
    assert result.outcome.response_s == 0.5


def test_a_failed_task_says_why(client, broker, images):
    """An outcome with the broker's reason, and no logits."""
    task = client.submit("pixels", images(1), 1.0)
    broker.finish(task.task_id, "device d is lost")
    result = task.result(PATIENCE_S)
    assert result.outcome.error == "device d is lost" and result.logits is None


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


def test_answers_come_in_any_order(client, broker, images):
    """Tasks of one client are told apart, whichever ends first."""
    tasks = [client.submit("pixels", images(n), 1.0) for n in (1, 2, 3)]
    for task in reversed(tasks):
        broker.finish(task.task_id)
    assert [len(task.result(PATIENCE_S).logits) for task in tasks] == [1, 2, 3]


def test_many_clients_at_once(door, broker, images):
    """Twenty clients of ten tasks each, from as many threads: everyone gets his own answers."""
    broker.at_once, failed = True, []

    def visit(number):
        with Client(door.folder.path) as client:
            x = images(number + 1)
            results = [task.result(PATIENCE_S) for task in [client.submit("pixels", x, 1.0) for _ in range(10)]]
            failed.extend(number for result in results if not np.array_equal(result.logits, x.reshape(-1, 4)))

    threads = [threading.Thread(target=visit, args=(number,)) for number in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE_S)
    assert len(broker.tasks) == 200 and failed == [] and broker.cancelled == []


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda c, x: c.submit("nobody", x, 1.0), UsageError, "unknown application 'nobody'"),
        (lambda c, x: c.submit("pixels", x, 0.0), UsageError, "--deadline 0.0: expected seconds above 0"),
        (lambda c, x: c.submit("pixels", x, float("nan")), UsageError, "--deadline nan"),
        (lambda c, x: c.submit("pixels", x, 1.0, key=""), UsageError, "--key of 0 letters"),
        (lambda c, x: c.submit("pixels", x.astype(complex), 1.0), ContractError, "images of complex128"),
        (lambda c, x: c.submit("pixels", np.array(3), 1.0), ContractError, "images: one number"),
        (lambda c, x: c.submit("pixels", x / np.float32(0), 1.0), ContractError, "NaN or infinite"),
        (lambda c, x: c.submit("pixels", "nowhere.npy", 1.0), NotFoundError, "no file nowhere.npy"),
        (lambda c, x: c.answer(99), NotFoundError, "no task 99"),
        (lambda c, x: c.answer(-1), UsageError, "expected a number from 0"),
    ],
)
@pytest.mark.filterwarnings("ignore:divide by zero", "ignore:invalid value")
def test_a_refusal_is_the_brokers_own_error(client, images, call, error, message):
    """By its cause and in its words; and the client can go on."""
    with pytest.raises(error, match=message) as raised:
        call(client, images(2))
    assert type(raised.value) is error
    assert client.status().policy == "p"


def test_a_task_beyond_the_bound_is_not_even_sent(client, images, monkeypatch):
    """With what was got, what is expected, and what to do."""
    monkeypatch.setattr(client_module, "MAX_TENSOR_BYTES", 100)
    with pytest.raises(OverloadedError, match="a task of 120 bytes, expected at most 100: send its images as several"):
        client.submit("pixels", images(30), 1.0)


def test_files_and_folders_of_images(client, broker, tmp_path):
    """An .npy file as it is; image files by the split's rule; a folder's in the order of their names."""
    (tmp_path / "photos").mkdir()
    for name, grey in (("b.png", 9), ("a.png", 200)):
        Image.new("L", (4, 4), grey).save(tmp_path / "photos" / name)
    (tmp_path / "photos" / "notes.txt").write_text("no image")
    np.save(tmp_path / "x.npy", np.full((3, 1, 2, 2), 7, np.uint8))
    np.save(tmp_path / "y.npy", np.arange(3))
    first = client.submit("pixels", tmp_path / "x.npy", 1.0, tmp_path / "y.npy").task_id
    second = client.submit("pixels", tmp_path / "photos", 1.0).task_id
    third = client.submit("pixels", [tmp_path / "photos" / "b.png"], 1.0).task_id
    assert broker.images[first][:, 0, 0, 0].tolist() == [7, 7, 7] and broker.labels[first].tolist() == [0, 1, 2]
    assert broker.images[second][:, 0, 0, 0].tolist() == [200, 9] and broker.labels[second] is None
    assert broker.images[third].shape == (1, 1, 2, 2)
    (tmp_path / "none").mkdir()
    with pytest.raises(NotFoundError, match="no image file in it"):
        client.submit("pixels", tmp_path / "none", 1.0)


def test_who_leaves_takes_his_tasks_back(door, broker, images):
    """But those that he asked to keep, by a word or by a key."""
    with Client(door.folder.path) as client:
        taken = client.submit("pixels", images(1), 1.0)
        kept = [client.submit("pixels", images(1), 1.0, **how).task_id for how in ({"keep": True}, {"key": "k"})]
    assert broker.until(lambda: broker.cancelled == [taken.task_id])
    with pytest.raises(NotReadyError, match="closed"):
        taken.result(0)
    with Client(door.folder.path) as another:
        tasks = [another.answer(number) for number in kept]
        for number in kept:
            broker.finish(number)
        assert all(task.result(PATIENCE_S).outcome.error is None for task in tasks)
    assert broker.cancelled == [taken.task_id]


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


def test_a_task_that_has_ended_is_not_cancelled(door, broker, images):
    """When its client leaves."""
    broker.at_once = True
    with Client(door.folder.path) as client:
        client.submit("pixels", images(1), 1.0).result(PATIENCE_S)
    with Client(door.folder.path) as client:
        client.status()
    assert broker.cancelled == []


def test_cancel_says_whether_it_came_in_time(client, broker, images):
    """True while the task is under way, then False; the task fails."""
    task = client.submit("pixels", images(1), 1.0)
    assert client.cancel(task.task_id) is True
    assert task.result(PATIENCE_S).outcome.error == "it was cancelled"
    assert client.cancel(task.task_id) is False


def test_drain_waits_and_nobody_else_does(door, client, broker, images):
    """Several may wait for it; status is told and submissions are refused meanwhile."""
    with Client(door.folder.path) as other:
        waiting = [threading.Thread(target=each.drain) for each in (client, other)]
        for thread in waiting:
            thread.start()
        while client.status().accepting:
            pass
        with pytest.raises(NotReadyError, match="draining"):
            client.submit("pixels", images(1), 1.0)
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
            ended, open_end = (client.submit("pixels", images(1), 1.0) for _ in range(2))
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


def test_in_an_event_loop(door, broker, images):
    """The same, awaited; two tasks wait side by side, and who stops waiting cancels nothing."""

    async def visit():
        async with AsyncClient(door.folder.path) as client:
            assert (await client.status()).policy == "p"
            assert list(await client.applications()) == ["pixels"]
            tasks = [await client.submit("pixels", images(n), 1.0) for n in (1, 2)]
            waiting = asyncio.gather(*(client.result(task) for task in tasks))
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(client.result(tasks[0]), 0.01)
            for task in tasks:
                broker.finish(task.task_id)
            return [len(result.logits) for result in await waiting]

    assert asyncio.run(visit()) == [1, 2]
    assert broker.cancelled == []
