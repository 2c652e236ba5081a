"""An experiment's cells as a table, for whoever reads them with other tools: a row a cell, a column a figure."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from splitplace.benchmarks.experiment_file import ExperimentResults
from splitplace.placement.simulator.traces import write_parquet


def write_cells(path: Path, results: ExperimentResults) -> None:
    """Write the table; its metadata (key `splitplace`) is the provenance of the results file, as JSON.

    Figures of an application stand in columns `FIGURE:APPLICATION`, null where it had no task.

    Raises:
        MissingExtraError: pyarrow is not installed.
    """
    rows = [_flat(cell.model_dump(mode="json")) for cell in results.cells]
    names = dict.fromkeys(name for row in rows for name in row)
    if not rows:
        return
    write_parquet(path, {name: [row.get(name) for row in rows] for name in names}, results.provenance.model_dump_json())


def _flat(cell: dict[str, Any]) -> dict[str, Any]:
    detail: Mapping[str, Any] = cell.pop("detail") or {}
    flat = {**cell, **cell.pop("timings"), **detail, "trained": " ".join(cell["trained"])}
    flat.pop("timings", None)
    for one in flat.pop("applications", ()):
        flat |= {f"{name}:{one['application']}": value for name, value in one.items() if name != "application"}
    return flat
