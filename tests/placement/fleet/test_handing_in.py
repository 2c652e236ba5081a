"""Who hears that a task has ended finds it gone: its room, its number, those who drain; the order of threads forced."""

import os
import threading
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import numpy as np
import pytest

from splitplace.errors import NotReadyError, OverloadedError
from splitplace.placement.broker import admission
from splitplace.placement.broker.handing_in import HandingIn, WouldWaitError
from splitplace.placement.broker.loop_thread import LoopThread
from splitplace.placement.broker.spool import Payload
from splitplace.placement.outcome import TaskOutcome, TaskResult
from tests.placement.fleet.conftest import WIDTH, chain, demand_of

PATIENCE_S = 240.0
MOMENT_S = 0.1
"""In which somebody who does not wait would go on."""


@pytest.fixture
def handing():
    """Tasks on their way to a loop that takes none of them: one and no more may wait."""
    loop, posts = SimpleNamespace(fleet=SimpleNamespace(now_s=lambda: 0.0)), []
    thread = SimpleNamespace(
        changed=threading.Condition(threading.Lock()), loop=loop, stopping=False, put=posts.append,
        not_stopping=lambda: None,
    )  # fmt: skip
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(admission, "MAX_PENDING_TASKS", 1)
        made = HandingIn(thread, demand_of(chain()))
        made.posts = posts
        yield made


@pytest.fixture
def beside():
    """Another thread."""
    with ThreadPoolExecutor(1) as pool:
        yield pool


def submit(handing):
    """One task; its future."""
    answer, _ = handing.submit("toy", np.zeros((3, WIDTH), np.float32), 9.0, None, False, False, None, False)
    return answer


def test_a_volatile_task_is_handed_in_without_a_wait(handing):
    """Where its number is never given again; should the loop find no room for it on the disk, its future says so."""
    handing._loop.never_again = 1
    images = np.zeros((3, WIDTH), np.float32)
    answer, taken = handing.submit("toy", images, 9.0, None, False, False, None, True)
    assert taken.done() and not answer.done()
    (post,) = handing.posts
    post.durable(None)
    assert not answer.done()
    with handing.leaving(answer.task_id):
        post.durable(OverloadedError("the disk is full"))
    with pytest.raises(OverloadedError, match="the disk is full"):
        answer.result(PATIENCE_S)
    _, taken = handing.submit("toy", images, 9.0, None, False, False, None, True)
    assert not taken.done()


def test_who_cannot_wait_is_told_that_a_number_is_not_covered(handing):
    """As none is where nothing could be written yet: no number is given, nothing is handed in, no room is taken."""
    handing._loop.never_again = 0
    images = np.zeros((3, WIDTH), np.float32)
    for _ in range(2):
        with pytest.raises(WouldWaitError):
            handing.submit("toy", images, 9.0, None, False, False, None, True, at_once=True)
    assert not handing.posts and submit(handing).task_id == 0


class NeverLetGo:
    """A lock that another thread held when this process was forked off: that thread is not here."""

    def __enter__(self):
        raise AssertionError("who waits for it waits for ever")

    def __exit__(self, *error):
        pass


def test_nothing_can_be_handed_in_where_the_loop_is_elsewhere():
    """In a process that was forked off, whoever held the lock at that moment."""
    thread = LoopThread(None)
    thread.woken, thread.process, thread.changed = 0, os.getpid() + 1, NeverLetGo()
    assert thread.post(print) is False


def ended(answer):
    """Who waits for it is told."""
    answer.settle(
        TaskResult(TaskOutcome(id=answer.task_id, application="toy", n=3, deadline_s=9.0, arrival_s=0.0, error="over"))
    )


def test_who_has_an_answer_finds_the_room_that_its_task_made(handing, beside):
    """However soon he comes, and though the loop's thread is held up when it has told him."""
    first = submit(handing)
    with pytest.raises(OverloadedError):
        submit(handing)
    coming = beside.submit(lambda: first.result() and submit(handing))
    with handing.leaving(first.task_id):
        ended(first)
        assert threading.Event().wait(MOMENT_S) is False and not coming.done()
    assert coming.result(PATIENCE_S).task_id == first.task_id + 1


def test_who_has_an_answer_cannot_cancel_its_task(handing, beside):
    """It is here until he was told, and then it is not."""
    first = submit(handing)
    assert handing.has(first.task_id) and not handing.has(first.task_id + 1)
    asking = beside.submit(lambda: (first.result(), handing.has(first.task_id))[1])
    with handing.leaving(first.task_id):
        ended(first)
        assert threading.Event().wait(MOMENT_S) is False and not asking.done()
    assert asking.result(PATIENCE_S) is False


def test_who_drains_hears_of_the_end_last(handing, beside):
    """Those that an earlier broker took on are waited for as well, until they have left, and count among those here."""
    left = {4: None, 7: None}
    handing.take_over(SimpleNamespace(tasks=left, next_task=8), None)
    with pytest.raises(OverloadedError, match=r"^2 tasks wait, expected at most 1"):
        submit(handing)
    draining = beside.submit(handing.drain)
    for task in tuple(left):
        del left[task]  # the rules know already
        assert handing.has(task) and not draining.done()
        with handing.leaving(task):
            assert threading.Event().wait(MOMENT_S) is False and not draining.done()
    draining.result(PATIENCE_S)
    assert not handing.has(4) and not handing.has(7)


@pytest.fixture
def prepared(handing, tmp_path):
    """What a broker with a data folder has written of images before it has taken them, by the thread that did."""
    found = []

    class Noted(Payload):
        """Notes that it was discarded."""

        def discard(self):
            """It is not wanted."""
            found.append("discarded")

    def prepare(images):
        found.append(threading.get_ident())
        return Noted("sha256:" + "0" * 64, images.tobytes(), tmp_path)

    store = SimpleNamespace(spool=SimpleNamespace(prepare=prepare), first_task=lambda state: 0)
    handing.take_over(SimpleNamespace(tasks={}), store)
    return found


def test_images_are_brought_to_the_disk_by_who_hands_them_in(handing, beside, prepared):
    """Not by the loop, which has others to serve; it gets what was prepared."""
    beside.submit(submit, handing).result(PATIENCE_S)
    (thread,) = prepared
    assert thread == beside.submit(threading.get_ident).result(PATIENCE_S) != threading.get_ident()
    assert handing.posts[0].payload.body == bytes(3 * WIDTH * 4)


def test_a_volatile_task_and_one_too_many_write_nothing(handing, prepared):
    """The first stays out of the data folder, the second out of the fleet."""
    handing._loop.never_again = 1
    answer, _ = handing.submit("toy", np.zeros((3, WIDTH), np.float32), 9.0, None, False, False, None, True)
    with pytest.raises(OverloadedError):
        submit(handing)
    assert prepared == [] and handing.posts[0].payload is None and not answer.done()


def test_images_that_cannot_be_handed_in_any_more_leave_nothing(handing, prepared):
    """The loop ended while they were written."""
    asked = iter([None, NotReadyError("the broker was stopped")])

    def not_stopping():
        if (error := next(asked)) is not None:
            raise error

    handing._thread.not_stopping = not_stopping
    with pytest.raises(NotReadyError):
        submit(handing)
    assert prepared == [threading.get_ident(), "discarded"] and handing.posts == []
