"""Images that travel as PNG: the same answers to the bit, of a fraction of the bytes, whatever is killed."""

import os
import signal
from collections import Counter

import numpy as np
import pytest

from splitplace.inference.encoded_images import encode_images
from splitplace.placement import history as book
from splitplace.placement.broker.feed import Feed
from splitplace.placement.broker.state import Attempt
from splitplace.placement.placers.best_fit import BestFit
from splitplace.records.action import Place

WAIT_S = 240
SHAPE = (1, 28, 28)


class SpreadPlacer(BestFit):
    """Fragment i of a task goes to the i-th device in turn that is up."""

    def place(self, state, view, requests, rng):
        """One action a fragment."""
        up = np.flatnonzero(view.devices.up_D)
        return [
            Place(int(view.tasks.id_T[request.task]), fragment, int(up[i % len(up)]))
            for request in requests
            for i, fragment in enumerate(request.fragments)
        ]


def pictured(toy, kind, **options):
    """A split of images of 28 x 28."""
    return toy.of_pictures(getattr(toy, kind)(width=784, **options), SHAPE)


def broker_bytes(broker):
    """Counts the bytes of tensors that the broker sends from now on, by device."""
    counted, send = Counter(), broker._running().fleet.send

    def counting(name, message, values=()):
        counted[name] += sum(value.nbytes for value in values)
        send(name, message, values)

    broker._running().fleet.send = counting
    return counted


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "inputs", "precedence"),
    [
        ("chain", "broadcast", "pipelined"),
        ("tree", "broadcast", "strict"),
        ("forest", "broadcast", "strict"),
        ("forest", "ring", "pipelined"),
        ("forest", "ring", "strict"),
    ],
)
def test_answers_are_those_of_raw_images(start, toy, kind, inputs, precedence, undisturbed):
    """To the bit, over three devices."""
    graph, x, devices = pictured(toy, kind), toy.digits(203), [toy.make_device(name, 10) for name in "abc"]
    size_bytes = {"raw": x.nbytes, "encoded": encode_images(x).nbytes}
    assert 2 * size_bytes["encoded"] < size_bytes["raw"]
    found, sent = {}, {}
    for wire in ("raw", "encoded"):
        options = {"inputs": inputs, "precedence": precedence, "wire": wire, "placer": SpreadPlacer()}
        with start(graph, devices=devices, **options) as broker:
            assert broker.status().wire == wire
            counted = broker_bytes(broker)
            found[wire] = broker.submit("toy", x, 1000.0).result(WAIT_S)
            sent[wire] = counted.total()
            told = sum(e.bytes for e in broker.events if isinstance(e, book.Send) and e.dst in graph.split.roots)
            assert told == size_bytes[wire] * len(graph.split.roots)
    assert found["encoded"].outcome.error is None
    np.testing.assert_array_equal(found["raw"].logits, found["encoded"].logits)
    copies = 1 if inputs == "ring" else len(graph.split.roots)
    assert sent == {wire: copies * size for wire, size in size_bytes.items()}


@pytest.mark.slow
@pytest.mark.parametrize("victim", ["broker's", "first", "last"])
def test_what_is_killed_midway_costs_no_task(start, toy, tmp_path, victim, undisturbed, kill_at_first_answer):
    """A device of a ring, or all of them and their broker: the rest is run from what was spooled, still encoded."""
    graph, x, data = pictured(toy, "forest", layers=8), toy.digits(800), tmp_path / "data"
    devices = [toy.make_device(name, 10) for name in "abc"]
    with start(graph, devices=devices, placer=SpreadPlacer()) as broker:
        expected = broker.submit("toy", x, 1000.0).result(WAIT_S)
    options = {"devices": devices, "placer": SpreadPlacer(), "inputs": "ring", "wire": "encoded", "data": data}
    with start(graph, **options) as broker:
        if victim == "broker's":
            for name in "abc":
                os.kill(broker.engine.pid(name), signal.SIGSTOP)
        else:
            kill_at_first_answer(broker, lambda: {"first": "a", "last": "c"}[victim])
        answer = broker.submit("toy", x, 1000.0)
        if victim != "broker's":
            result = answer.result(WAIT_S)
    if victim == "broker's":
        assert sum(file.stat().st_size for file in (data / "spool").iterdir()) < x.nbytes / 2
        with start(graph, **options) as broker:
            result = broker.answer(answer.task_id).result(WAIT_S)
    assert result.outcome.error is None
    np.testing.assert_array_equal(result.logits, expected.logits)


def test_a_micro_batch_is_cut_out_and_not_decoded(toy, monkeypatch):
    """What goes to a device are the bytes that were made when the task was handed in."""
    (entry,) = toy.demand_of(pictured(toy, "chain")).splits
    x = toy.digits(22)
    job = Attempt(
        id=1, task=0, split=0, devices=dict.fromkeys(("f0", "f1", "f2"), 0), micro_batches=(1, 2, 5), placed_s=0.0,
        unassigned=set(),
    )  # fmt: skip
    sent, encoded = {}, encode_images(x)
    with monkeypatch.context() as watched:
        watched.setattr("PIL.Image.open", lambda *given, **named: pytest.fail("it was decoded"))
        feed = Feed(job, entry, encoded, ("a",), "pipelined", 8)
        feed.flush(lambda flow, micro_batch, values: sent.__setitem__(micro_batch, values["x"]))
    assert list(sent) == [1, 2, 5]
    for row, images in sent.items():
        np.testing.assert_array_equal(images.decode(), x[row * 4 : row * 4 + 4])
        assert feed.input_bytes(row) == images.nbytes
