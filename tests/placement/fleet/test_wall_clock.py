"""The wall clock, set back and forward by an hour while a fleet runs and over its restart: no task's time goes by it.

Whoever reads it is known; deadlines, health and what is kept go by clocks that nobody sets.
"""

import ast
import os
import signal
import time
from datetime import datetime
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest

from splitplace.children import python_code
from splitplace.inference.executor import Executor
from splitplace.placement import history as book
from splitplace.placement.broker import broker as broker_module
from splitplace.placement.broker.history import read_history
from splitplace.placement.engines import local
from splitplace.placement.engines.local import LocalEngine

WAIT_S = 240
HOUR_S = 3600.0

READERS = {
    "splitplace/distribution/replies.py": "a registry states in its date when to ask again",
    "splitplace/placement/broker/broker.py": "the history's first line says when the run's clock was 0",
    "splitplace/placement/engines/roster.py": "invitations are kept over restarts; in one process they last as said",
    "splitplace/placement/http/access.py": "lines of the access log",
    "splitplace/placement/http/service.py": "when a model was last asked, in Triton's statistics",
    "splitplace/placement/http/tokens.py": "when a token was made",
    "splitplace/provenance.py": "when a figure was measured",
}
"""Files that read the wall clock, and what for: none of it is a deadline, a time-out, or an order of things."""


def reads_wall_clock(path):
    """Whether a file asks what time of day it is, by Python's own words for it."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name | ast.Attribute):
            of = node.value.id if isinstance(node.value, ast.Name) else node.value.attr
            if (of, node.attr) in WORDS or node.attr in ("utcnow", "st_ctime", "st_atime", "create_time", "boot_time"):
                return True
        if isinstance(node, ast.ImportFrom) and node.module == "time":
            named = {("time", name.name) for name in node.names}
            if named & WORDS:
                return True
    return False


WORDS = {("datetime", "now"), ("datetime", "today"), ("date", "today")} | {
    ("time", word) for word in ("time", "time_ns", "localtime", "gmtime", "ctime", "strftime", "CLOCK_REALTIME")
}


def test_who_reads_the_wall_clock_is_known():
    """Another one is to be looked at: does anything go wrong there when the clock is set?"""
    found = set()
    for package in ("splitplace", "splitplace.placement"):
        (root,) = import_module(package).__path__
        found |= {
            f"{package.replace('.', '/')}/{path.relative_to(root)}"
            for path in Path(root).rglob("*.py")
            if reads_wall_clock(path)
        }
    assert found == READERS.keys()


class TurnedEngine(LocalEngine):
    """Devices whose wall clock is as far off as a file says.

    Args:
        off: That file.
    """

    def __init__(self, off):
        super().__init__()
        self.off = off

    def launch(self, config):
        """With a clock of that kind."""
        code = TURNED.format(off=str(self.off))
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(local, "python_child", lambda m: python_code(code + f"from {m} import main; main()"))
            super().launch(config)


TURNED = """
import time
real = time.time
time.time = lambda: real() + float(open({off!r}).read())
time.time_ns = lambda: int(time.time() * 1e9)
"""


@pytest.fixture
def clock(tmp_path, monkeypatch):
    """Sets the wall clock of this process and of its devices by so many seconds."""
    off, real, real_ns = tmp_path / "off", time.time, time.time_ns
    by = [0.0]

    class Turned(datetime):
        """A date by the clock as it is set."""

        @classmethod
        def now(cls, tz=None):
            """That."""
            return datetime.fromtimestamp(time.time(), tz)

    def turn(seconds):
        by[0] += seconds
        part = off.with_suffix(".part")
        part.write_text(str(by[0]))
        part.replace(off)

    turn(0.0)
    monkeypatch.setattr(time, "time", lambda: real() + by[0])
    monkeypatch.setattr(time, "time_ns", lambda: real_ns() + int(by[0] * 1e9))
    monkeypatch.setattr(broker_module, "datetime", Turned)
    turn.engine = lambda: TurnedEngine(off)
    return turn


@pytest.mark.slow
@pytest.mark.parametrize("by_s", [-HOUR_S, HOUR_S], ids=["back", "forward"])
def test_a_clock_that_is_set_changes_nothing_for_a_task(toy, start, images, tmp_path, clock, undisturbed, by_s):
    """While tasks run and over a restart: each ends once and right, deadlines are kept, the history can be read."""
    graph, journal = toy.chain(), tmp_path / "journal.jsonl"
    options = {"devices": [toy.make_device(name) for name in "ab"], "data": tmp_path / "data", "journal": journal}
    expected = {n: Executor(graph.split, graph.models.__getitem__).run({"x": images(n)}, 4) for n in (5, 90)}

    def right(result, n):
        assert result.outcome.error is None and result.outcome.response_s < 1000.0
        np.testing.assert_allclose(result.logits, expected[n], rtol=1e-5, atol=1e-6)

    with start(graph, engine=clock.engine(), **options) as broker:
        right(broker.submit("toy", images(5), 1000.0).result(WAIT_S), 5)
        pids = [broker.engine.pid(name) for name in "ab"]
        for pid in pids:
            os.kill(pid, signal.SIGSTOP)
        under_way = [broker.submit("toy", images(90), 1000.0, key=f"task {n}") for n in range(3)]
        clock(by_s)
        too_late = broker.submit("toy", images(5), 1.0)  # its devices stand still
        said = too_late.result(WAIT_S).outcome.error
        assert said.startswith("its deadline of 1 s has passed")
        assert not any(future.done() for future in under_way)  # whose deadline is far
        for pid in pids:
            os.kill(pid, signal.SIGCONT)
        right(under_way[0].result(WAIT_S), 90)
        right(broker.submit("toy", images(5), 1000.0).result(WAIT_S), 5)
        [right(future.result(WAIT_S), 90) for future in under_way]
        for pid in pids:
            os.kill(pid, signal.SIGSTOP)
        left = broker.submit("toy", images(90), 1000.0, key="left")
        assert [broker.engine.pid(name) for name in "ab"] == pids  # nobody was taken for lost
    clock(by_s)
    with start(graph, engine=clock.engine(), **options) as broker:
        right(broker.answer(left.task_id).result(WAIT_S), 90)
        for n, future in enumerate(under_way):  # is what it was
            again = broker.submit("toy", images(90), 1000.0, key=f"task {n}")
            assert again.result(WAIT_S).outcome == future.result().outcome and again.task_id == future.task_id
        right(broker.submit("toy", images(5), 1000.0).result(WAIT_S), 5)
    events = read_history(journal)
    starts = [event for event in events if isinstance(event, book.Start)]
    apart = datetime.fromisoformat(starts[1].created) - datetime.fromisoformat(starts[0].created)
    # The run's clock does not stand still by more than it took to start again, whatever the other one says.
    assert abs(apart.total_seconds() - 2 * by_s) < HOUR_S / 2
    times = [event.at_s for event in events if isinstance(event, book.Finish)]
    assert times == sorted(times)
    (ended,) = (event for event in events if isinstance(event, book.Finish) and event.outcome.id == too_late.task_id)
    assert ended.at_s - ended.outcome.arrival_s >= 1.0
    assert not any(isinstance(event, book.DeviceDown) for event in events)
