"""What happened in a run: an append-only JSONL file, a typed record a line, parsed strictly again; the last in memory.

`created` in the first line says when the run's clock was 0. Lines stand in the order in which the broker learnt of
things, so a run ends before it is written.
"""

import json
import logging
import os
import secrets
import time
from collections import deque
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import IO, Annotated

from pydantic import Field, TypeAdapter, ValidationError

from splitplace.errors import IntegrityError, NotFoundError, first_problem
from splitplace.placement.history import Event, HistoryPage, Start
from splitplace.records import formats

log = logging.getLogger(__name__)

MAX_LINE_BYTES = 2**20
KEPT_EVENTS = 4096
"""In memory; a file has more."""
FILE_BYTES = 64 * 2**20
RETRY_S = 1.0
MOST_EVENTS = 1_000
"""Of a page."""
_EVENTS: TypeAdapter[Event] = TypeAdapter(Annotated[Event, Field(discriminator="event")])


class History:
    """Keeps the last events of a run, and appends each to a file as it comes if there is one.

    Args:
        path: The file; a later run goes on in it, with a start of its own.
        keep: How many events are kept in memory.
        limit_bytes: Of the file.
        retry_s: After it could not be written, until it is tried again.
    """

    def __init__(
        self,
        path: Path | None = None,
        keep: int = KEPT_EVENTS,
        limit_bytes: int = FILE_BYTES,
        retry_s: float = RETRY_S,
    ):
        self.run = secrets.token_hex(8)
        """No other one is called so."""
        self._kept: deque[tuple[int, Event]] = deque(maxlen=keep)
        """With their numbers, from 0."""
        self._appended = 0
        self._path, self._limit_bytes, self._retry_s = path, limit_bytes, retry_s
        self._failed_s: float | None = None
        self._file: IO[str] | None = None
        self._size_bytes = 0
        self._start: Start | None = None
        if path is not None:
            self._open(path)

    def _open(self, path: Path) -> None:
        if path.is_file():
            with path.open("rb+") as file:  # a kill may have cut the last line off
                start = file.seek(max(file.seek(0, os.SEEK_END) - MAX_LINE_BYTES, 0))
                file.truncate(start + file.read(MAX_LINE_BYTES).rfind(b"\n") + 1)
        self._file = path.open("a", encoding="utf-8")
        self._size_bytes = self._file.tell()

    @property
    def events(self) -> tuple[Event, ...]:
        """Those that are kept; from any thread."""
        return tuple(event for _, event in tuple(self._kept))

    def page(self, after: int, most: int = MOST_EVENTS) -> HistoryPage:
        """What happened from an event on; from any thread.

        Args:
            after: Its number; 0 asks for all that is kept.
            most: How many events the page may have.
        """
        kept = tuple(self._kept)  # at one moment: the loop goes on
        first = kept[0][0] if kept else 0
        after = max(after, 0)
        start = max(after, first)
        at = min(start - first, len(kept))
        events = tuple(event for _, event in kept[at : at + min(max(most, 0), len(kept))])
        return HistoryPage.model_construct(  # the records are made already: to look at them again is no use
            run=self.run, events=events, next=start + len(events), missed=start - after
        )

    def append(self, *events: Event) -> None:
        """Write events, at once; they are in the file when this returns, whatever becomes of the process.

        What a full disk does not take is left out, with a remark: no task depends on it. Once there is room the file
        goes on, with the run's start before what follows. One that is full is put aside as NAME.1, in place of the one
        before it.
        """
        for event in events:
            self._kept.append((self._appended, event))
            self._appended += 1
            if isinstance(event, Start):
                self._start = event
        if self._path is None or not events:
            return
        if self._failed_s is not None and time.monotonic() < self._failed_s + self._retry_s:
            return
        lines = "".join(event.model_dump_json() + "\n" for event in events)
        start = f"{self._start.model_dump_json()}\n" if self._start else ""
        try:
            if self._file is None:
                self._open(self._path)
                lines = start + lines
            elif self._size_bytes + len(lines) > self._limit_bytes and self._size_bytes:
                self._end()
                self._path.replace(_aside(self._path))
                self._open(self._path)
                lines = start + lines
            assert self._file is not None
            self._file.write(lines)
            self._file.flush()
            self._size_bytes += len(lines)
            self._failed_s = None
        except OSError as error:
            if self._failed_s is None:
                log.warning("the run's history has a gap from here, it cannot be written: %s", error)
            self._failed_s = time.monotonic()
            self._end()

    def close(self) -> None:
        """Close the file."""
        self._end()
        self._path = None

    def _end(self) -> None:
        file, self._file = self._file, None
        if file is not None:
            with suppress(OSError):  # what was not written before is not to be had now
                file.close()


def _aside(path: Path) -> Path:
    """Where a file goes that is full."""
    return path.with_name(f"{path.name}.1")


def read_kept(path: Path) -> Iterator[Event]:
    """All events that are kept: of the file that was put aside when it was full, then of the one that goes on.

    Raises:
        NotFoundError: No such file.
        ContractError: One is of another version.
        IntegrityError: A line is no event of ours; names it.
    """
    if _aside(path).is_file():
        yield from read_history(_aside(path))
    yield from read_history(path)


def read_history(path: Path) -> tuple[Event, ...]:
    """The events of a run, in the order written. A last line cut off by a kill is left out.

    Raises:
        NotFoundError: No such file.
        ContractError: It is of another version.
        IntegrityError: A line is no event of ours; names it.
    """
    events: list[Event] = []
    try:
        with path.open("rb") as file:
            number = 0
            while line := file.readline(MAX_LINE_BYTES):
                number += 1
                if number == 1:
                    _check_version(line, str(path))
                if not line.endswith(b"\n") and len(line) < MAX_LINE_BYTES:
                    break
                events.append(_parse(line, f"{path}:{number}"))
    except FileNotFoundError as error:
        raise NotFoundError(f"no journal {path}") from error
    if not events or not isinstance(events[0], Start):
        raise IntegrityError(f"{path}: not a journal: its first line is no start event")
    return tuple(events)


def _check_version(line: bytes, where: str) -> None:
    """Refuse another version's journal by its first line, before any event is looked at."""
    try:
        start = json.loads(line)
    except ValueError:
        return  # `_parse` has the word for it
    if isinstance(start, dict) and start.get("event") == "start":
        formats.JOURNAL.check(start.get(formats.JOURNAL.key), where)


def _parse(line: bytes, where: str) -> Event:
    try:
        return _EVENTS.validate_json(line)
    except ValidationError as error:
        raise IntegrityError(f"{where}: not an event: {first_problem(error, 'line')}") from error
