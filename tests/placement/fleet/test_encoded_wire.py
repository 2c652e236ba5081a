"""Images that travel as PNG: the same answers to the bit, of a fraction of the bytes, whatever is killed."""

import subprocess
import sys
import textwrap
import threading
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from splitplace.children import python_code
from splitplace.errors import IntegrityError, MissingExtraError, NotReadyError
from splitplace.inference.encoded_images import encode_images
from splitplace.inference.executor import Executor
from splitplace.placement import history as book
from splitplace.placement.broker import events as ev
from splitplace.placement.broker import handing_in
from splitplace.placement.broker.broker import Broker
from splitplace.placement.broker.feed import Feed
from splitplace.placement.broker.handing_in import HandingIn, WouldWaitError
from splitplace.placement.broker.rules import Rules
from splitplace.placement.broker.setup import Setup
from splitplace.placement.broker.spool import Payload
from splitplace.placement.broker.state import Attempt
from splitplace.placement.broker.store import Store
from splitplace.placement.engines.local import LocalEngine
from splitplace.placement.placers.best_fit import BestFit
from splitplace.placement.protocol.fields import MAX_IMAGES
from splitplace.placement.simulator.demands import build
from splitplace.records.action import Place
from splitplace.records.encoded_input import EncodedInput
from splitplace.records.split import INPUT
from tests.placement.fleet.conftest import broker_bytes

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


def alone(graph, x, toy):
    """What the same split gives on this device alone."""
    return Executor(graph.split, graph.models.__getitem__).run({"x": x}, toy.micro_batch)


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
@pytest.mark.parametrize("victim", ["a", "c"])
def test_a_device_that_is_killed_midway_costs_no_task(start, toy, victim, undisturbed, kill_at_first_answer):
    """The first of a ring, or the last: the rest comes from the broker again, encoded as it was."""
    graph, x = pictured(toy, "forest", layers=8), toy.digits(800)
    devices = [toy.make_device(name, 10) for name in "abc"]
    with start(graph, devices=devices, placer=SpreadPlacer(), inputs="ring", wire="encoded") as broker:
        kill_at_first_answer(broker, lambda: victim)
        result = broker.submit("toy", x, 1000.0).result(WAIT_S)
        placed = {event.attempt for event in broker.events if isinstance(event, book.FragmentPlaced)}
    assert result.outcome.error is None and placed == {0, 1}
    np.testing.assert_array_equal(result.logits, alone(graph, x, toy))


SCRIPT = """
    import importlib.util, sys, time
    from pathlib import Path
    spec = importlib.util.spec_from_file_location("toys", {conftest!r})
    toys = importlib.util.module_from_spec(spec)
    sys.modules["toys"] = toys
    spec.loader.exec_module(toys)
    from splitplace.placement.broker.broker import Broker
    from splitplace.placement.engines.local import LocalEngine
    graph = toys.of_pictures(toys.chain(width=784, layers=8), (1, 28, 28))
    devices = [toys.make_device("a"), toys.make_device("b")]
    with Broker(
        devices, toys.demand_of(graph), Path({catalog!r}), toys.policy(0), LocalEngine(), data=Path({data!r}),
        wire="encoded",
    ) as broker:
        for n in {tasks}:
            task = broker.submit("toy", toys.digits(n), 1000.0, key=f"task of {{n}}").task_id
            print("acknowledged", task, flush=True)
        time.sleep(100)
"""


@pytest.mark.slow
@pytest.mark.parametrize("wire", ["encoded", "raw"])
def test_kill_9_of_the_broker_loses_no_task(toy, catalog, start, tmp_path, wire):
    """What it spooled the next one sends, whichever way that one's own tasks travel; keys find their tasks."""
    graph, data, tasks = pictured(toy, "chain", layers=8), tmp_path / "data", (600, 9, 1)
    code = SCRIPT.format(
        conftest=str(Path(__file__).with_name("conftest.py")), catalog=str(catalog(graph)), data=str(data), tasks=tasks
    )
    process = subprocess.Popen([sys.executable, "-c", textwrap.dedent(code)], stdout=subprocess.PIPE, text=True)
    acknowledged = [int(process.stdout.readline().split()[1]) for _ in tasks]
    process.kill()
    process.communicate()
    with start(graph, devices=[toy.make_device(name) for name in "ab"], data=data, wire=wire) as broker:
        for task, n in zip(acknowledged, tasks, strict=True):
            x = toy.digits(n)
            again = broker.submit("toy", x, 1000.0, key=f"task of {n}")
            result = broker.answer(task).result(WAIT_S)
            assert result.outcome.error is None and again.result(WAIT_S).outcome == result.outcome
            np.testing.assert_array_equal(result.logits, alone(graph, x, toy))


class Bare(LocalEngine):
    """Its devices named `bare` have no Pillow."""

    def _command(self, config):
        if config.name != "bare":
            return super()._command(config)
        module = "splitplace.placement.device.__main__"
        hide = "from splitplace import extras; extras.find_spec = lambda name: None"
        return python_code(f"{hide}; import runpy; runpy.run_module({module!r}, run_name='__main__')")


@pytest.mark.slow
def test_a_device_without_pillow_says_so(start, toy):
    """By its name, in one line; raw images it takes."""
    graph, x = pictured(toy, "chain"), toy.digits(9)
    said = r"device bare did not start: .*--wire encoded \(images as PNG\) needs pillow.*splitplace\[images\]"
    with (
        pytest.raises(NotReadyError, match=said),
        start(graph, devices=[toy.make_device("bare")], engine=Bare(), wire="encoded"),
    ):
        pytest.fail("it came up")
    with start(graph, devices=[toy.make_device("bare")], engine=Bare()) as broker:
        assert broker.submit("toy", x, 1000.0).result(WAIT_S).outcome.error is None  # raw it is none the worse


def test_a_broker_without_pillow_encodes_nothing(toy, tmp_path, monkeypatch):
    """It is refused where it is made, before any device is launched."""
    monkeypatch.setattr("splitplace.extras.find_spec", lambda name: None)
    devices, demand = [toy.make_device("a")], toy.demand_of(toy.chain())
    with pytest.raises(MissingExtraError, match="--wire encoded"):
        Broker(devices, demand, tmp_path, toy.policy(0), LocalEngine(), wire="encoded")


@pytest.fixture
def handed_in(monkeypatch):
    """What a task's images are when the loop gets them, and in which thread each was encoded."""
    threads = []
    encode = handing_in.encode_images
    monkeypatch.setattr(handing_in, "encode_images", lambda x: (threads.append(threading.get_ident()), encode(x))[1])

    def hand_in(demand, x, wire="encoded", spool=None, at_once=False):
        posts = []
        thread = SimpleNamespace(
            changed=threading.Condition(threading.Lock()), stopping=False, put=posts.append,
            loop=SimpleNamespace(fleet=SimpleNamespace(now_s=lambda: 0.0), never_again=10), not_stopping=lambda: None,
        )  # fmt: skip
        handing = HandingIn(thread, demand, wire)
        handing._spool = spool
        handing.submit("toy", x, 9.0, None, False, False, None, at_once, at_once)
        return posts[0], threads

    return hand_in


def test_a_task_is_encoded_once_by_who_hands_it_in(handed_in, toy):
    """In that thread; what is brought to the disk is what the loop sends, and the event says what it is."""
    prepared, x = [], toy.digits(9)
    spool = SimpleNamespace(prepare=lambda data: prepared.append(data) or Payload("sha256:" + "0" * 64, b""))
    post, threads = handed_in(toy.demand_of(pictured(toy, "chain")), x, spool=spool)
    assert threads == [threading.get_ident()]
    assert post.images is prepared[0] and post.event.encoded
    np.testing.assert_array_equal(post.images.decode(), x)


def test_who_cannot_wait_makes_no_png(handed_in, toy):
    """An event loop is sent to a thread that can; what is no image it hands in at once."""
    with pytest.raises(WouldWaitError):
        handed_in(toy.demand_of(pictured(toy, "chain")), toy.digits(9), at_once=True)
    post, threads = handed_in(toy.demand_of(toy.chain()), np.zeros((3, toy.width), np.float32), at_once=True)
    assert post.volatile and not threads


def test_a_raw_fleet_encodes_nothing(handed_in, toy):
    """The default."""
    post, threads = handed_in(toy.demand_of(pictured(toy, "chain")), toy.digits(9), "raw")
    assert not threads and not post.event.encoded
    np.testing.assert_array_equal(post.images, toy.digits(9))


def test_what_is_no_image_goes_raw(handed_in, toy):
    """Rows of floats, images of two channels, micro-batches of more images than a header lists."""
    floats = toy.demand_of(toy.chain())
    two = toy.demand_of(toy.of_pictures(toy.chain(width=784), (2, 14, 28)))
    many = toy.demand_of(pictured(toy, "chain"))
    many = many.model_copy(
        update={"splits": tuple(entry.model_copy(update={"micro_batch": MAX_IMAGES + 1}) for entry in many.splits)}
    )
    for demand, x in (
        (floats, np.zeros((3, toy.width), np.float32)),
        (two, np.zeros((3, 2, 14, 28), np.uint8)),
        (many, toy.digits(3)),
    ):
        post, threads = handed_in(demand, x)
        assert not threads and not post.event.encoded
        np.testing.assert_array_equal(post.images, x)


def test_what_is_kept_is_what_is_sent(toy, tmp_path):
    """On the disk as on its way, a fraction of the pixels; the next broker finds it, by events or a snapshot."""
    setup = Setup(
        toy.demand_of(pictured(toy, "chain")), (toy.make_device("a"),), "pipelined", 4, 1000.0, wire="encoded"
    )
    x = toy.digits(600)
    encoded = encode_images(x)
    event = ev.TaskAccepted(at_s=0.0, task=0, application="toy", n=600, deadline_s=9.0, inputs="", encoded=True)
    with closing(Store(tmp_path, setup)) as store:
        store.state(Rules(setup))
        store.append(store.take_in(event, store.spool.prepare(encoded)))
        assert store.commit() is None
    (file,) = (tmp_path / "spool").iterdir()
    assert file.stat().st_size == 4 * len(x) + encoded.nbytes < x.nbytes / 2
    for _ in range(2):
        with closing(Store(tmp_path, setup)) as store:
            state = store.state(Rules(setup))
            images = store.images(state.tasks[0])
            assert bytes(images.data) == bytes(encoded.data)
            np.testing.assert_array_equal(images.decode(), x)
            store.snapshots.take(state)


def test_damage_of_what_is_kept_is_an_error_of_its_task(toy, tmp_path):
    """By the digest of the very bytes, before any picture is looked at."""
    setup = Setup(
        toy.demand_of(pictured(toy, "chain")), (toy.make_device("a"),), "pipelined", 4, 1000.0, wire="encoded"
    )
    event = ev.TaskAccepted(at_s=0.0, task=0, application="toy", n=600, deadline_s=9.0, inputs="", encoded=True)
    with closing(Store(tmp_path, setup)) as store:
        state = store.state(Rules(setup))
        taken = store.take_in(event, store.spool.prepare(encode_images(toy.digits(600))))
        store.append(taken)
        assert store.commit() is None
        Rules(setup).apply(state, taken)
        (file,) = (tmp_path / "spool").iterdir()
        file.write_bytes(file.read_bytes()[:-1] + b"!")
        with pytest.raises(IntegrityError, match="is damaged: submit its task again"):
            store.images(state.tasks[0])


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


@pytest.mark.parametrize("wire", ["raw", "encoded"])
def test_a_policy_is_shown_what_inputs_take_as_the_simulator_has_it(toy, wire):
    """Where the demand knows what images take as PNG: to the last bit the tables of a simulation of that wire."""
    known = EncodedInput(codec="png", bytes_per_sample=300, decode_s=1e-4)
    raw = toy.demand_of(pictured(toy, "forest"), pictured(toy, "chain"))
    demand = raw.model_copy(update={"encoded": {"toy": known}})
    devices = tuple(
        toy.make_device(name, 10).model_copy(update={"core_speed": speed}) for name, speed in (("a", 1.0), ("b", 0.3))
    )
    setup = Setup(demand, devices, "pipelined", 4, 1000.0, wire=wire)
    simulated = build(demand, devices, encoded={} if wire == "encoded" else None).fragments
    for shown in (setup.statics.fragments, setup.trained_for.fragments):
        np.testing.assert_array_equal(shown.edge_bytes_X, simulated.edge_bytes_X)
        np.testing.assert_array_equal(shown.latency_s_FD, simulated.latency_s_FD)
    sizes = {size for edges in setup.statics.inbound_F for src, size in edges if src == INPUT}
    assert sizes == {300 if wire == "encoded" else 784}


def test_a_demand_that_does_not_know_shows_pixels(toy):
    """What images take is not guessed."""
    demand, devices = toy.demand_of(pictured(toy, "chain")), (toy.make_device("a"),)
    raw, encoded = (Setup(demand, devices, "pipelined", 4, 1000.0, wire=wire).statics for wire in ("raw", "encoded"))
    np.testing.assert_array_equal(raw.fragments.edge_bytes_X, encoded.fragments.edge_bytes_X)
    np.testing.assert_array_equal(raw.fragments.latency_s_FD, encoded.fragments.latency_s_FD)
