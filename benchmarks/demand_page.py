"""What is said of `bench demand`: how well each cell's networks and splits are trained, and by what machine.

Imported where the page is written, which need not have torch: what does is imported where the file is read.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from splitplace.benchmarks.results_section import FileSection, words

if TYPE_CHECKING:
    from splitplace.benchmarks.demand_kept import KeptCell


def verdict(cells: "Sequence[KeptCell]") -> dict[str, bool | str]:
    """Whether each of the nine reached the accuracy that was aimed at; of several seeds, by the worst."""
    from splitplace.benchmarks.demand_cells import FULL, NINE
    from splitplace.benchmarks.demand_plan import goal_of

    found: dict[str, bool | str] = {}
    for cell in NINE:
        goal, mine = goal_of(cell), [one for one in cells if one.cell == str(cell) and one.share == 1]
        reached = [top1 for one in mine if (top1 := one.top1(FULL)) is not None]
        claim = f"{cell}: the whole network is right on {goal:.1%} or more"
        found[claim] = min(reached) >= goal if reached and goal is not None else "not run"
    return found


def section(text: bytes, file: Path) -> FileSection:
    """Accuracies by cell and split, held out; what was compressed, by how much."""
    from splitplace.benchmarks.demand_cells import COMPRESSED, FULL, ROOTS, SPLITNET, TREES
    from splitplace.benchmarks.demand_kept import DemandResults

    splits = (FULL, "layer-4", ROOTS, *TREES, SPLITNET)
    found = DemandResults.parse(text, str(file))
    rows = [
        {"cell": one.cell, "seed": str(one.seed)}
        | {what: "" if (top1 := one.top1(what)) is None else f"{top1:.2%}" for what in splits}
        | {f"compressed, {name}": _compressed(one, name) for name in COMPRESSED}
        | {"done up to": one.until}
        for one in found.cells
    ]
    steps = [step for one in found.cells for step in one.steps]
    return FileSection(
        found.provenance,
        [rows] if rows else [],
        words(verdict(found.cells)),
        sorted({one.seed for one in found.cells}),
        [step.commit for step in steps],
        machines=sorted({step.machine for step in steps}),
    )


def _compressed(cell: "KeptCell", name: str) -> str:
    top1 = cell.top1(f"compressed-{name}")
    return "" if top1 is None else f"{top1:.2%} (by {cell.percent[name]} %)"
