"""What a client of tasks does, through the socket of a data folder or over HTTP: the same."""

import asyncio
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import pytest
from PIL import Image

from splitplace.errors import ContractError, NotFoundError, NotReadyError, UsageError
from splitplace.placement.http.app import FrontApp
from splitplace.placement.http.guard import Guard
from splitplace.placement.http.limits import Limits
from splitplace.placement.http.server import HttpServer
from splitplace.placement.http.service import HttpService
from splitplace.placement.remote.async_remote_client import AsyncRemoteClient
from splitplace.placement.remote.remote_client import RemoteClient
from splitplace.placement.serve.async_client import AsyncClient
from splitplace.placement.serve.client import Client
from splitplace.placement.serve.data_folder import DataFolder
from splitplace.placement.serve.door import Door
from splitplace.records.split import Split

PATIENCE_S = 240.0


@dataclass
class Reached:
    """A fleet, by one way."""

    connect: Callable[[], Any]
    awaited: Callable[[], Any]


@pytest.fixture(params=["socket", "http"])
def reached(
    request: pytest.FixtureRequest, broker: Any, pixels: Split, folder: DataFolder, let_go: Callable[[ExitStack], None]
) -> Iterator[Reached]:
    """By either."""
    if request.param == "socket":
        with folder.claimed(), Door(broker, [pixels], folder, lambda: None):
            yield Reached(partial(Client, folder.path), partial(AsyncClient, folder.path))
    else:
        service = HttpService(broker, lambda: {"pixels": pixels}, Limits(), Guard(None), "0.0")
        closing = ExitStack()
        server = closing.enter_context(HttpServer(FrontApp(service), "127.0.0.1", 0))
        yield Reached(partial(RemoteClient, server.url), partial(AsyncRemoteClient, server.url))
        let_go(closing)


@pytest.fixture
def client(reached: Reached) -> Iterator[Any]:
    """Connected."""
    with reached.connect() as made:
        yield made


def test_a_task_goes_in_and_its_answer_comes_out(client, broker, images):
    """Images, labels, deadline and options as they were given; logits, bit by bit, and the outcome back."""
    x, y = images(5), np.arange(5)
    task = client.submit("pixels", x, 1000.0, y, key="mine", late=True, degrade=True)
    np.testing.assert_array_equal(broker.images[task.task_id], x)
    np.testing.assert_array_equal(broker.labels[task.task_id], y)
    told = broker.options[task.task_id]
    assert 500.0 < told["deadline_s"] <= 1000.0 and told["late"] is True and told["degrade"] is True and told["key"]
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
    task = client.submit("pixels", images(1), 1000.0)
    broker.finish(task.task_id, "device d is lost")
    result = task.result(PATIENCE_S)
    assert result.outcome.error == "device d is lost" and result.logits is None


def test_answers_come_in_any_order(client, broker, images):
    """Tasks of one client are told apart, whichever ends first."""
    tasks = [client.submit("pixels", images(n), 1000.0) for n in (1, 2, 3)]
    for task in reversed(tasks):
        broker.finish(task.task_id)
        task.result(PATIENCE_S)
    assert [len(task.result(PATIENCE_S).logits) for task in tasks] == [1, 2, 3]


def called_back(client, images, what):
    """What a function gives that is called when a task is done."""
    given, done = [], threading.Event()

    def note(task):
        try:
            given.append(what(task))
        finally:
            done.set()

    client.submit("pixels", images(1), 1000.0).add_done_callback(note)
    assert done.wait(PATIENCE_S)
    return given


def test_a_number_may_be_one_of_numpys(client, broker, images):
    """As an array of tasks gives it."""
    broker.at_once = True
    task = client.submit("pixels", images(3), 1000.0, keep=True)
    assert len(client.answer(np.int64(task.task_id)).result(PATIENCE_S).logits) == 3
    assert client.cancel(np.int64(task.task_id)) is False


def test_what_is_called_when_a_task_is_done_may_ask_the_fleet(client, broker, images):
    """A pipeline: it hands the next task in and waits for that one's answer, which the same connection brings."""
    broker.at_once = True
    (result,) = called_back(client, images, lambda _: client.submit("pixels", images(2), 1000.0).result(PATIENCE_S))
    assert len(result.logits) == 2


def test_what_is_called_when_a_task_is_done_may_raise_anything(client, broker, images):
    """SystemExit ends no thread that others wait for: the client goes on."""
    broker.at_once = True
    assert called_back(client, images, lambda _: sys.exit(3)) == []
    assert client.submit("pixels", images(2), 1000.0).result(PATIENCE_S).outcome.error is None


def test_what_is_called_when_a_task_is_done_may_leave(client, broker, images):
    """The client is closed then."""
    broker.at_once = True
    assert called_back(client, images, lambda _: client.close()) == [None]
    with pytest.raises(NotReadyError, match="the client was closed"):
        client.submit("pixels", images(1), 1000.0)


def test_many_threads_at_once(client, broker, images):
    """Ten threads of ten tasks each by one client: everyone gets his own answers."""
    broker.at_once, failed = True, []

    def visit(number):
        x = images(number + 1)
        results = [task.result(PATIENCE_S) for task in [client.submit("pixels", x, 1000.0) for _ in range(10)]]
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
        (lambda c, x: c.submit("nobody", x, 1000.0), (UsageError, NotFoundError), "unknown application 'nobody'"),
        (lambda c, x: c.submit("pixels", x, 0.0), UsageError, "--deadline 0.0: expected seconds above 0"),
        (lambda c, x: c.submit("pixels", x, float("nan")), UsageError, "--deadline nan"),
        (lambda c, x: c.submit("pixels", x, 1000.0, key=""), UsageError, "--key of 0 letters"),
        (lambda c, x: c.submit("pixels", x, 1000.0, key="\ud800"), UsageError, "expected text in UTF-8"),
        (
            lambda c, x: c.submit("\ud800", x, 1000.0),
            (UsageError, NotFoundError),
            "unicode|unknown application",
        ),
        (lambda c, x: c.submit("pixels", x.astype(complex), 1000.0), ContractError, "images of complex128"),
        (lambda c, x: c.submit("pixels", np.array(3), 1000.0), ContractError, "images: one number"),
        (lambda c, x: c.submit("pixels", x / np.float32(0), 1000.0), ContractError, "NaN or infinite"),
        (lambda c, x: c.submit("pixels", np.ma.masked_array(x, x == x), 1000.0), ContractError, "values are masked"),
        (lambda c, x: c.submit("pixels", "nowhere.npy", 1000.0), NotFoundError, "no file nowhere.npy"),
        (lambda c, x: c.submit("pixels", x.tolist(), 1000.0), ContractError, "images: a list, expected a numpy array"),
        (lambda c, x: c.submit("pixels", None, 1000.0), ContractError, "images: a NoneType, expected a numpy array"),
        (lambda c, x: c.submit("pixels", x.data, 1000.0), ContractError, "images: a memoryview, expected a numpy"),
        (lambda c, x: c.submit("pixels", x, 1000.0, [0, 1]), ContractError, "labels: a list, expected a numpy array"),
        (lambda c, x: c.answer(None), UsageError, "task None: expected a number from 0"),
        (lambda c, x: c.cancel(1.5), UsageError, "task 1.5: expected a number from 0"),
        (lambda c, x: c.answer(99), NotFoundError, "no task 99"),
        (lambda c, x: c.answer(-1), UsageError, "expected a number from 0"),
        (lambda c, x: c.cancel(2**63), UsageError, "expected a number from 0"),
    ],
)
@pytest.mark.filterwarnings("ignore:divide by zero", "ignore:invalid value")
def test_a_refusal_is_raised_by_its_cause(client, images, call, error, message):
    """In one line, in the words of who refuses; and the client can go on."""
    with pytest.raises(error, match=message) as raised:
        call(client, images(2))
    assert isinstance(error, tuple) or type(raised.value) is error
    assert "\n" not in str(raised.value)
    assert client.submit("pixels", images(1), 1000.0).task_id >= 0


def test_files_and_folders_of_images(client, broker, tmp_path):
    """An .npy file as it is; image files by the split's rule; a folder's in the order of their names."""
    (tmp_path / "photos").mkdir()
    for name, grey in (("b.png", 9), ("a.png", 200)):
        Image.new("L", (4, 4), grey).save(tmp_path / "photos" / name)
    (tmp_path / "photos" / "notes.txt").write_text("no image")
    np.save(tmp_path / "x.npy", np.full((3, 1, 2, 2), 7, np.uint8))
    np.save(tmp_path / "y.npy", np.arange(3))
    first = client.submit("pixels", tmp_path / "x.npy", 1000.0, tmp_path / "y.npy").task_id
    second = client.submit("pixels", tmp_path / "photos", 1000.0).task_id
    third = client.submit("pixels", [tmp_path / "photos" / "b.png"], 1000.0).task_id
    assert broker.images[first][:, 0, 0, 0].tolist() == [7, 7, 7] and broker.labels[first].tolist() == [0, 1, 2]
    assert broker.images[second][:, 0, 0, 0].tolist() == [200, 9] and broker.labels[second] is None
    assert broker.images[third].shape == (1, 1, 2, 2)
    (tmp_path / "none").mkdir()
    with pytest.raises(NotFoundError, match="no image file in it"):
        client.submit("pixels", tmp_path / "none", 1000.0)


def test_a_key_asked_for_again_is_the_same_task(client, broker, images):
    """And gets its answer."""
    first = client.submit("pixels", images(2), 1000.0, key="k")
    again = client.submit("pixels", images(2), 1000.0, key="k")
    broker.finish(first.task_id)
    assert again.task_id == first.task_id and len(again.result(PATIENCE_S).logits) == 2 and len(broker.tasks) == 1


def test_who_leaves_takes_his_tasks_back(reached, broker, images):
    """But those that he asked to keep, by a word or by a key, and those that have ended."""
    with reached.connect() as client:
        ended = client.submit("pixels", images(1), 1000.0)
        broker.finish(ended.task_id)
        ended.result(PATIENCE_S)
        taken = client.submit("pixels", images(1), 1000.0)
        kept = [client.submit("pixels", images(1), 1000.0, **how).task_id for how in ({"keep": True}, {"key": "k"})]
    assert broker.until(lambda: broker.cancelled == [taken.task_id])
    with pytest.raises(NotReadyError, match="closed"):
        taken.result(PATIENCE_S)
    with pytest.raises(NotReadyError, match="closed"):
        client.submit("pixels", images(1), 1000.0)
    with reached.connect() as another:
        tasks = [another.answer(number) for number in kept]
        for number in kept:
            broker.finish(number)
        assert all(task.result(PATIENCE_S).outcome.error is None for task in tasks)
        assert another.answer(ended.task_id).result(PATIENCE_S).outcome.response_s == 0.5
    assert broker.cancelled == [taken.task_id]


def test_cancel_says_whether_it_came_in_time(client, broker, images):
    """True while the task is under way, then False; the task fails."""
    task = client.submit("pixels", images(1), 1000.0)
    assert client.cancel(task.task_id) is True
    assert task.result(PATIENCE_S).outcome.error == "it was cancelled"
    assert client.cancel(task.task_id) is False


def test_in_an_event_loop(reached, broker, images):
    """The same, awaited; two tasks wait side by side, and who stops waiting cancels nothing."""

    async def visit():
        async with reached.awaited() as client:
            assert list(await client.applications()) == ["pixels"]
            tasks = [await client.submit("pixels", images(n), 1000.0) for n in (1, 2)]
            waiting = asyncio.gather(*(client.result(task) for task in tasks))
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(client.result(tasks[0]), 0.01)
            for task in tasks:
                broker.finish(task.task_id)
            lengths = [len(result.logits) for result in await waiting]
            open_end = await client.submit("pixels", images(1), 1000.0, keep=True)
            assert await client.cancel(open_end.task_id) is True
            return lengths, (await client.result(await client.answer(open_end.task_id))).outcome.error

    assert asyncio.run(visit()) == ([1, 2], "it was cancelled")
