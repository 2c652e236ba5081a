"""Metrics: one schema for demo, simulate and fleet, so that their figures can stand side by side."""

from pydantic import Field

from splitplace.records.base import Count, Fraction, NonNegative, Record


class TaskCounts(Record):
    """Every task that arrived is finished or unfinished."""

    arrived: Count
    finished: Count
    unfinished: Count


class Distribution(Record):
    """Seconds over tasks; null where there is no task to speak of."""

    mean: NonNegative | None = None
    p50: NonNegative | None = None
    p95: NonNegative | None = None


class GroupMetrics(Record):
    """What a set of tasks got (paper §6.4). Null where no task was scored, never a made-up zero."""

    tasks: TaskCounts
    """All that arrived."""
    scored: Fraction | None = None
    """Share of them that everything below is of: those that arrived after start-up and were due within the run."""
    response_s: Distribution = Distribution()
    """This and its parts: of the scored tasks that finished."""
    wait_s: Distribution = Distribution()
    execute_s: Distribution = Distribution()
    transfer_s: Distribution = Distribution()
    migrate_s: Distribution = Distribution()
    sla_violation: Fraction | None = None
    """Share of scored tasks with response > deadline; an unfinished one is past it."""
    accuracy: Fraction | None = None
    """Mean p over scored tasks; 0 of an unfinished one."""
    reward: Fraction | None = None
    """Mean of (1(response <= deadline) + p) / 2 over scored tasks (eq. 15, violation read as response > deadline)."""
    reward_exec_only: Fraction | None = None
    """The same with the wait left out of the response, as the paper's published code has it."""


class Timings(Record):
    """Wall-clock measured here and now: never part of what a seed determines."""

    decision_s: Distribution = Distribution()
    wall_s: NonNegative = 0.0


class Metrics(GroupMetrics):
    """The whole run."""

    energy_j: NonNegative | None = None
    energy_kwh: NonNegative | None = None
    """energy_j / 3.6e6."""
    energy_estimated: bool = False
    """True where it comes from a power curve and CPU use rather than from a scenario's definition."""
    cost_usd: NonNegative | None = None
    cost_usd_per_fragment: NonNegative | None = None
    jain_devices: Fraction | None = None
    """Jain's index of work done per unit of capacity, over devices."""
    jain_tasks: Fraction | None = None
    """Jain's index of response over deadline, over scored tasks that finished."""
    ram_utilisation: Fraction | None = None
    failed_plans: Count = 0
    """Of which nothing came about, because the policy raised, broke a rule or took too long; their tasks waited."""
    decisions: dict[str, Count] = Field(default_factory=dict)
    """Tasks by strategy."""
    applications: dict[str, GroupMetrics] = Field(default_factory=dict)
    timings: Timings = Timings()
