"""What learning during a run is worth: the same policy, from the same states, and copies frozen when something shifts.

Half-way through each scenario `shift-*` the rate, the mix or the network changes. Until then all copies are one and
the same policy, so that they meet the shift with the same states; from then on they differ only in what still learns.
Beside them stand the two arms alone: what the bandit could have had. Everything is paired by seed.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from splitplace import provenance
from splitplace.benchmarks import grid_jobs
from splitplace.benchmarks.adaptation_cell import (
    BIN,
    PLACERS,
    SHIFTS,
    AdaptationCell,
    arms,
    measure,
    rows,
    scenario_of,
    shift_interval,
    train,
)
from splitplace.benchmarks.paired import Interval, interval
from splitplace.benchmarks.results_file import save
from splitplace.errors import UsageError, unknown
from splitplace.placement.simulator.demands import DemandLike
from splitplace.records.base import PositiveCount, Record
from splitplace.records.provenance import Provenance

BEFORE, AFTER = (20, 50), (70, 95)
"""Windows, in intervals: settled before the shift; and after it, with twenty intervals to learn in. The last intervals'
tasks have no outcome yet."""


class AdaptationResults(Record):
    """Every cell, and where it comes from."""

    demand: str
    intervals: PositiveCount
    cells: tuple[AdaptationCell, ...]
    provenance: Provenance


@dataclass(frozen=True, eq=False)
class AdaptationTask:
    """One run, for whichever process."""

    folder: Path
    demand: DemandLike
    shift: str
    placer: str
    row: str
    seed: int
    intervals: int

    def moved(self, place: Callable[[str], str]) -> "AdaptationTask":
        """The same, its folder where `place` has it."""
        return replace(self, folder=Path(place(str(self.folder))))


def measure_task(task: AdaptationTask) -> AdaptationCell:
    """It."""
    row = rows()[task.row]
    return measure(task.folder, task.demand, task.shift, task.placer, row, task.seed, task.intervals)


def run(
    path: Path,
    folder: Path,
    demand: DemandLike,
    demand_name: str,
    placers: Sequence[str],
    seeds: int,
    say: Callable[[str], None],
    jobs: grid_jobs.Jobs = 1,
) -> AdaptationResults:
    """Measure what the results file lacks, and write it after every cell.

    Raises:
        UsageError: A placer that does not learn, or a file of another setting.
    """
    for placer in placers:
        if placer not in PLACERS:
            raise unknown("placer", placer, PLACERS)
    intervals = scenario_of(SHIFTS[0]).intervals
    done: dict[tuple[str, str, str, int], AdaptationCell] = {}
    if path.is_file():
        old = AdaptationResults.parse(path.read_bytes(), str(path))
        if (old.demand, old.intervals) != (demand_name, intervals):
            raise UsageError(f"{path} holds another setting: give another --results, or --fresh")
        done = {(c.shift, c.placer, c.row, c.seed): c for c in old.cells if c.placer in placers and c.seed < seeds}
    keys = [
        (shift, placer, name, seed)
        for seed in range(seeds)
        for shift in SHIFTS
        for placer in placers
        for name in rows()
    ]
    missing = [key for key in keys if key not in done]
    if missing:
        train(folder, demand, demand_name, say)

    def results() -> AdaptationResults:
        cells = tuple(done[key] for key in keys if key in done)
        return AdaptationResults(demand=demand_name, intervals=intervals, cells=cells, provenance=provenance.collect())

    def keep(cell: AdaptationCell) -> None:
        done[cell.shift, cell.placer, cell.row, cell.seed] = cell
        save(path, results(), indent=None)

    tasks = [AdaptationTask(folder.absolute(), demand, *key, intervals) for key in missing]
    grid_jobs.measure(measure_task, tasks, jobs, keep, say, "copies")
    return AdaptationResults.parse(path.read_bytes(), str(path)) if not missing else results()


def window(results: AdaptationResults, key: tuple[str, str, str], field: str, span: tuple[int, int]) -> list[float]:
    """Mean of a figure over a window of intervals, by seed; `key` is shift, placer and row."""
    cells = sorted((c for c in results.cells if (c.shift, c.placer, c.row) == key), key=lambda c: c.seed)
    return [float(np.mean(getattr(cell, field)[span[0] // BIN : span[1] // BIN])) for cell in cells]


def gain(results: AdaptationResults, shift: str, placer: str, row: str, over: str, field: str = "reward") -> Interval:
    """The paired difference row - over after the shift."""
    pairs = zip(
        *(window(results, (shift, placer, name), field, AFTER) for name in (row, over)),
        strict=True,
    )
    return interval([a - b for a, b in pairs])


def verdict(results: AdaptationResults) -> dict[str, str]:
    """For each shift and placer, whether the online policy recovers where its frozen copy does not."""
    words = {}
    for shift, placer in dict.fromkeys((c.shift, c.placer) for c in results.cells):
        better = max(arms(), key=lambda arm: np.mean(window(results, (shift, placer, arm), "reward", AFTER)))
        won, owed = (gain(results, shift, placer, row, "frozen") for row in ("online", better))
        if won.low > 0:
            says = "the online policy recovers, its frozen copy does not"
        elif won.high < 0:
            says = "the online policy does worse than its frozen copy"
        elif owed.low <= 0:
            says = "no recovery to be seen: the better arm alone is not to be told from the frozen copy either"
        else:
            says = "the online policy does not recover"
        live, still = (
            gain(results, shift, placer, *pair, "error")
            for pair in (("online", "frozen surrogate"), ("frozen bandit", "frozen"))
        )
        words[f"{shift}, mab+{placer}"] = (
            f"{says}; reward online - frozen {won}, {better} alone - frozen {owed}; the surrogate {_follows(live)} "
            f"under the online bandit, error online - frozen {live}, and {_follows(still)} "
            f"under the frozen one, {still}"
        )
    return words


def _follows(error: Interval) -> str:
    return "follows" if error.high < 0 else "is worse" if error.low > 0 else "is not to be told from its copy"


def draw(path: Path, found: AdaptationResults) -> Path:
    """Reward and error over time, beside the results file; the picture's absolute path."""
    from splitplace.report.adaptation import draw_adaptation

    picture = path.with_suffix(".svg").absolute()
    draw_adaptation(picture, lines(found), BIN, shift_interval())
    return picture


def lines(results: AdaptationResults) -> dict[str, dict[str, tuple[list[float], list[float]]]]:
    """Reward and error over time, means over seeds: by shift and placer, then by policy."""
    found: dict[str, dict[str, tuple[list[float], list[float]]]] = {}
    for shift, placer, row in dict.fromkeys((c.shift, c.placer, c.row) for c in results.cells):
        mine = [c for c in results.cells if (c.shift, c.placer, c.row) == (shift, placer, row)]
        reward, error = (
            np.mean([getattr(cell, field) for cell in mine], axis=0).tolist() for field in ("reward", "error")
        )
        found.setdefault(f"{shift}, {placer}", {})[row] = (reward, error)
    return dict(sorted(found.items(), key=lambda entry: entry[0].partition(", ")[2]))
