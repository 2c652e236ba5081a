"""What a run was worth: every formula of paper §6.4, once, for simulator and fleet alike.

Every mean is over a cohort, the scored tasks: those that arrived after start-up and whose deadline lies within the run,
all of them. Which they are no policy can change, so none gains by what it leaves undone: a scored task that is
unfinished, and so past its deadline, is a violation with p = 0. The others are counted, and no more.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from splitplace.placement.outcome import TaskOutcome
from splitplace.records.metrics import Distribution, GroupMetrics, Metrics, TaskCounts, Timings
from splitplace.records.split import STRATEGIES
from splitplace.records.view import NONE, Bools, Floats, Ints

JOULES_PER_KWH = 3.6e6


@dataclass(frozen=True, eq=False)
class Outcomes:
    """N tasks that arrived; wait + execute + transfer + migrate = response for each that finished."""

    application_N: Ints
    """Index into the names that `summarise` is given."""
    strategy_N: Ints
    """Index into `STRATEGIES`; -1 while undecided."""
    scored_N: Bools
    """Whether it is one of the cohort (`cohort`)."""
    finished_N: Bools
    deadline_s_N: Floats
    response_s_N: Floats
    """Arrival to result, wait included; for an unfinished task, arrival to the end of the run."""
    wait_s_N: Floats
    """In the wait queue: nothing of the task on any device, or on its way to one."""
    execute_s_N: Floats
    transfer_s_N: Floats
    migrate_s_N: Floats
    p_N: Floats
    """Share of the task's images answered right; NaN where nobody knows."""

    def where(self, rows: Bools) -> "Outcomes":
        """The tasks of a mask, shape N."""
        return Outcomes(*(getattr(self, name)[rows] for name in self.__dataclass_fields__))


def cohort(arrival_s_N: Floats, deadline_s_N: Floats, from_s: float, to_s: float) -> Bools:
    """The scored among tasks of a run, shape N: those that arrive once it is under way and are due before its end.

    Args:
        arrival_s_N: Of each.
        deadline_s_N: From arrival.
        from_s: End of the start-up.
        to_s: End of the run.
    """
    scored_N: Bools = (arrival_s_N >= from_s) & (arrival_s_N + deadline_s_N <= to_s)
    return scored_N


def outcomes_of(columns: Mapping[str, npt.NDArray[np.generic]]) -> Outcomes:
    """The outcomes among the columns of a simulated run's tasks (`SimulationRun.tasks`)."""
    fields: dict[str, Any] = {name: columns[name.removesuffix("_N")] for name in Outcomes.__dataclass_fields__}
    return Outcomes(**fields)


def of_tasks(tasks: Sequence[TaskOutcome], applications: tuple[str, ...]) -> Outcomes:
    """The live fleet's outcomes as arrays, all of them scored; one that failed is unfinished and past its deadline."""

    def column(name: str, otherwise: float) -> Floats:
        return np.array([getattr(task, name) if task.finished else otherwise for task in tasks], np.float64)

    return Outcomes(
        application_N=np.array([applications.index(task.application) for task in tasks], np.int64),
        strategy_N=np.array([STRATEGIES.index(task.strategy) if task.strategy else NONE for task in tasks], np.int64),
        scored_N=np.ones(len(tasks), np.bool_),
        finished_N=np.array([task.finished for task in tasks], np.bool_),
        deadline_s_N=np.array([task.deadline_s for task in tasks], np.float64),
        response_s_N=column("response_s", np.inf),
        wait_s_N=column("wait_s", 0.0),
        execute_s_N=column("execute_s", 0.0),
        transfer_s_N=column("transfer_s", 0.0),
        migrate_s_N=np.zeros(len(tasks)),
        p_N=column("p", 0.0),
    )


@dataclass(frozen=True, eq=False)
class Usage:
    """What the devices spent; None where an environment cannot tell."""

    energy_j: float | None = None
    energy_estimated: bool = False
    cost_usd: float | None = None
    fragments: int = 0
    """Fragment executions that ended, over which the cost is spread."""
    work_per_capacity_D: Floats | None = None
    """Core-seconds done over core-seconds on offer, of each device that was ever up."""
    ram_utilisation: float | None = None
    """Mean over time and devices of the memory in use."""
    decision_s: Floats = field(default_factory=lambda: np.zeros(0))
    """Wall-clock of every plan."""
    wall_s: float = 0.0
    failed_plans: int = 0


def summarise(outcomes: Outcomes, applications: tuple[str, ...], usage: Usage | None = None) -> Metrics:
    """All metrics of a run, overall and for each application that had a task.

    Args:
        outcomes: Every task that arrived, N rows.
        applications: Names that `application_N` points into.
        usage: Energy, cost and load of the devices, where known.
    """
    usage = usage or Usage()
    counts = np.bincount(outcomes.strategy_N[outcomes.strategy_N != NONE], minlength=len(STRATEGIES))
    work = usage.work_per_capacity_D
    done = outcomes.where(outcomes.scored_N & outcomes.finished_N)
    cost_each = usage.cost_usd / usage.fragments if usage.cost_usd is not None and usage.fragments else None
    return Metrics(
        **dict(outcome(outcomes)),
        energy_j=usage.energy_j,
        energy_kwh=None if usage.energy_j is None else usage.energy_j / JOULES_PER_KWH,
        energy_estimated=usage.energy_estimated,
        cost_usd=usage.cost_usd,
        cost_usd_per_fragment=cost_each,
        jain_devices=None if work is None else jain(work),
        jain_tasks=jain(done.response_s_N / done.deadline_s_N),
        ram_utilisation=usage.ram_utilisation,
        failed_plans=usage.failed_plans,
        decisions={name: int(count) for name, count in zip(STRATEGIES, counts, strict=True) if count},
        applications={
            name: outcome(outcomes.where(outcomes.application_N == row))
            for row, name in enumerate(applications)
            if (outcomes.application_N == row).any()
        },
        timings=Timings(decision_s=distribution(usage.decision_s), wall_s=usage.wall_s),
    )


def outcome(outcomes: Outcomes) -> GroupMetrics:
    """What these tasks got (eq. 13-15, a violation read as response > deadline)."""
    scored = outcomes.where(outcomes.scored_N)
    done = scored.where(scored.finished_N)
    met = scored.finished_N & (scored.response_s_N <= scored.deadline_s_N)
    met_exec = scored.finished_N & (scored.response_s_N - scored.wait_s_N <= scored.deadline_s_N)
    p = np.where(scored.finished_N, scored.p_N, 0.0)
    return GroupMetrics(
        tasks=TaskCounts(
            arrived=len(outcomes.finished_N),
            finished=int(outcomes.finished_N.sum()),
            unfinished=int((~outcomes.finished_N).sum()),
        ),
        scored=_mean(outcomes.scored_N),
        response_s=distribution(done.response_s_N),
        wait_s=distribution(done.wait_s_N),
        execute_s=distribution(done.execute_s_N),
        transfer_s=distribution(done.transfer_s_N),
        migrate_s=distribution(done.migrate_s_N),
        sla_violation=_mean(~met),
        accuracy=_mean(p),
        reward=_mean((met + p) / 2),
        reward_exec_only=_mean((met_exec + p) / 2),
    )


def jain(share_N: npt.ArrayLike) -> float | None:
    """Jain's fairness index (Σx)² / (N Σx²): 1 if all are equal, 1/N if one has everything; None if nobody has any."""
    x = np.asarray(share_N, np.float64)
    squares = float((x**2).sum())
    return min(float(x.sum()) ** 2 / (len(x) * squares), 1.0) if squares > 0 else None


def distribution(seconds_N: Floats) -> Distribution:
    """Mean and percentiles (linear between order statistics); nulls for no values."""
    if len(seconds_N) == 0:
        return Distribution()
    p50, p95 = np.percentile(seconds_N, [50, 95])
    return Distribution(mean=float(np.mean(seconds_N)), p50=float(p50), p95=float(p95))


def _mean(values_N: npt.NDArray[np.bool_] | Floats) -> float | None:
    """None for no values, and for any that is NaN: a mean over the known ones only would flatter."""
    if len(values_N) == 0 or np.isnan(values_N).any():
        return None
    return float(np.mean(values_N))
