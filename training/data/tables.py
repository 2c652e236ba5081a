"""Files of columns: Parquet, and Arrow as the Hugging Face hub's library keeps what it has loaded or saved."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from splitplace.errors import IntegrityError
from splitplace.training.data.parts import is_hidden_below

SUFFIX = ".parquet"
ARROW_SUFFIX = ".arrow"
_PARQUET, _ARROW = b"PAR1", b"ARROW1"
_CACHED = "cache-"
"""How the files begin that the library keeps beside a data set, of what was made of it."""


def is_table(file: Path) -> bool:
    """Whether a file says that it is Parquet or Arrow, by its name or its first letters."""
    return file.suffix.lower() in (SUFFIX, ".pq") or _begins(file, _PARQUET) or is_arrow(file)


def is_arrow(file: Path) -> bool:
    """Whether a file says that it is Arrow; a stream of it says so by its name alone."""
    return file.suffix.lower() == ARROW_SUFFIX or _begins(file, _ARROW)


def _begins(file: Path, letters: bytes) -> bool:
    with file.open("rb") as opened:
        return opened.read(len(letters)) == letters


def table_files(path: Path) -> list[Path]:
    """The Parquet files at or below `path`; where there is none, those of Arrow."""
    if path.is_file():
        return [path]
    files = (file for file in path.rglob("*") if file.suffix.lower() in (SUFFIX, ARROW_SUFFIX) and file.is_file())
    found = sorted(file for file in files if not is_hidden_below(path, file))
    arrow = [file for file in found if file.suffix.lower() == ARROW_SUFFIX and not file.name.startswith(_CACHED)]
    return [file for file in found if file.suffix.lower() == SUFFIX] or arrow


def read_table(file: Path, choose: Callable[[Any], list[str]]) -> Any:
    """The columns that `choose` names, given the schema.

    Raises:
        IntegrityError: Neither Parquet nor Arrow, whichever it says it is.
    """
    try:
        if not is_arrow(file):
            with pq.ParquetFile(file) as opened:
                return opened.read(columns=choose(opened.schema_arrow))
        with pa.memory_map(str(file)) as source:
            open_arrow = pa.ipc.open_file if _begins(file, _ARROW) else pa.ipc.open_stream
            whole = open_arrow(source).read_all()
        table = whole.select(choose(whole.schema))
        table.validate(full=True)  # nothing has looked at its offsets yet
        return table
    except (pa.ArrowException, OSError) as error:
        kind = "an Arrow" if is_arrow(file) else "a Parquet"
        raise IntegrityError(f"{file}: not {kind} file: {str(error).splitlines()[0]}") from error
