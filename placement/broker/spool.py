"""Inputs and results of tasks, on disk, by the digest of their bytes: written once, verified when read.

Small ones are rows in the journal's database, so that they cost no fsync of their own and are of the same commit as the
events that speak of them. Large ones are files, on the disk before that commit, and removed after the one that no
longer speaks of them.
"""

import sqlite3
from collections import Counter
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from splitplace.catalog.blobs import read_file
from splitplace.catalog.oci import digest
from splitplace.errors import IntegrityError, OverloadedError, of_system
from splitplace.files import is_scratch, make_folder, replace_files, sync, write_aside
from splitplace.inference.encoded_images import EncodedImages
from splitplace.placement.broker.database import told
from splitplace.placement.broker.journal import Journal
from splitplace.records.base import Digest

Data = bytes | bytearray | memoryview | NDArray[Any] | EncodedImages
SMALL_BYTES = 64 * 2**10
"""Up to here a payload is a row: written twice, to the log and then to its place, where a file has an fsync of its own.

Measured, 8 in a commit: rows are 1.6 times as fast at 64 KiB, files 1.5 times at 128 KiB.
"""


@dataclass(frozen=True, eq=False)
class Payload:
    """Bytes on their way into a spool, from whichever thread has them."""

    key: Digest
    body: bytes | memoryview
    aside: Path | None = None
    """Where they are on the disk already, without their name."""

    def discard(self) -> None:
        """They are not wanted, or have their name."""
        if self.aside is not None:
            with suppress(OSError):  # the next start finds it
                self.aside.unlink(missing_ok=True)


class Spool:
    """The payloads of one broker. One thread at a time, the journal's; `prepare` is for any.

    Payloads that are the same are kept once, and each `put` is a use of its own: what was put twice goes with the
    second `drop`.

    Args:
        folder: For the files; made as needed, and nobody else's.
        quota_bytes: Of payloads in use.
        journal: Holds the small ones; its commits are the spool's.
        small_bytes: How large those may be.

    Raises:
        IntegrityError: The journal's table of small payloads is damaged.
    """

    def __init__(self, folder: Path, quota_bytes: int, journal: Journal, *, small_bytes: int = SMALL_BYTES):
        self.folder, self.quota_bytes = folder, quota_bytes
        self._journal, self._small_bytes = journal, small_bytes
        self._sizes: dict[Digest, int] = {}
        self._uses: Counter[Digest] = Counter()
        self._fresh: dict[Digest, bytes | memoryview] = {}
        self._files: set[Digest] = set()
        self._rows: dict[Digest, int] = {}
        self._unused: dict[Digest, None] = {}
        self._named = False
        """Whether a file got its name that is not on the disk yet."""
        self._database = journal.attach(self)
        with told(folder):
            make_folder(folder)
            for path in folder.iterdir():
                if is_scratch(path.name):
                    path.unlink()
                else:
                    self._files.add(f"sha256:{path.name}")
                    self._sizes[f"sha256:{path.name}"] = path.stat().st_size
            sync(folder)  # who was killed between a name and this had not brought the name to the disk
        with told(journal.path):
            rows = self._database.execute("SELECT id, digest, length(body) FROM payload").fetchall()
        for number, raw, size in rows:
            key = f"sha256:{raw.hex()}" if isinstance(raw, bytes) else f"row {number}, which is damaged"
            self._rows[key], self._sizes[key] = number, size or 0
        self._next = max(self._rows.values(), default=0) + 1
        self.size_bytes = sum(self._sizes.values())
        """Of payloads in use; until `keep` was called, of all that are there."""

    def prepare(self, data: Data) -> Payload:
        """What takes long of a `put`, in a thread of the caller's: the digest, and a large one's way to the disk.

        What the disk does not take is left to the `put`, which tells of it.
        """
        body = _as_bytes(data)
        key, aside = digest(body), None
        if len(body) > self._small_bytes:
            with suppress(OSError):
                aside = write_aside(self._path(key), body)
        return Payload(key, body, aside)

    def put(self, data: Data | Payload) -> Digest:
        """Take these bytes, of an array that may be written to a copy; they are on disk when the next `flush` returns.

        That is the journal's `commit` as well.

        Raises:
            OverloadedError: It would be more than the quota; nothing is taken.
        """
        payload = data if isinstance(data, Payload) else _payload(_as_bytes(data))
        key, size = payload.key, len(payload.body)
        try:
            if key not in self._sizes:
                if self.size_bytes + size > self.quota_bytes:
                    raise OverloadedError(
                        f"{self.folder}: {self.size_bytes + size} bytes of inputs and results would be kept, expected "
                        f"at most {self.quota_bytes}: try again when some tasks have left"
                    )
                self._sizes[key] = size
                self.size_bytes += size
                if key not in self._unused and not self._name(payload):
                    self._fresh[key] = payload.body
        finally:
            payload.discard()
        self._unused.pop(key, None)
        self._uses[key] += 1
        return key

    def _name(self, payload: Payload) -> bool:
        """Give what is on the disk already its name; answers whether it has it."""
        if payload.aside is None:
            return False
        try:
            payload.aside.replace(self._path(payload.key))
        except OSError:  # it is gone, or the disk is in a bad way: the next flush tries with the bytes, and tells
            return False
        self._files.add(payload.key)
        self._named = True
        return True

    def flush(self) -> None:
        """Bring all that was put to the disk: the journal's `commit`, events included.

        Raises:
            OverloadedError: The disk is full or not writable; all is tried again at the next.
        """
        self._journal.commit()

    def get(self, key: Digest) -> bytes:
        """The bytes of a payload.

        Raises:
            IntegrityError: It is damaged or missing.
            SplitPlaceError: The system does not let it be read.
        """
        if key in self._fresh:
            return bytes(self._fresh[key])
        data = self._read(key)
        if data is None:
            raise IntegrityError(f"{self.folder}: payload {key} is missing: submit its task again")
        if digest(data) != key:
            raise IntegrityError(f"{self.folder}: payload {key} is damaged: submit its task again")
        return data

    def _read(self, key: Digest) -> bytes | None:
        if key in self._rows:
            with told(self._journal.path):
                row = self._database.execute("SELECT body FROM payload WHERE id = ?", (self._rows[key],)).fetchone()
            return row and (row[0] if isinstance(row[0], bytes) else b"")
        try:
            return read_file(self._path(key), self._sizes.get(key, 0), f"payload {key}")
        except FileNotFoundError:
            return None
        except OSError as error:
            raise of_system(error, f"payload {key}") from error

    def drop(self, key: Digest) -> None:
        """Give up one use of a payload; the last one removes it, with the next `flush`."""
        assert self._uses[key] > 0, f"payload {key} is not in use"
        self._uses[key] -= 1
        if not self._uses[key]:
            self._forget(key)

    def keep(self, keys: Iterable[Digest]) -> None:
        """At a restart: one use for each time that a payload is named; what is not named is removed.

        One that is missing is told of when it is asked for.
        """
        self._uses = Counter(keys)
        for key in [key for key in self._sizes if key not in self._uses]:
            self._forget(key)

    def _forget(self, key: Digest) -> None:
        del self._uses[key]
        self.size_bytes -= self._sizes.pop(key, 0)
        if self._fresh.pop(key, None) is None:
            self._unused[key] = None

    # -- the journal's companion

    @property
    def waiting(self) -> bool:
        """Whether there is anything to write or to remove."""
        return bool(self._fresh or self._unused or self._named)

    def write(self, database: sqlite3.Connection) -> None:
        """Files to the disk, rows into the transaction."""
        if self._named:
            sync(self.folder)
            self._named = False
        large = {key: body for key, body in self._fresh.items() if len(body) > self._small_bytes}
        replace_files({self._path(key): body for key, body in large.items()})
        self._files.update(large)
        for key in large:
            del self._fresh[key]
        rows = ((self._next + n, bytes.fromhex(key[7:]), body) for n, (key, body) in enumerate(self._fresh.items()))
        database.executemany("INSERT INTO payload VALUES (?, ?, ?)", rows)
        gone = ((self._rows[key],) for key in self._unused if key in self._rows)
        database.executemany("DELETE FROM payload WHERE id = ?", gone)

    def written(self) -> None:
        """Rows are on the disk, and so is the last word on what is no longer in use."""
        for key in self._fresh:
            self._rows[key] = self._next
            self._next += 1
        self._fresh.clear()
        for key in self._unused:
            self._rows.pop(key, None)
            if key in self._files:
                self._files.remove(key)
                with suppress(OSError):  # the next start finds it
                    self._path(key).unlink()
        self._unused.clear()

    def _path(self, key: Digest) -> Path:
        return self.folder / key.removeprefix("sha256:")


def _payload(body: bytes | memoryview) -> Payload:
    return Payload(digest(body), body)


def _as_bytes(data: Data) -> bytes | memoryview:
    if isinstance(data, EncodedImages):
        return data.to_bytes()
    if isinstance(data, np.ndarray):
        return data.tobytes() if data.flags.writeable or not data.size else np.ascontiguousarray(data).data.cast("B")
    return bytes(data)
