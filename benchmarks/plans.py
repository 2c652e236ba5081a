"""Claim: a plan of `joint` takes milliseconds, and no more than in proportion to the fleet and to what asks for it.

Runs of measured-50 on more and more devices, tasks in proportion; what the simulator times of each plan.
Every run is made several times: the same plans, so that a slow one among the others is the machine's.
"""

import math
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy import stats

from splitplace import provenance
from splitplace.benchmarks.results_file import save
from splitplace.placement.registry import parse_policy
from splitplace.placement.simulator.demands import load_demand
from splitplace.placement.simulator.run import simulate
from splitplace.placement.simulator.shipped import load_fleet, load_scenario
from splitplace.records.base import NonNegative, Positive, PositiveCount, Record
from splitplace.records.provenance import Provenance

SCENARIO, FLEET, DEMAND = "measured-50", "azure50", "measured"
RATE = 6.0
"""Tasks an interval for fifty devices."""
GROWTH_LIMIT = 1.1


@dataclass(frozen=True)
class PlanCase:
    """A fleet, and how much is asked of it."""

    devices: int
    rate: float
    card: bool
    """Whether inputs leave by the broker's card, as the scenario states it: then most tasks of a large fleet wait."""
    intervals: int
    limit_s: float | None = None
    """Promised of the 95th percentile."""


CASES = (
    PlanCase(50, RATE, True, 100, 0.010),
    PlanCase(50, 10 * RATE, True, 60, 0.025),
    PlanCase(50, 10 * RATE, False, 60, 0.025),
    PlanCase(1_000, 20 * RATE, True, 40, 0.050),
    PlanCase(10_000, 200 * RATE, True, 20, 1.0),
)
GROWING = tuple(PlanCase(devices, RATE * devices / 50, False, intervals) for devices, intervals in (
    (50, 100), (200, 60), (1_000, 40), (3_000, 30), (10_000, 20),
))  # fmt: skip
"""Without a card, so that all that comes is placed, whatever the size."""


def called(case: "PlanCase | PlanTiming") -> str:
    """A fleet and rate, in words."""
    return f"{case.devices:,} devices, {case.rate:g} tasks an interval{'' if case.card else ', no card'}"


class PlanTiming(Record):
    """One fleet and rate."""

    devices: PositiveCount
    rate: Positive
    card: bool
    plans: PositiveCount
    tasks: NonNegative
    """In view, median over plans."""
    median_s: Positive
    p95_s: Positive
    """Over plans; each of these is the median over the repeats."""
    limit_s: Positive | None = None


class PlansResults(Record):
    """Everything measured."""

    policy: str
    repeats: PositiveCount
    load: NonNegative
    """The machine's load average before the run."""
    cells: tuple[PlanTiming, ...]
    growth: float | None
    """The slope of log(median) over log(devices) where tasks are in proportion and no card holds them up."""
    growth_off: NonNegative | None
    """Half of its 95 % interval."""
    provenance: Provenance


def measured(policy: str, case: PlanCase, repeats: int) -> PlanTiming:
    """One case.

    Raises:
        SplitPlaceError: As `parse_policy` and `simulate`.
    """
    scenario = load_scenario(SCENARIO)
    workload = scenario.workload.model_copy(update={"rate": case.rate, "load": None})
    card = {} if case.card else {"broker_bytes_per_s": None}
    chosen = scenario.model_copy(update={"workload": workload, **card})
    fleet, costs = load_fleet(f"{FLEET}:{case.devices}"), load_demand(DEMAND)
    taken, seen = list[tuple[float, float]](), list[int]()
    for repeat in range(repeats):
        run = simulate(
            chosen, fleet, costs, parse_policy(policy), case.intervals, strict=True,
            watch=None if repeat else lambda view, _: seen.append(len(view.tasks.id_T)),
        )  # fmt: skip
        spread = run.metrics.timings.decision_s
        assert spread.p50 is not None and spread.p95 is not None, "there is a plan each interval"
        taken.append((spread.p50, spread.p95))
    median_s, p95_s = np.median(np.array(taken), axis=0)
    return PlanTiming(
        devices=case.devices, rate=case.rate, card=case.card, plans=len(seen), tasks=float(np.median(seen)),
        median_s=float(median_s), p95_s=float(p95_s), limit_s=case.limit_s,
    )  # fmt: skip


def growth(cells: Sequence[PlanTiming]) -> tuple[float, float]:
    """The slope of log(median) over log(devices), and half of its 95 % interval, by least squares over the sizes."""
    x, y = (np.log([getattr(cell, field) for cell in cells]) for field in ("devices", "median_s"))
    fit = stats.linregress(x, y)
    return float(fit.slope), float(fit.stderr * stats.t.ppf(0.975, len(cells) - 2))


def run(path: Path, policy: str, repeats: int, most_devices: int, say: Callable[[str], None]) -> PlansResults:
    """Measure, and write the results file.

    Args:
        path: The results file.
        policy: As in `simulate --policy`.
        repeats: Of each run.
        most_devices: Larger fleets are left out.
        say: Told what is being measured.

    Raises:
        SplitPlaceError: As `measured`.
    """
    load = os.getloadavg()[0]

    def each(cases: Sequence[PlanCase]) -> list[PlanTiming]:
        found = []
        for case in cases:
            if case.devices <= most_devices:
                say(called(case))
                found.append(measured(policy, case, repeats))
        return found

    cells, growing = each(CASES), each(GROWING)
    slope, off = growth(growing) if len(growing) > 2 else (None, None)
    results = PlansResults(
        policy=policy, repeats=repeats, load=load, cells=(*cells, *growing), growth=slope, growth_off=off,
        provenance=provenance.collect(0),
    )  # fmt: skip
    save(path, results)
    return results


def verdict(results: PlansResults) -> dict[str, bool | str]:
    """Each promise, and whether it held."""
    found: dict[str, bool | str] = {}
    for cell in results.cells:
        if cell.limit_s is not None:
            found[f"{called(cell)}: at most {1e3 * cell.limit_s:g} ms (95th percentile)"] = cell.p95_s <= cell.limit_s
    if results.growth is not None and results.growth_off is not None and math.isfinite(results.growth_off):
        low, high = results.growth - results.growth_off, results.growth + results.growth_off
        told = high <= GROWTH_LIMIT or low > GROWTH_LIMIT
        claim = f"a plan grows by no more than the {GROWTH_LIMIT:g}th power of the fleet"
        found[claim] = high <= GROWTH_LIMIT if told else "cannot be told, the interval holds the bound"
    return found
