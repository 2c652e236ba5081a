"""`splitplace bench published-code`: the simulator against the paper's published code."""

from pathlib import Path

from rich.console import Group
from rich.table import Table

from splitplace.cli.bench import in_words
from splitplace.cli.output import emit, err
from splitplace.errors import UsageError


def published_code(
    *, results: Path = Path("benchmarks/results/published_code.json"), seeds: int = 5, json: bool = False
) -> None:
    """Hold the simulator against what the paper's published code gave with the same constants.

    Args:
        results: The results file.
        seeds: Runs of 100 intervals a cell.
        json: Print one JSON document.
    """
    if seeds < 1:
        raise UsageError(f"--seeds {seeds}: expected at least 1")
    from splitplace.benchmarks import published_code as bench

    with err.status("published-code"):
        found = bench.run(results, seeds)
    table = Table("all as", "placement", "tick", "response", "there", "wait", "sent", "SLA", title="Intervals")
    for cell in found.cells:
        times = (f"{cell.response:.2f} ± {cell.response_std:.2f}", f"{cell.published:.2f}", f"{cell.wait:.2f}")
        table.add_row(
            cell.decider, cell.placement, cell.tick, *times, f"{cell.transfer:.2f}", f"{cell.sla_violation:.3f}"
        )
    verdict = bench.verdict(found)
    document = {"results": str(results.absolute()), "verdict": verdict, **found.model_dump(mode="json")}
    emit(document, Group(table, *in_words(verdict)), json)
