"""`splitplace bench simulator`: how fast the simulator is."""

from pathlib import Path

from rich.console import Group
from rich.table import Table

from splitplace.cli.bench import in_words
from splitplace.cli.output import emit, err
from splitplace.errors import UsageError


def simulator(
    *,
    results: Path | None = None,
    demand: str = "upstream",
    pairs: int = 30,
    quick: bool = False,
    json: bool = False,
) -> None:
    """Measure how fast the simulator is, on one thread.

    Args:
        results: The results file; benchmarks/results/simulator-DEMAND.json by default.
        demand: What the splits cost: upstream (constants), measured or a file.
        pairs: Interleaved pairs a ratio.
        quick: Leave out the run of 10,000 devices for 100 intervals.
        json: Print one JSON document.
    """
    if pairs < 1:
        raise UsageError(f"--pairs {pairs}: expected at least 1")
    from splitplace.benchmarks import simulator as bench

    results = results or Path(f"benchmarks/results/simulator-{Path(demand).stem}.json")
    with err.status("simulator") as status:
        found = bench.run(results, pairs, not quick, status.update, demand)
    table = Table("what", "figure", title=f"Simulator, demand {demand}")
    table.add_row("azure50, 100 intervals", f"{found.small_s:.2f} s")
    ratios = {"over the numpy loop": found.small, "a task at 10,000 over one at 50": found.task_large}
    for name, ratio in (ratios | {"A/A": found.noise}).items():
        table.add_row(name, f"{ratio.median:.2f} [{ratio.low:.2f}, {ratio.high:.2f}]")
    if found.large is not None:
        size = f"{found.large.wall_s:.0f} s, {found.large.peak_bytes / 1e9:.2f} GB"
        table.add_row(f"{found.large.devices} devices, {found.large.tasks} tasks", size)
    verdict = bench.verdict(found)
    document = {"results": str(results.absolute()), "verdict": verdict, **found.model_dump(mode="json")}
    emit(document, Group(table, *in_words(verdict)), json)
