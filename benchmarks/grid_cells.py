"""Cells side by side: differences of rows within a seed, with their intervals.

Intervals are of 95 % (Student's t), and where a row is held against many, p-values are Holm's.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache

from splitplace.benchmarks.grid import GridCell
from splitplace.benchmarks.paired import Interval, holm, interval, p_value
from splitplace.placement.registry import parse_policy
from splitplace.placement.states import trainable

CLEAR = 0.05
"""A difference is told from none below this p-value."""

Case = tuple[str, float | None]
"""Scenario and load, none for what it states itself."""


def stated(load: float | None) -> str:
    """As tables have it."""
    return "as stated" if load is None else f"{load:g}"


def told(case: Case) -> str:
    """Scenario and load in a sentence."""
    scenario, load = case
    return scenario if load is None else f"{scenario} at {load:g}"


@dataclass(frozen=True)
class RowDifference:
    """A row less another, paired by seed; `p` is Holm's over all the others."""

    difference: Interval
    p: float

    @property
    def word(self) -> str:
        """Whether it can be told from none."""
        if self.p >= CLEAR:
            return "level"
        return "above" if self.difference.mean > 0 else "below"


class GridCells:
    """Cells by case, row and seed.

    Args:
        cells: In any order.
    """

    def __init__(self, cells: Iterable[GridCell]):
        self._found: dict[Case, dict[str, dict[int, GridCell]]] = {}
        for cell in cells:
            self._found.setdefault((cell.scenario, cell.load), {}).setdefault(cell.row, {})[cell.seed] = cell

    @property
    def cases(self) -> list[Case]:
        """Those there are."""
        return list(self._found)

    def rows(self, case: Case) -> list[str]:
        """Those with a cell there."""
        return list(self._found.get(case, ()))

    def cells(self, case: Case, row: str) -> list[GridCell]:
        """Of one row, by seed, on the seeds that every row of the case has: only those can be paired."""
        found = self._found.get(case, {})
        seeds = set.intersection(*(set(of_row) for of_row in found.values())) if row in found else set()
        return [found[row][seed] for seed in sorted(seeds)]

    def column(self, case: Case, row: str, figure: str = "reward") -> list[float]:
        """One figure of one row, by seed."""
        return [cell.figure(figure) for cell in self.cells(case, row)]

    def compare(self, case: Case, row: str, figure: str = "reward") -> dict[str, RowDifference]:
        """A row against each other one."""
        mine = self.column(case, row, figure)
        differences = {
            other: [a - b for a, b in zip(mine, self.column(case, other, figure), strict=True)]
            for other in self.rows(case)
            if other != row
        }
        adjusted = holm({other: p_value(values) for other, values in differences.items()})
        return {other: RowDifference(interval(values), adjusted[other]) for other, values in differences.items()}

    def best(self, case: Case, rows: Iterable[str], figure: str = "reward") -> str:
        """The row of these with the highest mean, the first of equals."""
        return max(rows, key=lambda row: interval(self.column(case, row, figure)).mean)


def summary(said: Sequence[tuple[str, str]]) -> str:
    """In how many places a claim holds, and in which not; of (place, word)."""
    if not said:
        return "not run"
    where = {word: [place for place, found in said if found == word] for word in ("does not hold", "cannot be told")}
    parts = [f"{word} in {', '.join(places)}" for word, places in where.items() if places]
    holds = sum(found == "holds" for _, found in said)
    return "; ".join([f"holds in {holds} of {len(said)}", *parts]) if parts else "holds"


def untrained(cells: Iterable[GridCell]) -> list[str]:
    """The learners among the parts of these cells' policies that no state was given to."""
    return list(dict.fromkeys(part for cell in cells for part in _learners(cell.policy) if part not in cell.trained))


@cache
def _learners(policy: str) -> list[str]:
    """Of all cells with one policy, once."""
    return trainable(parse_policy(policy))
