"""Room in the journal: what has ended takes none for long, on an idle fleet and after a kill as well."""

import shutil
from functools import partial

import pytest

from splitplace.errors import OverloadedError
from splitplace.placement.broker import events as ev
from splitplace.placement.broker import store as stores
from splitplace.placement.broker.journal import Journal
from splitplace.placement.broker.rules import Rules
from splitplace.placement.broker.setup import Setup
from splitplace.placement.broker.store import Store

LIMIT_BYTES = 2**20


@pytest.fixture
def setup(toy, monkeypatch):
    """Of a small fleet, whose journal may hold a MiB."""
    monkeypatch.setattr(stores, "Journal", partial(Journal, limit_bytes=LIMIT_BYTES))
    monkeypatch.setattr(stores, "SNAPSHOT_TIMES", 0.0)
    return Setup(toy.demand_of(toy.chain()), (toy.make_device("a"),), "pipelined", 4, 1000.0)


class Busy:
    """A store, and the state that its events make."""

    def __init__(self, folder, setup):
        self.store, self.rules, self.snapshots = Store(folder, setup), Rules(setup), 0
        self.state = self.store.state(self.rules)
        taken = self.store.snapshot

        def counted(state):
            self.snapshots += 1
            taken(state)

        self.store.snapshot = counted

    def happen(self, event):
        """As the loop does."""
        self.store.append(event)
        self.rules.apply(self.state, event)
        self.store.commit()

    def accept(self, task, size):
        """A task whose labels are of so many bytes."""
        self.happen(
            ev.TaskAccepted(
                at_s=0.0, task=task, application="toy", n=size // 8, deadline_s=1e6, inputs="", labels=bytes(size),
                late=False, degrade=False, key=None,
            )  # fmt: skip
        )

    def cancel(self, task):
        """It has left."""
        self.happen(ev.TaskCancelled(at_s=0.0, task=task, reason="nobody wants it"))


@pytest.fixture
def busy(setup, tmp_path):
    """An empty one."""
    busy = Busy(tmp_path / "data", setup)
    yield busy
    busy.store.close()


def test_a_snapshot_is_taken_for_bytes_as_well_as_for_events(busy):
    """A few large events are as much as many small ones: room is made long before there is none."""
    for task in range(64):
        busy.accept(task, LIMIT_BYTES // 16)
        busy.cancel(task)
        busy.store.compact(busy.state, float(2 * task))
        assert busy.store.accepting
    assert 8 < busy.snapshots < 64
    assert busy.store.journal.last == 128 < stores.SNAPSHOT_EVENTS


def test_events_that_take_no_room_have_no_snapshot_taken(busy):
    """Far below the share of the limit, and far fewer than are many."""
    for task in range(10):
        busy.accept(task, 1000)
        busy.store.compact(busy.state, float(2 * task))
    assert busy.snapshots == 0


def test_a_journal_at_its_limit_refuses_by_name_and_takes_tasks_again_when_some_have_left(busy):
    """Though nothing more happens: the disk is not blamed, for it has room."""
    for task in range(12):
        busy.accept(task, LIMIT_BYTES // 10)
    busy.store.compact(busy.state, 0.0)
    event = ev.TaskAccepted(
        at_s=0.0, task=99, application="toy", n=1, deadline_s=1.0, inputs="", labels=None, late=False, degrade=False,
        key=None,
    )  # fmt: skip
    with pytest.raises(OverloadedError, match=f"the journal has come to the {LIMIT_BYTES} bytes") as refused:
        busy.store.take_in(event, None)
    assert "the disk is full" not in str(refused.value)
    for task in range(12):
        busy.cancel(task)
    busy.store.compact(busy.state, 10.0)
    assert busy.store.accepting and busy.store.take_in(event, None) == event


def test_a_journal_whose_tasks_fill_it_is_not_written_anew_at_every_step(busy):
    """A snapshot that makes no room is not taken again before something has happened, and some time has passed."""
    for task in range(12):
        busy.accept(task, LIMIT_BYTES // 10)
    for step in range(100):
        busy.store.compact(busy.state, step / 1000)
    assert busy.snapshots == 1
    busy.store.compact(busy.state, 10.0)
    assert busy.snapshots == 1, "nothing has happened since"
    busy.cancel(0)
    busy.store.compact(busy.state, 10.1)
    busy.cancel(1)
    busy.store.compact(busy.state, 10.2)
    assert busy.snapshots == 2
    busy.store.compact(busy.state, 11.2)
    assert busy.snapshots == 3


def test_events_that_are_replayed_count_as_much_as_new_ones(busy, setup, tmp_path):
    """A kill before the snapshot leaves the next broker no fuller than this one would have been."""
    for task in range(12):
        busy.accept(task, LIMIT_BYTES // 10)
        busy.cancel(task)
    assert not busy.store.accepting
    shutil.copytree(tmp_path / "data", tmp_path / "killed")
    again = Busy(tmp_path / "killed", setup)
    assert not again.store.accepting
    again.store.compact(again.state, 0.0)
    assert again.store.accepting and again.snapshots == 1
    again.store.close()
