"""What a cell keeps besides its reward where an experiment asks for it: times taken apart, costs, and applications."""

import numpy as np

from splitplace.placement.metrics import outcome, outcomes_of
from splitplace.placement.simulator.results import SimulationRun
from splitplace.records.base import Count, Fraction, Name, NonNegative, Positive, Record
from splitplace.records.metrics import GroupMetrics
from splitplace.records.split import STRATEGIES
from splitplace.records.view import NONE

DIGITS = 6
"""Kept of a figure."""


def rounded(value: float) -> float:
    """What is kept of it."""
    return round(value, DIGITS)


def rounded_if_any(value: float | None) -> float | None:
    """The same; None of what there is none of, as the response where nobody finished: 0 s would be the fastest."""
    return None if value is None else rounded(value)


class ApplicationDetail(Record):
    """What one application's tasks got, as `GridCell` has it of all."""

    application: Name
    tasks: Count
    """That arrived."""
    reward: Fraction | None
    """None where none of its tasks is scored, as the next two."""
    violation: Fraction | None
    accuracy: Fraction | None
    response_s: NonNegative | None
    """None where none finished."""
    layer_share: Fraction | None
    """Of its tasks that were decided: those decided as chains; None where none was."""


class CellDetail(Record):
    """One run; seconds are means over the scored tasks that finished, and None where none did."""

    interval_s: Positive
    """Of the scenario: the paper's times are intervals."""
    tasks: Count
    """That arrived."""
    wait_s: NonNegative | None
    execute_s: NonNegative | None
    transfer_s: NonNegative | None
    migrate_s: NonNegative | None
    since_start_s: NonNegative | None
    """From the start of a task's first fragment to its result, of all that finished, as the published code counts."""
    jain_devices: Fraction | None
    jain_tasks: Fraction | None
    memory: Fraction
    """Of all devices' memory, in use; mean over the run."""
    cost_usd: NonNegative
    cost_usd_per_fragment: NonNegative | None
    """None where no container ended."""
    layer_share: Fraction | None
    """Of the tasks that were decided: those decided as chains; None where none was."""
    steady_reward: Fraction | None
    """Of the scored tasks that arrive in the second half of the run."""
    steady_violation: Fraction | None
    cores: Fraction
    """Of all devices' cores, busy; mean over the run."""
    downlinks: Fraction
    """Of all devices' downlinks, likewise."""
    applications: tuple[ApplicationDetail, ...]


def detail_of(run: SimulationRun, counted: GroupMetrics, interval_s: float, intervals: int) -> CellDetail:
    """Of a run.

    Args:
        run: All of it.
        counted: The times of those of its tasks that the cell is of.
        interval_s: Of its scenario.
        intervals: Of the run.
    """
    whole, half_s = run.metrics, interval_s * intervals / 2
    steady = outcome(outcomes_of(run.tasks).where(run.tasks["arrival_s"].astype(np.float64) >= half_s))
    strategy_N, application_N = run.tasks["strategy"], run.tasks["application"]
    decided_N, layer_N = strategy_N != NONE, strategy_N == STRATEGIES.index("layer")

    def layer_share(row: int | None = None) -> float | None:
        mine_N = decided_N if row is None else decided_N & (application_N == row)
        return rounded(float(layer_N[mine_N].mean())) if mine_N.any() else None

    names = sorted(set(application_N.tolist()))  # rows that had a task, in the order of `Metrics.applications`
    return CellDetail(
        interval_s=interval_s,
        tasks=counted.tasks.arrived,
        wait_s=rounded_if_any(counted.wait_s.mean),
        execute_s=rounded_if_any(counted.execute_s.mean),
        transfer_s=rounded_if_any(counted.transfer_s.mean),
        migrate_s=rounded_if_any(counted.migrate_s.mean),
        since_start_s=rounded_if_any(_since_start_s(run)),
        jain_devices=rounded_if_any(whole.jain_devices),
        jain_tasks=rounded_if_any(whole.jain_tasks),
        memory=rounded(whole.ram_utilisation or 0.0),
        cost_usd=rounded(whole.cost_usd or 0.0),
        cost_usd_per_fragment=rounded_if_any(whole.cost_usd_per_fragment),
        layer_share=layer_share(),
        steady_reward=rounded_if_any(steady.reward),
        steady_violation=rounded_if_any(steady.sla_violation),
        cores=min(rounded(run.utilisation["cores"] or 0.0), 1.0),
        downlinks=min(rounded(run.utilisation["downlinks"] or 0.0), 1.0),
        applications=tuple(
            ApplicationDetail(
                application=name,
                tasks=got.tasks.arrived,
                reward=rounded_if_any(got.reward),
                violation=rounded_if_any(got.sla_violation),
                accuracy=rounded_if_any(got.accuracy),
                response_s=rounded_if_any(got.response_s.mean),
                layer_share=layer_share(row),
            )
            for row, (name, got) in zip(names, whole.applications.items(), strict=True)
        ),
    )


def _since_start_s(run: SimulationRun) -> float | None:
    start_s, finished_N = np.full(len(run.tasks["task"]), np.inf), run.tasks["finished"].astype(bool)
    np.minimum.at(start_s, run.fragments["task"].astype(np.int64), run.fragments["start_s"].astype(np.float64))
    end_s = run.tasks["arrival_s"].astype(np.float64) + run.tasks["response_s"].astype(np.float64)
    return float((end_s - start_s)[finished_N].mean()) if finished_N.any() else None
