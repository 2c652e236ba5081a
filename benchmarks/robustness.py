"""What it costs a policy to be told wrong, and to lose devices, once it has had thirty intervals to find out.

Each scenario that is wrong names the one that is right: the same tasks on the same fleet, where policies are told the
truth, or where the devices that fail in the course of the run were never there. Cells are of the tasks that arrive
thirty intervals after it went wrong. What is lost is the right one's reward less the wrong one's, within a seed.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from splitplace.benchmarks.experiment_file import ExperimentResults
from splitplace.benchmarks.grid_cells import GridCells
from splitplace.benchmarks.paired import Interval, interval
from splitplace.benchmarks.results_file import machines_of
from splitplace.benchmarks.results_section import FileSection, Row

MOST = 0.01
"""Of reward that may be lost."""


@dataclass(frozen=True)
class Loss:
    """Of one row, in one scenario at one load."""

    row: str
    scenario: str
    load: float
    right: Interval
    """Its reward with right knowledge."""
    lost: Interval

    @property
    def word(self) -> str:
        """Whether it is at most what may be lost."""
        return "holds" if self.lost.high <= MOST else "does not hold" if self.lost.low > MOST else "cannot be told"


def losses(results: ExperimentResults) -> list[Loss]:
    """Of every row, wherever both sides were measured on a common seed."""
    table, found = GridCells(results.judged), []
    for row in results.experiment.rows:
        for scenario in results.experiment.scenarios:
            for load in results.experiment.loads if scenario.right else ():
                wrong, right = (
                    {cell.seed: cell.reward for cell in table.cells((name, load), row.name)}
                    for name in (scenario.name, str(scenario.right))
                )
                if seeds := sorted(wrong.keys() & right.keys()):
                    lost = interval([right[seed] - wrong[seed] for seed in seeds])
                    sides = interval([right[seed] for seed in seeds]), lost
                    found.append(Loss(row.name, scenario.name, load, *sides))
    return found


def verdict(results: ExperimentResults) -> dict[str, str]:
    """Of the first row, for every scenario: whether it loses at most what it may, at each load."""
    ours, said = results.experiment.rows[0].name, dict[str, list[Loss]]()
    for loss in losses(results):
        if loss.row == ours:
            said.setdefault(loss.scenario, []).append(loss)
    return {f"{ours} loses at most {MOST} in {scenario}": _summary(found) for scenario, found in said.items()}


def _summary(found: Sequence[Loss]) -> str:
    if all(loss.word == "holds" for loss in found):
        return "holds"
    return "; ".join(f"{loss.word} at a load of {loss.load:g}" for loss in found)


def section(text: bytes, file: Path) -> FileSection:
    """What RESULTS.md and the command say of a results file."""
    found = ExperimentResults.parse(text, str(file))
    rows: list[Row] = [
        {
            "policy": loss.row,
            "scenario": loss.scenario,
            "load": f"{loss.load:g}",
            "reward, knowing": f"{loss.right.mean:.4f}",
            "lost by not knowing": str(loss.lost),
        }
        for loss in losses(found)
    ]
    return FileSection(
        found.provenance,
        [rows] if rows else [],
        verdict(found),
        sorted({cell.seed for cell in found.cells}),
        [cell.commit for cell in found.cells if cell.commit],
        [found.experiment.about.strip()],
        machines_of(found.cells),
    )
