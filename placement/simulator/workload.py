"""The tasks of a run, all drawn before it starts: whatever the policy does, it meets the same tasks."""

import csv
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from splitplace.errors import ContractError, IntegrityError, NotFoundError, OverloadedError
from splitplace.placement.simulator.costs import Costs
from splitplace.placement.simulator.scenario import MAX_IMAGES, Scenario, Workload
from splitplace.records.dag import path_ends
from splitplace.records.task import micro_batches
from splitplace.records.view import NONE, Floats, Ints, Links
from splitplace.seeds import generator

MAX_TASKS = 20_000_000
TRACE_COLUMNS = ("arrival_s", "application", "n", "deadline_s")


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


def draw(scenario: Scenario, costs: Costs, cores_D: Ints, links: Links, intervals: int, seed: int) -> Arrivals:
    """The tasks of `intervals` intervals.

    Args:
        scenario: Its workload and interval.
        costs: Splits on offer, and what they take.
        cores_D: Of each device.
        links: Of each device.
        intervals: How many.
        seed: Of the run; every column has a generator of its own.

    Raises:
        SplitPlaceError: The mix or the deadlines leave an application out, or a trace has holes.
    """
    workload = scenario.workload
    if workload.trace is not None:
        arrival, application, n, deadline = read_trace(Path(workload.trace), costs.applications)
        longest_s = float(deadline.max(initial=scenario.interval_s))
        keep = arrival < intervals * scenario.interval_s
        arrival, application, n, deadline = arrival[keep], application[keep], n[keep], deadline[keep]
        rate = len(arrival) / intervals
    else:
        rate = workload.rate or _rate(scenario, costs, cores_D, links)
        counts = _counts(workload, rate, intervals, seed)
        arrival = np.repeat(np.arange(intervals) * scenario.interval_s, counts)
        if workload.spread:
            offsets = generator(seed, "workload", "offset").random(len(arrival)) * scenario.interval_s
            arrival = np.sort(arrival + offsets)
        application = _applications(workload, costs.applications, counts, seed)
        n = generator(seed, "workload", "batch").integers(*workload.batch, size=len(arrival), endpoint=True)
        u = generator(seed, "workload", "deadline").random(len(arrival))
        deadline = _deadlines(scenario, costs, links, application, n, u)
        asked = np.flatnonzero(weights(workload.mix, costs.applications))
        largest = np.full(len(asked), workload.batch[1])
        longest_s = float(_deadlines(scenario, costs, links, asked, largest, np.full(len(asked), 1 - 1e-9)).max())
    return Arrivals(arrival, application, n, deadline, _accuracy(costs, application, n, seed), rate, longest_s)


def weights(mix: dict[str, float], applications: tuple[str, ...]) -> Floats:
    """Probability of each application, shape A.

    Raises:
        SplitPlaceError: The mix names none of the applications.
    """
    asked = np.array([mix.get(name, 0.0) if mix else 1.0 for name in applications])
    if asked.sum() <= 0:
        raise ContractError(
            f"the workload's mix asks for {', '.join(mix)}, the demand offers {', '.join(applications)}: "
            "name at least one of them with a weight above 0"
        )
    share_A: Floats = asked / asked.sum()
    return share_A


def _rate(scenario: Scenario, costs: Costs, cores_D: Ints, links: Links) -> float:
    """λ from ρ: the share ρ of what the fleet can finish in an interval, were every task run as its layer split.

    What it can finish is set by the resource it has least of: cores, uplinks or downlinks, each fragment on a device of
    its own. A core-second is counted where it is spent, so fast cores offer more.
    """
    workload = scenario.workload
    assert workload.utilisation is not None
    share_A = weights(workload.mix, costs.applications)
    mean_n = (workload.batch[0] + workload.batch[1]) / 2
    per_sample_AD = np.stack([_layer_s(costs, row) for row in range(len(costs.applications))])
    work_D = mean_n * share_A @ per_sample_AD
    tasks_per_s = [float((cores_D / work_D).sum())]
    edges_A = [costs.graphs[reference_split(costs, row)].edges for row in range(len(costs.applications))]
    for end, capacity_D in (
        (0, links.up_bytes_per_s_D),
        (1, links.down_bytes_per_s_D),
    ):  # what leaves the broker takes nobody's uplink, and so on
        sent_A = np.array([sum(edge[2] for edge in edges if edge[end] != NONE) for edges in edges_A])
        if sent_A.any():
            tasks_per_s.append(float(capacity_D.sum() / (mean_n * share_A @ sent_A)))
    return workload.utilisation * min(tasks_per_s) * scenario.interval_s


def _layer_s(costs: Costs, application: int) -> Floats:
    """Seconds a sample of an application's reference split takes on each device, all fragments, shape D."""
    rows = costs.splits.fragments(reference_split(costs, application))
    f = costs.fragments
    per_sample_D: Floats = np.sum([f.latency_s_FD[row] / f.micro_batch_F[row] for row in rows], axis=0)
    return per_sample_D


def reference_split(costs: Costs, application: int) -> int:
    """The split that loads and deadlines are stated by: the first layer split, else the first of all."""
    mine = np.flatnonzero(costs.splits.application_S == application)
    layer = [int(row) for row in mine if costs.splits.strategies[row] == "layer"]
    return layer[0] if layer else int(mine[0])


def unloaded_s(costs: Costs, split: int, n: Ints, device: int, links: Links) -> Floats:
    """Response of a split alone in an idle fleet of devices like this one, a device a fragment; shape of n.

    Strict precedence: the longest path of load or input transfer, service, transfers, and the result's way back.
    """
    up, down = float(links.up_bytes_per_s_D[device]), float(links.down_bytes_per_s_D[device])
    rtt = float(links.rtt_s_D[device])
    graph, f = costs.graphs[split], costs.fragments
    first = int(costs.splits.first_S[split])

    def starts_s(local: int, ends_s: Mapping[int, Floats]) -> Iterator[Floats]:
        yield np.full(len(n), float(costs.load_s_FD[first + local, device]))
        for src, _, size in (graph.edges[e] for e in graph.inbound[local]):
            sent_bytes: Floats = np.multiply(n, size)
            yield sent_bytes / down + rtt / 2 if src == NONE else ends_s[src] + sent_bytes / min(up, down) + rtt

    def takes_s(local: int) -> Floats:
        row = first + local
        batches = micro_batches(n, int(f.micro_batch_F[row]))
        result: Floats = np.multiply(batches, float(f.latency_s_FD[row, device]))
        return result

    ends_s = path_ends(graph.topological, starts_s, takes_s)
    back_s = [ends_s[src] + n * size / up + rtt / 2 for src, dst, size in graph.edges if dst == NONE]
    answered_s: Floats = np.maximum.reduce(back_s)
    return answered_s


def median_device(costs: Costs) -> int:
    """The device whose layer splits take the median time over the fleet (the lower one of two)."""
    total_D = np.sum([_layer_s(costs, row) for row in range(len(costs.applications))], axis=0)
    return int(np.argsort(total_D, kind="stable")[(len(total_D) - 1) // 2])


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


def _deadlines(scenario: Scenario, costs: Costs, links: Links, application: Ints, n: Ints, u: Floats) -> Floats:
    workload = scenario.workload
    deadline = np.empty(len(n))
    for row in np.unique(application):
        mine, name = application == row, costs.applications[row]
        if workload.deadline_relative is not None:
            low, high = workload.deadline_relative
            alone = unloaded_s(costs, reference_split(costs, int(row)), n[mine], median_device(costs), links)
            deadline[mine] = (low + (high - low) * u[mine]) * alone
        elif name in workload.deadline_intervals:
            first, last = workload.deadline_intervals[name]
            deadline[mine] = (first + np.floor(u[mine] * (last - first + 1))) * scenario.interval_s
        else:
            raise ContractError(
                f"scenario {scenario.name}: no deadline_intervals for {name}, only for "
                f"{', '.join(workload.deadline_intervals)}: add it, or leave {name} out of the mix"
            )
    return deadline


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


def read_trace(path: Path, applications: tuple[str, ...]) -> tuple[Floats, Ints, Ints, Floats]:
    """Arrivals, application rows, batch sizes and deadlines of a recorded workload, in order of arrival.

    Raises:
        UsageError: No such file.
        SplitPlaceError: A column or a value is missing, negative or not finite, a batch is no whole number or larger
            than any can be, or an application is unknown.
    """
    if not path.is_file():
        raise NotFoundError(f"no workload trace {path}")
    columns = _parquet(path) if path.suffix == ".parquet" else _csv(path)
    for name in TRACE_COLUMNS:
        if name not in columns:
            raise ContractError(f"{path}: no column {name!r}, expected {', '.join(TRACE_COLUMNS)}")
    index = {name: row for row, name in enumerate(applications)}
    strange = sorted({str(value) for value in columns["application"]} - index.keys())
    if strange:
        raise ContractError(f"{path}: unknown application {strange[0]!r}, the demand offers {', '.join(applications)}")
    arrival, n, deadline = (_numbers(path, name, columns[name]) for name in ("arrival_s", "n", "deadline_s"))
    for name, values, low in (("arrival_s", arrival, 0.0), ("n", n, 1.0), ("deadline_s", deadline, 1e-9)):
        bad = np.flatnonzero(~(values >= low) | np.isinf(values))
        if len(bad):
            raise ContractError(f"{path}: row {bad[0] + 1}: {name} is {values[bad[0]]}, expected at least {low:g}")
    bad = np.flatnonzero((n > MAX_IMAGES) | (n != np.floor(n)))
    if len(bad):
        raise ContractError(
            f"{path}: row {bad[0] + 1}: n is {n[bad[0]]}, expected a whole number of images, at most {MAX_IMAGES:g}"
        )
    application = np.array([index[str(value)] for value in columns["application"]], np.int64)
    order = np.argsort(arrival, kind="stable")
    return arrival[order], application[order], n[order].astype(np.int64), deadline[order]


def _numbers(path: Path, name: str, values: Sequence[object]) -> Floats:
    try:
        return np.array([np.nan if value in (None, "") else float(str(value)) for value in values])
    except ValueError as error:
        raise ContractError(f"{path}: column {name}: {error}") from error


def _csv(path: Path) -> dict[str, Sequence[object]]:
    try:
        with path.open(encoding="utf-8", newline="") as lines:
            table = csv.DictReader(lines)
            rows, names = list(table), table.fieldnames or ()
    except (UnicodeDecodeError, csv.Error) as error:
        raise IntegrityError(f"{path}: not CSV: {error}") from error
    return {name: [row[name] for row in rows] for name in names}


def _parquet(path: Path) -> dict[str, Sequence[object]]:
    from splitplace.placement.simulator.traces import read_parquet

    return read_parquet(path, TRACE_COLUMNS)
