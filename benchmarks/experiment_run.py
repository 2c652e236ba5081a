"""Runs an experiment: chooses each row's policy on the tuning seeds, then judges, and bounds, on the others."""

from collections.abc import Callable, Iterable
from pathlib import Path

from splitplace.benchmarks import grid_jobs
from splitplace.benchmarks.experiment import Experiment
from splitplace.benchmarks.experiment_file import ExperimentFile, ExperimentResults, TuningCell
from splitplace.benchmarks.grid import GridBound, GridCell, GridTask, measure_bound, measure_cell
from splitplace.benchmarks.grid_row import GridRow
from splitplace.benchmarks.grid_scenario import GridScenario
from splitplace.benchmarks.trained_states import states_of, train_states
from splitplace.placement.simulator.setting import prepare
from splitplace.records.split import STRATEGIES


def taking_part(rows: Iterable[GridRow], scenario: GridScenario) -> tuple[GridRow, ...]:
    """Of its rows those that can take the fleet, and whose strategies every application has a split of there."""
    devices, costs = prepare(*scenario.load())
    splits = zip(costs.splits.application_S.tolist(), costs.splits.strategies, strict=True)
    there = {(application, strategy) for application, strategy in splits}
    offered = {s for s in STRATEGIES if all((a, s) in there for a in range(len(costs.applications)))}
    named = [row for row in rows if row.name in scenario.rows or not scenario.rows]
    return tuple(
        row for row in named if set(row.strategies) <= offered and len(devices) <= (row.devices or len(devices))
    )


def run(
    path: Path,
    experiment: Experiment,
    say: Callable[[str], None],
    part: Experiment | None = None,
    jobs: grid_jobs.Jobs = 1,
    fresh: bool = False,
) -> ExperimentResults:
    """Measure what the results file lacks, and write it after every cell.

    Args:
        path: The results file.
        experiment: All of it.
        say: Told how far it is.
        part: Some of its rows and scenarios, to be measured now; all if not stated.
        jobs: Who measures.
        fresh: Measure these again.

    Raises:
        SplitPlaceError: As `measure` and `ExperimentFile`.
    """
    part, file = part or experiment, ExperimentFile(path, experiment)
    if fresh:
        file.forget(part)
    rows = {scenario.name: taking_part(part.rows, scenario) for scenario in part.scenarios}
    for scenario in part.scenarios:
        if scenario.trained is not None:
            train_states(scenario.trained, rows[scenario.name], say)
    cases = part.cases

    def task(
        scenario: GridScenario, load: float | None, seed: int, row: GridRow | None = None, policy: str = ""
    ) -> GridTask:
        intervals = scenario.intervals or experiment.intervals
        folder = str(states_of(scenario.trained)) if scenario.trained else None
        return GridTask(scenario, load, seed, intervals, row, policy, experiment.states, experiment.details, folder)

    def keep(cell: TuningCell | GridCell | GridBound) -> None:
        file.put(cell)
        file.save()

    # Seed by seed: what is interrupted has whole seeds, and the time that is left is told better.
    tuning = [
        task(scenario, load, seed, row, policy)
        for seed in part.tuning_seeds
        for scenario, load in cases
        for row in rows[scenario.name]
        for policy in row.policies[: None if len(row.policies) > 1 else 0]
        if (row.name, policy, scenario.name, load, seed) not in file.tuning
    ]
    grid_jobs.measure(measure_cell, tuning, jobs, lambda cell: keep(_tried(cell)), say, "choosing placers")
    bounds = [
        task(scenario, load, seed)
        for seed in part.seeds
        for scenario, load in cases
        if experiment.bounds and (scenario.name, load, seed) not in file.bounds
    ]
    grid_jobs.measure(measure_bound, bounds, jobs, keep, say, "bounds")
    judged = []
    for seed in part.seeds:
        for scenario, load in cases:
            for row in rows[scenario.name]:
                policy = file.chosen(row, (scenario.name, load))
                there = file.cells.get((row.name, scenario.name, load, seed))
                if there is None or there.policy != policy:
                    judged.append(task(scenario, load, seed, row, policy))
    grid_jobs.measure(measure_cell, judged, jobs, keep, say, "judging")
    return file.save()


def _tried(cell: GridCell) -> TuningCell:
    """What is kept of a cell that is only there to choose."""
    return TuningCell.model_validate({name: getattr(cell, name) for name in TuningCell.model_fields})
