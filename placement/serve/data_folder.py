"""The data folder of a live fleet: who may enter it, which process runs in it, and where its socket is.

`broker.pid` is locked (flock) by the process that runs the fleet, for as long as it lives: however that process ends,
the system opens the lock. A number in a file that is not locked is of a process that was killed.
"""

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from splitplace import lock_files
from splitplace.errors import NotReadyError, UsageError

DEFAULT = "splitplace-fleet"
"""In the current folder: what the commands take where no other is named."""
MAX_SOCKET_PATH = 107
"""Bytes of a socket's path that Linux takes."""
CLAIM_TRIES, CLAIM_PAUSE_S = 20, 0.05
"""Who only looks whether the lock is held has it for a moment."""


class DataFolder:
    """Where one live fleet keeps what it needs and what it leaves behind.

    Args:
        path: Of the folder; it may not be there yet.
    """

    def __init__(self, path: str | Path = DEFAULT):
        self.path = Path(path).absolute()
        self._claim: int | None = None
        """The pid file's descriptor, while this process runs the fleet."""

    @property
    def socket(self) -> Path:
        """Where clients knock."""
        return self.path / "broker.sock"

    @property
    def pid_file(self) -> Path:
        """Holds the number of the process that runs the fleet, which locks it."""
        return self.path / "broker.pid"

    @property
    def log(self) -> Path:
        """What a detached fleet has to say."""
        return self.path / "broker.log"

    @property
    def history(self) -> Path:
        """The events of the last run."""
        return self.path / "history.jsonl"

    def prepare(self) -> None:
        """Make the folder, for this user alone.

        Raises:
            UsageError: It is somebody else's, or others may enter it, or there is a pipe in it.
            OSError: It cannot be made.
        """
        self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
        about = self.path.stat()
        if about.st_uid != os.geteuid():
            raise UsageError(f"--data {self.path}: belongs to user {about.st_uid}: name a folder of your own")
        if about.st_mode & 0o077:
            raise UsageError(
                f"--data {self.path}: other users may enter it (mode {about.st_mode & 0o777:o}): chmod 700 it, or name "
                "one that is not there yet"
            )
        for path in self.path.iterdir():
            if path.is_fifo():
                raise UsageError(f"--data {path}: a pipe, which is waited for without end, expected a file: remove it")

    @contextmanager
    def claimed(self) -> Iterator[None]:
        """Be the one process that runs a fleet here.

        Raises:
            NotReadyError: Another one does.
        """
        process = os.getpid()
        with lock_files.opened(self.pid_file) as handle:
            for left in reversed(range(CLAIM_TRIES)):
                try:
                    fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except BlockingIOError as error:
                    if left == 0:
                        raise self._taken(self._number()) from error
                    time.sleep(CLAIM_PAUSE_S)
            self.socket.unlink(missing_ok=True)  # of one that was killed
            os.ftruncate(handle, 0)
            os.write(handle, f"{os.getpid()}\n".encode())
            self._claim = handle
            try:
                yield
            finally:
                if os.getpid() == process:
                    self.remove_socket()
                    os.ftruncate(handle, 0)
                self._claim = None

    def remove_socket(self) -> None:
        """Let nobody in any more; a fleet that has been started in another folder of this name keeps its own."""
        with suppress(OSError):
            if self._claim is None or os.path.samestat(os.fstat(self._claim), self.pid_file.stat()):
                self.socket.unlink()

    def check_claim(self) -> None:
        """Hold that others still find the fleet that this process runs here.

        Raises:
            NotReadyError: The folder, or its pid file, was removed: nobody does, and another one may begin here.
        """
        if self._claim is not None and not os.fstat(self._claim).st_nlink:
            raise NotReadyError(
                f"{self.pid_file} was removed while the fleet ran, so that nobody could find it any more: it has "
                "ended, start another one"
            )

    def check_free(self) -> None:
        """Refuse a folder that a fleet runs in.

        Raises:
            NotReadyError: One does.
        """
        if (pid := self.running()) is not None:
            raise self._taken(pid)

    def _taken(self, pid: int) -> NotReadyError:
        return NotReadyError(
            f"a fleet runs in {self.path} already (process {pid}): stop it with `splitplace fleet stop`, or name "
            "another --data"
        )

    def running(self) -> int | None:
        """The process that runs a fleet here; none if none does."""
        try:
            handle = os.open(self.pid_file, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
        except OSError:
            return None
        try:
            fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return self._number()
        finally:
            os.close(handle)
        return None

    def absent(self) -> NotReadyError:
        """Why nobody answers at the socket, and what to do."""
        if (pid := self.running()) is not None:
            return NotReadyError(f"the fleet in {self.path} (process {pid}) is starting or ending: try again")
        if pid := self._number():
            return NotReadyError(
                f"the fleet in {self.path} (process {pid}) was killed: start it again with `splitplace fleet start`"
            )
        return NotReadyError(
            f"no fleet runs in {self.path}: start one with `splitplace fleet start`, or name its folder with --data"
        )

    @contextmanager
    def address(self) -> Iterator[str]:
        """The socket's path as the system takes it: of a long one, by way of the folder's handle."""
        if len(os.fsencode(self.socket)) <= MAX_SOCKET_PATH:
            yield str(self.socket)
            return
        handle = os.open(self.path, os.O_PATH | os.O_DIRECTORY)
        try:
            yield f"/proc/self/fd/{handle}/{self.socket.name}"
        finally:
            os.close(handle)

    def _number(self) -> int:
        """What stands in the pid file; 0 if nothing does."""
        with suppress(OSError, ValueError):
            if self.pid_file.is_file():  # a pipe would be waited for
                return int(self.pid_file.read_bytes()[:20])
        return 0
