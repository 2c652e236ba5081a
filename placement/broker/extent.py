"""Where a journal begins and ends, and how much it holds: what a transaction that fails takes back."""

import sqlite3
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from splitplace.errors import IntegrityError
from splitplace.placement.broker import database as table
from splitplace.placement.broker.database import REMEDY, checksum
from splitplace.placement.broker.safeguards import HighWaterMark

_ROW_BYTES = 40
"""What an event costs besides its body."""


@dataclass
class Extent:
    """Of one journal, those of its events that are in the transaction under way included."""

    kept: tuple[int, bytes]
    """The last event that is there no more, and its checksum in the chain."""
    head: int
    """The last event."""
    chain: bytes
    """Its checksum."""
    held_bytes: int
    """Of events."""
    behind_bytes: int
    """Of those behind the snapshot."""
    snapshot_at: int
    """The last event that is in it."""
    snapshot_bytes: int

    @classmethod
    def found(cls, database: sqlite3.Connection, path: Path) -> Self:
        """Of a journal's file.

        Raises:
            IntegrityError: Its header is damaged.
        """
        kept = table.header(database, path, "kept")
        newest = "SELECT sequence, chain FROM event ORDER BY sequence DESC LIMIT 1"
        head, chain = database.execute(newest).fetchone() or kept
        total = "SELECT count(*), coalesce(sum(length(body)), 0) FROM "
        count, size = database.execute(total + "event").fetchone()
        held_bytes = size + count * _ROW_BYTES
        _, snapshot_bytes = database.execute(total + "snapshot").fetchone()
        (snapshot_at,) = database.execute("SELECT coalesce(max(sequence), 0) FROM snapshot").fetchone()
        behind = total + "event WHERE sequence > ?"
        count, size = database.execute(behind, (snapshot_at,)).fetchone()
        behind_bytes = size + count * _ROW_BYTES
        return cls(kept, head, chain, held_bytes, behind_bytes, snapshot_at, snapshot_bytes)

    @property
    def end(self) -> tuple[int, bytes]:
        """The last event, and its checksum in the chain."""
        return self.head, self.chain

    @property
    def total_bytes(self) -> int:
        """Of events and snapshot."""
        return self.held_bytes + self.snapshot_bytes

    @property
    def behind(self) -> tuple[int, int]:
        """How many events the snapshot is behind, and their bytes."""
        return self.head - self.snapshot_at, self.behind_bytes

    def note_snapshot(self, size_bytes: int) -> None:
        """There is one of all events."""
        self.snapshot_bytes, self.snapshot_at, self.behind_bytes = size_bytes, self.head, 0

    def check(self, mark_file: HighWaterMark, database: sqlite3.Connection, path: Path) -> None:
        """Hold what is there against how far it once got.

        Raises:
            IntegrityError: Events that were committed are missing, or damaged.
        """
        mark = mark_file.read()
        if mark is None:
            return
        sequence, chain = mark
        if sequence > self.head:
            raise IntegrityError(
                f"{path}: events {self.head + 1} to {sequence} were committed and are not there: "
                f"{path.name} or {path.name}-wal is damaged, or of an earlier day{REMEDY}"
            )
        if sequence < self.kept[0]:
            return  # a power loss left it behind what a snapshot has dropped since
        row = database.execute("SELECT chain FROM event WHERE sequence = ?", (sequence,)).fetchone()
        found = self.kept[1] if sequence == self.kept[0] else row and row[0]
        if found != chain:
            raise IntegrityError(f"{path}: event {sequence} is damaged, or of another journal{REMEDY}")

    def chained(self, pending: Iterable[bytes | None]) -> Iterator[tuple[int, bytes, bytes | None]]:
        """The rows of what is pending, which it has from now on."""
        for body in pending:
            self.head += 1
            self.chain = checksum("event", self.chain, self.head, body)
            size = _ROW_BYTES + len(body or b"")
            self.held_bytes += size
            self.behind_bytes += size
            yield self.head, self.chain, body

    def drop_old(self, database: sqlite3.Connection, keep_bytes: int, keep_events: int) -> None:
        """Delete the oldest events, all before the snapshot, until what is left is as few and small as is kept."""
        count = self.head - self.kept[0]
        rows = database.execute("SELECT sequence, coalesce(length(body), 0), chain FROM event ORDER BY sequence")
        for sequence, size, chain in rows:
            if self.held_bytes <= keep_bytes and count <= keep_events:
                break
            self.kept = sequence, chain
            self.held_bytes -= size + _ROW_BYTES
            count -= 1
        rows.close()
        database.execute("DELETE FROM event WHERE sequence <= ?", (self.kept[0],))
        table.set_header(database, "kept", *self.kept)
