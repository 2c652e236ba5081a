"""A disk whose every write is written down, so that any moment's loss of power, or a full disk, can be acted out.

SQLite writes through a VFS shim (apsw), all else through `os`. Of a file that Python writes, its bytes are looked at
when it is synced, of a folder its names at every step: what is between two syncs is lost in any case.
"""

import errno
import os
import shutil
import sqlite3
import stat
import tempfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import apsw
import numpy as np
import pytest

from splitplace.placement.broker import database

SECTOR = 512
"""What a disk writes whole or not at all."""


class Step(NamedTuple):
    """One thing that was done to the disk."""

    kind: str
    """`write`, `truncate`, `sync` (a file); `names` (a folder, on the disk if `offset`); `note`."""
    what: Any
    """The file's number, or the folder; of a note, what it says."""
    offset: int = 0
    data: Any = None


class Disk:
    """The folder `root`, empty at first, recorded while it is in use."""

    def __init__(self, root: Path):
        root.mkdir()
        self.root = root
        self.capacity_bytes: int | None = None
        """Of all files together; None for no bound."""
        self.steps: list[Step] = []
        self._numbers: dict[int, int] = {}
        self._held: list[int] = []

    # -- recording

    def note(self, what: Any) -> None:
        """Remember that the program was told something at this point."""
        self.steps.append(Step("note", what))

    def number(self, path: Path) -> int:
        """Of a file, whatever its name; held open, or the system would give the number again."""
        inode = path.stat().st_ino
        if inode not in self._numbers:
            self._held.append(os.open(path, os.O_RDONLY))
            self._numbers[inode] = inode
        return self._numbers[inode]

    def names(self, folder: Path, *, synced: bool = False) -> None:
        """The names in a folder."""
        if folder.is_dir() and folder.is_relative_to(self.root):
            found = {path.name: self.number(path) for path in folder.iterdir() if path.is_file()}
            folders = tuple(path.name for path in folder.iterdir() if path.is_dir())
            self.steps.append(Step("names", folder.relative_to(self.root), int(synced), (found, folders)))

    def free_bytes(self) -> int:
        """What is left."""
        if self.capacity_bytes is None:
            return 2**40
        return self.capacity_bytes - sum(path.stat().st_size for path in self.root.rglob("*") if path.is_file())

    def close(self) -> None:
        """As there."""
        """Let the files go."""
        for handle in self._held:
            os.close(handle)

    # -- what is left

    def after_loss(self, count: int, target: Path, rng: np.random.Generator | None = None) -> None:
        """The disk as the first `count` steps and a loss of power leave it.

        Args:
            count: Steps until then.
            target: A folder to make it in.
            rng: Of what was not synced, sectors and names are there as they fall; without, none of them.
        """
        synced: dict[int, bytearray] = {}
        late: dict[int, list[Step]] = {}
        listing: dict[Path, tuple[dict[str, int], tuple[str, ...]]] = {}
        for step in self.steps[:count]:
            if step.kind in ("write", "truncate"):
                late.setdefault(step.what, []).append(step)
            elif step.kind == "sync":
                for done in late.pop(step.what, []):
                    _apply(done, synced.setdefault(step.what, bytearray()))
            elif step.kind == "names" and (step.offset or (rng is not None and rng.random() < 0.5)):
                listing[step.what] = step.data
        for number, steps in late.items() if rng is not None else ():
            for step in steps:
                _apply_some(step, synced.setdefault(number, bytearray()), rng)
        _lay_out(target, listing, synced)

    def after_kill(self, count: int, root: Path) -> "Disk":
        """A disk in use again, in another folder, after the first `count` steps and the end of who took them.

        All is as it was written, and as little of it is synced as was.
        """
        written: dict[int, bytearray] = {}
        listing = {}
        for step in self.steps[:count]:
            if step.kind in ("write", "truncate"):
                _apply(step, written.setdefault(step.what, bytearray()))
            elif step.kind == "names":
                listing[step.what] = step.data
        disk = Disk(root)
        disk.steps = self.steps[:count]
        disk._numbers = {path.stat().st_ino: number for path, number in _lay_out(root, listing, written).items()}
        return disk


def _lay_out(target: Path, listing: dict[Path, Any], content: dict[int, bytearray]) -> dict[Path, int]:
    """Make the files of a folder that are reached from it by name; the number of each."""
    files = {}
    folders = [Path()]
    for folder in folders:
        (target / folder).mkdir(parents=True, exist_ok=True)
        names, below = listing.get(folder, ({}, ()))
        for name, number in names.items():
            (target / folder / name).write_bytes(content.get(number, b""))
            files[target / folder / name] = number
        folders += [folder / name for name in below]
    return files


def _apply(step: Step, content: bytearray) -> None:
    if step.kind == "truncate":
        del content[step.offset :]
        content.extend(bytes(step.offset - len(content)))
        return
    content.extend(bytes(max(0, step.offset - len(content))))
    content[step.offset : step.offset + len(step.data)] = step.data


def _apply_some(step: Step, content: bytearray, rng: np.random.Generator) -> None:
    if step.kind == "truncate":
        if rng.random() < 0.5:
            _apply(step, content)
        return
    for start in range(0, len(step.data), SECTOR):
        if rng.random() < 0.5:
            _apply(Step("write", step.what, step.offset + start, step.data[start : start + SECTOR]), content)


class RecordedFile(apsw.VFSFile):
    """A file of SQLite's on a recorded disk."""

    def __init__(self, disk: Disk, name: Any, flags: list[int]):
        path = Path(name.filename() if isinstance(name, apsw.URIFilename) else name)
        # As SQLite's own VFS: the folder is synced with the first sync of a new log or journal.
        kinds = apsw.SQLITE_OPEN_WAL | apsw.SQLITE_OPEN_MAIN_JOURNAL
        self.sync_folder = not path.exists() and bool(flags[0] & kinds)
        super().__init__("", name, flags)
        self.disk, self.path = disk, path
        self.number = disk.number(path)
        disk.names(path.parent)

    def xWrite(self, data: bytes, offset: int) -> None:  # noqa: N802
        """Refused where the disk is full."""
        growth = offset + len(data) - self.xFileSize()
        if growth > 0 and growth > self.disk.free_bytes():
            raise apsw.FullError("the disk is full")
        self.disk.steps.append(Step("write", self.number, offset, bytes(data)))
        super().xWrite(data, offset)

    def xTruncate(self, size: int) -> None:  # noqa: N802
        """A file that is cut."""
        self.disk.steps.append(Step("truncate", self.number, size))
        super().xTruncate(size)

    def xSync(self, flags: int) -> None:  # noqa: N802
        """What was written is on the disk."""
        self.disk.steps.append(Step("sync", self.number))
        if self.sync_folder:
            self.disk.names(self.path.parent, synced=True)
            self.sync_folder = False
        super().xSync(flags)


class RecordedSystem(apsw.VFS):
    """SQLite's file system on a recorded disk."""

    def __init__(self, disk: Disk, name: str):
        self.disk = disk
        super().__init__(name, "")

    def xOpen(self, name: Any, flags: list[int]) -> RecordedFile:  # noqa: N802
        """A file of this disk."""
        return RecordedFile(self.disk, name, flags)

    def xDelete(self, name: str, sync_folder: bool) -> None:  # noqa: N802
        """A name less."""
        super().xDelete(name, sync_folder)
        self.disk.names(Path(name).parent, synced=sync_folder)


class Connection:
    """What the journal uses of `sqlite3.Connection`, by apsw."""

    def __init__(self, path: Path, vfs: str):
        self._database = apsw.Connection(str(path), vfs=vfs)
        self._database.row_trace = lambda _, row: tuple(v.encode() if isinstance(v, str) else v for v in row)
        self.execute("PRAGMA locking_mode = EXCLUSIVE")  # apsw's shims have no shared memory

    def execute(self, sql: str, values: Any = ()) -> Any:
        """One statement."""
        return self._said(self._database.execute, sql, values)

    executescript = execute

    def executemany(self, sql: str, rows: Any) -> Any:
        """One statement, for each row."""
        return self._said(self._database.executemany, sql, rows)

    @property
    def in_transaction(self) -> bool:
        """As there."""
        return self._database.in_transaction

    def close(self) -> None:
        """As there."""
        self._said(self._database.close)

    @staticmethod
    def _said(call: Any, *arguments: Any) -> Any:
        try:
            return call(*arguments)
        except apsw.Error as error:
            ours = sqlite3.OperationalError(str(error))
            ours.sqlite_errorcode = getattr(error, "extendedresult", apsw.SQLITE_FULL)  # the shim's own has none
            raise ours from error


@pytest.fixture
def memory_path() -> Iterator[Path]:
    """A folder where a sync costs nothing, if the machine has one."""
    place = Path("/dev/shm")  # noqa: S108 - made for this, with a name of its own below
    path = Path(tempfile.mkdtemp(prefix="splitplace-", dir=place if os.access(place, os.W_OK) else None))
    yield path
    shutil.rmtree(path)


@pytest.fixture
def disk(memory_path: Path) -> Iterator[Disk]:
    """A disk to be recorded, on which nothing is yet."""
    disk = Disk(memory_path / "disk")
    yield disk
    disk.close()


@contextmanager
def recording(disk: Disk) -> Iterator[None]:
    """Within, what the broker's modules write below the disk's root is written down."""
    vfs = RecordedSystem(disk, name := f"recorded-{id(disk)}")
    system = {name: getattr(os, name) for name in ("fsync", "pwrite", "ftruncate", "truncate", "replace", "unlink")}
    allocate, space = os.posix_fallocate, os.fstatvfs

    def ours(file: int | Path) -> Path | None:
        path = Path(f"/proc/self/fd/{file}").resolve() if isinstance(file, int) else Path(file)
        return path if path.is_relative_to(disk.root) else None

    def fsync(handle: int) -> None:
        if (path := ours(handle)) and stat.S_ISDIR(os.fstat(handle).st_mode):
            disk.names(path, synced=True)
        elif path:
            if disk.free_bytes() < 0:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            if path.suffix not in (".db", ".sqlite") and not path.name.endswith(
                "-wal"
            ):  # SQLite's: each write is known
                disk.names(path.parent)
                disk.steps.append(Step("truncate", disk.number(path), 0))
                disk.steps.append(Step("write", disk.number(path), 0, path.read_bytes()))
            disk.steps.append(Step("sync", disk.number(path)))
        system["fsync"](handle)

    def pwrite(handle: int, data: bytes, offset: int) -> int:
        if path := ours(handle):
            disk.names(path.parent)
            disk.steps.append(Step("write", disk.number(path), offset, bytes(data)))
        return system["pwrite"](handle, data, offset)

    def cut(call: Any) -> Any:
        def recorded(file: int | Path, size: int) -> None:
            if path := ours(file):
                disk.steps.append(Step("truncate", disk.number(path), size))
            call(file, size)

        return recorded

    def named(call: Any) -> Any:
        def recorded(*paths: Path) -> None:
            call(*paths)
            disk.names(Path(paths[-1]).parent)

        return recorded

    def posix_fallocate(handle: int, offset: int, size: int) -> None:
        if ours(handle) and disk.free_bytes() < size:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        allocate(handle, offset, size)

    def fstatvfs(handle: int) -> Any:
        if ours(handle) is None:
            return space(handle)
        return os.statvfs_result((1, 1, 0, 0, max(0, disk.free_bytes()), 0, 0, 0, 0, 255))

    with pytest.MonkeyPatch.context() as patch:
        for call in (fsync, pwrite, posix_fallocate, fstatvfs):
            patch.setattr(os, call.__name__, call)
        for call in ("ftruncate", "truncate"):
            patch.setattr(os, call, cut(system[call]))
        for call in ("replace", "unlink"):
            patch.setattr(os, call, named(system[call]))
        patch.setattr(database, "connect", lambda path, _: Connection(path, name))
        yield
    vfs.unregister()


@pytest.fixture
def recorded() -> Callable[[Disk], AbstractContextManager[None]]:
    """The context manager above."""
    return recording
