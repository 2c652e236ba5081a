"""A broker with a data folder: what it acknowledged ends once, however it ends itself."""

import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import numpy as np
import pytest

from splitplace.errors import ContractError, NotFoundError, NotReadyError
from splitplace.inference.executor import Executor
from splitplace.placement import history as book
from splitplace.placement.broker.store import NUMBERS_AHEAD

pytestmark = pytest.mark.slow
WAIT_S = 240


def reference(graph, images, micro_batch):
    """What the same split gives on this device alone."""
    return Executor(graph.split, graph.models.__getitem__).run({"x": images}, micro_batch)


SCRIPT = """
    import importlib.util, sys, time
    from pathlib import Path
    import numpy as np
    spec = importlib.util.spec_from_file_location("toys", {conftest!r})
    toys = importlib.util.module_from_spec(spec)
    sys.modules["toys"] = toys
    spec.loader.exec_module(toys)
    from splitplace.placement.broker.broker import Broker
    from splitplace.placement.engines.local import LocalEngine
    graph = toys.chain(width=1024, layers=8)
    devices = [toys.make_device("a"), toys.make_device("b")]
    with Broker(
        devices, toys.demand_of(graph), Path({catalog!r}), toys.policy(0), LocalEngine(), data=Path({data!r})
    ) as broker:
        rng = np.random.default_rng(3)
        for n in (400, 9, 700, 1, 30):
            x = rng.standard_normal((n, 1024)).astype(np.float32)
            print("acknowledged", broker.submit("toy", x, 1000.0, key=f"task of {{n}}").task_id, flush=True)
        time.sleep(100)
"""


@pytest.mark.parametrize("after_s", [0.0, 0.4, 1.5])
def test_kill_9_of_the_broker_loses_no_acknowledged_task(toy, catalog, start, tmp_path, after_s):
    """The next broker with the same folder answers them all, each once and right; a key finds its task again."""
    graph, data = toy.chain(width=1024, layers=8), tmp_path / "data"
    code = SCRIPT.format(
        conftest=str(Path(__file__).with_name("conftest.py")), catalog=str(catalog(graph)), data=str(data)
    )
    process = subprocess.Popen([sys.executable, "-c", textwrap.dedent(code)], stdout=subprocess.PIPE, text=True)
    acknowledged = [int(process.stdout.readline().split()[1]) for _ in range(5)]
    time.sleep(after_s)
    process.kill()
    process.communicate()
    assert acknowledged == [0, 1, 2, 3, 4]
    rng = np.random.default_rng(3)
    with start(graph, devices=[toy.make_device(name) for name in "ab"], data=data) as broker:
        for task, n in enumerate((400, 9, 700, 1, 30)):
            x = rng.standard_normal((n, 1024)).astype(np.float32)
            again = broker.submit("toy", x, 1000.0, key=f"task of {n}")
            result = broker.answer(task).result(WAIT_S)
            assert result.outcome.error is None
            np.testing.assert_allclose(result.logits, reference(graph, x, toy.micro_batch), rtol=1e-5, atol=1e-6)
            assert again.result(WAIT_S).outcome == result.outcome
            assert again.task_id == task
        assert broker.submit("toy", x, 1000.0).task_id >= 5 + NUMBERS_AHEAD  # which nobody was told of
        finished = [event.outcome.id for event in broker.events if isinstance(event, book.Finish)]
        assert len(finished) == len(set(finished))


def test_a_broker_that_is_stopped_leaves_its_tasks_to_the_next(toy, start, images, tmp_path):
    """Whoever waits is told so; the next broker answers, and results of tasks that ended are kept."""
    data, graph = tmp_path / "data", toy.chain()
    with start(graph, devices=[toy.make_device("a")], data=data) as broker:
        done = broker.submit("toy", images(9), 1000.0).result(WAIT_S)
        os.kill(broker.engine.pid("a"), signal.SIGSTOP)
        open_ = broker.submit("toy", images(5), 1000.0)
    assert open_.result(0).outcome.error == "the broker was stopped; the next one goes on"
    with start(graph, devices=[toy.make_device("a")], data=data) as broker:
        broker.drain()  # of what the first one left
        assert broker.status().tasks.waiting == broker.status().tasks.running == 0
        assert broker.answer(open_.task_id).result(WAIT_S).outcome.error is None
        kept = broker.answer(done.outcome.id).result(WAIT_S)
        assert kept.outcome == done.outcome
        np.testing.assert_array_equal(kept.logits, done.logits)
        with pytest.raises(NotFoundError, match="no task 99"):
            broker.answer(99).result(WAIT_S)


def test_a_volatile_task_ends_with_its_broker(toy, start, images, tmp_path):
    """It is answered like any other; where it was not, the next broker fails it with the reason, and goes on."""
    data, graph = tmp_path / "data", toy.chain()
    with start(graph, devices=[toy.make_device("a")], data=data) as broker:
        lasting, volatile = (broker.submit("toy", images(9), 1000.0, volatile=how) for how in (False, True))
        np.testing.assert_array_equal(lasting.result(WAIT_S).logits, volatile.result(WAIT_S).logits)
        assert broker.answer(volatile.task_id).result(WAIT_S).outcome == volatile.result(0).outcome
        os.kill(broker.engine.pid("a"), signal.SIGSTOP)
        kept, lost = (broker.submit("toy", images(n), 1000.0, volatile=n == 7) for n in (5, 7))
        by_key = broker.submit("toy", images(6), 1000.0, key="k", volatile=True)
    for open_ in (kept, lost, by_key):
        assert open_.result(0).outcome.error == "the broker was stopped; the next one goes on"
    with start(graph, devices=[toy.make_device("a")], data=data) as broker:
        broker.drain()
        assert broker.answer(kept.task_id).result(WAIT_S).outcome.error is None
        assert broker.answer(by_key.task_id).result(WAIT_S).outcome.error is None
        said = broker.answer(lost.task_id).result(WAIT_S).outcome.error
        assert said == "it was volatile, and ended with the fleet's former process: submit it again"


def test_large_images_of_a_volatile_task_are_never_written(toy, start, images, tmp_path):
    """Those of another are a file of the spool while it is under way."""
    data, graph = tmp_path / "data", toy.chain()
    x = np.zeros((5000, toy.width), np.float32)
    with start(graph, devices=[toy.make_device("a")], data=data) as broker:
        os.kill(broker.engine.pid("a"), signal.SIGSTOP)
        broker.submit("toy", x, 1000.0, volatile=True)
        assert list((data / "spool").iterdir()) == []
        broker.submit("toy", x, 1000.0)
        assert len(list((data / "spool").iterdir())) == 1


def test_two_brokers_do_not_share_a_folder(toy, start, tmp_path):
    """The second is refused in a line; the first goes on."""
    devices = [toy.make_device("a")]
    with start(toy.chain(), devices=devices, data=tmp_path / "data") as broker:
        with (
            pytest.raises(NotReadyError, match="writes there"),
            start(toy.chain(), devices=devices, data=tmp_path / "data"),
        ):
            pytest.fail("it came up")
        x = np.zeros((3, toy.width), np.float32)
        assert broker.submit("toy", x, 1000.0).result(WAIT_S).outcome.error is None


def test_another_fleet_may_have_the_folder_once_nothing_waits_there(toy, start, images, tmp_path):
    """More devices than the last one had: what ended is still known; with a task open it is refused in a line."""
    data, graph = tmp_path / "data", toy.chain()
    with start(graph, devices=[toy.make_device("a")], data=data) as broker:
        done = broker.submit("toy", images(9), 1000.0).result(WAIT_S)
    with start(graph, devices=[toy.make_device(name) for name in "abc"], data=data) as broker:
        assert broker.answer(done.outcome.id).result(WAIT_S).outcome == done.outcome
        assert broker.submit("toy", images(5), 1000.0).result(WAIT_S).outcome.error is None
        for name in "abc":
            os.kill(broker.engine.pid(name), signal.SIGSTOP)
        broker.submit("toy", images(5), 1000.0)
    with (
        pytest.raises(ContractError, match="1 tasks wait there for a fleet of 3 devices, this one has 1"),
        start(graph, devices=[toy.make_device("a")], data=data),
    ):
        pytest.fail("it came up")
