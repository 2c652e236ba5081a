"""How every `splitplace bench` goes: extras asked for first, a line on what is measured, and what came out shown.

A bench's tables and verdicts are those of RESULTS.md (`benchmarks/results_section.py`), made of what its file holds.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from json import dumps
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Group
from rich.table import Table

from splitplace import provenance
from splitplace.benchmarks.commands.options import at_least_one
from splitplace.cli.output import emit, err
from splitplace.extras import needs
from splitplace.files import check_file, check_folder

if TYPE_CHECKING:
    from pydantic import BaseModel

    from splitplace.benchmarks.grid_jobs import Jobs
    from splitplace.benchmarks.results_section import FileSection


@contextmanager
def measuring(
    name: str, results: Path | None, *extras: str, packages: tuple[str, ...] = (), **folders: Path
) -> Iterator[Callable[[str], None]]:
    """Refuse a bench that lacks packages or a place to write to; then a line on stderr on what is being measured.

    Args:
        name: Of the bench.
        results: The file it will write; None where only the bench knows which.
        extras: That it needs.
        packages: Of these, those that it needs; all if none is named.
        folders: That it will write into, by option.
    """
    needs(f"splitplace bench {name}", *extras, packages=packages)
    if results is not None:
        check_file(results, "--results")
    for option, folder in folders.items():
        check_folder(folder, f"--{option}")
    with err.status(name) as status:
        yield status.update


@contextmanager
def crew(jobs: int | None, ray: bool) -> "Iterator[Jobs]":
    """Who measures the cells of an experiment.

    Args:
        jobs: Processes, or cores of the cluster; one for each core there is, if not stated.
        ray: The cores of a Ray cluster, in place of this machine's.

    Raises:
        UsageError: No number of processes; or there is no token for the cluster.
        MissingExtraError: Ray is not installed.
    """
    at_least_one(jobs=jobs)
    if not ray:
        yield jobs or provenance.machine().cores
        return
    from splitplace.benchmarks.grid_ray import RayCrew

    with closing(RayCrew(jobs)) as found:
        yield found


def show(
    tell: "Callable[[bytes, Path], FileSection]",
    results: Path,
    document: "BaseModel | Mapping[str, Any]",
    json: bool,
    **facts: object,
) -> None:
    """Print what a results file says: its tables and verdict for people, all of it as JSON.

    Args:
        tell: What makes the tables.
        results: The file.
        document: What it holds.
        json: Print one JSON document.
        facts: What the document says besides.
    """
    plain = dict(document) if isinstance(document, Mapping) else document.model_dump(mode="json")
    section = tell(dumps(plain).encode(), results)
    lines = [f"{claim}: {word}" for claim, word in section.verdict.items()]
    tables = [table(rows) for rows in section.tables if rows]
    emit({"results": str(results.absolute())} | facts | plain, Group(*tables, *lines, *section.remarks), json)


def table(rows: Sequence[Mapping[str, str]], title: str | None = None) -> Table:
    """For people; the rows share their keys, which are its head."""
    shown = Table(*rows[0], title=title)
    for row in rows:
        shown.add_row(*row.values())
    return shown
