"""What the broker has promised, on disk: an append-only journal of events with snapshots of the state, in SQLite.

A write-ahead log, synchronous FULL, one writer. Many events share one commit and one fsync (group commit). Every row
carries a checksum of itself and of the row before (a chain), so that a flipped bit, a missing row and one of another
journal are noticed. What an event means is not known here.
"""

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Protocol

from splitplace.errors import IntegrityError, OverloadedError
from splitplace.files import make_folder
from splitplace.placement.broker import database as table
from splitplace.placement.broker.database import REMEDY, checksum, told
from splitplace.placement.broker.extent import Extent
from splitplace.placement.broker.journal_reader import events, verified
from splitplace.placement.broker.safeguards import Ballast, HighWaterMark, Whereabouts, WriterLock


class Companion(Protocol):
    """What becomes durable with the journal's commit: the spool."""

    @property
    def waiting(self) -> bool:
        """Whether there is anything to write."""

    def write(self, database: sqlite3.Connection) -> None:
        """Within the transaction. What it raises takes the transaction back; it is asked again at the next."""

    def written(self) -> None:
        """The transaction is on the disk."""


class Journal:
    """The journal of one broker. One thread at a time; `events` reads it from anywhere.

    Beside `path` lie SQLite's own `-wal` and `-shm`, and `.lock`, `.mark` and `.ballast` (see `safeguards`).

    Args:
        path: Of the SQLite file; the folder is made as needed.
        limit_bytes: Events and snapshot of so many bytes: then no new tasks are to be taken in (`accepting`), until a
            snapshot has taken the place of events (`full`).
        keep_bytes: Of events before the snapshot, kept for `events`: the newest ones, up to so many bytes.
        keep_events: Likewise, up to so many.
        ballast_bytes: Disk space held in reserve for what was promised before the disk was full. The log (4 MiB and one
            commit) must fit in, to be brought to its place and begin anew; from there on ends cost little.

    Raises:
        NotReadyError: Another process writes there.
        ContractError: Another version wrote it.
        IntegrityError: It is damaged; says where.
        OverloadedError: The disk is full or not writable.
    """

    def __init__(
        self,
        path: Path,
        *,
        limit_bytes: int = 256 * 2**20,
        keep_bytes: int = 32 * 2**20,
        keep_events: int = 200_000,
        ballast_bytes: int = 8 * 2**20,
    ):
        self.path, self.limit_bytes = path, limit_bytes
        self._keep_bytes, self._keep_events = min(keep_bytes, limit_bytes // 2), keep_events
        self._pending: list[bytes | None] = []
        self._companions: list[Companion] = []
        with told(path.parent):
            make_folder(path.parent)
            self._lock = WriterLock(path.with_suffix(".lock"))
        try:
            self._database = table.open_writer(path)
            try:
                with told(path):
                    self._extent = Extent.found(self._database, path)
                    self._mark = HighWaterMark(path.with_suffix(".mark"))
                    self._extent.check(self._mark, self._database, path)
                    self._mark.write(*self._extent.end)
                    self._ballast = Ballast(path.with_suffix(".ballast"), ballast_bytes)
                    self._place = Whereabouts(path, path.with_name(path.name + "-wal"))
            except BaseException:
                self._database.close()
                raise
        except BaseException:
            self._lock.close()
            raise

    def append(self, body: bytes) -> int:
        """Take an event on; it is on disk when the next `commit` returns.

        Returns:
            Its sequence number.
        """
        self._pending.append(bytes(body))
        return self._extent.head + len(self._pending)

    def withdraw(self, sequence: int) -> None:
        """Take back an event that is not committed. Its number stays used, and `replay` passes over it.

        After a `commit` that failed, so that a task whose acceptance could not be written is not written later. (Should
        the process be killed before the next commit, the failed one may turn out to have reached the disk after all.)
        """
        assert self._extent.head < sequence <= self._extent.head + len(self._pending), (
            f"event {sequence} is committed, or never was"
        )
        self._pending[sequence - self._extent.head - 1] = None

    def commit(self) -> None:
        """Bring all that was appended to the disk, and what was put into the spool, by one fsync.

        Raises:
            OverloadedError: The disk is full or not writable. All stays as it was, and is tried again at the next
                commit; the ballast has been released for that, and `accepting` is False until it is back. Likewise
                while the file is not where it was opened (`lost`).
            IntegrityError: The file is damaged.
        """
        self._check_place()
        if self._pending or any(companion.waiting for companion in self._companions):
            self._transact(lambda: None)
        self._ballast.restore()

    def snapshot(self, body: bytes) -> None:
        """Keep the state after all that was appended (which is committed with it), in place of the former snapshot.

        Events beyond what is kept are dropped, and the file shrinks.

        Raises:
            OverloadedError: As `commit`, or the state is larger than SQLite takes in one row; the former snapshot and
                its events are still there.
        """
        self._check_place()
        if len(body) >= table.MAX_ROW_BYTES:
            raise OverloadedError(
                f"{self.path}: a snapshot of {len(body)} bytes, SQLite takes less than {table.MAX_ROW_BYTES} in one "
                "row: it is tried again when tasks have left"
            )

        def work() -> None:
            row = (*self._extent.end, checksum("snapshot", *self._extent.end, body), body)
            self._database.execute("DELETE FROM snapshot")
            self._database.execute("INSERT INTO snapshot VALUES (?, ?, ?, ?)", row)
            self._extent.drop_old(self._database, self._keep_bytes, self._keep_events)

        self._transact(work)
        self._extent.note_snapshot(len(body))
        self._compact()

    def replay(self) -> tuple[bytes | None, Iterator[tuple[int, bytes]]]:
        """The last snapshot, and the events after it, verified one by one as they are taken.

        Raises:
            IntegrityError: The snapshot, or (from the iterator) an event, is damaged or missing.
        """
        with told(self.path):
            row = self._database.execute("SELECT sequence, chain, seal, body FROM snapshot").fetchone()
        if row is None:
            if self._extent.kept[0]:
                raise IntegrityError(f"{self.path}: the snapshot is missing{REMEDY}")
            return None, verified(self._database, self.path, self._extent.kept, self._extent.head)
        sequence, chain, seal, body = row
        if seal != checksum("snapshot", sequence, chain, body):
            raise IntegrityError(f"{self.path}: the snapshot after event {sequence} is damaged{REMEDY}")
        return body, verified(self._database, self.path, (sequence, chain), self._extent.head)

    def history(self, since: int = 0) -> Iterator[tuple[int, bytes]]:
        """As `events`, of this journal."""
        return events(self.path, since)

    @property
    def last(self) -> int:
        """The sequence number of the last event that is on disk; 0 before the first."""
        return self._extent.head

    @property
    def accepting(self) -> bool:
        """Whether new tasks may be taken in: there is room, on the disk and under the limit, and it will be found."""
        return self.lost is None and self._ballast.held and not self.full

    @property
    def full(self) -> bool:
        """Whether events and snapshot have come to the limit, however much room is on the disk."""
        return self._extent.total_bytes >= self.limit_bytes

    @property
    def behind(self) -> tuple[int, int]:
        """How many events the snapshot is behind those on the disk, and their bytes: what a restart replays."""
        return self._extent.behind

    @property
    def lost(self) -> str | None:
        """Why nobody would find what is written now, as of the last commit: the file was moved or removed."""
        return self._place.lost

    @property
    def size_bytes(self) -> int:
        """Of the files on disk, the spool's small payloads among them, without the ballast."""
        sizes = 0
        for end in ("", "-wal"):
            with suppress(FileNotFoundError):
                sizes += self.path.with_name(self.path.name + end).stat().st_size
        return sizes

    def attach(self, companion: Companion) -> sqlite3.Connection:
        """From now on every commit is this one's, too.

        Returns:
            The database, to read the companion's table from.
        """
        self._companions.append(companion)
        return self._database

    def close(self) -> None:
        """Close the files and let another writer in. What was not committed is lost."""
        self._mark.write(*self._extent.end, sync=True)
        self._mark.close()
        with suppress(sqlite3.Error):  # what could not be brought to its place is still in the log
            self._database.close()
        self._lock.close()

    def _check_place(self) -> None:
        self._place.check()
        if self.lost is not None:
            raise OverloadedError(self.lost)

    def _transact(self, work: Callable[[], None]) -> None:
        """Write what is pending, then do `work`, as one transaction: all or nothing of it."""
        before = replace(self._extent)
        try:
            with told(self.path):
                self._database.execute("BEGIN IMMEDIATE")
                for companion in self._companions:
                    companion.write(self._database)
                self._database.executemany("INSERT INTO event VALUES (?, ?, ?)", self._extent.chained(self._pending))
                work()
                self._database.execute("COMMIT")
        except BaseException as error:
            self._extent = before
            if self._database.in_transaction:
                with suppress(sqlite3.Error):
                    self._database.execute("ROLLBACK")
            if isinstance(error, OverloadedError):
                self._ballast.release()
                self._checkpoint()  # then the log is written over instead of growing
            raise
        self._pending.clear()
        self._mark.write(*self._extent.end)
        for companion in self._companions:
            companion.written()

    def _compact(self) -> None:
        """Give pages back, but for those that the next events will fill, and bring the log to its place."""
        with suppress(sqlite3.Error):  # of a full disk: at the next snapshot, then
            (free,) = self._database.execute("PRAGMA freelist_count").fetchone()
            (pages,) = self._database.execute("PRAGMA page_count").fetchone()
            if (spare := max(64, pages // 4)) < free:
                # It has no columns but many steps, and `execute` makes one.
                self._database.executescript(f"PRAGMA incremental_vacuum({free - spare})")
        self._checkpoint()
        self._mark.write(*self._extent.end, sync=True)

    def _checkpoint(self) -> None:
        """Bring the log to its place, as far as no reader needs it, so that it begins anew."""
        with suppress(sqlite3.Error):
            self._database.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()
