"""The tasks of a run, all drawn before it starts: whatever the policy does, it meets the same tasks."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from splitplace.errors import OverloadedError, SplitPlaceError
from splitplace.placement.simulator.capacity import capacity
from splitplace.placement.simulator.costs import Costs
from splitplace.placement.simulator.deadlines import deadlines
from splitplace.placement.simulator.mix import weights
from splitplace.placement.simulator.recorded import read_trace
from splitplace.placement.simulator.reference import rate_of_utilisation
from splitplace.placement.simulator.scenario import Scenario, Workload
from splitplace.records.device import Device
from splitplace.records.view import Floats, Ints
from splitplace.seeds import generator

MAX_TASKS = 20_000_000
FAR = 10.0
"""Times what the best policy could sustain: beyond it nearly all tasks only wait, whatever the policy."""
MAX_LOOKS = 5_000_000
"""At waiting tasks, in all plans of a run that is so far beyond: minutes, in which nothing more is learnt."""
MAX_CHUNKS = 10_000_000
"""Of all tasks together: each is events of its own, tens of thousands a second."""


@dataclass(frozen=True, eq=False)
class Arrivals:
    """N tasks in order of arrival; a task's id is its row."""

    arrival_s_N: Floats
    application_N: Ints
    n_N: Ints
    deadline_s_N: Floats
    p_NS: Floats
    """Share of the task's images that each split would get right; NaN for other applications' splits."""
    rate: float
    """Mean tasks an interval that the workload asked for."""
    longest_s: float
    """The largest deadline that the workload can ask for, whatever the seed."""


def draw(scenario: Scenario, devices: tuple[Device, ...], costs: Costs, intervals: int, seed: int) -> Arrivals:
    """The tasks of `intervals` intervals.

    Args:
        scenario: Its workload and interval.
        devices: Single devices, as the scenario constrains them.
        costs: Splits on offer, and what they take.
        intervals: How many.
        seed: Of the run; every column has a generator of its own.

    Raises:
        OverloadedError: More tasks than are drawn.
        SplitPlaceError: The mix or the deadlines leave an application out, or a trace has holes.
        MissingExtraError: The load is stated as a share of capacity, and the extra `sim` is not installed.
    """
    workload = scenario.workload
    if workload.trace is not None:
        arrival, application, n, deadline = read_trace(Path(workload.trace), costs.applications)
        longest_s = float(deadline.max(initial=scenario.interval_s))
        keep = arrival < intervals * scenario.interval_s
        arrival, application, n, deadline = arrival[keep], application[keep], n[keep], deadline[keep]
        rate = len(arrival) / intervals
    else:
        rate = _rate(scenario, devices, costs)
        counts = _counts(workload, rate, intervals, seed)
        arrival = np.repeat(np.arange(intervals) * scenario.interval_s, counts)
        if workload.spread:
            offsets = generator(seed, "workload", "offset").random(len(arrival)) * scenario.interval_s
            arrival = np.sort(arrival + offsets)
        application = _applications(workload, costs.applications, counts, seed)
        n = generator(seed, "workload", "batch").integers(*workload.batch, size=len(arrival), endpoint=True)
        u = generator(seed, "workload", "deadline").random(len(arrival))
        deadline = deadlines(scenario, devices, costs, application, n, u)
        asked = np.flatnonzero(weights(workload.mix, costs.applications))
        largest = np.full(len(asked), workload.batch[1])
        almost_1 = np.full(len(asked), 1 - 1e-9)
        longest_s = float(deadlines(scenario, devices, costs, asked, largest, almost_1).max())
    return Arrivals(arrival, application, n, deadline, _accuracy(costs, application, n, seed), rate, longest_s)


def _rate(scenario: Scenario, devices: tuple[Device, ...], costs: Costs) -> float:
    """Mean tasks an interval, as stated or as solved from the load."""
    workload = scenario.workload
    if workload.rate is not None:
        return workload.rate
    if workload.load is not None:
        return workload.load * capacity(scenario, devices, costs).tasks_per_interval
    return rate_of_utilisation(scenario, devices, costs)


def check_load(
    scenario: Scenario, devices: tuple[Device, ...], costs: Costs, arrivals: Arrivals, intervals: int
) -> None:
    """Refuse what would only show a queue that grows to the end, and take time with its square.

    Args:
        scenario: Of the run.
        devices: Single devices, as the scenario constrains them.
        costs: Splits on offer, and what they take.
        arrivals: The run's tasks.
        intervals: How many.

    Raises:
        OverloadedError: Far more tasks than the best policy could sustain, for so long.
    """
    tasks = len(arrivals.n_N)
    plans = intervals if scenario.tick == "interval" else intervals + tasks
    if scenario.workload.trace is not None or tasks * plans / 2 <= MAX_LOOKS:
        return
    try:
        load = tasks / (capacity(scenario, devices, costs).tasks_per_interval * intervals)
    except SplitPlaceError:  # without the extra, or of too many different devices, nobody knows
        return
    if load > FAR:
        raise OverloadedError(
            f"{tasks} tasks in {intervals} intervals are {load:.3g} times what the best policy could sustain on this "
            f"fleet, expected at most {FAR:g} times in a run so long: nearly all would wait, and every plan looks at "
            "all that wait; lower the load, or take fewer intervals"
        )


def check_chunks(scenario: Scenario, costs: Costs, arrivals: Arrivals) -> None:
    """Refuse tasks of so many images that handing on their micro-batches one by one would take days to simulate.

    Args:
        scenario: Of the run.
        costs: Splits on offer, and what they take.
        arrivals: The run's tasks.

    Raises:
        OverloadedError: Whichever split each task gets, there are too many.
    """
    if scenario.precedence == "strict":
        return
    splits, fragments, total = costs.splits, costs.fragments, 0.0
    for application in range(len(costs.applications)):
        micro_F = fragments.micro_batch_F[splits.application_S[fragments.split_F] == application]
        n = arrivals.n_N[arrivals.application_N == application]
        total += float(np.ceil(n / (float(scenario.pipeline_grain) * micro_F.max(initial=1))).sum())
    if total > MAX_CHUNKS:
        raise OverloadedError(
            f"{total:.3g} micro-batches would be handed on one by one, expected at most {MAX_CHUNKS}: raise the "
            f"scenario's pipeline_grain ({scenario.pipeline_grain} now), take precedence strict, or smaller batches"
        )


def _counts(workload: Workload, rate: float, intervals: int, seed: int) -> Ints:
    factor = np.ones(intervals)
    for phase in workload.phases:
        factor[phase.start :] = phase.rate_factor
    if (rate * factor).sum() > MAX_TASKS:
        raise OverloadedError(f"{(rate * factor).sum():.3g} tasks asked for, at most {MAX_TASKS}: lower the load")
    rng = generator(seed, "workload", "count")
    if workload.arrivals == "gauss":
        # The published code's int(gauss(rate, 0.5)), which truncates and so halves a mean of 1.
        return np.maximum(np.trunc(rng.normal(rate * factor, 0.5)), 0).astype(np.int64)
    return rng.poisson(rate * factor).astype(np.int64)


def _applications(workload: Workload, applications: tuple[str, ...], counts: Ints, seed: int) -> Ints:
    u = generator(seed, "workload", "application").random(int(counts.sum()))
    cumulative = np.tile(np.cumsum(weights(workload.mix, applications)), (len(counts), 1))
    for phase in workload.phases:
        if phase.mix:
            cumulative[phase.start :] = np.cumsum(weights(phase.mix, applications))
    rows: Ints = (u[:, None] >= np.repeat(cumulative[:, :-1], counts, axis=0)).sum(axis=1)
    return rows


def _accuracy(costs: Costs, application: Ints, n: Ints, seed: int) -> Floats:
    """p_i ~ Binomial(n, top1) / n for every split a task may run as.

    One stream a split, so that a task's luck with a split is the same under every policy.
    """
    p_NS = np.full((len(n), len(costs.splits.references)), np.nan)
    for split, (reference, top1) in enumerate(zip(costs.splits.references, costs.splits.top1_S, strict=True)):
        if not np.isnan(top1):
            p = generator(seed, "accuracy", reference).binomial(n, top1) / n
            p_NS[:, split] = np.where(application == costs.splits.application_S[split], p, np.nan)
    return p_NS
