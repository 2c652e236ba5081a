"""What a client asks over HTTP reaches the fleet, and its answer comes back: to whom it belongs, and once."""

import asyncio
import threading

import numpy as np
import pytest
from PIL import Image

from splitplace.errors import (
    ConflictError,
    ContractError,
    NotFoundError,
    NotReadyError,
    OverloadedError,
    TooLargeError,
    UsageError,
)
from splitplace.placement.http.limits import Limits
from splitplace.placement.remote import remote_client
from splitplace.placement.remote.async_remote_client import AsyncRemoteClient
from splitplace.placement.remote.remote_client import RemoteClient

PATIENCE_S = 30.0


def test_a_task_goes_in_and_its_answer_comes_out(client, broker, images):
    """Images, labels, deadline and options as they were given; logits, bit by bit, and the outcome back."""
    x, y = images(5), np.arange(5)
    task = client.submit("pixels", x, 20.0, y, key="mine", late=True, degrade=True)
    np.testing.assert_array_equal(broker.images[task.task_id], x)
    np.testing.assert_array_equal(broker.labels[task.task_id], y)
    told = broker.options[task.task_id]
    assert 10.0 < told["deadline_s"] <= 20.0 and told["late"] is True and told["degrade"] is True and told["key"]
    assert not task.done()
    broker.finish(task.task_id)
    result, its_own = task.result(PATIENCE_S), broker.tasks[task.task_id].result()
    np.testing.assert_array_equal(result.logits, x.reshape(5, 4))
    assert result.logits.dtype == np.float32 and result.logits.flags.writeable
    assert result.outcome == its_own.outcome


def test_what_is_served(client, pixels):
    """The split as the fleet has it: its input, its rule for images, the names of its classes."""
    assert client.applications() == {"pixels": pixels}


def test_a_failed_task_says_why(client, broker, images):
    """An outcome with the broker's reason, and no logits."""
    task = client.submit("pixels", images(1), 20.0)
    broker.finish(task.task_id, "device d is lost")
    result = task.result(PATIENCE_S)
    assert result.outcome.error == "device d is lost" and result.logits is None


def test_more_tasks_than_threads_that_wait(door, broker, images, monkeypatch):
    """They take turns; whichever ends first, each gets its own answer."""
    monkeypatch.setattr(remote_client, "LOOKING", 2)
    with RemoteClient(door.url) as client:
        tasks = [client.submit("pixels", images(n), 20.0) for n in range(1, 8)]
        for task in reversed(tasks):
            broker.finish(task.task_id)
            task.result(PATIENCE_S)
        assert [len(task.result(PATIENCE_S).logits) for task in tasks] == list(range(1, 8))


def test_many_threads_at_once(client, broker, images):
    """Ten threads of ten tasks each by one client: everyone gets his own answers."""
    broker.at_once, failed = True, []

    def visit(number):
        x = images(number + 1)
        results = [task.result(PATIENCE_S) for task in [client.submit("pixels", x, 20.0) for _ in range(10)]]
        failed.extend(number for result in results if not np.array_equal(result.logits, x.reshape(-1, 4)))

    threads = [threading.Thread(target=visit, args=(number,)) for number in range(10)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE_S)
    assert len(broker.tasks) == 100 and failed == []


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (
            lambda c, x: c.submit("nobody", x, 1.0),
            NotFoundError,
            "unknown application 'nobody': expected one of pixels",
        ),
        (lambda c, x: c.submit("pixels", x, 0.0), UsageError, "--deadline 0.0: expected seconds above 0"),
        (lambda c, x: c.submit("pixels", x, float("nan")), UsageError, "--deadline nan"),
        (lambda c, x: c.submit("pixels", x, 1.0, key=""), UsageError, "--key of 0 letters"),
        (lambda c, x: c.submit("pixels", x.astype(complex), 1.0), ContractError, "images of complex128"),
        (lambda c, x: c.submit("pixels", x.astype(np.float32), 1.0), ContractError, "input 'image': FP32"),
        (lambda c, x: c.submit("pixels", x[:0], 1.0), ContractError, "expected at least one"),
        (lambda c, x: c.submit("pixels", np.array(3), 1.0), ContractError, "images: one number"),
        (lambda c, x: c.submit("pixels", x / np.float32(0), 1.0), ContractError, "NaN or infinite"),
        (lambda c, x: c.submit("pixels", "nowhere.npy", 1.0), NotFoundError, "no file nowhere.npy"),
        (lambda c, x: c.submit("pixels", x, 1e9), ContractError, "deadline_s"),
        (lambda c, x: c.answer(99), NotFoundError, "no task 99"),
        (lambda c, x: c.answer(-1), UsageError, "expected a number from 0"),
        (lambda c, x: c.cancel(2**63), UsageError, "expected a number from 0"),
    ],
)
@pytest.mark.filterwarnings("ignore:divide by zero", "ignore:invalid value")
def test_a_refusal_is_raised_by_its_cause(client, images, call, error, message):
    """In the words of who refuses; and the client can go on."""
    with pytest.raises(error, match=message) as raised:
        call(client, images(2))
    assert type(raised.value) is error and "\n" not in str(raised.value)
    assert client.submit("pixels", images(1), 20.0).task_id >= 0


def test_a_task_beyond_the_bound_is_not_even_sent(client, broker, pixels, monkeypatch):
    """With what was got, what is expected, and what to do."""
    monkeypatch.setattr(remote_client, "Limits", lambda: Limits(body_bytes=100))
    with pytest.raises(TooLargeError, match=r"a task of .* bytes, expected at most 100: send its images as several"):
        client.submit("pixels", np.zeros((30, 1, 2, 2), np.uint8), 1.0)
    assert not broker.tasks


def test_what_the_server_finds_too_large_is_told(front, broker):
    """It hangs up on a body that it does not want, and is heard all the same."""
    door = front(body_bytes=2**16)
    with RemoteClient(door.url) as client, pytest.raises(TooLargeError, match="expected at most 65536"):
        client.submit("pixels", np.zeros((2**16, 1, 2, 2), np.uint8), 20.0)


def test_files_and_folders_of_images(client, broker, tmp_path):
    """An .npy file as it is; image files by the split's rule, read here; a folder's in the order of their names."""
    (tmp_path / "photos").mkdir()
    for name, grey in (("b.png", 9), ("a.png", 200)):
        Image.new("L", (4, 4), grey).save(tmp_path / "photos" / name)
    np.save(tmp_path / "x.npy", np.full((3, 1, 2, 2), 7, np.uint8))
    np.save(tmp_path / "y.npy", np.arange(3))
    first = client.submit("pixels", tmp_path / "x.npy", 20.0, tmp_path / "y.npy").task_id
    second = client.submit("pixels", tmp_path / "photos", 20.0).task_id
    assert broker.images[first][:, 0, 0, 0].tolist() == [7, 7, 7] and broker.labels[first].tolist() == [0, 1, 2]
    assert broker.images[second][:, 0, 0, 0].tolist() == [200, 9] and broker.labels[second] is None


def test_a_key_stands_for_one_request(client, broker, images):
    """Asked again it is the same task, and gets its answer; another request under it is refused."""
    first = client.submit("pixels", images(2), 20.0, key="k")
    assert client.submit("pixels", images(2), 20.0, key="k").task_id == first.task_id
    with pytest.raises(ConflictError, match="id 'k' stands for another request already"):
        client.submit("pixels", images(3), 20.0, key="k")
    assert len(broker.tasks) == 1


def test_who_leaves_takes_his_tasks_back(door, broker, images):
    """But those that he asked to keep, by a word or by a key, and those that have ended."""
    with RemoteClient(door.url) as client:
        ended = client.submit("pixels", images(1), 20.0)
        broker.finish(ended.task_id)
        ended.result(PATIENCE_S)
        taken = client.submit("pixels", images(1), 20.0)
        kept = [client.submit("pixels", images(1), 20.0, **how).task_id for how in ({"keep": True}, {"key": "k"})]
    assert broker.cancelled == [taken.task_id]
    with pytest.raises(NotReadyError, match="closed"):
        taken.result(0)
    with pytest.raises(NotReadyError, match="closed"):
        client.submit("pixels", images(1), 20.0)
    with RemoteClient(door.url) as another:
        tasks = [another.answer(number) for number in kept]
        for number in kept:
            broker.finish(number)
        assert all(task.result(PATIENCE_S).outcome.error is None for task in tasks)
        assert another.answer(ended.task_id).result(0).outcome.response_s == 0.5
    assert broker.cancelled == [taken.task_id]


def test_interrupted_while_a_task_is_handed_over(door, broker, images, monkeypatch):
    """Whether the fleet has it is not known: it is asked for by its id, and taken back."""
    with RemoteClient(door.url) as client:
        ask, times = client._exchange.ask, []

        def interrupted(question, until_s):
            answer = ask(question, until_s)
            times.append(question.method)
            if len(times) == 1:
                raise KeyboardInterrupt
            return answer

        monkeypatch.setattr(client._exchange, "ask", interrupted)
        with pytest.raises(KeyboardInterrupt):
            client.submit("pixels", images(1), 20.0)
    assert list(broker.tasks) == [0] == broker.cancelled


def test_cancel_says_whether_it_came_in_time(client, broker, images):
    """True while the task is under way, then False; the task fails."""
    task = client.submit("pixels", images(1), 20.0)
    assert client.cancel(task.task_id) is True
    assert task.result(PATIENCE_S).outcome.error == "it was cancelled"
    assert client.cancel(task.task_id) is False


def test_in_an_event_loop(door, broker, images):
    """The same, awaited; two tasks wait side by side, and who stops waiting cancels nothing."""

    async def visit():
        async with AsyncRemoteClient(door.url) as client:
            assert list(await client.applications()) == ["pixels"]
            tasks = [await client.submit("pixels", images(n), 20.0) for n in (1, 2)]
            waiting = asyncio.gather(*(client.result(task) for task in tasks))
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(client.result(tasks[0]), 0.01)
            for task in tasks:
                broker.finish(task.task_id)
            return [len(result.logits) for result in await waiting]

    assert asyncio.run(visit()) == [1, 2]
    assert broker.cancelled == []


# Where something goes wrong on the way.


@pytest.mark.parametrize("lost", [{1}, {1, 2, 3}])
def test_an_answer_that_is_lost_on_the_way(road, broker, images, lost):
    """The request is sent again, under its id: the fleet has one task, and whoever waits gets its answer."""
    with RemoteClient(road.url) as client:
        client._exchange._idle.pop().close()
        road.losing, broker.at_once = lost, True
        task = client.submit("pixels", images(3), 20.0)
        assert len(task.result(PATIENCE_S).logits) == 3
    assert road.opened > len(lost) and list(broker.tasks) == [task.task_id]


def test_a_result_that_is_lost_on_the_way(road, broker, images):
    """It is asked for again."""
    with RemoteClient(road.url) as client:
        task = client.submit("pixels", images(3), 20.0)
        road.losing = set(range(road.opened))
        broker.finish(task.task_id)
        assert len(task.result(PATIENCE_S).logits) == 3


def test_a_connection_that_ended_while_nobody_used_it(front, broker, images):
    """The server ends it after a while without a request: the next one goes over another, at once."""
    broker.at_once = True
    door = front(idle_s=1)
    with RemoteClient(door.url) as client:
        client.submit("pixels", images(1), 20.0).result(PATIENCE_S)
        for connection in client._exchange._idle:
            assert connection.sock.recv(1) == b""  # the server has left
        assert client.submit("pixels", images(2), 20.0).result(PATIENCE_S).outcome.n == 2


def come_again(door, monkeypatch, after_s):
    """Every refusal says when to come again."""

    async def retry_after_s(error):
        return after_s

    monkeypatch.setattr(door.service, "retry_after_s", retry_after_s)


@pytest.mark.parametrize("error", [OverloadedError("10000 tasks wait"), NotReadyError("the fleet is ending")])
def test_told_to_come_again_it_does(client, door, broker, images, monkeypatch, error):
    """As often as it takes until the deadline; of the deadline, what has passed meanwhile is gone."""
    come_again(door, monkeypatch, 0)
    submit, times = broker.submit, []

    def refuse(*args, **kwargs):
        times.append(args)
        if len(times) < 4:
            raise error
        return submit(*args, **kwargs)

    monkeypatch.setattr(broker, "submit", refuse)
    task = client.submit("pixels", images(1), 20.0)
    left = [deadline_s for _, _, deadline_s, _ in times]
    assert len(times) == 4 and left == sorted(left, reverse=True) and left[-1] < left[0] <= 20.0
    broker.finish(task.task_id)
    assert task.result(PATIENCE_S).outcome.error is None


def test_a_time_to_come_again_beyond_the_deadline(client, door, broker, images, monkeypatch):
    """There is no use in waiting: the refusal is raised at once."""
    come_again(door, monkeypatch, 3600)

    def refuse(*args, **kwargs):
        broker.cancelled.append("asked")
        raise OverloadedError("10000 tasks wait")

    monkeypatch.setattr(broker, "submit", refuse)
    with pytest.raises(OverloadedError, match="10000 tasks wait"):
        client.submit("pixels", images(1), 30.0)
    assert broker.cancelled == ["asked"]


def test_a_server_that_is_away_until_the_deadline(road, door, images):
    """Said in one line, with where it was looked for."""
    with RemoteClient(road.url) as client:
        road.losing = set(range(100))
        with pytest.raises(NotReadyError, match=f"{road.url} does not answer: .*splitplace serve") as raised:
            client.submit("pixels", images(1), 0.3)
        assert "\n" not in str(raised.value)


def test_what_passed_of_a_deadline_before_it_was_sent(door, broker, images):
    """The header says it, by the front door's own arithmetic: 3 of 8 seconds are left, or none."""
    import http.client
    import json

    door.service.clock = lambda: 100.0
    body = {"inputs": [{"name": "image", "datatype": "UINT8", "shape": [1, 1, 2, 2], "data": [0, 1, 2, 3]}]}
    body["parameters"] = {"deadline_s": 8.0, "detach": True}
    statuses = []
    for elapsed in ("5", "8.5", "-1", "x", "nan"):
        connection = http.client.HTTPConnection(door.url.removeprefix("http://"), timeout=PATIENCE_S)
        headers = {"splitplace-elapsed-s": elapsed}
        connection.request("POST", "/v2/models/pixels/infer", json.dumps(body), headers)
        statuses.append(connection.getresponse().status)
        connection.close()
    assert statuses == [200, 503, 400, 400, 400] and broker.options[0]["deadline_s"] == 3.0
