"""What a command prints: a table for people, or with --json one document on stdout. Progress goes to stderr."""

import json as json_module
import os
import sys
from typing import Any, NoReturn

from pydantic import BaseModel
from rich.console import Console, Group, RenderableType
from rich.table import Table

err = Console(stderr=True)
"""Progress and remarks, away from what another program may read."""

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
    """Cells are broken where the terminal is narrow, never cut off; in a file or a pipe there is room."""
    for part in people.renderables if isinstance(people, Group) else [people]:
        for column in part.columns if isinstance(part, Table) else ():
            column.overflow = "fold"
    narrow = sys.stdout.isatty() or "COLUMNS" in os.environ
    Console(width=None if narrow else UNCUT).print(people)


def fail(message: str, code: int) -> NoReturn:
    """One clear line on stderr, then exit."""
    sys.stderr.write("splitplace: " + " ".join(message.split()) + "\n")
    sys.exit(code)
