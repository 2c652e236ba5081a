"""Power loss and kills, on the broker's own store, rules and loop: what was acknowledged ends once, and right.

Whatever was not written yet: journal and snapshots, events that were cut off, spool, what the policy remembers.
"""

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from splitplace.errors import SplitPlaceError
from tests.placement.disk import day

pytestmark = pytest.mark.slow


def promised(disk, count):
    """What clients had been told by then."""
    return day.Promises(step.what for step in disk.steps[:count] if step.kind == "note")


@pytest.fixture
def small():
    """A day in which much happens to the disk."""
    with day.small():
        yield


@pytest.fixture
def recorded_day(disk, recorded, small):
    """A disk on which the day was written down."""
    with recorded(disk):
        made = day.run(disk.root, lambda *note: disk.note(note))
    assert made.snapshots >= 10 and made.kept < made.events / 5  # both fall into it many times
    return disk


def test_power_loss_at_any_step_loses_nothing_acknowledged(recorded_day, memory_path):
    """After every so many writes, syncs and renames: without what was not synced, and by turns with some of it."""
    disk = recorded_day
    points = np.unique(np.linspace(0, len(disk.steps), 320).astype(int)).tolist()
    had_to_run = set()
    for place, count in enumerate(points):
        for rng in (None, np.random.default_rng(count))[: 1 + (place % 3 == 0)]:
            folder = memory_path / "after"
            disk.after_loss(count, folder, rng)
            had_to_run.add(day.check(folder, promised(disk, count), torn=rng is not None))
            shutil.rmtree(folder)
    assert len(points) >= 300
    assert len(had_to_run) > 5


def test_a_disk_that_forgets_what_was_synced_is_found_out(recorded_day, memory_path):
    """The test above can fail: where the log's syncs did nothing, something that was promised is missed."""
    disk = recorded_day
    files = {step.what for step in disk.steps if step.kind == "sync"}
    log = max(files, key=lambda number: sum(step.what == number for step in disk.steps if step.kind == "sync"))
    disk.steps = [step for step in disk.steps if (step.kind, step.what) != ("sync", log)]
    found = 0
    for count in range(len(disk.steps) // 20, len(disk.steps), len(disk.steps) // 20):
        disk.after_loss(count, memory_path / "after")
        try:
            day.check(memory_path / "after", promised(disk, count))
        except (AssertionError, SplitPlaceError):
            found += 1
        shutil.rmtree(memory_path / "after")
    assert found


def test_power_loss_after_a_kill_loses_nothing_that_the_next_broker_told(disk, recorded, small, memory_path):
    """The killed one had written more than it had synced, and the next one has told clients of it."""
    with recorded(disk):
        day.run(disk.root, lambda *note: disk.note(note), steps=15)
    told = 0
    for count, due in enumerate(disk.steps):  # killed before each sync
        if due.kind != "sync" and not (due.kind == "names" and due.offset):
            continue
        before = promised(disk, count)
        again = disk.after_kill(count, memory_path / "again")
        with recorded(again):
            fleet = day.SteppedFleet(again.root, 1e4, lambda *note, to=again: to.note(note))
            for task in fleet.loop.state.tasks:  # not all of them had been acknowledged
                told += task not in before.known
            for task, serial in before.known.items():
                if not before.over(task):
                    fleet.ask(task, serial)
            fleet.step(3)
            moment = len(again.steps)
            fleet.close()
        again.after_loss(moment, memory_path / "after")
        day.check(memory_path / "after", promised(again, moment), at_s=2e4)
        shutil.rmtree(memory_path / "after")
        again.close()
        shutil.rmtree(again.root)
    assert told


def test_kill_at_any_call_loses_nothing_acknowledged(memory_path):
    """SIGKILL at 120 counted calls of a fleet's day, each before it is made."""
    root = Path(__file__).parents[3]
    done = subprocess.run(
        [sys.executable, "-c", f"import sys; sys.path.insert(0, {str(root)!r})\n{CHILD}", memory_path],
        capture_output=True, text=True, check=False, cwd=root,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    had_to_run = json.loads(done.stdout)
    assert len(had_to_run) == 120 and min(had_to_run) < max(had_to_run)


CHILD = "from tests.placement.disk import test_power_loss; test_power_loss.kill_at_calls(sys.argv[1])"
"""In a process of its own, without threads, to be forked."""


def killed(folder, at=None):
    """A day in a child that is killed at its call of that number, or else says how many it made.

    Returns:
        What clients were told, or the number of calls.
    """
    reader, writer = os.pipe()
    if not (child := os.fork()):
        calls = 0

        def count(*_):
            nonlocal calls
            calls += 1
            if calls == at:
                os.kill(os.getpid(), signal.SIGKILL)

        sys.setprofile(count)
        day.run(folder, lambda *note: os.write(writer, json.dumps(note).encode() + b"\n") if at else None, steps=12)
        sys.setprofile(None)
        os.write(writer, json.dumps(calls).encode() + b"\n")
        os._exit(0)
    os.close(writer)
    with os.fdopen(reader) as pipe:
        told = [json.loads(line) for line in pipe]
    status = os.waitpid(child, 0)[1]
    assert status == (signal.SIGKILL if at else 0), f"call {at}: status {status}"
    return told if at else told[0]


def kill_at_calls(place):
    """Print how many tasks were open at each of 120 kills."""
    place = Path(place)
    with day.small():
        day.run(place / "before", lambda *_: None, steps=12)  # so that no child has modules to load
        calls = killed(place / "whole")
        found = []
        for at in np.linspace(1, calls * 0.95, 120).astype(int).tolist():
            told = killed(place / str(at), at)
            found.append(day.check(place / str(at), day.Promises(told)))
    print(json.dumps(found))
