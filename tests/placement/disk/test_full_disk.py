"""A full disk: new tasks are refused in one line, those taken are brought to their end, and nothing is lost."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from splitplace.errors import OverloadedError
from splitplace.placement.broker.journal import Journal
from splitplace.placement.broker.journal_reader import events
from splitplace.placement.broker.safeguards import Ballast
from splitplace.placement.broker.spool import Spool

BALLAST, DISK = 8 * 2**20, 20 * 2**20


class Fleet:
    """Takes tasks of an input, small and large in turn, and ends them; what was acknowledged is on disk."""

    def __init__(self, folder):
        self.journal = Journal(folder / "journal.db", ballast_bytes=BALLAST, keep_events=10)
        self.spool = Spool(folder / "spool", 2**30, self.journal)
        self.acknowledged, self.ended = {}, 0

    def take(self, number):
        """A task; False if it was refused."""
        if not self.journal.accepting:
            return False
        data = b"%d" % number * (1000 if number % 2 else 25_000)
        key = self.spool.put(data)
        sequence = self.journal.append(b"comes %d " % number + key.encode())
        try:
            self.journal.commit()
        except OverloadedError as error:
            assert "\n" not in str(error)
            self.journal.withdraw(sequence)
            self.spool.drop(key)
            return False
        self.acknowledged[key] = data
        return True

    def end(self):
        """Every task, with a result each."""
        for key in list(self.acknowledged):
            self.journal.append(b"result of " + self.spool.put(b"of " + key.encode()).encode())
            self.spool.drop(key)
            del self.acknowledged[key]
            self.ended += 1
            self.journal.commit()


def fill(fleet):
    """Tasks until one is refused; the number of those taken."""
    number = 0
    while fleet.take(number):
        number += 1
        assert number < 1000
    return number


def test_a_full_disk_refuses_tasks_and_loses_none(disk, recorded):
    """The refused one is not there after a restart, and the ballast is enough for the others' ends."""
    disk.capacity_bytes = DISK
    with recorded(disk):
        fleet = Fleet(disk.root)
        assert fleet.journal.accepting
        taken = fill(fleet)
        assert taken > 3
        assert not fleet.journal.accepting
        fleet.end()
        fleet.journal.close()
        bodies = [body for _, body in events(fleet.journal.path)]
    assert [body.split()[0] for body in bodies] == [b"comes"] * taken + [b"result"] * taken


def test_where_there_is_room_again_tasks_are_taken_again(disk, recorded):
    """The ballast is made anew first."""
    disk.capacity_bytes = DISK
    with recorded(disk):
        fleet = Fleet(disk.root)
        taken = fill(fleet)
        assert not fleet.take(taken)
        fleet.end()
        fleet.journal.snapshot(b"state")
        assert not fleet.journal.accepting
        disk.capacity_bytes = 3 * DISK
        fleet.journal.commit()
        assert fleet.journal.accepting
        assert (disk.root / "journal.ballast").stat().st_size == BALLAST
        assert fleet.take(taken)
        fleet.journal.close()


def test_what_could_not_be_written_is_written_later(disk, recorded):
    """Without the ballast's room too: it waits, in order, and nothing of it is lost or doubled."""
    with recorded(disk):
        fleet = Fleet(disk.root)
        fleet.take(1)
        disk.capacity_bytes = 1
        for number in range(3):
            fleet.journal.append(b"end %d" % number)
            with pytest.raises(
                OverloadedError, match=r"journal\.db: cannot be written \(the disk is full\): make room"
            ):
                fleet.journal.commit()
        with pytest.raises(OverloadedError):
            fleet.journal.snapshot(b"state")
        disk.capacity_bytes = None
        fleet.journal.commit()
        body, later = fleet.journal.replay()
        assert [body, *(event[:5] for _, event in later)] == [None, b"comes", b"end 0", b"end 1", b"end 2"]
        fleet.journal.close()


def test_a_disk_too_full_for_the_ballast_takes_no_tasks(disk, recorded):
    """From the start."""
    disk.capacity_bytes = BALLAST + 2**20
    with recorded(disk):
        fleet = Fleet(disk.root)
        assert not fleet.journal.accepting
        fleet.take(0)
        assert not fleet.journal.accepting
        fleet.journal.close()


def test_files_that_may_not_grow_are_a_full_disk_too(tmp_path):
    """By the system's own limit, against SQLite as Python has it: refused, kept, and written when it may be."""
    done = subprocess.run([sys.executable, __file__, tmp_path], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    journal = Journal(tmp_path / "journal.db")
    bodies = [body for _, body in journal.history()]
    journal.close()
    taken = int(done.stdout)
    assert taken > 3
    assert [body.split()[0] for body in bodies] == [b"comes"] * taken + [b"result"] * taken + [b"after"]


if __name__ == "__main__":
    import resource

    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    fleet = Fleet(Path(sys.argv[1]))
    resource.setrlimit(resource.RLIMIT_FSIZE, (2**20, resource.RLIM_INFINITY))
    taken = fill(fleet)
    assert not fleet.take(taken)
    resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    fleet.end()
    fleet.journal.append(b"after")
    fleet.journal.commit()
    assert fleet.journal.accepting
    print(taken)
    os._exit(0)  # and is not closed


def test_a_ballast_that_cannot_even_be_opened_is_not_held(tmp_path):
    """Of a disk that takes nothing any more, as one that the system has made read-only: it raises nothing."""
    ballast = Ballast(tmp_path / "ballast", 4096)
    assert ballast.held
    ballast.path.unlink()
    ballast.path.mkdir()
    ballast.release()
    ballast.restore()
    assert not ballast.held
    ballast.path.rmdir()
    ballast.restore()
    assert ballast.held
