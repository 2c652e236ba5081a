"""A container: inputs by contract, precedence, credits."""

import numpy as np
import pytest

from splitplace.errors import SplitPlaceError
from splitplace.inference.encoded_images import encode_images
from splitplace.placement.device.container import Container
from splitplace.placement.protocol import codec, fields, messages


def assign(name="f1", src="f0", *, n=40, window=2, precedence="pipelined", digest="sha256:" + "0" * 64):
    """A fragment that reads from `src` on device a and gives to f2 on device c; micro-batches of 4."""
    return messages.Assign(
        job=1,
        fragment=name,
        digest=digest,
        n=n,
        micro_batch=4,
        precedence=precedence,
        window=window,
        inlets=(fields.Inlet(src=src, tensors=(f"{src}.out",)),),
        senders={src: "a"},
        outlets=(fields.Outlet(dst="f2", device="c", tensors=(f"{name}.out",)),),
    )


@pytest.fixture
def fragment(toy):
    """The middle of a chain."""
    return toy.chain().split.by_name["f1"]


def feed(container, micro_batch, now_s=0.0, peer="a", samples=4, dtype=np.float32, src="f0"):
    """Give it a micro-batch of its input."""
    values = {"f0.out": np.zeros((samples, 16), dtype)}
    container.accept(peer, codec.tensors(1, src, "f1", micro_batch, 0.0, values), values, now_s)


def test_micro_batches_run_in_the_order_they_became_complete(fragment):
    """Arrival order, not index order."""
    container = Container(assign(), fragment)
    feed(container, 5, now_s=2.0)
    feed(container, 3, now_s=1.0)
    assert container.ready() == (1.0, 3)


def test_strict_precedence_waits_for_the_whole_task(fragment):
    """A fragment starts when the former has finished the task."""
    container = Container(assign(n=12, window=1, precedence="strict"), fragment)
    for index in range(3):
        assert container.ready() is None
        feed(container, index)
    assert container.ready() is not None


@pytest.mark.parametrize("ahead", [1, 3])
@pytest.mark.parametrize("window", [1, 2, 4, 8])
def test_credits_go_back_by_half_a_window(fragment, window, ahead):
    """Counted: each message of them wakes both ends. A source that is so far ahead at most never waits for one.

    With a window of 8, a fourth of the messages: whether the next micro-batch is here yet or not.
    """
    total, container = 40, Container(assign(n=160, window=window), fragment)
    (flow,) = container.outflows.values()
    given = taken = granted = messages_back = 0
    while taken < total:
        while given < min(total, taken + ahead, granted + window):
            feed(container, given)
            given += 1
        assert container.ready() is not None, f"micro-batch {taken}: the source waits for credits, and gets none"
        container.take(taken)
        taken += 1
        back = container.credits("f0")
        granted, messages_back = granted + back, messages_back + bool(back)
        container.put(taken - 1, {"f1.out": np.zeros((4, 16), np.float32)})
        flow.flush(lambda flow, micro_batch, values: None)
        flow.grant(1)
    assert messages_back <= total / max(window // 2, 1)
    assert granted + window >= total


def test_a_slow_consumer_stops_the_sender(fragment):
    """Without credits results queue up to one, and then nothing runs: the queue is bounded by the window."""
    container, sent = Container(assign(window=2), fragment), []
    (flow,) = container.outflows.values()
    ran = 0
    for index in range(10):
        container._received["f0"] = container._taken  # its own sender is not what is tested here
        feed(container, index, now_s=index)
        while (found := container.ready()) is not None:
            container.take(found[1])
            container.put(found[1], {"f1.out": np.zeros((4, 16), np.float32)})
            flow.flush(lambda flow, micro_batch, values: sent.append(micro_batch))
            ran += 1
    assert (len(sent), flow.queued, ran) == (2, 1, 3)
    flow.grant(1)
    flow.flush(lambda flow, micro_batch, values: sent.append(micro_batch))
    assert sent == [0, 1, 2] and container.ready() is not None


def test_more_credits_than_were_spent_are_refused(fragment):
    """A receiver that grants what was never sent cannot lift the bound."""
    (flow,) = Container(assign(window=2), fragment).outflows.values()
    with pytest.raises(SplitPlaceError, match="1 credits for f1 to f2, expected at most 0"):
        flow.grant(1)


def test_more_than_the_credits_allow_is_refused(fragment):
    """A sender that ignores credits cannot fill the memory."""
    container = Container(assign(window=2), fragment)
    feed(container, 0)
    feed(container, 1)
    with pytest.raises(SplitPlaceError, match="more than the 2"):
        feed(container, 2)


@pytest.mark.parametrize(
    ("wrong", "complaint"),
    [
        ({"peer": "x"}, "sent by x, expected a"),
        ({"src": "f7"}, "expected None"),
        ({"micro_batch": 10}, "beyond the 10"),
        ({"samples": 3}, "3 samples, expected 4"),
        ({"dtype": np.float64}, "float64"),
    ],
)
def test_what_is_not_by_contract_is_refused(fragment, wrong, complaint):
    """Another device, source, index, batch or dtype."""
    with pytest.raises(SplitPlaceError, match=complaint):
        feed(Container(assign(), fragment), **({"micro_batch": 0} | wrong))


def test_a_micro_batch_comes_once(fragment):
    """Also after it was taken."""
    container = Container(assign(), fragment)
    feed(container, 0)
    container.take(0)
    with pytest.raises(SplitPlaceError, match="sent twice"):
        feed(container, 0)


def test_inlets_must_be_the_contracts_inputs(fragment):
    """A route that forgets an input is refused when it is assigned, not when the job hangs."""
    with pytest.raises(SplitPlaceError, match="contract takes"):
        Container(assign(src="f9"), fragment)


def test_only_a_tasks_input_comes_as_png(toy):
    """What fragments give each other is numbers; and of images what they are to be is held against the contract."""
    fragment = toy.of_pictures(toy.chain(width=784), (1, 28, 28)).split.by_name["f0"]
    order = assign("f0", "f9").model_copy(update={"inlets": (fields.Inlet(src="f9", tensors=("x",)),)})
    images = encode_images(toy.digits(4))

    def give(container, src, values):
        container.accept("a", codec.tensors(1, src, "f0", 0, 0.0, values), values, 0.0)

    with pytest.raises(SplitPlaceError, match="'x' as PNG, expected so of a task's input alone"):
        give(Container(order, fragment), "f9", {"x": images})
    order = order.model_copy(update={"inlets": (fields.Inlet(src="input", tensors=("x",)),), "senders": {"input": "a"}})
    container = Container(order, fragment)
    give(container, "input", {"x": images})
    assert container.held_bytes == images.nbytes
    for wrong, said in ((images[:3], "3 samples, expected 4"), (encode_images(toy.digits(4, 3)), r"uint8\[4, 3")):
        with pytest.raises(SplitPlaceError, match=said):
            give(Container(order, fragment), "input", {"x": wrong})
