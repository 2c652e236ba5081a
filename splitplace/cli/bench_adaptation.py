"""`splitplace bench adaptation`: what learning during a run is worth when something shifts."""

from pathlib import Path

from rich.console import Group
from rich.table import Table

from splitplace.cli.output import emit, err
from splitplace.errors import UsageError, unknown


def adaptation(
    *,
    results: Path = Path("benchmarks/results/adaptation.json"),
    state: Path = Path("build/adaptation-states"),
    demand: str = "measured",
    placers: str = "daso,daso-warm",
    seeds: int = 5,
    fresh: bool = False,
    json: bool = False,
) -> None:
    """Measure what learning during a run is worth: rate, mix or network shift half-way; online against frozen copies.

    Cells already in the results file are kept, so an interrupted run goes on where it stopped. A picture over time goes
    beside the results (.svg).

    Args:
        results: The results file.
        state: Folder of states trained for the time before the shift; made if they are not there (minutes).
        demand: As in `simulate`.
        placers: Of daso and daso-warm, comma-separated.
        seeds: How many; 0 to N - 1.
        fresh: Train and measure everything again.
        json: Print one JSON document.
    """
    if not 2 <= seeds <= 100:
        raise UsageError(f"--seeds {seeds}: expected 2 to 100")
    from splitplace.api.demand import load_demand
    from splitplace.benchmarks import adaptation as bench
    from splitplace.benchmarks.paired import interval
    from splitplace.report.adaptation import draw_adaptation

    chosen = placers.split(",")
    for placer in chosen:
        if placer not in bench.PLACERS:
            raise unknown("placer", placer, bench.PLACERS)
    if fresh:
        for path in (results, *(state / f"{part}.json" for part in ("mab", "daso"))):
            path.unlink(missing_ok=True)
    with err.status("adaptation") as status:
        found = bench.run(results, state, load_demand(demand), demand, chosen, seeds, status.update)
    table = Table(
        "shift", "placer", "policy", "reward before", "after", "O^P before", "after", "its error before", "after",
        title=f"A shift half-way, {found.intervals} intervals",
    )  # fmt: skip
    for key in dict.fromkeys((cell.shift, cell.placer, cell.row) for cell in found.cells):
        figures = [
            interval(bench.window(found, key, field, span))
            for field in ("reward", "objective", "error")
            for span in (bench.BEFORE, bench.AFTER)
        ]
        table.add_row(*key, *(f"{figure.mean:.3f} [{figure.low:.3f}, {figure.high:.3f}]" for figure in figures))
    picture = results.with_suffix(".svg").absolute()
    draw_adaptation(picture, bench.lines(found), bench.BIN, bench.shift_interval())
    verdict = bench.verdict(found)
    document = {
        "results": str(results.absolute()), "picture": str(picture), "verdict": verdict, **found.model_dump(mode="json")
    }  # fmt: skip
    emit(document, Group(table, *(f"{what}: {words}" for what, words in verdict.items())), json)
