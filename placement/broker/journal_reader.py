"""Reads the events of a journal (`journal.py`), verified one by one; whoever else reads or writes meanwhile."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

from splitplace.errors import IntegrityError, NotFoundError
from splitplace.placement.broker import database as table
from splitplace.placement.broker.database import REMEDY, checksum, told

_BATCH = 256
"""Rows that a reader takes at a time: between batches it holds nothing that would keep the log from being reset."""


def events(path: Path, since: int = 0) -> Iterator[tuple[int, bytes]]:
    """All events still held after `since`, oldest first, verified; whoever else reads or writes meanwhile.

    Raises:
        NotFoundError: No journal there.
        ContractError: Another version wrote it.
        IntegrityError: One is damaged or missing.
    """
    if not path.exists():
        raise NotFoundError(f"no journal {path}: expected one that a broker wrote")
    with told(path), closing(table.connect(path, "ro")) as database:
        database.execute("PRAGMA busy_timeout = 5000")
        database.execute("BEGIN")  # what follows is of one moment
        table.check_format(database, path)
        after = table.header(database, path, "kept")
        head = database.execute("SELECT max(sequence) FROM event").fetchone()[0] or after[0]
        if since > after[0]:
            row = database.execute("SELECT sequence, chain FROM event WHERE sequence = ?", (since,)).fetchone()
            after = row or (head, b"")
        database.execute("COMMIT")
        yield from verified(database, path, after, head)


def verified(
    database: sqlite3.Connection, path: Path, after: tuple[int, bytes], head: int
) -> Iterator[tuple[int, bytes]]:
    """The events behind `after` up to `head`, each held against its checksum and with it against the one before.

    Raises:
        IntegrityError: One is damaged or missing.
    """
    query = "SELECT sequence, chain, body FROM event WHERE sequence BETWEEN ? AND ? ORDER BY sequence LIMIT ?"
    sequence, chain = after
    while sequence < head:
        with told(path):
            rows = database.execute(query, (sequence + 1, head, _BATCH)).fetchall()
            if not rows or rows[0][0] != sequence + 1:
                kept = table.header(database, path, "kept")
                if kept[0] > sequence:  # a snapshot has dropped them meanwhile
                    sequence, chain = kept
                    continue
        for found, seal, body in rows or [(None, b"", b"")]:
            sequence += 1
            if found != sequence:
                raise IntegrityError(f"{path}: event {sequence} is missing{REMEDY}")
            chain = checksum("event", chain, sequence, body)
            if seal != chain:
                raise IntegrityError(f"{path}: event {sequence} is damaged{REMEDY}")
            if body is not None:
                yield sequence, body
