"""The paper's experiments: its rows beside controls and ours on the same tasks, and each of its claims in a word.

A claim says that a row's figure is above or below others', in every case of an experiment, or that it moves along a
series (`paper_claim.py`). It holds where each difference, within seeds, has that sign and Holm's p over all of the
claim's others is below .05. It does not hold where one of them is told from none the other way round: Holm's one-sided
p of them is below .05, so that of true claims at most one in twenty is refuted, over however many rows. Else it cannot
be told; nor where none of the claim's rows differs from another, or nobody finished whose time it is about.
"""

from dataclasses import dataclass, replace
from pathlib import Path

from splitplace.benchmarks.experiment_file import ExperimentResults
from splitplace.benchmarks.grid_cells import CLEAR, Case, GridCells, summary, told
from splitplace.benchmarks.paired import Interval, holm, interval, p_below, p_value
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
    untold: str = "nobody differs"
    """Why there is no difference, where there is none."""

    @property
    def why(self) -> str:
        """What the word goes by."""
        without = f"; without {', '.join(sorted(self.without))}" if self.without else ""
        if self.difference is None:
            return self.untold + without
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
        if not claim.where or places[claim.to][0] in claim.where
    }


def _held(table: GridCells, claim: PaperClaim, where: str, cases: tuple[Case, ...]) -> HeldClaim:
    if untold := _untold(table, claim, cases):
        return HeldClaim(claim, where, "cannot be told", untold=untold)
    if claim.near is not None:
        return _near(claim, claim.near, where, interval(table.column(cases[0], claim.row, claim.figure)))
    sign = 1.0 if claim.direction == "above" else -1.0
    columns = [table.column(case, row, claim.figure) for case, row in _compared(claim, cases)]
    scale = max(abs(value) for column in columns for value in column)
    means = [interval(column).mean for column in columns]
    if not claim.beside and max(means) - min(means) <= ALIKE * scale:
        return HeldClaim(claim, where, "cannot be told")
    differences = _differences(table, claim, cases)
    found = {other: interval(values) for other, values in differences.items()}
    p = holm({other: p_value(values) for other, values in differences.items()})
    against = holm({other: p_below([sign * value for value in values]) for other, values in differences.items()})

    closest = min(found, key=lambda other: sign * found[other].mean)
    if all(p[other] < CLEAR and sign * found[other].mean > 0 for other in found):
        return HeldClaim(claim, where, "holds", closest, found[closest])
    if refuted := [other for other in found if against[other] < CLEAR]:
        worst = min(refuted, key=lambda other: sign * found[other].mean)
        return HeldClaim(claim, where, "does not hold", worst, found[worst])
    unclear = max(found, key=p.__getitem__)
    return HeldClaim(claim, where, "cannot be told", unclear, found[unclear])


def _compared(claim: PaperClaim, cases: tuple[Case, ...]) -> list[tuple[Case, str]]:
    """Whose figures it is of, where."""
    mine = list(zip(cases, (claim.row, claim.row_since or claim.row), strict=False))
    return [*mine, *((case, other) for case in cases for other in claim.over)]


def _untold(table: GridCells, claim: PaperClaim, cases: tuple[Case, ...]) -> str:
    """Why nothing can be compared; empty if all of it can be."""
    figures = [claim.figure, *filter(None, [claim.beside])]
    compared = _compared(claim, cases)
    none = [row for case, row in compared for cell in table.cells(case, row) if not all(map(cell.has, figures))]
    if none:
        return f"nobody finished: {', '.join(dict.fromkeys(none))}"
    before = [row for case, row in compared if case == cases[-1]]
    if claim.relative and (zero := [row for row in before if 0.0 in table.column(cases[-1], row, claim.figure)]):
        return f"no share of nothing: {', '.join(zero)}"
    return ""


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
    """Over seeds: the row's figure, or its move, less each other's; of a claim without others, the move itself."""
    mine = _moved(table, claim, cases, (claim.row, claim.row_since or claim.row), claim.figure)
    if claim.beside:
        rest = _moved(table, claim, cases, (claim.row, claim.row), claim.beside)
        mine = {seed: mine[seed] - rest[seed] for seed in mine}
    if not claim.over:
        return {"": list(mine.values())}
    found = {}
    for other in claim.over:
        its = _moved(table, claim, cases, (other, other), claim.figure)
        found[other] = [mine[seed] - its[seed] for seed in mine if seed in its]
    return found


def _moved(
    table: GridCells, claim: PaperClaim, cases: tuple[Case, ...], rows: tuple[str, str], figure: str
) -> dict[int, float]:
    """By seed: the figure of a row in the one case, or how far it is from what it was in the other."""
    now, *before = (
        {cell.seed: cell.figure(figure) for cell in table.cells(case, row)}
        for case, row in zip(cases, rows, strict=False)
    )
    if not before:
        return now
    was = before[0]
    return {
        seed: now[seed] / was[seed] - 1.0 if claim.relative else now[seed] - was[seed] for seed in now if seed in was
    }


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
