"""`splitplace bench demand`: makes the demand that ships with the simulator, and says what there is of it."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from rich.console import Group
from rich.table import Table

from splitplace.benchmarks.commands.measuring import table
from splitplace.benchmarks.commands.options import RESULTS, Json, at_least_one
from splitplace.cli.output import bar, emit, remark
from splitplace.errors import UsageError
from splitplace.extras import needs
from splitplace.files import check_file, check_folder

if TYPE_CHECKING:
    from splitplace.benchmarks.demand_plan import CellStatus


def demand(
    *,
    cells: str | None = None,
    work: Path = Path("runs/demand"),
    results: Path | None = None,
    out: Path | None = None,
    status: bool = False,
    device: Literal["cpu", "gpu"] | None = None,
    preset: str | None = None,
    jobs: int | None = None,
    until: Literal["train", "export", "evaluate", "profile"] = "profile",
    share: float = 1.0,
    seed: int = 0,
    tiny100: Path | None = None,
    again: bool = False,
    quick: bool = False,
    json: Json = False,
) -> None:
    """Make the demand that ships with the simulator: three networks on three data sets, trained, split, measured.

    Says what it will do and how long that may take, then each step as it is done. What the work folder holds already is
    used: killed at any moment, the same command goes on with the step that it was at. What is measured of a cell that
    is complete is kept in the results file, and not made again where the work folder is lost.

    Args:
        cells: APPLICATION.MODEL, comma-separated, in the order to make them in; the nine by default.
        work: Folder of the RUNs, the catalogs and the notes of what is done.
        results: The results file: what is kept of complete cells; by default benchmarks/results/demand.json, and
            results.json in the work folder of a part of the images.
        out: The demand file, of the cells that are complete; demand.json in the work folder by default.
        status: Say what there is of each cell and what is missing, and do nothing.
        device: What trains; a GPU where there is one.
        preset: Of the trainings; demand, or demand-gpu on a GPU.
        jobs: How many trainings and exports at once, which share the cores; 1 by default, on a GPU one a core.
        until: The last kind of step to do.
        share: Of the images, trained on and held out; .01 to see the whole way through.
        seed: Of weights, groups, order and augmentation; another one than 0 has a folder of its own in the work folder.
        tiny100: Folder of tiny100's train.parquet and test.parquet, the first time.
        again: Measure the profiles anew, on a quiet machine; the rest stays.
        quick: Profile in a quarter of the time.
    """
    needs("splitplace bench demand", "train", "export")
    at_least_one(jobs=jobs)
    if not 0 < share <= 1:
        raise UsageError(f"--share {share:g}: expected a share of the images, above 0 and at most 1")
    if seed < 0:
        raise UsageError(f"--seed {seed}: expected at least 0")
    from splitplace.benchmarks import demand, demand_file
    from splitplace.benchmarks.demand_cells import NINE, DemandSettings, parse_cells
    from splitplace.benchmarks.demand_kept import find_kept, load
    from splitplace.benchmarks.demand_plan import status as status_of
    from splitplace.catalog.demand import write_demand

    chosen = NINE if cells is None else parse_cells(cells)
    trains = demand.choose_device(device)
    preset = preset or ("demand" if trains == "cpu" else "demand-gpu")
    settings = DemandSettings(preset=preset, share=share, until=until, device=trains, seed=seed)
    settings = settings.quick() if quick else settings
    demand.check_preset(settings)
    folder = work / f"seed-{seed}" if seed else work
    file = out or folder / "demand.json"
    results = results or (RESULTS / "demand.json" if share == 1 else folder / "results.json")
    if status:
        there = load(results)
        found = tuple(status_of(folder, cell, settings, find_kept(there, cell, settings)) for cell in chosen)
        emit(_document(folder, found), _table(found), json)
        return
    check_file(file, "--out")
    check_file(results, "--results")
    check_folder(folder, "--work")
    jobs = jobs or (demand.default_jobs() if trains == "gpu" else 1)
    with bar() as progress:
        fetch = demand.images({cell.application for cell in chosen}, tiny100, share, progress)
        kept = load(results)
        found = demand.run(folder.absolute(), chosen, fetch, settings, remark, progress, jobs, again, kept)
        there = demand_file.keep(results, folder, chosen, fetch, settings)
    mine = [one for cell in chosen if (one := find_kept(there, cell, settings)) is not None]
    value = demand_file.collect(mine) if until == "profile" else None
    facts = {} if value is None else {"demand": str(file.absolute()), "size_bytes": write_demand(value, file)}
    rows = demand_file.table(value) if value is not None else ()
    tables = [_table(found), *([table([row.row() for row in rows], "Demand")] if rows else [])]
    told = f"{file}: {len(rows)} splits, {facts['size_bytes']} bytes" if facts else "no cell is complete: no demand yet"
    document = _document(folder, found) | facts | {"splits": [row.model_dump(mode="json") for row in rows]}
    emit(document, Group(*tables, told), json)


def _document(folder: Path, found: "Sequence[CellStatus]") -> dict[str, Any]:
    """What there is, for programs."""
    cells = [one.model_dump(mode="json") | {"complete": one.complete} for one in found]
    return {"work": str(folder.absolute()), "cells": cells}


def _table(found: "Sequence[CellStatus]") -> Table:
    """What there is, for people."""
    return table([one.row() for one in found], "Cells")
