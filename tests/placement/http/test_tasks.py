"""Deadlines, hang-ups, ids and tasks left behind: what is asked of the fleet, and how often."""

import json
import threading
import time

import pytest
import tritonclient.http as triton

from splitplace.errors import NotReadyError, OverloadedError
from splitplace.placement.http.body import read_body
from splitplace.placement.outcome import TaskFuture

PATIENCE_S = 240.0


def wishing(image, **parameters):
    """A request with parameters of ours."""
    return {"inputs": [image], "parameters": parameters}


def until_hung_up(door):
    """Wait until the front door has counted one client that hung up."""
    while "splitplace_http_hang_ups_total 1.0" not in door.ask("GET", "/metrics").body.decode():
        time.sleep(0.01)


def test_what_is_wished_reaches_the_fleet(door, image, broker):
    """Deadline, late and degrade; of the deadline what is left since the request was received."""
    door.service.clock = lambda: 0.0
    assert door.infer(wishing(image, deadline_s=7.5, late=True, degrade=True)).status == 200
    told = broker.options[0]
    assert told["deadline_s"] == 7.5 and told["late"] is True and told["degrade"] is True and told["key"] is None


def test_what_nobody_can_ask_for_again_need_not_outlive_the_fleet(front, image, broker):
    """Of a plain request nothing is told before its answer: it is volatile; with an id, or left behind, it is not."""
    door, broker.at_once = front(), True
    for request in ({"inputs": [image]}, {"inputs": [image], "id": "a"}, wishing(image, detach=True)):
        assert door.infer(request).status == 200
    assert [broker.options[task]["volatile"] for task in range(3)] == [True, False, False]


@pytest.mark.parametrize(("deadline", "left"), [(8, 3.0), (4.0, None)])
def test_a_deadline_counts_from_receipt(front, image, broker, monkeypatch, deadline, left):
    """By the clock here reading the body took 5 s: 3 of 8 are left, and of 4 none, so that nobody is asked."""
    door, now = front(), [100.0]
    broker.at_once = True

    async def slowly(*arguments):
        body = await read_body(*arguments)
        now[0] += 5.0
        return body

    monkeypatch.setattr("splitplace.placement.http.service.read_body", slowly)
    door.service.clock = lambda: now[0]
    answer = door.infer(wishing(image, deadline_s=deadline))
    if left is not None:
        assert answer.status == 200 and broker.options[0]["deadline_s"] == pytest.approx(left)
    else:
        assert answer.status == 503 and "deadline had passed" in answer.error and not broker.tasks


def test_a_late_answer_is_wanted_whenever(door, image, broker):
    """A deadline that has passed on the way in is no reason to refuse it: it is late already."""
    assert door.infer(wishing(image, deadline_s=1e-9, late=True)).status == 200
    assert broker.options[0]["deadline_s"] == 1e-3


def test_without_one_the_front_doors_own(front, image, broker):
    """`--default-deadline`."""
    door, broker.at_once = front(deadline_s=42.0), True
    door.service.clock = lambda: 0.0
    door.infer(wishing(image))
    assert broker.options[0]["deadline_s"] == 42.0


def test_other_servers_parameters_are_passed_over(door, image):
    """`timeout`, `priority`, `sequence_*` and whatever a client sends along: none is ours to redefine."""
    others = {"timeout": 5, "priority": 1, "sequence_id": 3, "sequence_start": True, "triton_x": "y", "mine": 1.5}
    assert door.infer(wishing(image, **others)).status == 200


@pytest.mark.parametrize("deadline", [0, -1.0, "soon", True, 1e9, None])
def test_a_deadline_that_is_none(door, image, deadline, broker):
    """Refused before anybody is asked."""
    refused = door.infer(wishing(image, deadline_s=deadline))
    assert refused.status == 400 and refused.error and not broker.tasks


def test_a_failed_task_is_an_error_with_its_reason(front, image, broker):
    """503, in the fleet's words."""
    door = front()
    threading.Thread(target=lambda: broker.until(lambda: broker.tasks) and broker.finish(0, "device d is lost")).start()
    failed = door.infer(wishing(image))
    assert failed.status == 503 and failed.error == "task 0 got no answer: device d is lost"


def test_a_client_that_hangs_up_takes_its_task_back(front, image, broker, door):
    """As soon as it is gone; the front door goes on."""
    broker.at_once = False
    body = json.dumps(wishing(image)).encode()
    head = b"POST /v2/models/pixels/infer HTTP/1.1\r\nhost: localhost\r\ncontent-length: %d\r\n\r\n"
    guest = door.raw(head % len(body) + body)
    assert broker.until(lambda: broker.tasks)
    guest.close()
    assert broker.until(lambda: broker.cancelled == [0])
    until_hung_up(door)


def test_a_client_that_hangs_up_before_the_fleet_has_taken_its_task(door, image, broker):
    """It is taken back when the fleet has it: nobody is there to want it."""
    broker.at_once = False
    broker.may_submit.clear()
    body = json.dumps(wishing(image)).encode()
    head = b"POST /v2/models/pixels/infer HTTP/1.1\r\nhost: localhost\r\ncontent-length: %d\r\n\r\n"
    guest = door.raw(head % len(body) + body)
    assert broker.until(lambda: broker.waiting)
    guest.close()
    broker.may_submit.set()
    assert broker.until(lambda: broker.cancelled == [0])


def test_one_id_is_one_task(front, image, broker):
    """Asked twice at once, and once more when it has ended: the fleet runs it once, and all get its answer."""
    door, answers = front(), []
    request = wishing(image) | {"id": "a"}
    asking = [threading.Thread(target=lambda: answers.append(door.infer(request))) for _ in range(2)]
    for thread in asking:
        thread.start()
    assert broker.until(lambda: broker.tasks)
    broker.finish(0)
    for thread in asking:
        thread.join(PATIENCE_S)
    answers.append(door.infer(request))
    assert [answer.json["parameters"]["task"] for answer in answers] == ["0"] * 3 and len(broker.tasks) == 1


def test_another_request_under_an_id_is_refused(door, image, broker):
    """409, whichever differs: an input, a parameter; another model's id is another's."""
    assert door.infer(wishing(image) | {"id": "a"}).status == 200
    for other in (wishing(image, late=True), wishing(image | {"data": [9, 1, 2, 200]})):
        refused = door.infer(other | {"id": "a"})
        assert refused.status == 409 and "id 'a' stands for another request already" in refused.error
    assert len(broker.tasks) == 1


def test_an_id_of_a_request_that_was_not_taken_is_free(door, image, broker):
    """Whoever was told why may put it right under the same id."""
    broker.draining = True
    assert door.infer(wishing(image) | {"id": "a"}).status == 503
    broker.draining = False
    assert door.infer(wishing(image, late=True) | {"id": "a"}).status == 200
    assert door.infer(wishing(image) | {"id": "a"}).status == 409


def test_an_id_is_free_when_its_result_is_forgotten(door, image, broker):
    """Then another request may have it, and the same one runs anew; not a moment before."""
    first, second = wishing(image) | {"id": "a"}, wishing(image, late=True) | {"id": "a"}
    assert door.infer(first).status == 200 and door.infer(second).status == 409
    broker.forget(0)
    assert door.infer(second).json["parameters"]["task"] == "1"
    assert door.infer(first).status == 409
    broker.forget(1)
    assert door.infer(second).json["parameters"]["task"] == "2"
    assert door.infer(first).status == 409


def test_a_fleet_that_does_not_say_what_it_knows_frees_no_id(door, image, broker, monkeypatch):
    """It is not there just now: come again."""
    assert door.infer(wishing(image) | {"id": "a"}).status == 200

    def away(task_id):
        raise NotReadyError("the fleet has ended")

    monkeypatch.setattr(broker, "answer", away)
    refused = door.infer(wishing(image, late=True) | {"id": "a"})
    assert refused.status == 503 and refused.headers["retry-after"] and len(broker.tasks) == 1


def test_the_fleet_is_asked_once_for_a_task_whose_id_is_wanted_by_others(front, image, broker, monkeypatch):
    """However many they are while it is under way: it holds a future for everyone who asks, until the task ends."""
    door, asked, answer = front(), [], broker.answer
    path = door.infer(wishing(image, detach=True) | {"id": "a"}).json["parameters"]["url"]
    door.service.desk._left_behind.clear()  # as if another front door had taken it

    def counted(task_id):
        asked.append(task_id)
        return answer(task_id)

    monkeypatch.setattr(broker, "answer", counted)
    assert [door.infer(wishing(image, late=True) | {"id": "a"}).status for _ in range(5)] == [409] * 5
    assert door.ask("GET", path).json["state"] == "under way" and asked == [0]


def test_a_repeat_that_is_refused_leaves_its_id_to_the_first(front, image, broker):
    """That one is under way: another body is still another request."""
    door, answers = front(), []
    asking = threading.Thread(target=lambda: answers.append(door.infer(wishing(image) | {"id": "a"}).status))
    asking.start()
    assert broker.until(lambda: broker.tasks)
    broker.draining = True
    assert door.infer(wishing(image) | {"id": "a"}).status == 503
    broker.draining = False
    assert door.infer(wishing(image, late=True) | {"id": "a"}).status == 409
    broker.finish(0)
    asking.join(PATIENCE_S)
    assert answers == [200]


def test_an_id_of_a_request_that_was_wrong_is_free(door, image):
    """Whatever was wrong with it, its headers say."""
    refused = door.infer(wishing(image) | {"id": "a"}, splitplace_elapsed_s="soon")
    assert refused.status == 400 and "splitplace-elapsed-s" in refused.error
    assert door.infer(wishing(image, late=True) | {"id": "a"}).status == 200


def test_a_request_with_an_id_goes_on_when_its_client_leaves(door, image, broker):
    """It will come again, and ask for the same."""
    broker.at_once = False
    body = json.dumps(wishing(image) | {"id": "a"}).encode()
    head = b"POST /v2/models/pixels/infer HTTP/1.1\r\nhost: localhost\r\ncontent-length: %d\r\n\r\n"
    guest = door.raw(head % len(body) + body)
    assert broker.until(lambda: broker.tasks)
    guest.close()
    until_hung_up(door)
    broker.finish(0)
    assert door.infer(body).status == 200 and broker.cancelled == [] and len(broker.tasks) == 1


def test_a_task_left_behind_is_found_again(front, image, broker):
    """`detach`: at once its number and path; then under way, then the answer, as often as it is asked for."""
    door = front()
    left = door.infer(wishing(image, detach=True) | {"id": "x"})
    assert left.status == 200 and left.json["outputs"] == [] and left.json["id"] == "x"
    path = left.json["parameters"]["url"]
    assert path == "/v2/splitplace/tasks/0"
    assert door.ask("GET", path).json == {"task": "0", "state": "under way"}
    broker.finish(0)
    for _ in range(2):
        found = door.ask("GET", f"{path}?wait_s=60").json
        assert found["state"] == "answered" and found["outputs"][0]["data"] == [0.0, 1.0, 2.0, 200.0]
        assert found["parameters"]["split"] == "pixels.m.full" == found["outcome"]["split"]
    assert door.ask("GET", f"{path}?binary=true").headers["inference-header-content-length"]


def test_triton_s_client_may_leave_a_task_behind(front, broker, images):
    """The answer is one that it can read: no outputs, the number in the parameters."""
    door = front()
    with triton.InferenceServerClient(door.address) as client:
        tensor = triton.InferInput("image", [2, 1, 2, 2], "UINT8")
        tensor.set_data_from_numpy(images(2))
        told = client.infer("pixels", [tensor], parameters={"detach": True, "deadline_s": 5.0}).get_response()
    assert told["parameters"]["task"] == "0" and broker.options[0]["key"]


def test_a_task_left_behind_may_fail_or_be_cancelled(front, image, broker):
    """200 with the reason: what was asked for is what became of it."""
    door = front()
    for _ in range(2):
        door.infer(wishing(image, detach=True))
    broker.finish(0, "its deadline has passed")
    failed = door.ask("GET", "/v2/splitplace/tasks/0?wait_s=60").json
    outcome = failed.pop("outcome")
    assert failed == {"task": "0", "state": "failed", "error": "its deadline has passed"}
    assert outcome["id"] == 0 and outcome["error"] == "its deadline has passed"
    assert door.ask("DELETE", "/v2/splitplace/tasks/1").json == {"task": "1", "was_under_way": True}
    assert door.ask("DELETE", "/v2/splitplace/tasks/1").json == {"task": "1", "was_under_way": False}
    assert door.ask("GET", "/v2/splitplace/tasks/1?wait_s=60").json["error"] == "it was cancelled"


def test_a_task_left_behind_tells_its_classes(front, image, broker):
    """As `classification` asks an output for them: the highest, by value, number and name, no more than there are."""
    door = front()
    path = door.infer(wishing(image, detach=True)).json["parameters"]["url"]
    broker.finish(0)
    for asked, told in (
        (1, ["200.000000:3:d"]),
        (99, ["200.000000:3:d", "2.000000:2:c", "1.000000:1:b", "0.000000:0:a"]),
    ):
        (output,) = door.ask("GET", f"{path}?wait_s=60&classification={asked}").json["outputs"]
        assert output == {"name": "logits", "datatype": "BYTES", "shape": [1, len(told)], "data": told}


def test_who_waits_for_a_task_and_hangs_up_is_waited_for_no_more(front, image, broker):
    """The task goes on; the request is over at once, however long it was to wait."""
    door = front()
    door.infer(wishing(image, detach=True))
    guest = door.raw(b"GET /v2/splitplace/tasks/0?wait_s=60 HTTP/1.1\r\nhost: localhost\r\n\r\n")
    guest.close()
    until_hung_up(door)
    assert not broker.cancelled


@pytest.mark.parametrize(
    ("path", "status"),
    [("9", 404), ("x", 404), ("-1", 404), ("9" * 40, 404)]
    + [(f"0?wait_s={wait}", 400) for wait in ("x", "1e9", "nan")]
    + [(f"0?classification={classes}", 400) for classes in ("x", "-1", "", "9" * 10)],
)
def test_tasks_that_are_none(door, path, status):
    """And waits and counts that are none."""
    refused = door.ask("GET", f"/v2/splitplace/tasks/{path}")
    assert refused.status == status and refused.error


@pytest.mark.parametrize(
    ("error", "status"),
    [(OverloadedError("10000 tasks wait: try again"), 429), (NotReadyError("the fleet has ended"), 503)],
)
def test_a_fleet_that_takes_no_more_says_when_to_come_again(door, image, broker, monkeypatch, error, status):
    """Retry-After is the queue over the rate at which tasks leave: 40 wait, 20 left in 10 s, so in 20 s."""

    def refuse(*args, **kwargs):
        raise error

    monkeypatch.setattr(broker, "submit", refuse)
    broker.waiting_tasks = 40
    departures, now = door.service.desk.departures, [0.0]
    departures._clock = lambda: now[0]
    for second in range(20):
        now[0] = second / 2 + 0.5
        departures.left()
    now[0] = 10.5
    refused = door.infer(wishing(image))
    assert refused.status == status and refused.error == str(error) and refused.headers["retry-after"] == "20"


def test_a_task_that_is_refused_when_it_was_handed_in_has_not_left(door, image, broker, monkeypatch):
    """As for want of disk: it says nothing of how soon there is room, as an answered one does."""
    refused = TaskFuture(7)
    refused.set_exception(OverloadedError("the disk is full"))
    left = door.service.desk.departures._left_s
    with monkeypatch.context() as full:
        full.setattr(broker, "submit_at_once", lambda *task, **wish: refused)
        assert door.infer({"inputs": [image]}).status == 429 and len(left) == 0
    broker.at_once = True
    assert door.infer({"inputs": [image]}).status == 200 and len(left) == 1


def test_no_room_for_more_requests(front, image, broker):
    """One more than are taken on at once is told to come again; those that wait are answered."""
    door, answers = front(requests=2), []
    asking = [threading.Thread(target=lambda: answers.append(door.infer(wishing(image)).status)) for _ in range(2)]
    for thread in asking:
        thread.start()
    assert broker.until(lambda: len(broker.tasks) == 2)
    refused = door.infer(wishing(image))
    assert refused.status == 429 and "2 requests are under way" in refused.error and refused.headers["retry-after"]
    for task in (0, 1):
        broker.finish(task)
    for thread in asking:
        thread.join(PATIENCE_S)
    assert answers == [200, 200]


def test_a_small_task_is_handed_to_a_fleet_that_takes_it_at_once_in_no_other_thread(front, image, broker):
    """Where images take a moment, or the disk or another process is waited for, others do that."""
    door, broker.at_once = front(), True
    size = {"binary_data_size": 2**17}
    large = {"name": "image", "shape": [2**15, 1, 2, 2], "datatype": "UINT8", "parameters": size}
    for at_once in (False, True):
        broker.takes_at_once = at_once
        assert door.infer({"inputs": [image]}).status == 200
        assert door.infer({"inputs": [large]}, bytes(2**17)).status == 200
        assert door.infer({"inputs": [image], "id": f"{at_once}"}).status == 200
    assert [name == "http" for name in broker.threads] == [False] * 3 + [True, False, False]
