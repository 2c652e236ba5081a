"""What stands beside a journal: who may write, how far it once got, and room for what has been promised."""

import fcntl
import os
import struct
from contextlib import suppress
from hashlib import blake2b
from pathlib import Path
from typing import ClassVar

from splitplace.errors import NotReadyError


class WriterLock:
    """One writer: a lock of the system's, which goes with the process that holds it, however that ends.

    A POSIX record lock, since those of `flock` live on in children that were forked off and outlive their parent.

    Raises:
        NotReadyError: Another process has it, or this one already.
    """

    _held: ClassVar[set[tuple[int, int]]] = (
        set()
    )  # the system lets a process lock twice, and lets go at the first close

    def __init__(self, path: Path):
        handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
        status = os.fstat(handle)
        self._file = status.st_dev, status.st_ino
        if self._file in self._held:
            raise NotReadyError(f"{path.parent}: this process writes there already: close that first")
        try:
            fcntl.lockf(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            holder = os.read(handle, 20).decode("ascii", "replace").strip() or "unknown"
            os.close(handle)
            raise NotReadyError(
                f"{path.parent}: process {holder} writes there: stop it first, or give another folder"
            ) from error
        os.ftruncate(handle, 0)
        os.pwrite(handle, f"{os.getpid()}\n".encode(), 0)
        self._held.add(self._file)
        self._handle = handle

    def close(self) -> None:
        """Let another in."""
        self._held.discard(self._file)
        os.close(self._handle)


class HighWaterMark:
    """The last event that was committed, in a file of its own, written after each commit and rarely synced.

    Why: SQLite takes the first frame of its write-ahead log whose checksum is wrong for the log's end. A power loss may
    leave one, in what was not committed; a flipped bit may make one of what was, and silently take back all from there.
    The mark tells them apart: it is never ahead of what was synced. A power loss may leave it behind, or torn (then it
    says nothing).
    """

    _FORM = struct.Struct("<q16s8s")

    def __init__(self, path: Path):
        self._handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)

    def read(self) -> tuple[int, bytes] | None:
        """The event's sequence number and chained checksum; None if it says nothing."""
        data = os.pread(self._handle, self._FORM.size + 1, 0)
        if len(data) != self._FORM.size:
            return None
        sequence, chain, check = self._FORM.unpack(data)
        return (sequence, chain) if check == self._check(data) else None

    def write(self, sequence: int, chain: bytes, *, sync: bool = False) -> None:
        """State that all up to this event is on the disk."""
        data = self._FORM.pack(sequence, chain, b"")
        with suppress(OSError):  # then it is behind, as it may be
            os.pwrite(self._handle, data[:-8] + self._check(data), 0)
            if sync:
                os.fsync(self._handle)

    def close(self) -> None:
        """Close the file."""
        os.close(self._handle)

    @staticmethod
    def _check(data: bytes) -> bytes:
        return blake2b(data[:-8], digest_size=8, person=b"high water").digest()


class Ballast:
    """Disk space held in reserve: given back when the disk is full, so that what was promised can be brought to an end.

    Args:
        path: Of the file that holds it.
        size_bytes: How much; 0 for none.
    """

    def __init__(self, path: Path, size_bytes: int):
        self.path, self.size_bytes = path, size_bytes
        self.held = False
        self.restore()

    def release(self) -> None:
        """Give the space back."""
        self.held = False
        with suppress(OSError):  # it is not there; or nothing can be written, where there is no space to give either
            os.truncate(self.path, 0)

    def restore(self) -> None:
        """Take the space, if the disk would have as much again beside it."""
        if self.held:
            return
        try:
            handle = os.open(self.path, os.O_RDWR | os.O_CREAT, 0o600)
        except OSError:  # of a disk that takes nothing: it is tried again
            return
        try:
            if os.fstat(handle).st_size != self.size_bytes:
                space = os.fstatvfs(handle)
                if space.f_bavail * space.f_frsize < 2 * self.size_bytes:
                    return
                os.posix_fallocate(handle, 0, max(1, self.size_bytes))
                os.ftruncate(handle, self.size_bytes)
            self.held = True
        except OSError:  # no room after all: nothing is lost, and it is tried again
            with suppress(OSError):
                os.ftruncate(handle, 0)
        finally:
            os.close(handle)


class Whereabouts:
    """Where files were when they were opened: what is written to a file that was removed is kept by nobody.

    Args:
        paths: Of the files; one that is not there yet may come.
    """

    def __init__(self, *paths: Path):
        self._paths = paths
        self._known: dict[Path, tuple[int, int]] = {}
        self.lost: str | None = None
        """What is wrong, as of the last `check`; None if nothing is."""
        self.check()

    def check(self) -> None:
        """Look whether they are still there, and are these."""
        self.lost = None
        for path in self._paths:
            found = _number(path)
            if found is not None:
                self._known.setdefault(path, found)
            if self._known.get(path) != found:
                what = "was moved or removed" if found is None else "was replaced by another file"
                self.lost = f"{path} {what} while the fleet ran: put it back, or stop the fleet (process {os.getpid()})"
                return


def _number(path: Path) -> tuple[int, int] | None:
    """Of a file, by which the system knows it; None if it is not there."""
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino
