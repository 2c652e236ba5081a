"""Power loss and kills: what was acknowledged is there, and what is there is right, whatever was not written yet."""

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from splitplace.placement.broker.journal import Journal
from splitplace.placement.broker.spool import Spool

OPTIONS = {"keep_events": 30, "ballast_bytes": 4096}


class Broker:
    """As much of one as it takes: tasks come, with inputs, and go; its state is the inputs it holds and a count."""

    def __init__(self, folder):
        self.journal = Journal(folder / "data" / "journal.db", **OPTIONS)
        self.spool = Spool(folder / "data" / "spool", 2**24, self.journal, small_bytes=2000)
        body, events = self.journal.replay()
        state = json.loads(body) if body else {"held": [], "events": 0}
        self.held, self.events = state["held"], state["events"]
        self.seen = [self.events]
        for number, event in events:
            self.apply(json.loads(event))
            assert number == self.events
        self.spool.keep(self.held)

    def apply(self, event):
        """One event more."""
        self.events += 1
        assert event["n"] == self.events
        if "comes" in event:
            self.held.append(event["comes"])
        if "goes" in event:
            self.held.remove(event["goes"])

    def tell(self, **event):
        """To the journal, and to the state."""
        event["n"] = self.events + 1
        assert self.journal.append(json.dumps(event).encode()) == event["n"]
        self.apply(event)

    def take(self, data):
        """A task in."""
        self.tell(comes=self.spool.put(data))

    def end(self):
        """The oldest out."""
        key = self.held[0]
        self.tell(goes=key)
        self.spool.drop(key)

    def snapshot(self):
        """Of the state."""
        self.journal.snapshot(json.dumps({"held": self.held, "events": self.events}).encode())


def run(folder, told, steps=60):
    """A broker's day: groups of 1 to 5 tasks, small and large, ends, snapshots, and two restarts.

    Returns:
        What it held after each event.
    """
    rng = np.random.default_rng(1)
    broker = Broker(folder)
    states = {0: []}
    for step in range(steps):
        for _ in range(int(rng.integers(1, 6))):
            broker.take(rng.bytes(int(rng.choice([20, 784, 3000]))))
            states[broker.events] = list(broker.held)
        while len(broker.held) > 12:
            broker.end()
            states[broker.events] = list(broker.held)
        if step % 9 == 8:
            broker.snapshot()
        else:
            broker.journal.commit()
        told(broker.events)
        if step in (steps // 3, steps * 2 // 3):
            broker.journal.close()
            broker = Broker(folder)
    broker.journal.close()
    return states


def check(folder, told, states):
    """What is found is of a moment at or after what was told last, its payloads are there, and it goes on from there.

    Returns:
        How many events more than were told of.
    """
    broker = Broker(folder)
    more = broker.events - told
    assert more >= 0
    assert broker.held == states[broker.events]
    for key in broker.held:
        broker.spool.get(key)
    broker.take(b"goes on")
    broker.snapshot()
    broker.journal.close()
    broker = Broker(folder)
    assert broker.held[-1] == broker.spool.put(b"goes on")
    broker.journal.close()
    return more


def last_told(disk, count):
    """What the program had been told by then."""
    return max((step.what for step in disk.steps[:count] if step.kind == "note"), default=0)


@pytest.mark.slow
def test_power_loss_at_any_step_loses_nothing_acknowledged(disk, recorded, memory_path):
    """After every so many writes, syncs and renames: with all lost that was not synced, and with some of it lost."""
    with recorded(disk):
        states = run(disk.root, disk.note)
    points = np.unique(np.linspace(0, len(disk.steps), 400).astype(int)).tolist()
    more = set()
    for count in points:
        for rng in (None, np.random.default_rng(count)):
            folder = memory_path / "after"
            disk.after_loss(count, folder, rng)
            more.add(check(folder, last_told(disk, count), states))
            shutil.rmtree(folder)
    assert len(points) >= 300
    assert {0, 1} < more  # also what was written and not yet told of


@pytest.mark.slow
def test_power_loss_after_a_kill_loses_nothing_that_the_next_broker_read(disk, recorded, memory_path):
    """The killed one had written more than it had synced, and the next one has told others of it."""
    with recorded(disk):
        states = run(disk.root, disk.note, steps=20)
    unsynced = 0
    for count, due in enumerate(disk.steps):  # killed before each sync
        if due.kind != "sync" and not (due.kind == "names" and due.offset):
            continue
        again = disk.after_kill(count, memory_path / "again")
        with recorded(again):
            broker = Broker(again.root)
            now = {broker.events: list(broker.held)}
            moments = [(broker.events, len(again.steps))]
            for path in sorted((again.root / "data" / "spool").iterdir()):  # given once more what lies there
                broker.take(path.read_bytes())
                now[broker.events] = list(broker.held)
            broker.journal.commit()
            moments.append((broker.events, len(again.steps)))
            broker.journal.close()
        for told, steps in moments:
            again.after_loss(steps, memory_path / "after")
            check(memory_path / "after", told, states | now)
            shutil.rmtree(memory_path / "after")
        unsynced += due.kind == "sync" and min(now) > last_told(disk, count)
        again.close()
        shutil.rmtree(again.root)
    assert unsynced


@pytest.mark.slow
def test_kill_at_any_call_loses_nothing_acknowledged(memory_path):
    """SIGKILL at 120 counted calls of a broker's day, each before it is made."""
    done = subprocess.run([sys.executable, __file__, memory_path], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert [len(json.loads(done.stdout)), min(json.loads(done.stdout))] == [120, 0]


def killed(folder, at=None):
    """A day in a child that is killed at its call of that number, or else says how many it made.

    Returns:
        What it was told last, or the number of calls.
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
        run(folder, lambda events: os.write(writer, b"%d " % events) if at else None, steps=20)
        sys.setprofile(None)
        os.write(writer, b"%d " % calls)
        os._exit(0)
    os.close(writer)
    with os.fdopen(reader) as pipe:
        told = [int(word) for word in pipe.read().split()]
    status = os.waitpid(child, 0)[1]
    assert status == (signal.SIGKILL if at else 0), f"call {at}: status {status}"
    return told[-1] if told else 0


if __name__ == "__main__":  # a process without threads, to be forked
    place = Path(sys.argv[1])
    states = run(place / "states", lambda _: None, steps=20)  # first, so that no child has modules to load
    calls = killed(place / "whole")
    print(
        [
            check(place / str(at), killed(place / str(at), at), states)
            for at in np.linspace(1, calls * 0.98, 120).astype(int).tolist()
        ]
    )
