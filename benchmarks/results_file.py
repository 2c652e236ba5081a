"""Results files: written whole or not at all, since most benches go on from theirs after an interruption."""

from collections.abc import Iterable
from pathlib import Path
from typing import TypeVar

from splitplace.files import replace_file
from splitplace.records.base import Record

Result = TypeVar("Result")


class Measured(Record):
    """One cell of a file that several runs may have filled: the file's provenance is of the last of them."""

    commit: str | None = None
    """Of the code that measured it, as in `Provenance`; none where a file is older than this field."""
    machine: str | None = None
    """That measured it, as `Machine.words` has it, where it may have been another one than wrote the file."""


def stamped(result: Result, machine: str) -> Result:
    """A cell with the machine that measured it; what is none, as it is."""
    return result.model_copy(update={"machine": machine}) if isinstance(result, Measured) else result


def machines_of(cells: Iterable[Measured]) -> list[str]:
    """Those that measured them, each once."""
    return sorted({cell.machine for cell in cells if cell.machine})


def save(path: Path, results: Record, indent: int | None = 1) -> None:
    """Write the file as JSON, in place of what stands there."""
    replace_file(path, results.model_dump_json(indent=indent) + "\n")
