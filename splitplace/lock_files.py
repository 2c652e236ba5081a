"""Files whose lock (flock) says which process it is: held for as long as that one lives, however it ends."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_OPEN: set[int] = set()
"""Descriptors of this process alone."""


def _let_go() -> None:
    """In a process that was forked off: a lock is held for as long as anybody has its descriptor open."""
    for handle in _OPEN:
        os.close(handle)
    _OPEN.clear()


os.register_at_fork(after_in_child=_let_go)


@contextmanager
def opened(path: Path) -> Iterator[int]:
    """A file to lock, made for this user alone; a process that is forked off meanwhile has no part in the lock.

    Raises:
        OSError: It cannot be opened, or is a link.
    """
    handle, process = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600), os.getpid()
    _OPEN.add(handle)
    try:
        yield handle
    finally:
        if os.getpid() == process:
            _OPEN.discard(handle)
            os.close(handle)
