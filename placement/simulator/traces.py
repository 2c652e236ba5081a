"""Parquet in and out: recorded workloads, mobility, and what a run did. Needs pyarrow (the extra `sim`)."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy.typing as npt

from splitplace.errors import ContractError, IntegrityError, some
from splitplace.extras import needs
from splitplace.files import replace_file


def _pyarrow() -> Any:
    needs("Parquet", "sim", packages=("pyarrow",))
    import pyarrow.parquet

    return pyarrow


def read_parquet(path: Path, columns: Sequence[str]) -> dict[str, Sequence[object]]:
    """These columns of a file, as lists.

    Raises:
        SplitPlaceError: Not Parquet, or a column is missing.
    """
    pyarrow = _pyarrow()
    try:
        names = pyarrow.parquet.read_schema(path).names
        for name in columns:
            if names.count(name) != 1:
                raise ContractError(
                    f"{path}: {names.count(name) or 'no'} columns {name!r} among its own ({some(names, 8)}), expected "
                    f"one each of {', '.join(columns)}"
                )
        table = pyarrow.parquet.read_table(path, columns=list(columns))
    except (pyarrow.ArrowException, OSError) as error:
        raise IntegrityError(f"{path}: not Parquet: {str(error).splitlines()[0]}") from error
    return {name: table.column(name).to_pylist() for name in columns}


def write_parquet(path: Path, columns: Mapping[str, Sequence[Any] | npt.NDArray[Any]], about: str) -> None:
    """A table of equally long columns; `about` goes into the file's own metadata."""
    pyarrow = _pyarrow()
    table = pyarrow.table(dict(columns)).replace_schema_metadata({"splitplace": about})
    replace_file(path, lambda file: pyarrow.parquet.write_table(table, file, compression="zstd"))
