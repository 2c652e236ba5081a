"""What a command prints: a table for people, or with --json one document on stdout. Progress goes to stderr."""

import json as json_module
import logging
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn, TextIO

from pydantic import BaseModel
from rich.console import Console, RenderableType
from rich.markup import escape

from splitplace.tables.fitting import fitting

if TYPE_CHECKING:
    from splitplace.progress import Progress

err = Console(stderr=True, markup=False, emoji=False)
"""Progress and remarks, away from what another program may read; names and paths are printed as they are."""

UNCUT = 160
"""Columns that every table fits in."""


def emit(document: BaseModel | dict[str, Any], people: RenderableType, json: bool) -> None:
    """Print a command's result: `document` if `json`, else `people`; once, where several processes train together.

    It has left when this returns: what goes on to serve is waited for by who reads a file or a pipe.
    """
    if not _first():
        return
    if json:
        plain = document.model_dump(mode="json") if isinstance(document, BaseModel) else document
        out = _answers[-1] if _answers else sys.stdout
        out.write(json_module.dumps(plain, indent=2, allow_nan=False, default=str) + "\n")
        out.flush()
    else:
        _print_whole(people)
        sys.stdout.flush()


def _first() -> bool:
    """Whether no other process that trains together with this one prints for both; variables of torchrun and Lightning.

    A rank without others to train with is somebody else's, as a batch system's. Where they meet stays known when the
    training is over; how many they were Lightning takes away.
    """
    numbers = {name: os.environ.get(name, "") for name in ("WORLD_SIZE", "RANK", "LOCAL_RANK")}
    size, *ranks = (int(text) if text.isdecimal() else 0 for text in numbers.values())
    return (size < 2 and "MASTER_PORT" not in os.environ) or not any(ranks)


_answers: list[TextIO] = []
"""Where documents go while all else that is printed goes to stderr."""


@contextmanager
def answer_alone() -> Iterator[None]:
    """Keep stdout for the document: what a policy or network of the user's own prints meanwhile goes to stderr."""
    _answers.append(sys.stdout)
    try:
        with redirect_stdout(sys.stderr):
            yield
    finally:
        _answers.pop()


def _print_whole(people: RenderableType) -> None:
    """In a file or a pipe there is room; what stands in brackets or between colons is part of a name, no markup."""
    narrow = sys.stdout.isatty() or "COLUMNS" in os.environ
    console = Console(width=None if narrow else UNCUT, markup=False, emoji=False)
    console.print(fitting(people, console))


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


def open_standard_streams() -> None:
    """Those that were closed (`>&-`, some supervisors) lead nowhere: there is nobody to read, and the work is done.

    Else the next files and sockets would get their numbers, and be read and written as standard streams by children.
    """
    for number, (name, mode) in enumerate((("stdin", "r"), ("stdout", "w"), ("stderr", "w"))):
        if getattr(sys, name) is None:
            try:
                os.fstat(number)
            except OSError:
                os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)  # gets the lowest number that is free: this
            setattr(sys, name, Path(os.devnull).open(mode, encoding="utf-8"))  # noqa: SIM115 - until the end


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
