"""The live fleet end to end, on two and three device processes."""

import hashlib
import os
import signal

import numpy as np
import pytest

from splitplace.children import python_code
from splitplace.errors import SplitPlaceError, UsageError
from splitplace.inference.executor import Executor
from splitplace.placement import history as book
from splitplace.placement.broker.history import read_history
from splitplace.placement.engines import local
from splitplace.placement.engines.local import LocalEngine
from splitplace.placement.placers.best_fit import BestFit
from splitplace.placement.protocol.fields import ANSWER
from splitplace.records.action import Migrate
from tests.placement.fleet.conftest import InTurn

pytestmark = pytest.mark.slow
WAIT_S = 240


def reference(graph, images, micro_batch):
    """What the same split gives on this device alone."""
    return Executor(graph.split, graph.models.__getitem__).run({"x": images}, micro_batch)


def of_kind(broker, kind):
    """The events of one kind."""
    return [event for event in broker.events if isinstance(event, kind)]


class Fragile(LocalEngine):
    """Devices that abort on an input of 77s alone, as a kernel with a bug would."""

    def launch(self, config):
        """With a session that does so."""
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(
                local, "python_child", lambda module: python_code(ABORTS + f"from {module} import main; main()")
            )
            super().launch(config)


ABORTS = """
import os
from splitplace.inference.executor import FragmentSession
run = FragmentSession.run
bad = lambda inputs: (next(iter(inputs.values())) == 77).all()
FragmentSession.run = lambda self, inputs: os.abort() if bad(inputs) else run(self, inputs)
"""


HANGS = """
import threading
from splitplace.inference.executor import FragmentSession
FragmentSession.run = lambda self, inputs: threading.Event().wait()
"""


class Hanging(LocalEngine):
    """The first process of device `a` takes what it is given, answers pings, and never comes to an end."""

    hung = False

    def launch(self, config):
        """With a session that does so."""
        with pytest.MonkeyPatch.context() as patch:
            if config.name == "a" and not self.hung:
                self.hung = True
                patch.setattr(local, "python_child", lambda m: python_code(HANGS + f"from {m} import main; main()"))
            super().launch(config)


@pytest.mark.parametrize("precedence", ["pipelined", "strict"])
def test_a_fleet_answers_as_the_executor_does(start, toy, images, tmp_path, precedence, undisturbed):
    """Chain and 2,2 tree with shared trunk, spread over three devices: equal logits, each ran its part."""
    graphs = toy.chain(), toy.tree()
    devices = [toy.make_device(name, 10) for name in "abc"]
    x, journal = images(27), tmp_path / "journal.jsonl"
    broker = start(
        *graphs, devices=devices, decide=(0, 1), placer=InTurn(), precedence=precedence, journal=journal, window=2
    )
    with broker:
        futures = [broker.submit("toy", x, deadline_s=1000.0) for _ in range(4)]
        results = [future.result(WAIT_S) for future in futures]
        reports = broker.reports()
    for graph, result in zip(graphs * 2, results, strict=True):
        assert result.outcome.error is None
        assert result.outcome.split == graph.split.reference
        np.testing.assert_allclose(result.logits, reference(graph, x, toy.micro_batch), rtol=1e-5, atol=1e-6)
    assert sum(report.fragments_run for report in reports) == 2 * (3 + 7)
    assert all(report.fragments_run > 0 for report in reports)
    events = read_history(journal)
    assert events == broker.events
    runs = [event for event in events if isinstance(event, book.MicroBatchRun)]
    assert len(runs) == 2 * (3 + 7) * 7  # tasks, fragments, micro-batches
    if precedence == "strict":
        ended = {
            (r.task, r.fragment): max(s.end_s for s in runs if (s.task, s.fragment) == (r.task, r.fragment))
            for r in runs
        }
        for run in runs:
            graph = next(graph for graph in graphs if graph.split.reference == run.split)
            assert all(run.start_s >= ended[run.task, parent] for parent in graph.split.parents(run.fragment))


def test_times_and_p_are_accounted_for(start, toy, images, eventually):
    """Response = wait + execute + transfer; p from the labels where there are any, else from the evaluation."""
    graph, x = toy.chain(), images(9)
    labels = reference(graph, x, toy.micro_batch).argmax(axis=1)
    labels[:3] = (labels[:3] + 1) % graph.split.n_classes
    with start(graph, devices=[toy.make_device("a")]) as broker:
        known = broker.submit("toy", x, 1000.0, labels).result(WAIT_S).outcome
        prior = broker.submit("toy", x, 1000.0).result(WAIT_S).outcome
        left = broker.policy.decider.left
        eventually(lambda: len(left) == 2)
    assert (known.correct, known.p, known.p_source) == (6, 6 / 9, "labels")
    assert (prior.correct, prior.p, prior.p_source) == (None, 0.75, "prior")
    for outcome in (known, prior):
        assert outcome.response_s == pytest.approx(outcome.wait_s + outcome.execute_s + outcome.transfer_s)
    assert broker.outcomes == (known, prior)
    # What the decider learns: once a task, with its own tag.
    assert [(task, tag) for task, _, _, _, tag in left] == [(0, 1000), (1, 1001)]
    assert [response for _, _, response, _, _ in left] == [known.response_s, prior.response_s]
    assert [p for *_, p, _ in left] == [6 / 9, 0.75]


def test_memory_is_never_exceeded_by_a_stream(start, toy, images):
    """Two splits that do not fit together on two small devices: they take turns, with evictions, and all finish."""
    graphs = toy.chain(), toy.tree()
    devices = toy.make_device("a", 4), toy.make_device("b", 4)
    with start(*graphs, devices=devices, decide=(0, 1)) as broker:
        futures = [broker.submit("toy", images(5), 1000.0) for _ in range(12)]
        assert [future.result(WAIT_S).outcome.error for future in futures] == [None] * 12
        reports = broker.reports()
        assert 0 < broker.ram_utilisation <= 1
    assert of_kind(broker, book.FragmentEvicted)
    resident: dict[str, set] = {"a": set(), "b": set()}
    for event in broker.events:
        if isinstance(event, book.FragmentPlaced):
            split = next(e.split for e in broker.events if isinstance(e, book.Decided) and e.task == event.task)
            resident[event.device].add((split, event.fragment))
        elif isinstance(event, book.FragmentEvicted):
            resident[event.device].remove((event.split, event.fragment))
        assert all(len(held) <= 4 for held in resident.values())
    assert all(report.memory_peak_bytes <= report.memory_bytes == 4 * toy.fragment_bytes for report in reports)


def test_a_damaged_blob_is_refused_by_digest(start, toy, images, catalog):
    """The error names the digest and the device; the fleet lives on and runs the other split."""
    bad, good = toy.chain("toy"), toy.tree("other")
    digest = bad.split.by_name["f1"].digest
    with start(bad, good, devices=[toy.make_device("a", 12)], decide=(0, 1)) as broker:
        blob = catalog() / "blobs" / "sha256" / digest.removeprefix("sha256:")
        blob.write_bytes(blob.read_bytes()[:-1] + b"!")
        failed = broker.submit("toy", images(5), 1000.0).result(WAIT_S)
        fine = broker.submit("other", images(5), 1000.0).result(WAIT_S)
    assert failed.logits is None
    assert digest in failed.outcome.error and "damaged" in failed.outcome.error and "device a" in failed.outcome.error
    assert fine.outcome.error is None


def test_a_model_that_is_not_its_contract_fails_by_name(start, toy, images):
    """Right digest, wrong tensors: the session refuses it and the task says which fragment."""
    graph = toy.chain()
    wrong = toy.dense(np.random.default_rng(0), "y", "f1.out", toy.width, toy.width)
    fragments = tuple(
        f.model_copy(update={"digest": "sha256:" + hashlib.sha256(wrong).hexdigest()}) if f.name == "f1" else f
        for f in graph.split.fragments
    )
    graph = graph._replace(
        split=graph.split.model_validate(graph.split.model_copy(update={"fragments": fragments}).model_dump()),
        models=graph.models | {"f1": wrong},
    )
    with start(graph, devices=[toy.make_device("a")]) as broker:
        outcome = broker.submit("toy", images(5), 1000.0).result(WAIT_S).outcome
    assert "f1: its contract names the tensors" in outcome.error


def slow_chain(toy):
    """A chain whose fragments take long enough to be killed while they run."""
    return toy.chain(width=1024, layers=8)


def test_a_killed_device_costs_no_task(start, toy, eventually, kill_at_first_answer, undisturbed):
    """What was answered is kept, the rest runs elsewhere; the device is started again under its name."""
    graph = slow_chain(toy)
    x = np.random.default_rng(1).standard_normal((2000, 1024)).astype(np.float32)
    with start(graph, devices=[toy.make_device(name, 3) for name in "ab"]) as broker:
        kill_at_first_answer(broker, lambda: of_kind(broker, book.FragmentPlaced)[0].device)
        result = broker.submit("toy", x, 1000.0).result(WAIT_S)
        eventually(lambda: len(of_kind(broker, book.DeviceUp)) == 3)
        after = [broker.submit("toy", x[:8], 1000.0).result(WAIT_S).outcome.error for _ in range(2)]
    np.testing.assert_allclose(result.logits, reference(graph, x, toy.micro_batch), rtol=1e-5, atol=1e-6)
    assert after == [None, None]
    (down,) = of_kind(broker, book.DeviceDown)
    assert down.reason == "killed by signal 9"
    assert [event.device for event in of_kind(broker, book.DeviceUp)][2:] == [down.device]
    answered = [event.micro_batch for event in of_kind(broker, book.Send) if event.dst == ANSWER and event.task == 0]
    assert sorted(answered) == list(range(500))


def test_a_stopped_device_is_given_up(start, toy, images):
    """Alive but silent, as behind a dead link: its process is ended, another takes its name, and the task is run."""
    with start(toy.chain(), devices=[toy.make_device("a")]) as broker:
        os.kill(broker.engine.pid("a"), signal.SIGSTOP)
        assert broker.submit("toy", images(5), 1000.0).result(WAIT_S).outcome.error is None
    (down,) = of_kind(broker, book.DeviceDown)
    assert down.reason.startswith(("no word in answer to", "it did nothing for 2 s with f0 to run"))


def test_a_device_that_hangs_is_found_out(start, toy, images, eventually):
    """It says that it is there: but what it has to run goes elsewhere, and it is started again."""
    with start(toy.chain(), devices=[toy.make_device(name) for name in "ab"], engine=Hanging()) as broker:
        tasks = [broker.submit("toy", images(5), 1000.0) for _ in range(6)]
        assert [task.result(WAIT_S).outcome.error for task in tasks] == [None] * 6
        eventually(lambda: [event.device for event in of_kind(broker, book.DeviceUp)].count("a") > 1)
    down = next(event for event in of_kind(broker, book.DeviceDown) if event.device == "a")
    assert down.reason.startswith("it did nothing for 2 s with f")


def test_a_fragment_that_ends_its_process_fails_its_task(start, toy, images, tmp_path):
    """Tried three times, on whichever device; the task says why, and others run on."""
    with start(toy.chain(), devices=[toy.make_device(name) for name in "ab"], engine=Fragile()) as broker:
        bad = broker.submit("toy", np.full((5, toy.width), 77.0, np.float32), 1000.0)
        good = [broker.submit("toy", images(5), 1000.0) for _ in range(3)]
        assert [task.result(WAIT_S).outcome.error for task in good] == [None] * 3
        assert "is lost: killed by signal 6" in bad.result(WAIT_S).outcome.error
    assert len(of_kind(broker, book.DeviceDown)) >= 3


def test_a_task_that_had_not_started_gets_a_new_place(start, toy, images, undisturbed, eventually):
    """The device dies between placement and start: the task is placed again and answered."""
    graph = toy.chain()
    with start(graph, devices=[toy.make_device(name, 3) for name in "ab"]) as broker:
        for name in "ab":
            os.kill(broker.engine.pid(name), signal.SIGSTOP)  # so that nothing can start before the kill
        future = broker.submit("toy", images(9), 1000.0)
        eventually(lambda: of_kind(broker, book.FragmentPlaced))
        victim = of_kind(broker, book.FragmentPlaced)[0].device
        os.kill(broker.engine.pid(victim), signal.SIGKILL)
        for name in {"a", "b"} - {victim}:
            os.kill(broker.engine.pid(name), signal.SIGCONT)
        result = future.result(WAIT_S)
    assert result.outcome.error is None
    assert {event.attempt for event in of_kind(broker, book.FragmentPlaced)} == {0, 1}
    np.testing.assert_allclose(result.logits, reference(graph, images(9), toy.micro_batch), rtol=1e-5, atol=1e-6)


class MoveOnce(BestFit):
    """Best fit; at the plan after the first placement, asks to move fragment 0 from where it is to the other device."""

    def __init__(self):
        self.asked = False

    def place(self, state, view, requests, rng):
        """With one migration."""
        actions = super().place(state, view, requests, rng)
        placed = view.containers.device_C >= 0
        if placed.any() and not self.asked:
            self.asked = True
            task = int(view.tasks.id_T[view.containers.task_C[placed][0]])
            actions.append(Migrate(task, 0, 1 - int(view.containers.device_C[placed][0])))
        return actions


def test_a_fragment_is_migrated_before_its_task_starts(start, toy, images, undisturbed, eventually):
    """While its device cannot yet start; the task is answered from the new place."""
    graph = toy.chain()
    devices = [toy.make_device(name, 4) for name in "ab"]
    with start(graph, devices=devices, placer=MoveOnce()) as broker:
        for name in "ab":
            os.kill(broker.engine.pid(name), signal.SIGSTOP)
        first = broker.submit("toy", images(9), 1000.0)
        eventually(lambda: of_kind(broker, book.FragmentPlaced))
        second = broker.submit("toy", images(9), 1000.0)  # brings about the next plan
        eventually(lambda: of_kind(broker, book.FragmentMigrated))
        for name in "ab":
            os.kill(broker.engine.pid(name), signal.SIGCONT)
        results = [first.result(WAIT_S), second.result(WAIT_S)]
    (moved,) = of_kind(broker, book.FragmentMigrated)
    assert moved.fragment == "f0" and moved.source != moved.device
    ran = {event.device for event in of_kind(broker, book.MicroBatchRun) if event.task == 0 and event.fragment == "f0"}
    assert ran == {moved.device}
    for result in results:
        np.testing.assert_allclose(result.logits, reference(graph, images(9), toy.micro_batch), rtol=1e-5, atol=1e-6)


def test_a_task_without_a_place_fails_in_time(start, toy, images, eventually, turn_clock):
    """A split that fits each device piece by piece but no fleet as a whole: an error that says so, after the limit."""
    with start(toy.chain(), devices=[toy.make_device("a", 2)], task_timeout_s=100.0) as broker:
        task = broker.submit("toy", images(5), 1000.0)
        eventually(lambda: of_kind(broker, book.Decided))
        turn_clock(100.0)
        outcome = task.result(WAIT_S).outcome
    assert outcome.error == "no answer within 100 s: it found no place on the devices' memory"


def test_bad_requests_are_refused_at_once(start, toy, images):
    """Unknown application, another shape or dtype, no image, wrong labels, no deadline; a broker that is down."""
    broker = start(toy.chain(), devices=[toy.make_device("a")])
    with pytest.raises(SplitPlaceError, match="was not started"):
        broker.submit("toy", images(5), 1.0)
    with broker:
        with pytest.raises(UsageError, match=r"'mnist': expected one of toy"):
            broker.submit("mnist", images(5), 1.0)
        for bad in (images(5)[:, :3], images(5).astype(np.float64), images(5)[0]):
            with pytest.raises(SplitPlaceError, match="expected float32"):
                broker.submit("toy", bad, 1.0)
        with pytest.raises(SplitPlaceError, match="at least one image"):
            broker.submit("toy", images(0), 1.0)
        with pytest.raises(SplitPlaceError, match="labels"):
            broker.submit("toy", images(5), 1.0, np.zeros(4, np.int64))
        for deadline in (0.0, -1.0, float("nan"), float("inf")):
            with pytest.raises(SplitPlaceError, match="deadline_s"):
                broker.submit("toy", images(5), deadline)
    with pytest.raises(SplitPlaceError, match="was stopped"):
        broker.submit("toy", images(5), 1.0)


def test_open_tasks_end_with_the_broker(start, toy):
    """Leaving the broker leaves no future without a result."""
    with start(slow_chain(toy), devices=[toy.make_device("a")]) as broker:
        future = broker.submit("toy", np.zeros((4000, 1024), np.float32), 1000.0)
    assert future.result(0).outcome.error == "the broker was stopped"
