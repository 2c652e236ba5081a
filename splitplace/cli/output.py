"""What a command prints: a table for people, or with --json one document on stdout. Progress goes to stderr."""

import json as json_module
import logging
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NoReturn

from pydantic import BaseModel
from rich.console import Console, Group, RenderableType
from rich.markup import escape
from rich.table import Table

if TYPE_CHECKING:
    from splitplace.progress import Progress

err = Console(stderr=True, markup=False, emoji=False)
"""Progress and remarks, away from what another program may read; names and paths are printed as they are."""

UNCUT = 160
"""Columns that every table fits in."""


def emit(document: BaseModel | dict[str, Any], people: RenderableType, json: bool) -> None:
    """Print a command's result: `document` if `json`, else `people`; once, where several processes train together."""
    if any(int(os.environ.get(name, 0)) for name in ("RANK", "LOCAL_RANK")):  # torchrun's and Lightning's
        return
    if json:
        plain = document.model_dump(mode="json") if isinstance(document, BaseModel) else document
        sys.stdout.write(json_module.dumps(plain, indent=2, allow_nan=False, default=str) + "\n")
    else:
        _print_whole(people)


def _print_whole(people: RenderableType) -> None:
    """Cells are broken where the terminal is narrow, never cut off; in a file or a pipe there is room.

    What stands in brackets or between colons is part of a name, no markup.
    """
    for part in people.renderables if isinstance(people, Group) else [people]:
        for column in part.columns if isinstance(part, Table) else ():
            column.overflow = "fold"
    narrow = sys.stdout.isatty() or "COLUMNS" in os.environ
    Console(width=None if narrow else UNCUT, markup=False, emoji=False).print(people)


@contextmanager
def bar() -> "Iterator[Progress]":
    """A line on stderr with what is being done and how far it is, gone at the end; none where nobody watches."""
    from rich.progress import Progress as Bar

    shown = Bar(console=err, transient=True, disable=not err.is_terminal)
    task = shown.add_task("", total=1.0)

    def at(what: str, share: float) -> None:
        shown.start()  # not before: what draws a bar of its own may come first
        shown.update(task, description=escape(what), completed=share)  # the bar has markup of its own

    try:
        yield at
    finally:
        shown.stop()


def step(what: str, share: float) -> None:
    """What is being done, as lines of their own, beside a bar that somebody else draws; none where nobody watches."""
    if err.is_terminal:
        err.print(what)


def remark(what: str) -> None:
    """What there is to say besides the answer, on stderr, whoever watches."""
    err.print(what, soft_wrap=True)


class _Remarks(logging.Handler):
    """What the library has to say besides its values, on stderr."""

    def emit(self, record: logging.LogRecord) -> None:
        remark(record.getMessage())


def listen() -> None:
    """Show the library's remarks, each once."""
    logger = logging.getLogger("splitplace")
    logger.propagate = False
    logger.handlers = [_Remarks()]


def fail(message: str, code: int) -> NoReturn:
    """One clear line on stderr, then exit."""
    sys.stderr.write("splitplace: " + " ".join(message.split()) + "\n")
    sys.exit(code)
