"""Room in the journal: what has ended takes none for long, on an idle fleet and after a kill as well."""

import shutil
import sqlite3
from functools import partial

import pytest

from splitplace.errors import IntegrityError, OverloadedError
from splitplace.placement.broker import database, snapshots
from splitplace.placement.broker import events as ev
from splitplace.placement.broker import spool as spools
from splitplace.placement.broker import store as stores
from splitplace.placement.broker.journal import Journal
from splitplace.placement.broker.rules import Rules
from splitplace.placement.broker.setup import Setup
from splitplace.placement.broker.spool import SMALL_BYTES
from splitplace.placement.broker.store import Store

LIMIT_BYTES = 2**20


@pytest.fixture
def setup(toy, monkeypatch):
    """Of a small fleet, whose journal may hold a MiB."""
    monkeypatch.setattr(stores, "Journal", partial(Journal, limit_bytes=LIMIT_BYTES))
    monkeypatch.setattr(snapshots, "SNAPSHOT_TIMES", 0.0)
    return Setup(toy.demand_of(toy.chain()), (toy.make_device("a"),), "pipelined", 4, 1000.0)


class Busy:
    """A store, and the state that its events make."""

    def __init__(self, folder, setup):
        self.store, self.rules, self.snapshots = Store(folder, setup), Rules(setup), 0
        self.state = self.store.state(self.rules)
        taken = self.store.snapshots.take

        def counted(state):
            self.snapshots += 1
            taken(state)

        self.store.snapshots.take = counted

    def happen(self, event):
        """As the loop does."""
        self.store.append(event)
        self.rules.apply(self.state, event)
        self.store.commit()

    def accept(self, task, size):
        """A task whose labels are of so many bytes."""
        labels = bytes(size)
        task = ev.TaskAccepted(
            at_s=0.0, task=task, application="toy", n=size // 8, deadline_s=1e6, inputs="", labels=labels
        )
        self.happen(task)

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
        busy.store.snapshots.compact(busy.state, float(2 * task))
        assert busy.store.accepting
    assert 8 < busy.snapshots < 64
    assert busy.store.journal.last == 128 < snapshots.SNAPSHOT_EVENTS


def test_events_that_take_no_room_have_no_snapshot_taken(busy):
    """Far below the share of the limit, and far fewer than are many."""
    for task in range(10):
        busy.accept(task, 1000)
        busy.store.snapshots.compact(busy.state, float(2 * task))
    assert busy.snapshots == 0


def test_a_journal_at_its_limit_refuses_by_name_and_takes_tasks_again_when_some_have_left(busy):
    """Though nothing more happens: the disk is not blamed, for it has room."""
    for task in range(12):
        busy.accept(task, LIMIT_BYTES // 10)
    busy.store.snapshots.compact(busy.state, 0.0)
    event = ev.TaskAccepted(
        at_s=0.0, task=99, application="toy", n=1, deadline_s=1.0, inputs="", labels=None, late=False, degrade=False,
        key=None,
    )  # fmt: skip
    with pytest.raises(OverloadedError, match=f"the journal has come to the {LIMIT_BYTES} bytes") as refused:
        busy.store.take_in(event, None)
    assert "the disk is full" not in str(refused.value)
    with pytest.raises(OverloadedError):
        busy.store.take_in(event, busy.store.spool.prepare(bytes(SMALL_BYTES + 1)))
    assert not list(busy.store.spool.folder.iterdir()), "what was prepared of a task that is refused is discarded"
    for task in range(12):
        busy.cancel(task)
    busy.store.snapshots.compact(busy.state, 10.0)
    assert busy.store.accepting and busy.store.take_in(event, None) == event


def test_a_journal_whose_tasks_fill_it_is_not_written_anew_at_every_step(busy):
    """A snapshot that makes no room is not taken again before something has happened, and some time has passed."""
    for task in range(12):
        busy.accept(task, LIMIT_BYTES // 10)
    for step in range(100):
        busy.store.snapshots.compact(busy.state, step / 1000)
    assert busy.snapshots == 1
    busy.store.snapshots.compact(busy.state, 10.0)
    assert busy.snapshots == 1, "nothing has happened since"
    busy.cancel(0)
    busy.store.snapshots.compact(busy.state, 10.1)
    busy.cancel(1)
    busy.store.snapshots.compact(busy.state, 10.2)
    assert busy.snapshots == 2
    busy.store.snapshots.compact(busy.state, 11.2)
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
    again.store.snapshots.compact(again.state, 0.0)
    assert again.store.accepting and again.snapshots == 1
    again.store.close()


def answered(busy, logits):
    """Two tasks under way that have some of their answers, as the snapshot is to keep them."""
    for task in range(2):
        busy.accept(task, 800)
        busy.state.tasks[task].answers = {"f2": {0: logits, 7: b"%d" % task}, "f1": {3: b""}}
    return {id_: task.answers for id_, task in busy.state.tasks.items()}


@pytest.mark.parametrize("size", [100, SMALL_BYTES + 1])
def test_answers_of_tasks_under_way_are_kept_beside_the_snapshot(busy, setup, tmp_path, size):
    """Whole, for the next broker, whether they are rows or files; the state's own text is without them."""
    answers = answered(busy, bytes(size))
    busy.store.snapshots.take(busy.state)
    assert busy.store.journal._extent.snapshot_bytes < 10_000
    shutil.copytree(tmp_path / "data", tmp_path / "killed")
    again = Busy(tmp_path / "killed", setup)
    assert {id_: task.answers for id_, task in again.state.tasks.items()} == answers
    assert again.state == busy.state
    again.store.close()


def test_answers_that_are_as_they_were_are_not_written_again(busy, monkeypatch):
    """Those of tasks that had more meanwhile are, and what they replace is removed; so is what has ended."""
    written, replace = [], spools.replace_files
    monkeypatch.setattr(spools, "replace_files", lambda files: (written.extend(files), replace(files)))
    answered(busy, bytes(SMALL_BYTES + 1))
    busy.store.snapshots.take(busy.state)
    assert len(written) == 2
    busy.state.tasks[1].answers["f2"][8] = b"more"
    busy.store.snapshots.take(busy.state)
    assert len(written) == 3
    busy.cancel(0)
    busy.store.snapshots.take(busy.state)
    busy.store.commit()
    assert len(written) == 3 and len(list(busy.store.spool.folder.iterdir())) == 1
    busy.cancel(1)
    busy.store.snapshots.take(busy.state)
    busy.store.commit()
    assert busy.store.spool.size_bytes == 0 and not list(busy.store.spool.folder.iterdir())


def test_answers_for_which_there_is_no_room_are_kept_by_the_events_alone(busy, setup, tmp_path):
    """The snapshot before, or none, stays as it was, and nothing is left in the spool."""
    busy.store.spool.quota_bytes = 1000
    answered(busy, bytes(600))
    with pytest.raises(OverloadedError, match=r"try again when some tasks have left$"):
        busy.store.snapshots.take(busy.state)
    assert busy.store.spool.size_bytes == 0 and busy.store.commit() is None


def test_damaged_answers_are_damage_of_the_folder(busy, setup, tmp_path):
    """What ended after the snapshot ended by them: without them it would be another history."""
    answered(busy, bytes(SMALL_BYTES + 1))
    busy.store.snapshots.take(busy.state)
    shutil.copytree(tmp_path / "data", tmp_path / "killed")
    file = next((tmp_path / "killed" / "spool").iterdir())
    file.write_bytes(b"x" + file.read_bytes()[1:])
    store = Store(tmp_path / "killed", setup)
    with pytest.raises(IntegrityError, match=r"the answers that task . had: .* is damaged"):
        store.state(Rules(setup))
    store.close()


def test_what_is_too_large_for_sqlite_is_no_damage(busy, monkeypatch):
    """It is said, and tried again when there is less of it; meanwhile all is written as before."""
    busy.accept(0, 8000)
    monkeypatch.setattr(database, "MAX_ROW_BYTES", 5000)
    busy.store.journal._database.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, 5000)
    with pytest.raises(OverloadedError, match=r"a snapshot of \d+ bytes, SQLite takes less than 5000 in one row"):
        busy.store.snapshots.take(busy.state)
    busy.store.append(ev.TaskCancelled(at_s=0.0, task=0, reason="n" * 6000))
    error = busy.store.commit()
    assert isinstance(error, OverloadedError) and "more than SQLite takes in one row" in str(error)
    busy.store.journal._database.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, 10**9)
    assert busy.store.commit() is None
