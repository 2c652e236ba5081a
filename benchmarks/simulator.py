"""How fast the simulator is: ratios to a fixed numpy loop, cost per task at 50 and at 10,000 devices, and one full run.

The demand is the published constants unless another is asked for: theirs are the figures that stay comparable when a
profile is measured again. Scenario paper-50 throughout.
"""

import resource
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from splitplace import provenance
from splitplace.benchmarks.paired import Ratio, paired_ratios
from splitplace.benchmarks.results_file import save
from splitplace.placement.registry import parse_policy
from splitplace.placement.simulator.demands import load_demand
from splitplace.placement.simulator.run import simulate
from splitplace.placement.simulator.shipped import load_fleet, load_scenario
from splitplace.records.base import Positive, PositiveCount, Record
from splitplace.records.provenance import Provenance

LARGE, LARGE_RATE, LARGE_INTERVALS = 10_000, 1200.0, 100
PAIRED_INTERVALS = 10
"""Of the large fleet in the paired ratio: 12,000 tasks, enough to dwarf what a run costs once."""
TASK_RATIO_LIMIT, WALL_LIMIT_S, MEMORY_LIMIT_BYTES = 2.0, 60.0, 2 * 10**9


class LargeRun(Record):
    """One run at full size, absolute."""

    devices: PositiveCount
    tasks: PositiveCount
    wall_s: Positive
    peak_bytes: PositiveCount


class SimulatorResults(Record):
    """Everything measured."""

    demand: str
    loop_s: Positive
    """The fixed numpy loop, median."""
    small_s: Positive
    """azure50, 100 intervals, λ = 6, random+random, median."""
    small: Ratio
    """The same over the loop."""
    task_large: Ratio
    """Seconds per simulated task at 10,000 devices over those at 50, both random+least-loaded."""
    noise: Ratio
    """The loop over itself."""
    large: LargeRun | None
    provenance: Provenance


def numpy_loop() -> float:
    """Seconds of 20,000 rounds of small-array arithmetic: what an interpreter with numpy can do on this machine."""
    began = time.perf_counter()
    x = np.arange(50, dtype=np.float64)
    for _ in range(20_000):
        x = np.minimum(x * 1.0000001 + 1e-9, 1e6)
        float(x.sum())
    return time.perf_counter() - began


def timed_run(policy: str, demand: str, devices: int, rate: float, intervals: int) -> tuple[float, int]:
    """Wall seconds of a run, demand and fleet loaded before, and its tasks."""
    scenario = load_scenario("paper-50")
    workload = scenario.workload.model_copy(update={"rate": rate})
    fleet, costs = load_fleet(f"azure50:{devices}"), load_demand(demand)
    # No card holds up what 10,000 devices could take: the figure is the engine's.
    chosen = scenario.model_copy(update={"workload": workload, "broker_bytes_per_s": None})
    began = time.perf_counter()
    run = simulate(chosen, fleet, costs, parse_policy(policy), intervals, strict=True)
    return time.perf_counter() - began, run.metrics.tasks.arrived


def measure(pairs: int, large: bool, say: Callable[[str], None], demand: str = "upstream") -> SimulatorResults:
    """All figures.

    Args:
        pairs: Interleaved rounds a ratio.
        large: Whether to do the full-size run, which takes about a minute.
        say: Told what is being done.
        demand: What the splits cost.
    """
    say("the numpy loop and azure50")
    small_s: list[float] = []

    def small() -> float:
        small_s.append(timed_run("random+random", demand, 50, 6.0, 100)[0])
        return small_s[-1]

    loop_s, ratios = paired_ratios(numpy_loop, {"small": small}, pairs)

    def per_task(devices: int, rate: float, intervals: int) -> Callable[[], float]:
        def run() -> float:
            seconds, tasks = timed_run("random+least-loaded", demand, devices, rate, intervals)
            return seconds / tasks

        return run

    say("cost per task at 50 and 10,000 devices")
    _, tasks = paired_ratios(per_task(50, 6.0, 100), {"large": per_task(LARGE, LARGE_RATE, PAIRED_INTERVALS)}, pairs)
    full = None
    if large:
        say(f"{LARGE} devices, {LARGE_INTERVALS} intervals")
        wall_s, count = timed_run("random+least-loaded", demand, LARGE, LARGE_RATE, LARGE_INTERVALS)
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024  # Linux counts in KiB
        full = LargeRun(devices=LARGE, tasks=count, wall_s=wall_s, peak_bytes=peak)
    return SimulatorResults(
        demand=demand,
        loop_s=loop_s,
        small_s=float(np.median(small_s)),
        small=ratios["small"],
        task_large=tasks["large"],
        noise=ratios["A/A"],
        large=full,
        provenance=provenance.collect(),
    )


def verdict(results: SimulatorResults) -> dict[str, bool]:
    """Each claim, and whether it held: a bound holds if the interval's lower end is under it."""
    claims = {"a task at 10,000 devices costs at most 2x one at 50": results.task_large.low <= TASK_RATIO_LIMIT}
    if results.large is not None:
        claims["10,000 devices, 100 intervals in under 60 s"] = results.large.wall_s < WALL_LIMIT_S
        claims["and under 2 GB"] = results.large.peak_bytes < MEMORY_LIMIT_BYTES
    return claims


def run(path: Path, pairs: int, large: bool, say: Callable[[str], None], demand: str = "upstream") -> SimulatorResults:
    """Measure, and write the results file."""
    results = measure(pairs, large, say, demand)
    save(path, results, indent=2)
    return results
