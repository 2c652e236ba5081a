"""A lock that says which process it is, is that process's alone."""

import fcntl
import os
import signal

import pytest

from splitplace import lock_files

pytestmark = pytest.mark.base


def locked(handle):
    """Whether it could be."""
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def test_one_holds_it_at_a_time(tmp_path):
    """Of two who open the file; it is this user's."""
    path = tmp_path / "lock"
    with lock_files.opened(path) as first, lock_files.opened(path) as second:
        assert locked(first) and not locked(second)
    with lock_files.opened(path) as third:
        assert locked(third)
    assert path.stat().st_mode & 0o777 == 0o600


def test_a_process_that_was_forked_off_holds_none(tmp_path):
    """However long it lives; nor is what it opens itself later closed by it twice."""
    path = tmp_path / "lock"
    held = lock_files.opened(path)
    said, told = os.pipe()
    with held as handle:
        assert locked(handle)
        child = os.fork()
        if child == 0:
            try:
                other = os.open(path, os.O_RDONLY)
                held.__exit__(None, None, None)
                os.fstat(other)
                os.write(told, b"!")
                signal.pause()
            finally:
                os._exit(1)
    try:
        assert os.read(said, 1) == b"!"
        with lock_files.opened(path) as handle:
            assert locked(handle)
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        os.close(said)
        os.close(told)
