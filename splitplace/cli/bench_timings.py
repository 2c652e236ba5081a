"""`splitplace bench timings`: claims in seconds, which no test judges."""

from pathlib import Path

from rich.console import Group
from rich.table import Table

from splitplace.cli.bench import in_words
from splitplace.cli.output import emit, err
from splitplace.errors import UsageError


def timings(
    *,
    results: Path = Path("benchmarks/results/timings.json"),
    repeats: int = 10,
    demo: bool = False,
    json: bool = False,
) -> None:
    """Measure what the project promises in seconds; on a machine that does nothing else.

    Args:
        results: The results file.
        repeats: Of each figure.
        demo: Run the demo as well, once from nothing and three times again.
        json: Print one JSON document.
    """
    if repeats < 1:
        raise UsageError(f"--repeats {repeats}: expected at least 1")
    from splitplace.benchmarks import timings as bench

    with err.status("timings") as status:
        found = bench.run(results, repeats, demo, status.update)
    table = Table("what", "median", "lowest", "highest", "at most", "unit", "repeats", title="Timings")
    for cell in found.cells:
        figures = (f"{value:.4g}" for value in (cell.median, cell.low, cell.high, cell.limit))
        table.add_row(cell.what, *figures, cell.unit, str(cell.repeats))
    verdict = bench.verdict(found)
    document = {"results": str(results.absolute()), "verdict": verdict, **found.model_dump(mode="json")}
    emit(document, Group(table, *in_words(verdict)), json)
