"""A recorded workload: tasks as somebody's fleet had them, from a CSV or Parquet file."""

import csv
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from splitplace.errors import ContractError, IntegrityError, NotFoundError
from splitplace.placement.simulator.scenario import MAX_IMAGES
from splitplace.records.base import MAX_AMOUNT
from splitplace.records.view import Floats, Ints

MOST_SHOWN = 120
"""Letters of a first line that is not as it should be."""
TRACE_COLUMNS = ("arrival_s", "application", "n", "deadline_s")


def read_trace(path: Path, applications: tuple[str, ...]) -> tuple[Floats, Ints, Ints, Floats]:
    """Arrivals, application rows, batch sizes and deadlines of a recorded workload, in order of arrival.

    Raises:
        UsageError: No such file.
        SplitPlaceError: A column or a value is missing, negative or not finite, a batch is no whole number or larger
            than any can be, or an application is unknown.
    """
    if not path.is_file():
        raise NotFoundError(f"no workload trace {path.absolute()}: expected a CSV or Parquet file")
    columns = _parquet(path) if path.suffix.lower() == ".parquet" else _csv(path)
    index = {name: row for row, name in enumerate(applications)}
    strange = sorted({str(value) for value in columns["application"]} - index.keys())
    if strange:
        raise ContractError(f"{path}: unknown application {strange[0]!r}, the demand offers {', '.join(applications)}")
    arrival, n, deadline = (_numbers(path, name, columns[name]) for name in ("arrival_s", "n", "deadline_s"))
    for name, values, low in (("arrival_s", arrival, 0.0), ("n", n, 1.0), ("deadline_s", deadline, 1e-9)):
        bad = np.flatnonzero(~((values >= low) & (values <= MAX_AMOUNT)))
        if len(bad):
            most = MAX_IMAGES if name == "n" else MAX_AMOUNT
            raise ContractError(f"{path}: row {bad[0] + 1}: {name} is {values[bad[0]]}, expected {low:g} to {most:g}")
    bad = np.flatnonzero((n > MAX_IMAGES) | (n != np.floor(n)))
    if len(bad):
        raise ContractError(
            f"{path}: row {bad[0] + 1}: n is {n[bad[0]]}, expected a whole number of images, at most {MAX_IMAGES:g}"
        )
    application = np.array([index[str(value)] for value in columns["application"]], np.int64)
    order = np.argsort(arrival, kind="stable")
    return arrival[order], application[order], n[order].astype(np.int64), deadline[order]


def _numbers(path: Path, name: str, values: Sequence[object]) -> Floats:
    numbers = np.full(len(values), np.nan)
    for row, value in enumerate(values):
        if value not in (None, ""):
            try:
                numbers[row] = float(str(value))
            except ValueError:
                shown = repr(str(value)[:MOST_SHOWN])
                raise ContractError(f"{path}: row {row + 1}: {name} is {shown}, expected a number") from None
    return numbers


def _csv(path: Path) -> dict[str, Sequence[object]]:
    try:
        # Spreadsheets begin a file in UTF-8 with a byte order mark.
        with path.open(encoding="utf-8-sig", newline="") as lines:
            names, *rows = [row for row in csv.reader(lines, skipinitialspace=True) if row] or [[]]
    except (UnicodeDecodeError, csv.Error) as error:
        raise IntegrityError(f"{path}: not CSV in UTF-8: {error}") from error
    names = [name.rstrip() for name in names]
    for name in TRACE_COLUMNS:
        if names.count(name) != 1:
            raise ContractError(
                f"{path}: {names.count(name) or 'no'} columns {name!r} in its first line ({_shown(names)}), expected "
                f"one each of {', '.join(TRACE_COLUMNS)}, parted by commas"
            )
    needed = 1 + max(names.index(name) for name in TRACE_COLUMNS)  # behind them, spreadsheets leave out what is empty
    for number, row in enumerate(rows, 1):
        if len(row) < needed or any(row[len(names) :]):
            raise ContractError(
                f"{path}: row {number} has {len(row)} values for {len(names)} columns: give each one, with a point in "
                "numbers, not a comma"
            )
    return {name: [row[names.index(name)].rstrip() for row in rows] for name in TRACE_COLUMNS}


def _shown(names: Sequence[str]) -> str:
    shown = ", ".join(map(repr, names))
    return shown if len(shown) <= MOST_SHOWN else f"{shown[:MOST_SHOWN]}..."


def _parquet(path: Path) -> dict[str, Sequence[object]]:
    from splitplace.placement.simulator.traces import read_parquet

    return read_parquet(path, TRACE_COLUMNS)
