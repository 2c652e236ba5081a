"""What `joint` is worth beside every other policy, each with the placer that suits it best, at loads of capacity.

First each rival's policy is chosen, for every scenario and load, by its mean reward on the tuning seeds; then all rows
meet the same tasks on the judged seeds, and beside them stands the reward that no policy can exceed on these tasks.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from splitplace.benchmarks.experiment_file import ExperimentResults
from splitplace.benchmarks.grid_cells import Case, GridCells, RowDifference, summary, told
from splitplace.benchmarks.paired import Interval, interval

ALIKE = 1e-4
"""Mean rewards that differ by less are the same."""
ROOM = 0.005
"""Between the bound and the best other policy: where there is so much, it can be told who is better."""
BEHIND = 0.001
"""Of the best other, at most."""
MARGINS = {0.5: 0.002, 0.75: 0.010, 1.0: 0.025}
"""Up to each load, how far below the bound, which knows no queues, we claim to be at most."""


def margin(load: float | None) -> float:
    """That of this load; of one that a scenario states itself, the largest."""
    if load is None:
        return MARGINS[1.0]
    return next((value for most, value in MARGINS.items() if load <= most), MARGINS[1.0])


@dataclass(frozen=True)
class Judged:
    """Ours in one scenario at one load."""

    case: Case
    bound: float
    """Mean over the seeds."""
    means: Mapping[str, float]
    """Mean reward, by row."""
    best: str
    """The best other row."""
    others: Mapping[str, RowDifference]
    """Ours less each other."""
    short: Interval
    """Ours less the bound."""

    @property
    def alike(self) -> bool:
        """Whether nobody's reward differs."""
        return max(self.means.values()) - min(self.means.values()) < ALIKE

    @property
    def room(self) -> bool:
        """Whether the bound leaves enough over the best other to tell who is better."""
        return self.bound - self.means[self.best] >= ROOM

    @property
    def word(self) -> str:
        """Ours against all others; a tie is called one."""
        if self.alike:
            return "all alike"
        found = {word: [row for row, other in self.others.items() if other.word == word] for word in ("below", "level")}
        for word, rows in found.items():
            if rows:
                return f"{'below' if word == 'below' else 'a tie with'} {', '.join(rows)}"
        return "above all"


def judge(results: ExperimentResults) -> list[Judged]:
    """Every case in which ours and another row were measured, in the experiment's order."""
    experiment, table = results.experiment, GridCells(results.judged)
    ours, found = experiment.rows[0].name, []
    bounds = {(bound.scenario, bound.load, bound.seed): bound.reward for bound in results.bounds}
    for scenario, load in experiment.cases:
        case = scenario.name, load
        others = [row for row in table.rows(case) if row != ours]
        mine = table.cells(case, ours)
        if not mine or not others:
            continue
        limits = [bounds[*case, cell.seed] for cell in mine]
        found.append(
            Judged(
                case=case,
                bound=interval(limits).mean,
                means={row: interval(table.column(case, row)).mean for row in (ours, *others)},
                best=table.best(case, others),
                others=table.compare(case, ours),
                short=interval([cell.reward - limit for cell, limit in zip(mine, limits, strict=True)]),
            )
        )
    return found


def verdict(results: ExperimentResults) -> dict[str, str]:
    """What is claimed, and in how many cases it holds, does not, or cannot be told."""
    cases, ours = judge(results), results.experiment.rows[0].name
    claims = dict[str, list[tuple[Case, str]]]()
    for judged in cases:
        _, load = judged.case
        most = margin(load)
        at = "the load that is stated" if load is None else f"a load of {load:g}"
        said = claims.setdefault(f"{ours} at least the bound less {most:.3f} at {at}", [])
        said.append((judged.case, _at_least(judged.short, -most)))
    claims[f"{ours} above every other where the bound leaves {ROOM}"] = [
        (judged.case, "holds" if judged.word == "above all" else "does not hold") for judged in cases if judged.room
    ]
    claims[f"{ours} never below the best other by more than {BEHIND}"] = [
        (judged.case, _at_least(judged.others[judged.best].difference, -BEHIND)) for judged in cases
    ]
    return {claim: summary([(told(case), word) for case, word in said]) for claim, said in claims.items()}


def _at_least(found: Interval, least: float) -> str:
    return "holds" if found.low >= least else "does not hold" if found.high < least else "cannot be told"


def draw(path: Path, results: ExperimentResults) -> Path | None:
    """How far each row is below the bound, beside the results file; the picture's absolute path, None of no case."""
    from splitplace.report.gaps import draw_gaps

    cases = judge(results)
    if not cases:
        return None
    panels: dict[str, dict[str, dict[str, float]]] = {}
    for judged in cases:
        scenario, load = judged.case
        gaps = {row: judged.bound - mean for row, mean in judged.means.items()}
        panels.setdefault("as stated" if load is None else f"load {load:g}", {})[scenario] = gaps
    picture = path.with_suffix(".svg").absolute()
    draw_gaps(picture, panels, ours=results.experiment.rows[0].name)
    return picture
