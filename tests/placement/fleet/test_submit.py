"""What a caller may do to the broker from threads of its own: hand tasks in, ask, and end it, all at once."""

import hashlib
import os
import threading

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

from splitplace.errors import ContractError, NotReadyError, OverloadedError, SplitPlaceError
from splitplace.placement import history as book
from splitplace.placement.broker import admission
from splitplace.placement.broker.rules import Rules
from splitplace.placement.placers.best_fit import BestFit
from splitplace.records.action import Wait

pytestmark = pytest.mark.slow
PATIENCE_S = 240.0


class Nowhere(BestFit):
    """Lets everything wait."""

    def place(self, state, view, requests, rng):
        """For a place that never comes."""
        return [Wait(int(view.tasks.id_T[r.task]), fragment) for r in requests for fragment in r.fragments]


@pytest.fixture
def idle(start, toy):
    """A fleet on which no task ever gets a place."""
    return lambda **options: start(toy.chain(), devices=[toy.make_device("a")], placer=Nowhere(), **options)


def test_a_buffer_may_be_used_again_at_once(start, toy, images):
    """Each task keeps the images and labels it was handed in with, whatever becomes of the caller's arrays."""
    buffer, labels = np.empty((9, toy.width), np.float32), np.empty(9, np.int64)
    with start(toy.chain(), devices=[toy.make_device("a")]) as broker:
        expected = [broker.submit("toy", images(9) * scale, 1000.0).result(PATIENCE_S).logits for scale in (1, 2)]
        tasks = []
        for scale, logits in zip((1, 2), expected, strict=True):
            buffer[:], labels[:] = images(9) * scale, logits.argmax(axis=1)
            tasks.append(broker.submit("toy", buffer, 1000.0, labels))
        buffer[:], labels[:] = 0.0, -1
        results = [task.result(PATIENCE_S) for task in tasks]
    for result, logits in zip(results, expected, strict=True):
        np.testing.assert_array_equal(result.logits, logits)
        assert result.outcome.p == 1.0


def test_images_are_copied_unless_nobody_can_change_them():
    """What lies in bytes stays; buffers, small parts and what is not aligned for its numbers are copied and closed."""
    data = bytes(range(120))
    inside = np.frombuffer(memoryview(data)[20:], np.uint8).reshape(4, 25)
    assert admission.unchanging(inside) is inside
    for other in (
        np.frombuffer(bytearray(data), np.uint8),
        np.frombuffer(memoryview(data)[1:41], np.float32),
        inside[:, ::2],
        inside[1:3],
        np.zeros(3),
    ):
        found = admission.unchanging(other)
        np.testing.assert_array_equal(found, other)
        assert not np.shares_memory(found, other) and found.flags.c_contiguous and not found.flags.writeable


def ending_in(toy, node, *weights):
    """A chain whose logits are what this node makes of `open`, the logits that they were."""
    split, models = toy.chain()
    model = onnx.load_from_string(models["f2"])
    model.graph.node[-1].output[0] = "open"
    model.graph.node.append(node)
    model.graph.initializer.extend(weights)
    models["f2"] = model.SerializeToString()
    digest = "sha256:" + hashlib.sha256(models["f2"]).hexdigest()
    *before, last = split.fragments
    fields = {name: getattr(split, name) for name in type(split).model_fields}
    ending = type(split)(**fields | {"fragments": (*before, last.model_copy(update={"digest": digest}))})
    return type(toy.chain())(ending, models)


@pytest.mark.parametrize("over", ["open", "one"])
def test_what_is_no_number_is_no_answer(start, toy, images, over):
    """Black images make a logit NaN or infinite: an error with its reason, not the first class; the fleet goes on."""
    divided = helper.make_node("Div", [over, "open"], ["f2.out"])
    graph = ending_in(toy, divided, numpy_helper.from_array(np.ones(4, np.float32), "one"))
    with start(graph, devices=[toy.make_device("a")]) as broker:
        bad = broker.submit("toy", np.zeros((9, toy.width), np.float32), 1000.0).result(PATIENCE_S)
        good = broker.submit("toy", images(9), 1000.0).result(PATIENCE_S)
    assert "logits of micro-batch 0 are NaN or infinite, expected numbers" in bad.outcome.error
    assert bad.logits is None and bad.outcome.p is None
    assert good.outcome.error is None


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_images_that_are_no_numbers_are_refused(toy, images, value):
    """As a client refuses them: on any device they would have no answer, and the device would be blamed."""
    taken, found = admission.Admission(toy.demand_of(toy.chain())), images(9)
    taken.check("toy", found, None, 1.0)
    found[8, 3] = value
    with pytest.raises(ContractError, match=r"^images: some values are NaN or infinite, expected numbers$"):
        taken.check("toy", found, None, 1.0)


def test_a_class_that_is_ruled_out_is_an_answer(start, toy, images):
    """A model says -inf of it, as of a masked action; the largest of the others is what it answers."""
    mask = np.array([0, -np.inf, 0, -np.inf], np.float32)
    masked = helper.make_node("Add", ["open", "mask"], ["f2.out"])
    with start(ending_in(toy, masked, numpy_helper.from_array(mask, "mask")), devices=[toy.make_device("a")]) as broker:
        result = broker.submit("toy", images(9), 1000.0).result(PATIENCE_S)
    assert result.outcome.error is None
    assert np.isneginf(result.logits[:, [1, 3]]).all() and np.isfinite(result.logits[:, [0, 2]]).all()


def test_a_task_of_a_split_without_classes_is_refused(toy, images):
    """Policies decide by how often an answer is right, which of a number or a map nobody can tell."""
    numbers = toy.make_graph("toy", "layer", "1", [("f0", "input", 1, ())])
    taken = admission.Admission(toy.demand_of(numbers))
    with pytest.raises(ContractError, match=r"toy\.tiny\.layer-1 answers no scores of classes, .*`splitplace infer`"):
        taken.check("toy", images(3), None, 1.0)


def test_a_label_is_a_class_of_some_split_of_its_application(toy, images):
    """Whichever answers: one that only the larger can tell is no mistake of who asks, one that none can is."""
    pieces = (("small", 3), ("large", 5))
    made = [toy.make_graph("toy", "layer", name, [("f0", "input", k, tuple(range(k)))]) for name, k in pieces]
    taken = admission.Admission(toy.demand_of(*made))
    taken.check("toy", images(3), np.array([0, 4, 2]), 1.0)
    with pytest.raises(ContractError, match=r"^label 5 of image 1, expected a class from 0 to 4"):
        taken.check("toy", images(3), np.array([0, 5, 2]), 1.0)


def test_waiting_tasks_are_bounded_in_bytes(idle, images, monkeypatch, eventually, turn_clock):
    """The one that would go beyond is refused, with what was got and what is expected; what leaves makes room."""
    size_bytes = images(5).nbytes
    monkeypatch.setattr(admission, "MAX_PENDING_BYTES", 2 * size_bytes)
    with idle() as broker:
        tasks = [broker.submit("toy", images(5), 1000.0) for _ in range(2)]
        with pytest.raises(OverloadedError, match=f"^{3 * size_bytes} bytes.*expected at most {2 * size_bytes}: try"):
            broker.submit("toy", images(5), 1000.0)
        with pytest.raises(OverloadedError, match=f"a task of {3 * size_bytes} bytes.*as several tasks"):
            broker.submit("toy", images(15), 1000.0)
        assert all(task.cancel() for task in tasks)  # only now may they leave
        assert [task.result(PATIENCE_S).outcome.error for task in tasks] == ["it was cancelled"] * 2
        last = broker.submit("toy", images(10), 100.0)
        eventually(lambda: last.task_id in [event.task for event in broker.events if isinstance(event, book.Decided)])
        turn_clock(100.0)
        error = last.result(PATIENCE_S).outcome.error
        assert error == "its deadline of 100 s has passed: it found no place on the devices' memory"


def test_waiting_tasks_are_bounded_in_number(idle, images, monkeypatch):
    """Likewise."""
    monkeypatch.setattr(admission, "MAX_PENDING_TASKS", 2)
    with idle() as broker:
        tasks = [broker.submit("toy", images(1), 1000.0) for _ in range(2)]
        with pytest.raises(OverloadedError, match=r"^2 tasks wait, expected at most 2: try again"):
            broker.submit("toy", images(1), 1000.0)
    assert [task.result(0).outcome.error for task in tasks] == ["the broker was stopped"] * 2


def test_a_task_handed_in_while_the_broker_ends(start, toy, images, monkeypatch):
    """Its wake-up is not written to a pipe that is closed, whose number another file may have by then; it is answered.

    The interleaving is forced: the submitting thread is held at the write while the broker is told to end.
    """
    broker = start(toy.chain(), devices=[toy.make_device("a")])
    writing, go, raised = threading.Event(), threading.Event(), []
    real = os.write

    def write(descriptor, data):
        if threading.current_thread() is submitter:
            writing.set()
            go.wait(PATIENCE_S)
        return real(descriptor, data)

    def submit():
        try:
            raised.append(broker.submit("toy", images(1), 1000.0).result(PATIENCE_S).outcome.error)
        except BaseException as error:  # noqa: BLE001 - it is what is looked at
            raised.append(error)

    broker.__enter__()
    submitter, ender = (
        threading.Thread(target=submit),
        threading.Thread(target=lambda: broker.__exit__(None, None, None)),
    )
    monkeypatch.setattr(os, "write", write)
    submitter.start()
    assert writing.wait(PATIENCE_S)
    ender.start()
    ender.join(3.0)  # time enough to close the pipe, if it would
    go.set()
    submitter.join(PATIENCE_S)
    ender.join(PATIENCE_S)
    assert raised in ([None], ["the broker was stopped"])


@pytest.mark.parametrize(
    ("wish", "said"),
    [
        ({"images": [[0.0] * 16]}, "images: a list, expected a numpy array"),
        ({"images": None}, "images: a NoneType, expected a numpy array"),
        ({"images": b"16 bytes of data"}, "images: a bytes, expected a numpy array"),
        ({"labels": [0, 1, 2, 3, 0, 1]}, "labels: a list, expected a numpy array"),
        ({"labels": np.array([0, 1, 2, 3, 4, 5])}, "label 4 of image 4, expected a class from 0 to 3"),
        ({"labels": np.array([0, -1, 0, 0, 0, 0])}, "label -1 of image 1"),
        ({"labels": np.full(6, 2**63, np.uint64)}, "label 9223372036854775808 of image 0"),
        ({"deadline_s": "1"}, "deadline_s 1, expected seconds above 0"),
        ({"deadline_s": None}, "deadline_s None"),
        ({"deadline_s": 10**400}, "deadline_s 1000.*, expected seconds above 0"),
        ({"deadline_s": np.ones(1)}, "deadline_s"),
        ({"key": 5}, "a key of type int: expected text"),
        ({"key": ""}, "a key of 0 letters: expected 1 to 200"),
        ({"key": "k" * 201}, "a key of 201 letters"),
        ({"key": "\ud800"}, "a key .*: expected text in UTF-8"),
    ],
)
def test_what_no_task_can_be_asked_with_is_said_in_a_line(idle, images, wish, said):
    """Of another type than is asked for, or a class that no answer can be; nothing of it is counted."""
    asked = {"images": images(6), "labels": None, "deadline_s": 1000.0, "key": None} | wish
    with idle() as broker:
        with pytest.raises(SplitPlaceError, match=said):
            broker.submit("toy", asked["images"], asked["deadline_s"], asked["labels"], key=asked["key"])
        assert broker.status().tasks.waiting == 0


def test_who_asks_for_what_cannot_be_meant_hears_of_it_alone(idle, images):
    """A task's number that is none is looked for in the broker's thread, which goes on."""
    with idle() as broker:
        with pytest.raises(TypeError):
            broker.answer([])
        assert broker.submit("toy", images(6), 1000.0, key="mine").task_id == 0


@pytest.mark.parametrize("kept", [True, False])
def test_nobody_waits_for_a_broker_that_fails(idle, images, monkeypatch, tmp_path, kept):
    """Of a task that it is about to take on, as of one that it has: both are told why, at once."""
    with pytest.raises(ZeroDivisionError), idle(data=tmp_path / "data" if kept else None) as broker:
        waiting = broker.submit("toy", images(6), 1000.0)
        assert broker.answer(waiting.task_id) is not waiting  # asked for in the loop, which has it by now
        monkeypatch.setattr(Rules, "apply", lambda self, state, event: 1 // 0)
        with pytest.raises(NotReadyError, match="the broker failed: ZeroDivisionError"):
            broker.submit("toy", images(6), 1000.0).result(PATIENCE_S)
        assert "the broker failed" in waiting.result(PATIENCE_S).outcome.error


@pytest.mark.parametrize("view", ["big-endian", "backwards", "by columns", "one row for all"])
def test_images_in_any_layout_are_the_same_images(start, toy, images, view):
    """Bytes in the other order, strides of any kind: the numbers count, as those of labels do."""
    x = np.repeat(images(1), 6, axis=0)
    laid_out = {
        "big-endian": x.astype(">f4"),
        "backwards": x[::-1],
        "by columns": np.asfortranarray(x),
        "one row for all": np.broadcast_to(x[:1], x.shape),
    }[view]
    with start(toy.chain(), devices=[toy.make_device("a")]) as broker:
        expected = broker.submit("toy", x, 1000.0).result(PATIENCE_S).logits
        labels = expected.argmax(axis=1).astype(">u2")
        result = broker.submit("toy", laid_out, 1000.0, labels).result(PATIENCE_S)
    np.testing.assert_array_equal(result.logits, expected)
    assert result.outcome.p == 1.0


def test_a_process_that_is_forked_has_no_broker(start, toy, images):
    """What it asks is refused, it leaves the broker's context at once, and the fleet goes on."""
    said, told = os.pipe()
    with start(toy.chain(), devices=[toy.make_device("a")]) as broker:
        child = os.fork()
        if child == 0:
            try:
                for ask in (lambda: broker.submit("toy", images(1), 1000.0), broker.status, broker.drain):
                    with pytest.raises(NotReadyError, match="from which this one was forked"):
                        ask()
                broker.__exit__(None, None, None)
                os.write(told, b"left")
            finally:
                os._exit(0)
        os.waitpid(child, 0)
        os.close(told)
        assert os.read(said, 100) == b"left"
        assert broker.submit("toy", images(1), 1000.0).result(PATIENCE_S).outcome.finished
    os.close(said)


def test_a_callback_that_takes_its_time_holds_up_nobody(start, toy, images):
    """Nor does one that raises what ends a thread; and it may hand in the next task."""
    chained, held = threading.Event(), threading.Event()
    with start(toy.chain(), devices=[toy.make_device("a")]) as broker:

        def next_one(future):
            assert future.result().outcome.error is None
            broker.submit("toy", images(5), 1000.0).add_done_callback(lambda _: chained.set())

        for callback in (lambda _: held.wait(PATIENCE_S), lambda _: [][1], lambda _: exit(3), next_one):
            broker.submit("toy", images(5), 1000.0).add_done_callback(callback)
        assert chained.wait(PATIENCE_S)
        assert broker.submit("toy", images(5), 1000.0).result(PATIENCE_S).outcome.error is None
        held.set()


def test_a_cancelled_task_says_so(idle, images):
    """By its future or by its number; one that has left cannot be."""
    with idle() as broker:
        task = broker.submit("toy", images(5), 1000.0)
        assert broker.cancel(task.task_id)
        assert task.result(PATIENCE_S).outcome.error == "it was cancelled"
        assert not broker.cancel(task.task_id) and not broker.cancel(99) and not task.cancel()


def test_a_late_answer_comes_to_who_wants_it(start, toy):
    """After its deadline a task fails and its work leaves the devices; unless the late answer is wanted."""
    x = np.zeros((4000, 1024), np.float32)
    with start(toy.chain(width=1024, layers=8), devices=[toy.make_device("a")]) as broker:
        lost = broker.submit("toy", x, 0.3).result(PATIENCE_S).outcome
        late = broker.submit("toy", x[:400], 0.01, late=True).result(PATIENCE_S).outcome
    assert lost.error.startswith("its deadline of 0.3 s has passed: ")
    assert late.error is None and late.response_s > 0.01


def test_a_broker_runs_once(start, toy):
    """It is no use after its end, and says so before any device is launched."""
    broker = start(toy.chain(), devices=[toy.make_device("a")])
    with broker:
        pass
    with pytest.raises(NotReadyError, match="runs once"), broker:
        pytest.fail("it came up")
