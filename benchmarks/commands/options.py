"""Options that several benches take, with what `--help` says of them; and how values are read and checked."""

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from splitplace.errors import UsageError

RESULTS = Path("benchmarks/results")

Results = Annotated[Path, Parameter(help="The results file.")]
Json = Annotated[bool, Parameter(help="Print one JSON document.")]
CatalogFolder = Annotated[Path, Parameter(help="Folder for the catalog.")]
FleetFolder = Annotated[
    Path, Parameter(help="Folder for the catalog and the fleet; those of an earlier run are removed.")
]
HistoryFolder = Annotated[
    Path, Parameter(help="Folder for the catalog, the fleet and the histories; those of an earlier run are removed.")
]
Pairs = Annotated[int, Parameter(help="Interleaved pairs a ratio.")]
Processes = Annotated[int | None, Parameter(help="Processes; one a core if not stated.")]
OnRay = Annotated[
    bool,
    Parameter(
        help="Measure on the Ray cluster that $RAY_ADDRESS names, or that runs here; --jobs is of its cores then."
    ),
]
Fresh = Annotated[bool, Parameter(help="Measure everything again.")]


def at_least_one(**counts: int | None) -> None:
    """Refuse counts below 1.

    Raises:
        UsageError: Names the option.
    """
    for name, count in counts.items():
        if count is not None and count < 1:
            raise UsageError(f"--{name} {count}: expected at least 1")


def check_seed(seed: int) -> None:
    """Refuse a seed below 0.

    Raises:
        UsageError: Names the option.
    """
    if seed < 0:
        raise UsageError(f"--seed {seed}: expected 0 or more")


def numbers(name: str, text: str) -> tuple[int, ...]:
    """The whole numbers of a comma-separated option.

    Raises:
        UsageError: Something else, or a number below 1; names the option.
    """
    try:
        found = tuple(int(part) for part in text.split(","))
    except ValueError as error:
        raise UsageError(f"--{name} {text}: expected whole numbers, comma-separated") from error
    if min(found) < 1:
        raise UsageError(f"--{name} {text}: expected numbers of at least 1")
    return found
