"""Results files: written whole or not at all, since most benches go on from theirs after an interruption."""

from pathlib import Path

from splitplace.files import replace_file
from splitplace.records.base import Record


class Measured(Record):
    """One cell of a file that several runs may have filled: the file's provenance is of the last of them."""

    commit: str | None = None
    """Of the code that measured it, as in `Provenance`; none where a file is older than this field."""


def save(path: Path, results: Record, indent: int | None = 1) -> None:
    """Write the file as JSON, in place of what stands there."""
    replace_file(path, results.model_dump_json(indent=indent) + "\n")
