"""The SQLite file that a journal and its spool share: its tables, its checksums, and what its errors mean."""

import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import blake2b
from pathlib import Path

from splitplace.errors import IntegrityError, OverloadedError, UsageError
from splitplace.files import sync
from splitplace.records.formats import BROKER_JOURNAL

TABLES = {
    # Numbers that each have a checksum of their own: the format, and where the journal begins. In every format.
    "header": "CREATE TABLE header (name TEXT PRIMARY KEY, number INTEGER, chain BLOB, seal BLOB) WITHOUT ROWID",
    "event": "CREATE TABLE event (sequence INTEGER PRIMARY KEY, chain BLOB, body BLOB)",
    "snapshot": "CREATE TABLE snapshot (sequence INTEGER PRIMARY KEY, chain BLOB, seal BLOB, body BLOB)",
    # The spool's small payloads. Their digests have no index: it would be written, all over, with each commit.
    "payload": "CREATE TABLE payload (id INTEGER PRIMARY KEY, digest BLOB, body BLOB)",
}
REMEDY = ": restore the folder from a copy, or start with another one"
_LOG_BYTES = 8 * 2**20
"""What the write-ahead log is cut to when it begins anew; until then it is written over, which is cheaper."""
MAX_ROW_BYTES = 10**9
"""SQLite's own limit of what one row may hold; of twice as much Python's module says something else."""
MAX_PATH_BYTES = 504
"""Of SQLite's 512, the end of the names of its other files taken off."""

_LATER = {
    sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_NOMEM,
    sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_PERM,
}  # fmt: skip


def connect(path: Path, mode: str) -> sqlite3.Connection:
    """A connection of a mode of SQLite's (ro, rwc), without transactions that Python begins.

    Raises:
        UsageError: The path, links in it followed, is longer than SQLite takes.
    """
    size = len(os.fsencode(os.path.realpath(path)))
    if size > MAX_PATH_BYTES:
        raise UsageError(
            f"{path}: a path of {size} bytes, expected at most {MAX_PATH_BYTES}, for SQLite takes none that is longer: "
            "give a folder with a shorter one"
        )
    database = sqlite3.connect(
        f"{path.absolute().as_uri()}?mode={mode}", uri=True, isolation_level=None, check_same_thread=False
    )
    database.text_factory = bytes  # damage may make text of anything
    database.execute("PRAGMA cell_size_check = ON")
    return database


def open_writer(path: Path) -> sqlite3.Connection:
    """The file, made anew where there is none, and found whole as far as SQLite can tell.

    Raises:
        ContractError: Another version wrote it.
        IntegrityError: It is damaged.
        OverloadedError: The disk is full or not writable.
    """
    with told(path):
        database = connect(path, "rwc")
    try:
        with told(path):
            database.execute("PRAGMA busy_timeout = 2000")  # a reader may be putting the log of a dead writer in order
            (found,) = database.execute("SELECT count(*) FROM sqlite_schema").fetchone()
            if not found:
                database.execute("PRAGMA auto_vacuum = INCREMENTAL")  # before anything else is in the file
            database.execute("PRAGMA journal_mode = WAL")
            database.execute("PRAGMA synchronous = FULL")
            database.execute("PRAGMA secure_delete = OFF")
            database.execute(f"PRAGMA journal_size_limit = {_LOG_BYTES}")
            if not found:
                database.execute("BEGIN IMMEDIATE")
                for table in TABLES.values():
                    database.execute(table)
                set_header(database, "format", BROKER_JOURNAL.version, b"")
                set_header(database, "kept", 0, bytes(16))
                database.execute("COMMIT")
            # Who was killed may have written what it had not brought to the disk: it is read now, and must stay.
            for written in (path, path.with_name(path.name + "-wal"), path.parent):
                if written.exists():
                    sync(written)
            check_format(database, path)
            (said,) = database.execute("PRAGMA quick_check(1)").fetchone()
            if said != b"ok":
                raise IntegrityError(f"{path} is damaged: {said.decode(errors='replace')}{REMEDY}")
            database.execute("PRAGMA busy_timeout = 20")  # the broker's loop does not wait for readers
    except BaseException:
        database.close()
        raise
    return database


def check_format(database: sqlite3.Connection, path: Path) -> None:
    """Refuse another version, and tables that are not ours."""
    found, _ = header(database, path, "format")
    BROKER_JOURNAL.check(found, str(path))
    tables = dict(database.execute("SELECT name, sql FROM sqlite_schema WHERE type = 'table'"))
    if tables != {name.encode(): sql.encode() for name, sql in TABLES.items()}:
        raise IntegrityError(f"{path} is damaged: its tables are not those of a {BROKER_JOURNAL.name}{REMEDY}")


def header(database: sqlite3.Connection, path: Path, name: str) -> tuple[int, bytes]:
    """A number of the header, with the checksum that the chain has there."""
    row = database.execute("SELECT number, chain, seal FROM header WHERE name = ?", (name,)).fetchone()
    if row is None or row[2] != checksum(name, row[0], row[1]):
        raise IntegrityError(f"{path}: the header's row `{name}` is damaged{REMEDY}")
    return row[0], row[1]


def set_header(database: sqlite3.Connection, name: str, number: int, chain: bytes) -> None:
    """Write a number of the header."""
    row = (name, number, chain, checksum(name, number, chain))
    database.execute("INSERT OR REPLACE INTO header VALUES (?, ?, ?, ?)", row)


def checksum(kind: str, *columns: object) -> bytes:
    """Of a row's columns, of whatever types damage has made them."""
    hashed = blake2b(digest_size=16, person=kind.encode())
    for column in columns:
        data = column if isinstance(column, bytes) else repr(column).encode()
        hashed.update(b"%c%d:" % (b"b" if isinstance(column, bytes) else b"r", len(data)))
        hashed.update(data)
    return hashed.digest()


@contextmanager
def told(path: Path) -> Iterator[None]:
    """Say what SQLite and the system refuse: what the place cannot give now, or else damage, since no query is wrong.

    Raises:
        OverloadedError: The disk is full or not writable, or something is larger than SQLite takes.
        IntegrityError: The file is damaged.
    """
    try:
        yield
    except (sqlite3.Error, OSError) as error:
        code = getattr(error, "sqlite_errorcode", 0) & 0xFF
        readonly = code == sqlite3.SQLITE_READONLY and not os.access(path, os.W_OK)  # else its header says so, wrongly
        said = (isinstance(error, OSError) and error.strerror) or str(error)
        if isinstance(error, OSError) or code in _LATER or readonly:
            raise OverloadedError(f"{path}: cannot be written ({said}): make room there and try again") from error
        if code == sqlite3.SQLITE_TOOBIG:
            raise OverloadedError(f"{path}: cannot be written ({said}): more than SQLite takes in one row") from error
        raise IntegrityError(f"{path} is damaged: {said}{REMEDY}") from error
