"""The paper's experiments: its rows beside controls and ours on the same tasks, and each of its claims in a word.

A claim says that a row's figure is above or below others', in every case of an experiment, or that it moves along a
series (`paper_claim.py`). It holds where each difference, within seeds, has that sign and Holm's p over all of the
claim's others is below .05. It does not hold where the interval of one of them leaves no room for it. Else it cannot be
told; nor where no row's figure differs from another's.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from splitplace.benchmarks.experiment_file import ExperimentResults
from splitplace.benchmarks.grid_cells import CLEAR, Case, GridCells, summary, told
from splitplace.benchmarks.paired import Interval, holm, interval, p_value
from splitplace.benchmarks.paper_claim import PaperClaim

ALIKE = 1e-4
"""Relative: figures that differ by less are the same."""


@dataclass(frozen=True)
class HeldClaim:
    """A claim in one case, or along one series."""

    claim: PaperClaim
    where: str
    word: str
    other: str = ""
    """The row that decides: the one that it is least ahead of, or most clearly not."""
    difference: Interval | None = None
    """The claimed row's figure less the other's, less its own at the former place, or less what it is said to be."""

    without: tuple[str, ...] = ()
    """Others that it is over, and that did not take part there."""

    @property
    def why(self) -> str:
        """What the word goes by."""
        without = f"; without {', '.join(sorted(self.without))}" if self.without else ""
        if self.difference is None:
            return "nobody differs" + without
        return f"{self.difference}" + (f" to {self.other}" if self.other else "") + without


def held(results: ExperimentResults) -> list[HeldClaim]:
    """Every claim wherever its row was measured and one of the others, in the experiment's order."""
    table, found = GridCells(results.judged), []
    for claim in results.experiment.claims:
        for where, cases in _situations(results, claim).items():
            there = set.intersection(*(set(table.rows(case)) for case in cases))
            others = tuple(row for row in claim.over if row in there)
            rows = zip((claim.row, claim.row_since or claim.row), cases, strict=False)
            if bool(others) == bool(claim.over) and all(row in table.rows(case) for row, case in rows):
                one = _held(table, claim.model_copy(update={"over": others}), where, cases)
                found.append(replace(one, claim=claim, without=tuple(set(claim.over) - set(others))))
    return found


def series(results: ExperimentResults) -> dict[str, dict[float, Case]]:
    """The cases by series and place in it; of a series of one place, that is where it is."""
    found = dict[str, dict[float, Case]]()
    for scenario, load in results.experiment.cases:
        at = scenario.at if scenario.at is not None else load
        found.setdefault(scenario.series or scenario.name, {})[at or 0.0] = (scenario.name, load)
    return found


def _situations(results: ExperimentResults, claim: PaperClaim) -> dict[str, tuple[Case, ...]]:
    """Where it is held, and in which cases: where the figure is, or where it is and was."""
    if claim.since is None or claim.to is None:
        cases = [(scenario.name, load) for scenario, load in results.experiment.cases]
        return {told(case): (case,) for case in cases if case[0] in claim.where or not claim.where}
    return {
        name: (places[claim.to], places[claim.since])
        for name, places in series(results).items()
        if claim.to in places and claim.since in places
    }


def _held(table: GridCells, claim: PaperClaim, where: str, cases: tuple[Case, ...]) -> HeldClaim:
    if claim.near is not None:
        return _near(claim, claim.near, where, interval(table.column(cases[0], claim.row, claim.figure)))
    sign = 1.0 if claim.direction == "above" else -1.0
    everybody = [table.column(case, row, claim.figure) for case in cases for row in table.rows(case)]
    scale = max(abs(value) for column in everybody for value in column)
    means = [interval(column).mean for column in everybody]
    if max(means) - min(means) <= ALIKE * scale:
        return HeldClaim(claim, where, "cannot be told")
    differences = _differences(table, claim, cases)
    p = holm({other: p_value(values) for other, values in differences.items()})
    found = {other: interval(values) for other, values in differences.items()}

    def at_best(other: str) -> float:
        """As good for the claim as the interval leaves it."""
        return found[other].high if sign > 0 else -found[other].low

    closest = min(found, key=lambda other: sign * found[other].mean)
    if all(p[other] < CLEAR and sign * found[other].mean > 0 for other in found):
        return HeldClaim(claim, where, "holds", closest, found[closest])
    if refuted := [other for other in found if at_best(other) <= ALIKE * scale]:
        worst = min(refuted, key=at_best)
        return HeldClaim(claim, where, "does not hold", worst, found[worst])
    unclear = max(found, key=p.__getitem__)
    return HeldClaim(claim, where, "cannot be told", unclear, found[unclear])


def _near(claim: PaperClaim, number: float, where: str, found: Interval) -> HeldClaim:
    """By where the whole interval lies."""
    low, high = number * (1 - claim.within), number * (1 + claim.within)
    off = Interval(found.mean - number, found.low - number, found.high - number)
    if low <= found.low and found.high <= high:
        word = "holds"
    else:
        word = "does not hold" if found.high < low or found.low > high else "cannot be told"
    return HeldClaim(claim, where, word, difference=off)


def _differences(table: GridCells, claim: PaperClaim, cases: tuple[Case, ...]) -> dict[str, list[float]]:
    """By seed: the row's figure, or its move, less each other's; of a claim without others, the move itself."""

    def moved(row: str, row_since: str = "") -> list[float]:
        rows = (row, row_since or row)
        columns = [by_seed(table, case, one, claim.figure) for case, one in zip(cases, rows, strict=False)]
        seeds = sorted(set.intersection(*map(set, columns)))
        signs = (1.0, -1.0)[: len(cases)]
        return [sum(s * column[seed] for s, column in zip(signs, columns, strict=True)) for seed in seeds]

    mine = moved(claim.row, claim.row_since)
    if not claim.over:
        return {"": mine}
    return {other: [a - b for a, b in zip(mine, moved(other), strict=True)] for other in claim.over}


def by_seed(table: GridCells, case: Case, row: str, figure: str) -> Mapping[int, float]:
    """One figure of one row."""
    return {cell.seed: cell.figure(figure) for cell in table.cells(case, row)}


def verdict(results: ExperimentResults) -> dict[str, str]:
    """Each claim with the figures that the paper prints for it, and where it holds."""
    said = dict[str, list[tuple[str, str]]]()
    for claim in results.experiment.claims:
        said[_claimed(claim)] = []
    for one in held(results):
        why = f" ({one.why})" if one.word != "holds" else ""
        said[_claimed(one.claim)].append((one.where + why, one.word))
    return {claim: summary(found) for claim, found in said.items()}


def _claimed(claim: PaperClaim) -> str:
    return claim.said + (f" (printed: {claim.printed})" if claim.printed else "")


def draw(path: Path, results: ExperimentResults) -> Path | None:
    """The drawn columns over each series, beside the results file; the picture's absolute path, None of no cell."""
    from splitplace.report.series import SeriesPanel, draw_series

    table, experiment = GridCells(results.judged), results.experiment
    if not table.cases:
        return None
    panels = []
    for column in (column for column in experiment.columns if column.panel):
        for name, places in series(results).items():
            lines = dict[str, list[tuple[float, float, float]]]()
            for at, case in places.items():
                for row in table.rows(case):
                    if not all(cell.has(column.figure) for cell in table.cells(case, row)):
                        continue
                    got = interval([column.factor * value for value in table.column(case, row, column.figure)])
                    lines.setdefault(row, []).append((at, got.mean, got.high - got.mean))
            if lines:
                panels.append(SeriesPanel(name, column.title, lines))
    picture = path.with_suffix(".svg").absolute()
    draw_series(picture, panels, [row.name for row in experiment.rows])
    return picture
