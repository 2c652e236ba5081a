"""What a client over HTTP does beyond what every client does, and where something goes wrong on the way."""

from http.client import HTTPConnection

import numpy as np
import pytest

from splitplace.errors import (
    ConflictError,
    ContractError,
    NotFoundError,
    NotReadyError,
    OverloadedError,
    TooLargeError,
)
from splitplace.placement.http.limits import Limits
from splitplace.placement.remote import remote_client
from splitplace.placement.remote.remote_client import RemoteClient

PATIENCE_S = 240.0
send = HTTPConnection.send


def test_more_tasks_than_threads_that_wait(door, broker, images, monkeypatch):
    """They take turns; whichever ends first, each gets its own answer."""
    monkeypatch.setattr(remote_client, "LOOKING", 2)
    for name in ("LOOK_S", "TURN_S"):
        monkeypatch.setattr(remote_client, name, 0.02)
    with RemoteClient(door.url) as client:
        tasks = [client.submit("pixels", images(n), 1000.0) for n in range(1, 8)]
        for task in reversed(tasks):
            broker.finish(task.task_id)
            task.result(PATIENCE_S)
        assert [len(task.result(PATIENCE_S).logits) for task in tasks] == list(range(1, 8))


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda c, x: c.submit("nobody", x, 1000.0), NotFoundError, "'nobody': expected one of pixels"),
        (lambda c, x: c.submit("pixels", x.astype(np.float32), 1000.0), ContractError, "input 'image': FP32"),
        (lambda c, x: c.submit("pixels", x[:0], 1000.0), ContractError, "expected at least one"),
        (lambda c, x: c.submit("pixels", x, 1e9), ContractError, "deadline_s"),
    ],
)
def test_a_refusal_of_the_server_is_raised_by_its_cause(client, images, call, error, message):
    """In its words; and the client can go on."""
    with pytest.raises(error, match=message) as raised:
        call(client, images(2))
    assert type(raised.value) is error and "\n" not in str(raised.value)
    assert client.submit("pixels", images(1), 1000.0).task_id >= 0


def test_a_task_beyond_the_bound_is_not_even_sent(client, broker, pixels, monkeypatch):
    """With what was got, what is expected, and what to do."""
    monkeypatch.setattr(remote_client, "Limits", lambda: Limits(body_bytes=100))
    with pytest.raises(TooLargeError, match=r"a task of .* bytes, expected at most 100: send its images as several"):
        client.submit("pixels", np.zeros((30, 1, 2, 2), np.uint8), 1000.0)
    assert not broker.tasks


def test_what_the_server_finds_too_large_is_told(front, broker):
    """It hangs up on a body that it does not want, and is heard all the same."""
    door = front(body_bytes=2**16)
    with RemoteClient(door.url) as client, pytest.raises(TooLargeError, match="expected at most 65536"):
        client.submit("pixels", np.zeros((2**16, 1, 2, 2), np.uint8), 1000.0)


def test_a_key_stands_for_one_request(client, broker, images):
    """Asked again it is the same task, and gets its answer; another request under it is refused."""
    first = client.submit("pixels", images(2), 1000.0, key="k")
    assert client.submit("pixels", images(2), 1000.0, key="k").task_id == first.task_id
    with pytest.raises(ConflictError, match="id 'k' stands for another request already"):
        client.submit("pixels", images(3), 1000.0, key="k")
    assert len(broker.tasks) == 1


def test_who_leaves_a_server_that_is_away_asks_it_once(client, images, monkeypatch):
    """Each of his tasks would wait for it as long as the first; what is refused otherwise keeps no other from going."""
    for _ in range(4):
        client.submit("pixels", images(1), 1000.0)
    asked = []

    def refuse(ticket, until_s):
        asked.append(ticket)
        raise NotFoundError("no such task") if len(asked) == 1 else NotReadyError("it does not answer")

    monkeypatch.setattr(client, "_take_back", refuse)
    client.close()
    assert len(asked) == 2


def test_who_leaves_while_a_task_is_handed_over_takes_it_back(client, broker, images, monkeypatch):
    """Another thread's, which is under way when the client begins to leave."""
    hand_over = client._hand_over

    def left_meanwhile(*args):
        ticket = hand_over(*args)
        client.close()
        return ticket

    with monkeypatch.context() as patched:
        patched.setattr(client, "_hand_over", left_meanwhile)
        patched.setattr(client._exchange, "close", lambda: None)  # it is still busy with his other tasks
        with pytest.raises(NotReadyError, match="the client was closed"):
            client.submit("pixels", images(1), 1000.0)
    assert broker.cancelled == [0]


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
            client.submit("pixels", images(1), 1000.0)
    assert list(broker.tasks) == [0] == broker.cancelled


# Where something goes wrong on the way.


def test_a_request_without_a_body_has_none(road, monkeypatch):
    """Not even an empty one in chunks, which some servers between refuse of a GET or DELETE."""
    sent = []
    monkeypatch.setattr(HTTPConnection, "send", lambda self, data: sent.append(bytes(data)) or send(self, data))
    with RemoteClient(road.url) as client, pytest.raises(NotFoundError):
        client.cancel(5) or client.answer(5)
    assert len(sent) == 3 and not any(b"transfer-encoding" in head.lower() for head in sent)


@pytest.mark.parametrize("lost", [{1}, {1, 2, 3}])
def test_an_answer_that_is_lost_on_the_way(road, broker, images, lost):
    """The request is sent again, under its id: the fleet has one task, and whoever waits gets its answer."""
    with RemoteClient(road.url) as client:
        client._exchange._idle.pop().close()
        road.losing, broker.at_once = lost, True
        task = client.submit("pixels", images(3), 1000.0)
        assert len(task.result(PATIENCE_S).logits) == 3
    assert road.opened > len(lost) and list(broker.tasks) == [task.task_id]


def test_a_result_that_is_lost_on_the_way(road, broker, images):
    """It is asked for again."""
    with RemoteClient(road.url) as client:
        task = client.submit("pixels", images(3), 1000.0)
        road.losing = set(range(road.opened))
        broker.finish(task.task_id)
        assert len(task.result(PATIENCE_S).logits) == 3


def test_a_connection_that_ended_while_nobody_used_it(front, broker, images):
    """The server ends it after a while without a request: the next one goes over another, at once."""
    broker.at_once = True
    door = front(idle_s=1)
    with RemoteClient(door.url) as client:
        client.submit("pixels", images(1), 1000.0).result(PATIENCE_S)
        for connection in client._exchange._idle:
            assert connection.sock.recv(1) == b""  # the server has left
        assert client.submit("pixels", images(2), 1000.0).result(PATIENCE_S).outcome.n == 2


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
    task = client.submit("pixels", images(1), 1000.0)
    left = [deadline_s for _, _, deadline_s, _ in times]
    assert len(times) == 4 and left == sorted(left, reverse=True) and left[-1] < left[0] <= 1000.0
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
