"""An experiment's results file: what policies were chosen on, what rows got, and what nobody can exceed."""

from pathlib import Path

import numpy as np

from splitplace import provenance
from splitplace.benchmarks.experiment import Experiment
from splitplace.benchmarks.grid import GridBound, GridCell
from splitplace.benchmarks.grid_cells import Case
from splitplace.benchmarks.grid_row import GridRow
from splitplace.benchmarks.results_file import Measured, save
from splitplace.errors import UsageError
from splitplace.records.base import Count, Fraction, Positive, Record
from splitplace.records.provenance import Provenance


class TuningCell(Measured):
    """What one policy of a row got on a tuning seed."""

    row: str
    policy: str
    scenario: str
    load: Positive | None
    seed: Count
    reward: Fraction


class ExperimentResults(Record):
    """Every cell, and where it comes from."""

    experiment: Experiment
    tuning: tuple[TuningCell, ...]
    cells: tuple[GridCell, ...]
    bounds: tuple[GridBound, ...]
    provenance: Provenance

    @property
    def judged(self) -> tuple[GridCell, ...]:
        """Those of the experiment's own seeds: a file may hold others, perhaps such as placers are chosen on now."""
        return tuple(cell for cell in self.cells if cell.seed in self.experiment.seeds)


class ExperimentFile:
    """What was measured of an experiment, in memory and on disk.

    Args:
        path: The file; what it holds of this experiment is kept.
        experiment: All of it.

    Raises:
        UsageError: The file is of an experiment that says otherwise of the same rows or scenarios.
    """

    def __init__(self, path: Path, experiment: Experiment):
        self.path, self.experiment = path, experiment
        self.tuning = dict[tuple[str, str, str, float | None, int], TuningCell]()
        self.cells = dict[tuple[str, str, float | None, int], GridCell]()
        self.bounds = dict[tuple[str, float | None, int], GridBound]()
        if path.is_file():
            self._read(ExperimentResults.parse(path.read_bytes(), str(path)))

    def _read(self, old: ExperimentResults) -> None:
        before, now = _settings(old.experiment), _settings(self.experiment)
        if changed := [name for name in before.keys() & now.keys() if before[name] != now[name]]:
            raise UsageError(
                f"{self.path} is of an experiment with another {', '.join(sorted(changed))}: give another --results, "
                "or --fresh"
            )
        rows = {row.name for row in self.experiment.rows}
        scenarios = {scenario.name for scenario in self.experiment.scenarios}
        found: list[TuningCell | GridCell | GridBound] = [*old.tuning, *old.cells, *old.bounds]
        for cell in found:
            if cell.scenario in scenarios and (isinstance(cell, GridBound) or cell.row in rows):
                self.put(cell)

    def put(self, cell: TuningCell | GridCell | GridBound) -> None:
        """One more, in place of what was there."""
        case = cell.scenario, cell.load
        match cell:
            case TuningCell(row=row, policy=policy, seed=seed):
                self.tuning[row, policy, *case, seed] = cell
            case GridCell(row=row, seed=seed):
                self.cells[row, *case, seed] = cell
            case GridBound(seed=seed):
                self.bounds[*case, seed] = cell

    def forget(self, part: Experiment) -> None:
        """All of these rows in these scenarios: it is to be measured again."""
        rows = {row.name for row in part.rows}
        scenarios = {scenario.name for scenario in part.scenarios}

        def stays(cell: TuningCell | GridCell) -> bool:
            return cell.row not in rows or cell.scenario not in scenarios

        self.tuning = {key: cell for key, cell in self.tuning.items() if stays(cell)}
        self.cells = {key: cell for key, cell in self.cells.items() if stays(cell)}

    def chosen(self, row: GridRow, case: Case) -> str:
        """The row's policy there: the best on the tuning seeds, of equals the first."""

        def mean(policy: str) -> float:
            seeds = self.experiment.tuning_seeds
            return float(np.mean([self.tuning[row.name, policy, *case, seed].reward for seed in seeds]))

        return row.policies[0] if len(row.policies) == 1 else max(row.policies, key=mean)

    def save(self) -> ExperimentResults:
        """Write the file."""
        found = ExperimentResults(
            experiment=self.experiment,
            tuning=tuple(self.tuning.values()),
            cells=tuple(self.cells.values()),
            bounds=tuple(self.bounds.values()),
            provenance=provenance.collect(),
        )
        save(self.path, found, indent=None)
        return found


def _settings(experiment: Experiment) -> dict[str, object]:
    """What cells hang on: of a row all but which policies it may choose from, of a scenario all."""
    rows = {f"row {row.name}": row.model_copy(update={"policies": ()}) for row in experiment.rows}
    scenarios = {
        f"scenario {each.name}": each.model_copy(update={"intervals": each.intervals or experiment.intervals})
        for each in experiment.scenarios
    }
    return {**rows, **scenarios, "states": experiment.states}
