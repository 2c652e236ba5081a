"""The spool: payloads by digest, durable with the journal's commit, verified when read."""

import errno
import hashlib
import os
import sqlite3

import numpy as np
import pytest

from splitplace.errors import IntegrityError, OverloadedError
from splitplace.placement.broker import spool
from splitplace.placement.broker.journal import Journal
from splitplace.placement.broker.spool import SMALL_BYTES, Spool

pytestmark = pytest.mark.base
SMALL, LARGE = b"small", bytes(SMALL_BYTES + 1)


class Place:
    """A folder with a journal and a spool that can be closed and opened again."""

    def __init__(self, folder, quota_bytes=2**20):
        self.folder, self.quota_bytes = folder, quota_bytes
        self.open()

    def open(self):
        """As a restart does."""
        self.journal = Journal(self.folder / "journal.db", ballast_bytes=0)
        self.spool = Spool(self.folder / "spool", self.quota_bytes, self.journal)

    def again(self):
        """Closed without a flush, and opened."""
        self.journal.close()
        self.open()
        return self.spool

    def files(self):
        """In the spool's folder."""
        return sorted(path.name for path in (self.folder / "spool").iterdir())


@pytest.fixture
def place(tmp_path):
    """An empty one."""
    place = Place(tmp_path)
    yield place
    place.journal.close()


@pytest.mark.parametrize("data", [b"", SMALL, LARGE, bytearray(b"array"), memoryview(b"view")], ids=len)
def test_what_was_flushed_is_there_after_a_restart(place, data):
    """By the sha256 of its bytes, before the flush as after it."""
    key = place.spool.put(data)
    assert key == "sha256:" + hashlib.sha256(data).hexdigest()
    assert place.spool.get(key) == bytes(data)
    place.spool.flush()
    assert place.spool.get(key) == bytes(data)
    spool = place.again()
    spool.keep([key])
    assert spool.get(key) == bytes(data)
    assert spool.size_bytes == len(data)


def test_an_array_that_cannot_be_written_to_is_taken_as_it_is(place):
    """Its elements in order, as a row and as a file, before the flush as after it."""
    for size in (6, 10**5):
        images = np.arange(size, dtype=np.float32).reshape(2, -1)
        images.flags.writeable = False
        key = place.spool.put(images)
        assert place.spool.get(key) == images.tobytes()
        place.spool.flush()
        assert place.spool.get(key) == images.tobytes()


def test_an_array_is_copied_as_its_elements_lie_in_order(place):
    """Strided or not; what becomes of it afterwards changes nothing."""
    images = np.arange(24, dtype=np.float32).reshape(4, 6)
    key = place.spool.put(images[:, ::2])
    expected = images[:, ::2].tobytes()
    images[:] = 0
    place.spool.flush()
    assert place.spool.get(key) == expected


def test_the_journals_commit_is_a_flush(place):
    """So an event never speaks of a payload that is not there."""
    keys = [place.spool.put(SMALL), place.spool.put(LARGE)]
    place.journal.append(b"accepted")
    place.journal.commit()
    spool = place.again()
    spool.keep(keys)
    assert [spool.get(key) for key in keys] == [SMALL, LARGE]


def test_small_payloads_cost_no_file_and_a_flush_one_fsync(place, monkeypatch):
    """Of the journal's, by SQLite; none by us. Large ones have one each and one for the folder."""
    synced = []
    monkeypatch.setattr(os, "fsync", lambda handle: synced.append(handle))
    for number in range(100):
        place.spool.put(b"%d" % number)
    place.spool.flush()
    assert (place.files(), synced) == ([], [])
    for number in range(3):
        place.spool.put(LARGE + b"%d" % number)
    place.spool.flush()
    assert (len(place.files()), len(synced)) == (3, 4)


@pytest.mark.parametrize("data", [SMALL, LARGE], ids=["small", "large"])
def test_what_is_the_same_is_kept_once_until_its_last_use_is_dropped(place, data):
    """Two puts, two drops; then it is gone, from the disk too."""
    key = place.spool.put(data)
    assert place.spool.put(data) == key
    assert place.spool.size_bytes == len(data)
    place.spool.flush()
    place.spool.drop(key)
    place.spool.flush()
    assert place.spool.get(key) == data
    place.spool.drop(key)
    assert place.spool.size_bytes == 0
    place.spool.flush()
    assert place.files() == []
    spool = place.again()
    assert spool.size_bytes == 0
    with pytest.raises(IntegrityError, match=f"payload {key} is missing"):
        spool.get(key)
    with pytest.raises(AssertionError, match="not in use"):
        spool.drop(key)


@pytest.mark.parametrize("data", [SMALL, LARGE], ids=["small", "large"])
def test_what_was_dropped_is_on_disk_until_that_is_flushed(place, data):
    """A restart before that finds it: the event that it is no longer needed is not on the disk either."""
    key = place.spool.put(data)
    place.spool.flush()
    place.spool.drop(key)
    spool = place.again()
    spool.keep([key])
    assert spool.get(key) == data


@pytest.mark.parametrize("data", [SMALL, LARGE], ids=["small", "large"])
def test_put_again_before_its_end_was_flushed(place, data):
    """It stays."""
    key = place.spool.put(data)
    place.spool.flush()
    place.spool.drop(key)
    place.spool.put(data)
    place.spool.flush()
    spool = place.again()
    spool.keep([key])
    assert spool.get(key) == data


def test_keep_removes_everything_else(place):
    """What a broker that died had put, for tasks that were never acknowledged; uses are counted by name."""
    keys = [place.spool.put(data) for data in (b"a", b"b", LARGE, LARGE + b"1")]
    place.spool.flush()
    (place.folder / "spool" / ".new-rest").write_bytes(b"half a file")
    spool = place.again()
    spool.keep([keys[0], keys[0], keys[2]])
    spool.flush()
    assert place.files() == [keys[2].removeprefix("sha256:")]
    spool.drop(keys[0])
    assert spool.get(keys[0]) == b"a"
    for key in (keys[1], keys[3]):
        with pytest.raises(IntegrityError, match="missing"):
            spool.get(key)


def test_above_the_quota_nothing_is_taken(place):
    """Until something was dropped; what is there already costs nothing."""
    place.spool.quota_bytes = 10
    key = place.spool.put(b"8 bytes.")
    with pytest.raises(OverloadedError, match="11 bytes of inputs and results would be kept, expected at most 10"):
        place.spool.put(b"abc")
    place.spool.put(b"8 bytes.")
    place.spool.put(b"ab")
    place.spool.drop(key)
    place.spool.drop(key)
    place.spool.put(b"abc")
    assert place.spool.size_bytes == 5


def test_a_flipped_bit_is_named(place):
    """In a file and in a row; of the file's length, too."""
    small, large, short = place.spool.put(SMALL), place.spool.put(LARGE), place.spool.put(LARGE + b"1")
    place.spool.flush()
    place.journal.close()
    (place.folder / "spool" / large[7:]).write_bytes(LARGE[:-1] + b"\x01")
    (place.folder / "spool" / short[7:]).write_bytes(LARGE)
    database = sqlite3.connect(place.folder / "journal.db")
    database.execute("UPDATE payload SET body = ?", (b"smalk",))
    database.commit()
    database.close()
    place.open()
    place.spool.keep([small, large, short])
    for key in (small, large, short):
        with pytest.raises(IntegrityError, match=f"payload {key} is damaged"):
            place.spool.get(key)


def test_what_the_system_does_not_let_be_read_is_an_error_in_a_line(place, monkeypatch):
    """As where no file is left to be opened: whoever asks hears of it, and may ask again."""
    key = place.spool.put(LARGE)
    place.spool.flush()
    with monkeypatch.context() as short:

        def no_file(*_):
            raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

        short.setattr(spool, "read_file", no_file)
        with pytest.raises(OverloadedError, match=f"payload {key}: Too many open files: .*ulimit -n"):
            place.spool.get(key)
    assert place.spool.get(key) == LARGE


@pytest.mark.parametrize("data", [SMALL, LARGE], ids=["small", "large"])
def test_what_was_prepared_is_taken_without_a_byte_being_written_again(place, monkeypatch, data):
    """Its digest and a large one's file are made by whoever prepares it; the spool's own thread names the file."""
    payload = place.spool.prepare(data)
    monkeypatch.setattr(spool, "digest", pytest.fail)
    monkeypatch.setattr(spool, "replace_files", lambda files: files and pytest.fail("written again"))
    key = place.spool.put(payload)
    place.spool.flush()
    monkeypatch.undo()
    again = place.again()
    again.keep([key])
    assert again.get(key) == data and place.files() == ([key[7:]] if data == LARGE else [])


def test_a_large_one_that_was_prepared_costs_the_flush_one_fsync(place, monkeypatch):
    """Of the folder, whose names are brought to the disk; and none is missed because the one before failed."""
    keys = [place.spool.put(place.spool.prepare(LARGE + b"%d" % number)) for number in range(3)]
    synced = []

    def fails(path):
        synced.append(path)
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(spool, "sync", fails)
    with pytest.raises(OverloadedError):
        place.spool.flush()
    monkeypatch.setattr(spool, "sync", synced.append)
    place.spool.flush()
    place.spool.flush()
    assert synced == [place.spool.folder] * 2 and len(place.files()) == len(keys) == 3


def test_what_was_prepared_and_is_not_taken_leaves_nothing(place):
    """For it is there already, or there is no room, or nobody wants it."""
    key = place.spool.put(place.spool.prepare(LARGE))
    assert place.spool.put(place.spool.prepare(LARGE)) == key
    place.spool.quota_bytes = 2 * len(LARGE)
    with pytest.raises(OverloadedError):
        place.spool.put(place.spool.prepare(LARGE + LARGE))
    place.spool.prepare(LARGE + b"1").discard()
    assert place.files() == [key[7:]]
    place.spool.prepare(LARGE + b"2")  # whose thread was killed
    assert len(place.files()) == 2
    place.again().keep([])
    assert [name for name in place.files() if name != key[7:]] == []


def test_what_the_disk_did_not_take_before_is_written_with_the_flush(place, monkeypatch):
    """Or refused there, in the flush's own words; so is one whose file has gone meanwhile."""

    def full(path, body):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(spool, "write_aside", full)
        first = place.spool.prepare(LARGE)
    second = place.spool.prepare(LARGE + b"1")
    second.discard()
    keys = [place.spool.put(first), place.spool.put(second)]
    place.spool.flush()
    again = place.again()
    again.keep(keys)
    assert [again.get(key) for key in keys] == [LARGE, LARGE + b"1"]


def test_what_was_prepared_is_kept_where_the_same_was_about_to_be_removed(place):
    """Its file has its name still: the one that was prepared is not needed, and none is missing after the flush."""
    key = place.spool.put(LARGE)
    place.spool.flush()
    place.spool.drop(key)
    assert place.spool.put(place.spool.prepare(LARGE)) == key
    place.spool.flush()
    assert place.spool.get(key) == LARGE and place.files() == [key[7:]]
