"""The journal: what was committed is there, in order and as it was, and nobody else writes."""

import os
import signal
import sqlite3
import subprocess
import sys

import pytest

from splitplace.errors import ContractError, IntegrityError, NotFoundError, NotReadyError, OverloadedError, UsageError
from splitplace.placement.broker import database
from splitplace.placement.broker.journal import Journal
from splitplace.placement.broker.journal_reader import events
from splitplace.records.formats import BROKER_JOURNAL, Format

pytestmark = pytest.mark.base

NEWER = BROKER_JOURNAL.version + 1


@pytest.fixture
def path(tmp_path):
    """Where a journal may be."""
    return tmp_path / "data" / "journal.db"


def write(path, *bodies, **options):
    """A journal with these events, closed."""
    journal = Journal(path, **options)
    for body in bodies:
        journal.append(body)
    journal.commit()
    journal.close()


def read(path):
    """Snapshot and events, as a restart has them."""
    journal = Journal(path)
    try:
        body, later = journal.replay()
        return body, list(later)
    finally:
        journal.close()


def test_a_new_journal_is_empty(path):
    """No snapshot, no events, and room for tasks."""
    journal = Journal(path)
    assert journal.replay()[0] is None
    assert (list(journal.replay()[1]), list(journal.history()), journal.last) == ([], [], 0)
    assert journal.accepting
    journal.close()


@pytest.mark.parametrize("name", ["journal.db", "journal.db-wal"])
@pytest.mark.parametrize("replaced", [False, True])
def test_nothing_is_committed_to_a_file_that_nobody_would_find(path, name, replaced):
    """One that was moved away, or in whose place another lies now: refused, and kept for when it is back."""
    journal, there, away = Journal(path), path.with_name(name), path.with_name("away")
    journal.append(b"before")
    journal.commit()
    there.rename(away)
    if replaced:
        there.write_bytes(away.read_bytes())
    journal.append(b"meanwhile")
    for write in (journal.commit, lambda: journal.snapshot(b"state")):
        with pytest.raises(OverloadedError, match=f"{name} was .* while the fleet ran: put it back, or stop the fleet"):
            write()
    assert journal.last == 1 and not journal.accepting and journal.lost
    away.replace(there)
    journal.commit()
    assert journal.accepting and journal.lost is None
    journal.close()
    assert [body for _, body in read(path)[1]] == [b"before", b"meanwhile"]


def test_a_path_longer_than_sqlite_takes_is_refused(tmp_path):
    """With how long it is and how long it may be: the database would say that it cannot open the file."""
    with pytest.raises(UsageError, match=r"a path of \d+ bytes, expected at most 504"):
        Journal(tmp_path / ("d" * 200) / ("e" * 200) / ("f" * 200) / "journal.db")
    room = database.MAX_PATH_BYTES - len(os.fsencode(tmp_path)) - len("//journal.db")
    longest = tmp_path / ("d" * (room // 2)) / ("e" * (room - room // 2 - 1)) / "journal.db"
    write(longest, b"event")
    assert [body for _, body in read(longest)[1]] == [b"event"]


def test_what_was_committed_is_replayed_in_order(path):
    """Over several commits and openings, numbered from 1; empty bodies and any bytes are events, too."""
    bodies = [b"first", b"", bytes(range(256)), b"x" * 100_000]
    write(path, *bodies[:2])
    write(path, *bodies[2:])
    assert read(path) == (None, list(enumerate(bodies, 1)))


def test_what_was_not_committed_is_not_there(path):
    """It was only in memory."""
    journal = Journal(path)
    assert journal.append(b"one") == 1
    journal.commit()
    assert journal.append(b"two") == 2
    assert journal.last == 1
    journal.close()
    assert read(path) == (None, [(1, b"one")])


def test_a_snapshot_stands_for_what_was_before(path):
    """Events appended before it are committed with it and not replayed; later ones are."""
    journal = Journal(path)
    journal.append(b"before")
    journal.snapshot(b"state of 1")
    assert journal.append(b"after") == 2
    journal.commit()
    journal.close()
    assert read(path) == (b"state of 1", [(2, b"after")])


def test_a_withdrawn_event_leaves_its_number_and_nothing_else(path):
    """Those around it keep theirs."""
    journal = Journal(path)
    numbers = [journal.append(body) for body in (b"a", b"b", b"c")]
    journal.withdraw(numbers[1])
    journal.commit()
    assert list(journal.history()) == [(1, b"a"), (3, b"c")]
    journal.close()
    assert read(path) == (None, [(1, b"a"), (3, b"c")])
    with pytest.raises(AssertionError, match="event 2 is committed"):
        Journal.withdraw(journal, 2)


def test_old_events_are_dropped_with_a_snapshot_only(path):
    """As many of the newest stay for the history as are kept, by count."""
    journal = Journal(path, keep_events=3)
    for _ in range(10):
        journal.append(b"event")
    journal.commit()
    assert len(list(journal.history())) == 10
    journal.snapshot(b"state")
    journal.append(b"event")
    journal.commit()
    assert [number for number, _ in journal.history()] == [8, 9, 10, 11]
    assert [number for number, _ in journal.history(since=9)] == [10, 11]
    assert list(journal.history(since=11)) == []
    journal.close()
    assert read(path) == (b"state", [(11, b"event")])


def test_the_files_stay_small_however_much_is_written(path):
    """Bounded by what is kept and the log's own bound, over forty times as much; a burst's room is given back."""
    journal = Journal(path, keep_bytes=2**18, limit_bytes=2**24)
    sizes = []
    for burst in (1, 1, 1, 1, 20, 1, 1, 1, 1, 1, 1, 1, 1):
        for _ in range(burst):
            for _ in range(32):
                journal.append(bytes(2**14))
            journal.commit()
        journal.snapshot(b"state" * 1000)
        sizes.append(path.stat().st_size)
    assert journal.size_bytes < 12 * 2**20
    assert max(sizes[-4:]) < 2 * 2**20
    journal.close()
    assert path.stat().st_size < 2 * 2**20


def test_beyond_its_limit_no_new_tasks_are_taken_until_a_snapshot_makes_room(path):
    """What has been promised is written all the same."""
    journal = Journal(path, limit_bytes=10_000)
    for _ in range(20):
        journal.append(bytes(1000))
    journal.commit()
    assert not journal.accepting
    journal.append(b"the end of a task")
    journal.commit()
    journal.snapshot(b"state")
    assert journal.accepting
    journal.close()


def test_a_second_writer_is_refused_by_the_name_of_the_first(path):
    """In one line, from another process and from this one; with the first gone the next one may."""
    journal = Journal(path)
    script = "import sys, pathlib, splitplace.placement.broker.journal as j; j.Journal(pathlib.Path(sys.argv[1]))"
    other = subprocess.run([sys.executable, "-c", script, path], capture_output=True, text=True, check=False)
    said = other.stderr.strip().splitlines()[-1]
    assert said.endswith(f"{path.parent}: process {os.getpid()} writes there: stop it first, or give another folder")
    with pytest.raises(NotReadyError, match="this process writes there already"):
        Journal(path)
    journal.close()
    Journal(path).close()


def test_a_killed_writer_locks_nobody_out(path):
    """Nor does a child that it had forked off, and that has all its files open."""
    script = """
import os, pathlib, sys, time
from splitplace.placement.broker.journal import Journal
journal = Journal(pathlib.Path(sys.argv[1]))
journal.append(b"committed")
journal.commit()
if child := os.fork():
    print(child, flush=True)
time.sleep(600)
"""
    with subprocess.Popen([sys.executable, "-c", script, path], stdout=subprocess.PIPE, text=True) as writer:
        child = int(writer.stdout.readline())
        try:
            with pytest.raises(NotReadyError, match=f"process {writer.pid} writes there"):
                Journal(path)
            writer.kill()
            writer.wait()
            assert read(path) == (None, [(1, b"committed")])
        finally:
            os.kill(child, signal.SIGKILL)


def test_history_is_read_while_another_writes_and_changes_nothing(path):
    """Events as of when it was asked for; a snapshot that drops some meanwhile is no damage."""
    journal = Journal(path, keep_events=10)
    for number in range(1000):
        journal.append(b"%d" % number)
    journal.commit()
    reading = events(path)
    assert next(reading) == (1, b"0")
    journal.append(b"later")
    journal.snapshot(b"state")
    numbers = [number for number, _ in reading]
    assert numbers[0] == 2
    assert numbers[-1] == 1000
    assert numbers == sorted(set(numbers))
    assert [number for number, _ in events(path)] == list(range(992, 1002))
    journal.close()


def test_history_of_a_closed_journal(path):
    """Nobody need run, and nothing is written."""
    write(path, b"one", b"two")
    before = path.read_bytes()
    assert list(events(path)) == [(1, b"one"), (2, b"two")]
    assert path.read_bytes() == before
    with pytest.raises(NotFoundError, match="no journal"):
        next(events(path.with_name("other.db")))


def test_another_version_is_refused(path, monkeypatch):
    """Before anything else is looked at."""
    with monkeypatch.context() as other:
        other.setattr(database, "BROKER_JOURNAL", Format("broker's journal", NEWER, "x"))
        write(path, b"of the future")
    for use in (lambda: Journal(path), lambda: next(events(path))):
        with pytest.raises(
            ContractError, match=f"a broker's journal of format {NEWER}, and this splitplace, which is older"
        ):
            use()


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        ("UPDATE event SET body = 'B' WHERE sequence = 2", "event 2 is damaged"),
        ("UPDATE event SET body = NULL WHERE sequence = 2", "event 2 is damaged"),
        ("UPDATE event SET chain = zeroblob(16) WHERE sequence = 2", "event 2 is damaged"),
        ("DELETE FROM event WHERE sequence = 2", "event 2 is missing"),
        ("DELETE FROM event WHERE sequence = 3", "events 3 to 3 were committed and are not there"),
        ("DELETE FROM event", "events 1 to 3 were committed and are not there"),
        ("UPDATE header SET number = 1 WHERE name = 'kept'", "header's row `kept` is damaged"),
        ("UPDATE header SET number = 99 WHERE name = 'format'", "header's row `format` is damaged"),
        ("CREATE TABLE other (x)", "its tables are not those"),
    ],
)
def test_a_row_that_was_changed_or_taken_is_named(path, damage, said):
    """Whoever did it."""
    write(path, b"a", b"b", b"c")
    database = sqlite3.connect(path)
    database.execute(damage)
    database.commit()
    database.close()
    with pytest.raises(IntegrityError, match=said):
        read(path)


def test_a_snapshot_that_was_changed_or_taken_is_named(path):
    """Events that it stood for are gone, so nothing could take its place."""
    journal = Journal(path, keep_events=0)
    journal.append(b"a")
    journal.snapshot(b"state")
    journal.close()
    for damage, said in (
        ("UPDATE snapshot SET body = 'other'", "the snapshot after event 1 is damaged"),
        ("DELETE FROM snapshot", "the snapshot is missing"),
    ):
        database = sqlite3.connect(path)
        database.execute(damage)
        database.commit()
        database.close()
        with pytest.raises(IntegrityError, match=said):
            read(path)


def test_what_is_no_database_is_named(path):
    """Not taken for a new journal."""
    path.parent.mkdir()
    path.write_bytes(b"something else" * 1000)
    with pytest.raises(IntegrityError, match=r"journal\.db is damaged: file is not a database"):
        Journal(path)
