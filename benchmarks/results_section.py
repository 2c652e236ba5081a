"""What RESULTS.md and the bench commands say of a results file, and how figures, intervals and claims are put.

`models_tables.py`, `fleets_tables.py` and `simulator_tables.py` make it of the files of most benches, the others do by
a `section` of their own.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from splitplace.benchmarks.paired import Interval, Ratio
from splitplace.benchmarks.results_file import Measured
from splitplace.records.base import Record
from splitplace.records.provenance import Provenance

Row = dict[str, str]


@dataclass(frozen=True)
class FileSection:
    """What the page says of a file; rows of a table share their keys."""

    provenance: Provenance
    tables: Sequence[Sequence[Row]]
    verdict: Mapping[str, str]
    seeds: Sequence[int]
    commits: Sequence[str] = ()
    """Of the cells, where they say it."""
    remarks: Sequence[str] = ()
    machines: Sequence[str] = ()
    """Likewise: those that measured them."""


def ratio(found: Ratio) -> str:
    """A median with its interval."""
    return f"{found.median:.3f} [{found.low:.3f}, {found.high:.3f}]"


def inverse(found: Ratio) -> str:
    """The ratio the other way round: of speeds, where it is one of seconds."""
    return f"{1 / found.median:.3f} [{1 / found.high:.3f}, {1 / found.low:.3f}]"


def mean(found: Interval) -> str:
    """A mean with its interval; without one, where there is a single seed."""
    return f"{found.mean:.3f}" + (f" [{found.low:.3f}, {found.high:.3f}]" if found.low > float("-inf") else "")


def word(holds: bool | str) -> str:
    """Whether a claim holds, or why that is not known."""
    return {True: "holds", False: "does not hold"}[holds] if isinstance(holds, bool) else holds


def words(verdict: Mapping[str, bool] | Mapping[str, bool | str]) -> dict[str, str]:
    """Each claim with its word."""
    return {claim: word(holds) for claim, holds in verdict.items()}


def seeds_of(provenance: Provenance) -> list[int]:
    """The one seed of a file, where it has one."""
    return [] if provenance.seed is None else [provenance.seed]


def commits_of(*cells: Sequence[Record]) -> list[str]:
    """Of the cells that say which code measured them."""
    return [cell.commit for each in cells for cell in each if isinstance(cell, Measured) and cell.commit]
