"""Tasks in processes: in order, so many at once, and none is left behind whatever happens."""

import os
import resource
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import pytest
import torch

from splitplace.benchmarks.processes import run_all
from splitplace.errors import SplitPlaceError, UsageError

ROOT = Path(__file__).parents[2]
"""Where a fresh process finds this file as a module."""

pytestmark = pytest.mark.slow  # a process that imports torch takes seconds


class TwoPartError(SplitPlaceError):
    """One that cannot be made again from its message alone, as pickling would."""

    def __init__(self, got, expected):
        super().__init__(f"got {got}, expected {expected}")


@pytest.fixture(autouse=True)
def _found(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT))


def write_down(folder: Path, task: str) -> None:
    """Leave a file with the threads given, and say when the task began and ended."""
    began = time.monotonic_ns()
    time.sleep(0.3)
    (folder / task).write_text(f"{began} {time.monotonic_ns()} {torch.get_num_threads()}")


def wait_for_another(folder: Path, task: str) -> None:
    """Fail once the other task has begun, or be the other, which would never end."""
    if task == "endless":
        (folder / task).write_text(str(os.getpid()))
        time.sleep(1000)
    while not (folder / "endless").exists() or not (folder / "endless").read_text():
        time.sleep(0.01)
    if task == "killed":
        os.kill(os.getpid(), signal.SIGKILL)
    if task == "usage":
        raise UsageError("expected a tree")
    if task == "other":
        raise TwoPartError("seed 1", "seed 0")
    raise RuntimeError("a mistake of ours")


def count_faults(folder: Path, task: str) -> None:
    """Leave how many pages the system had to zero for twenty tensors of 64 MiB, each gone before the next."""
    torch.ones(2**24)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(20):
        torch.ones(2**24)
    (folder / task).write_text(str(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before))


def fail_or_write(folder: Path, task: str) -> None:
    """Fail if that is the task, else leave a file."""
    if task == "usage":
        raise UsageError("expected a tree")
    (folder / task).write_text("done")


def test_each_begins_after_what_it_needs_and_two_at_once(tmp_path):
    """Four tasks, two of which wait for another: all done, never more than two, with half of the threads each."""
    said = []
    tasks = {"first": None, "alone": None, "child": "first", "last": "child"}
    run_all(partial(write_down, tmp_path), tasks, 2, tmp_path / "logs" / "log.txt", said.append)
    spans = {task: [int(n) for n in (tmp_path / task).read_text().split()] for task in tasks}
    assert spans["child"][0] > spans["first"][1] and spans["last"][0] > spans["child"][1]
    for began, _, threads in spans.values():
        assert sum(start <= began < end for start, end, _ in spans.values()) <= 2
        assert threads == max(1, torch.get_num_threads() // 2)
    assert said[0] == "0 of 4 done; now first, alone"
    assert said[-1].startswith("3 of 4 done; now ")


@pytest.mark.parametrize(
    ("task", "error", "message"),
    [
        ("usage", UsageError, "^expected a tree$"),
        ("other", SplitPlaceError, "^got seed 1, expected seed 0$"),
        ("killed", SplitPlaceError, "killed: its process ended with -9 .*fewer --jobs"),
        ("mistake", SplitPlaceError, "mistake: its process ended with 1 .*log.txt"),
    ],
)
def test_a_failure_ends_the_others(tmp_path, task, error, message, alive):
    """What a user can act on arrives as it was raised; of anything else the log has the traceback."""
    with pytest.raises(error, match=message):
        run_all(partial(wait_for_another, tmp_path), {"endless": None, task: None}, 2, tmp_path / "log.txt", print)
    assert not alive(int((tmp_path / "endless").read_text()))
    assert ("a mistake of ours" in (tmp_path / "log.txt").read_text()) is (task == "mistake")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_no_process_outlives_the_one_that_started_it(tmp_path, number, alive):
    """Interrupted, ended or killed."""
    code = """
import sys
from functools import partial
from pathlib import Path
from splitplace.benchmarks.processes import run_all
from tests.benchmarks.test_processes import wait_for_another
folder = Path(sys.argv[1])
run_all(partial(wait_for_another, folder), {"endless": None}, 2, folder / "log.txt", print)
"""
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    pid_file = tmp_path / "endless"
    with subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path)], env=environment, stderr=subprocess.PIPE
    ) as parent:
        while parent.poll() is None and not (pid_file.exists() and pid_file.read_text()):
            time.sleep(0.05)
        assert parent.poll() is None, parent.stderr.read()
        parent.send_signal(number)
        parent.communicate(timeout=300)
        assert parent.returncode == -number
    child, end = int(pid_file.read_text()), time.monotonic() + 300
    while alive(child) and time.monotonic() < end:
        time.sleep(0.05)
    assert not alive(child)


def test_others_go_on_where_that_is_asked_for(tmp_path):
    """What does not need the one that failed is done, what needs it is not begun; then the failure is raised."""
    said = []
    tasks = {"usage": None, "below": "usage", "deeper": "below", "alone": None}
    with pytest.raises(UsageError, match=r"^expected a tree$"):
        run_all(partial(fail_or_write, tmp_path), tasks, 1, tmp_path / "log.txt", said.append, go_on=True)
    assert (tmp_path / "alone").exists()
    assert not (tmp_path / "below").exists() and not (tmp_path / "deeper").exists()
    assert "usage failed: expected a tree" in said


def test_what_a_process_frees_it_keeps_for_the_next_step(tmp_path, monkeypatch):
    """Unless its user tunes glibc otherwise; then that is what it gets."""
    pages = 2**26 // resource.getpagesize()
    monkeypatch.delenv("GLIBC_TUNABLES", raising=False)
    run_all(partial(count_faults, tmp_path), {"kept": None}, 1, tmp_path / "log.txt", print)
    assert "GLIBC_TUNABLES" not in os.environ
    monkeypatch.setenv("GLIBC_TUNABLES", "glibc.malloc.hugetlb=0")
    run_all(partial(count_faults, tmp_path), {"given back": None}, 1, tmp_path / "log.txt", print)
    assert int((tmp_path / "kept").read_text()) < 2 * pages < int((tmp_path / "given back").read_text())
