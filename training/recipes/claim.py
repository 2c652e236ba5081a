"""One training at a time in a RUN folder: who comes second waits for the same run, and is refused another."""

import fcntl
import hashlib
import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from lightning_utilities.core.rank_zero import rank_zero_only

from splitplace import lock_files
from splitplace.training import run as runs
from splitplace.training.config import TrainingRequest

_log = logging.getLogger(__name__)


@contextmanager
def claimed(path: Path, request: TrainingRequest) -> Iterator[None]:
    """Have the RUN folder to oneself for as long as the block, or this process, lasts.

    Where another process trains the same run there, this waits until it has ended. Of several processes that train
    together, the first has it for all. On a file system without locks, nobody has it.

    Args:
        path: The RUN folder. The lock lies beside it, since a finished run takes the folder's place.
        request: What is to be trained in it.

    Raises:
        OtherRunError: Another process trains something else there.
        OSError: The folder above it cannot be made or written to.
    """
    if getattr(rank_zero_only, "rank", 0):
        yield
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    file = lock_of(path)
    while True:
        with lock_files.opened(file) as handle:
            locked = _locked(handle, file, path, request)
            if locked and not _stands(handle, file):
                continue  # who had it has taken it away
            try:
                if locked:
                    os.ftruncate(handle, 0)
                    os.pwrite(handle, request.model_dump_json().encode(), 0)
                yield
            finally:
                if _stands(handle, file):
                    file.unlink()
            return


def lock_of(path: Path) -> Path:
    """The file whose lock says that a process trains in this RUN folder; it holds that one's request."""
    return path.with_name(f".lock-{path.name[:32]}-{hashlib.sha256(path.name.encode()).hexdigest()[:12]}")


def _locked(handle: int, file: Path, path: Path, request: TrainingRequest) -> bool:
    """Whether the lock was got, now or when the other process had ended; not, where there are no locks."""
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        theirs = os.pread(handle, os.fstat(handle).st_size, 0)
        if theirs:  # else it has only just come
            runs.check_same(TrainingRequest.parse(theirs, str(file)), request, path)
        _log.warning("another process is training %s: waiting for it to end", path)
        fcntl.flock(handle, fcntl.LOCK_EX)
    except OSError:
        return False
    return True


def _stands(handle: int, file: Path) -> bool:
    """Whether the file that is locked is the one that others find there."""
    with suppress(FileNotFoundError):
        return os.path.samestat(os.fstat(handle), file.stat())
    return False
