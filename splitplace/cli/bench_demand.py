"""`splitplace bench demand`: makes the demand that ships with the simulator."""

from pathlib import Path

from rich.console import Group
from rich.table import Table

from splitplace.cli.output import bar, emit


def demand(
    *,
    work: Path = Path("runs/demand"),
    out: Path = Path("placement/data/demand.measured.json"),
    applications: str | None = None,
    tiny100: Path | None = None,
    again: bool = False,
    quick: bool = False,
    json: bool = False,
) -> None:
    """Make the demand that ships with the simulator: train, split, export, evaluate and profile, on one thread.

    What the work folder holds already is used, so an interrupted run goes on where it stopped.

    Args:
        work: Folder of the RUNs and the catalog.
        out: The demand file.
        applications: Names, comma-separated; mnist, fashionmnist and tiny100 by default.
        tiny100: Folder of tiny100's train.parquet and test.parquet, the first time.
        again: Measure the profiles anew, on a quiet machine; the rest stays.
        quick: Profile in a quarter of the time.
        json: Print one JSON document.
    """
    from dataclasses import replace

    from splitplace.benchmarks import demand as bench
    from splitplace.export.measure.profiler import QUICK
    from splitplace.training.data.applications import fetch

    settings = bench.DemandSettings()
    if applications:
        settings = settings.only(tuple(applications.split(",")))
    if quick:
        settings = replace(settings, effort=QUICK)
    with bar() as progress:
        found, size_bytes = bench.run(
            work,
            out,
            lambda name: fetch(name, path=tiny100 if name == "tiny100" else None),
            settings,
            progress,
            profile_again=again,
        )
    rows = bench.table(found)
    table = Table(
        "split",
        "top-1",
        "fragments",
        "weights",
        "ms an image",
        "memory",
        "bytes between",
        title="Demand",
    )
    for row in rows:
        table.add_row(
            row.reference,
            f"{row.top1:.4f}",
            str(row.fragments),
            f"{row.weight_bytes / 1e6:.2f} MB",
            f"{1e3 * row.seconds_a_sample:.3f}",
            f"{row.memory_bytes / 1e6:.0f} MB",
            f"{row.bytes_between / 1e3:.1f} kB",
        )
    document = {
        "demand": str(out.absolute()),
        "size_bytes": size_bytes,
        "splits": [row.model_dump(mode="json") for row in rows],
    }
    emit(document, Group(table, f"{out}: {len(rows)} splits, {size_bytes} bytes"), json)
