"""What RESULTS.md and the commands say of the paper's experiments: figures beside those printed, claims by place."""

from pathlib import Path

from splitplace.benchmarks import paper as bench
from splitplace.benchmarks.experiment_file import ExperimentResults
from splitplace.benchmarks.grid_cells import Case, GridCells, told, untrained
from splitplace.benchmarks.grid_row import GridRow
from splitplace.benchmarks.paired import interval
from splitplace.benchmarks.paper_claim import PaperColumn
from splitplace.benchmarks.results_file import machines_of
from splitplace.benchmarks.results_section import FileSection, Row

WORDS = {"holds": "holds", "does not hold": "no", "cannot be told": "?"}


def section(text: bytes, file: Path) -> FileSection:
    """Of a results file."""
    found = ExperimentResults.parse(text, str(file))
    table = GridCells(found.judged)
    cases = [case for case in _cases(found) if table.rows(case)]
    tables = [rows for case in cases for rows in (_figures(found, table, case), _by_application(found, table, case))]
    return FileSection(
        found.provenance,
        [*filter(None, tables), *([_claims(found)] if table.cases and found.experiment.claims else [])],
        bench.verdict(found) if table.cases else {},
        sorted({cell.seed for cell in found.cells}),
        [cell.commit for cell in (*found.tuning, *found.cells) if cell.commit],
        _remarks(found, table),
        machines_of((*found.tuning, *found.cells)),
    )


def _cases(found: ExperimentResults) -> list[Case]:
    return [(scenario.name, load) for scenario, load in found.experiment.cases]


def _figures(found: ExperimentResults, table: GridCells, case: Case) -> list[Row]:
    """A row a policy; then what nobody can exceed."""
    columns = found.experiment.columns
    rows = [
        {told(case): _named(table, case, row)}
        | {column.title: _figure(found, table, case, row.name, column) for column in columns}
        for row in _rows(found, case)
    ]
    if limits := [bound.reward for bound in found.bounds if (bound.scenario, bound.load) == case]:
        most = interval(limits).mean
        rows.append(
            {told(case): "bound"}
            | {
                column.title: f"{most * column.factor:.{column.digits}f}" if column.figure == "reward" else ""
                for column in columns
            }
        )
    return [{name: row[name] for name in row if any(other[name] for other in rows)} for row in rows]


def _by_application(found: ExperimentResults, table: GridCells, case: Case) -> list[Row]:
    """The columns that say so, for each application: figure 7 of the paper."""
    columns = [column for column in found.experiment.columns if column.by_application]
    details = [cell.detail for row in table.rows(case) for cell in table.cells(case, row)]
    names = sorted({one.application for detail in details if detail for one in detail.applications})
    each = [
        column.model_copy(update={"figure": f"{column.figure}:{name}", "title": f"{column.title}, {name}"})
        for column in columns
        for name in names
    ]
    if not each:
        return []
    return [
        {f"{told(case)}, by application": _named(table, case, row)}
        | {column.title: _figure(found, table, case, row.name, column) for column in each}
        for row in _rows(found, case)
    ]


def _rows(found: ExperimentResults, case: Case) -> list[GridRow]:
    """Those that may take part there."""
    (named,) = (scenario.rows for scenario in found.experiment.scenarios if scenario.name == case[0])
    return [row for row in found.experiment.rows if row.name in named or not named]


def _named(table: GridCells, case: Case, row: GridRow) -> str:
    """With the placer that was chosen for it, where it had a choice, and with the learners that nobody had trained."""
    cells = table.cells(case, row.name)
    placer = cells[0].policy.partition("+")[2] if cells and len(row.policies) > 1 else ""
    learners = untrained(cells)
    said = [*filter(None, [placer]), *([f"untrained: {', '.join(learners)}"] if learners else [])]
    return row.name + (f" ({'; '.join(said)})" if said else "")


def _figure(found: ExperimentResults, table: GridCells, case: Case, row: str, column: PaperColumn) -> str:
    """Mean ± half of its interval, and what the paper prints."""
    cells = table.cells(case, row)
    if not cells:
        return "not run"
    if not all(cell.has(column.figure) for cell in cells):
        return ""
    got = interval([column.factor * value for value in table.column(case, row, column.figure)])
    half = f" ± {got.high - got.mean:.{column.digits}f}" if got.high < float("inf") else ""
    printed = found.experiment.printed.get(row, {}).get(column.figure)
    beside = "" if printed is None else f" ({printed * column.factor:.{column.digits}f})"
    return f"{got.mean:.{column.digits}f}{half}{beside}"


def _claims(found: ExperimentResults) -> list[Row]:
    """A row a claim: the word and the difference that decides, by place."""
    held = bench.held(found)
    places = list(dict.fromkeys(one.where for one in held))
    rows = []
    for claim in found.experiment.claims:
        mine = {one.where: one for one in held if one.claim == claim}
        row = {"claim": claim.said}
        for place in places:
            one = mine.get(place)
            mean = "" if one is None or one.difference is None else f" {one.difference.mean:+.4g} {one.other}".rstrip()
            mean = f" {one.untold}" if one is not None and one.difference is None else mean
            without = f", without {', '.join(sorted(one.without))}" if one is not None and one.without else ""
            row[place] = "" if one is None else WORDS[one.word] + mean + without
        rows.append(row)
    return rows


def _remarks(found: ExperimentResults, table: GridCells) -> list[str]:
    experiment = found.experiment
    said = [experiment.about.strip() + (" In brackets: what is printed of it." if experiment.printed else "")]
    idle = []
    for case in _cases(found):
        cells = [cell for row in table.rows(case) for cell in table.cells(case, row)]
        if cells and all(cell.violation == 0 for cell in cells):
            idle.append(told(case))
    if idle:
        said.append(f"Nobody misses a deadline in {', '.join(idle)}: accuracies and response times are all they tell.")
    return said
