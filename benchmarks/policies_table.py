"""What RESULTS.md and the command say of `bench policies`: ours against the best other, and every row's reward."""

from collections.abc import Sequence
from pathlib import Path

from splitplace.benchmarks import policies as bench
from splitplace.benchmarks.experiment_file import ExperimentResults
from splitplace.benchmarks.grid_cells import GridCells, stated, told, untrained
from splitplace.benchmarks.paired import interval
from splitplace.benchmarks.policies import Judged
from splitplace.benchmarks.results_file import machines_of
from splitplace.benchmarks.results_section import FileSection, Row


def section(text: bytes, file: Path) -> FileSection:
    """Of a results file."""
    found = ExperimentResults.parse(text, str(file))
    cases, table = bench.judge(found), GridCells(found.judged)
    verdict = bench.verdict(found) if cases else {}
    tables = [_against(found, cases), _rewards(found, cases, table)]
    return FileSection(
        found.provenance,
        [rows for rows in tables if rows],
        verdict,
        sorted({cell.seed for cell in found.cells}),
        [cell.commit for cell in (*found.tuning, *found.cells) if cell.commit],
        _remarks(found, cases),
        machines_of((*found.tuning, *found.cells)),
    )


def _against(found: ExperimentResults, cases: Sequence[Judged]) -> list[Row]:
    ours = found.experiment.rows[0].name
    return [
        {
            "scenario": judged.case[0],
            "load": stated(judged.case[1]),
            "bound": f"{judged.bound:.4f}",
            ours: f"{judged.means[ours]:.4f}",
            "less the bound": str(judged.short),
            "best other": f"{judged.best} {judged.means[judged.best]:.4f}",
            f"{ours} less the best other": str(judged.others[judged.best].difference),
            f"{ours} is": judged.word,
        }
        for judged in cases
    ]


def _rewards(found: ExperimentResults, cases: Sequence[Judged], table: GridCells) -> list[Row]:
    """Mean reward with half its interval; beside it, the placer that was chosen, and whether a part learned nothing."""
    rows = []
    for judged in cases:
        row = {"reward in": judged.case[0], "load": stated(judged.case[1])}
        for name in (each.name for each in found.experiment.rows):
            row[name] = "not run"
            if cells := table.cells(judged.case, name):
                got = interval([cell.reward for cell in cells])
                row[name] = f"{got.mean:.4f}" + (f" ± {got.high - got.mean:.4f}" if len(cells) > 1 else "")
                placer = cells[0].policy.partition("+")[2]
                said = [*filter(None, [placer]), *(["untrained"] if untrained(cells) else [])]
                row[name] += f" ({', '.join(said)})" if said else ""
        rows.append(row)
    return rows


def _remarks(found: ExperimentResults, cases: Sequence[Judged]) -> list[str]:
    experiment = found.experiment
    tuned = ", ".join(map(str, experiment.tuning_seeds))
    chosen = f"the placer that got most on the seeds {tuned}" if tuned else "the placer"
    counts = f"A difference counts where Holm's p over all others is below .05. In brackets, {chosen}."
    said = [f"{experiment.about.strip()} {counts}".strip()]
    rows = {(cell.scenario, cell.load, cell.row) for cell in found.judged if untrained([cell])}
    if rows:
        fresh = dict.fromkeys(row.name for row in experiment.rows if any(row.name == name for _, _, name in rows))
        said.append(
            f"Of {', '.join(fresh)}, parts that learn before a run had no state that fits the fleet, where it says "
            "*untrained*: they began there with nothing, and a difference to them is also that."
        )
    there, begun = {judged.case for judged in cases}, {judged.case[0] for judged in cases}
    lacking = [case for scenario, load in experiment.cases if (case := (scenario.name, load)) not in there]
    if missing := dict.fromkeys(told(case) if case[0] in begun else case[0] for case in lacking):
        said.append(f"Not run yet: {', '.join(missing)}.")
    if alike := [told(judged.case) for judged in cases if judged.alike]:
        said.append(f"Nobody's reward differs in {', '.join(alike)}: these tell nothing of policies.")
    scored = {(cell.scenario, cell.load): cell.scored for cell in found.cells}
    if few := sorted({scenario for (scenario, _), share in scored.items() if share < 0.5}):
        said.append(f"Of {', '.join(few)}, less than half of the tasks are due within the run, and scored.")
    return said
