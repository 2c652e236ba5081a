"""Runs streams of tasks on fleets of device processes and through the simulator: what `loaded_testbed.py` tells of."""

import os
from collections.abc import Callable, Iterable, Sequence
from itertools import product
from pathlib import Path
from statistics import median

import numpy as np

from splitplace import provenance
from splitplace.benchmarks import testbed
from splitplace.benchmarks.live_and_simulated import Overheads, simulated_stream, streamed
from splitplace.benchmarks.loaded_testbed import PARTS, STRATEGIES, LoadedCell, LoadedResults, Times
from splitplace.benchmarks.results_file import save
from splitplace.catalog.demand import demand as gather
from splitplace.errors import unknown
from splitplace.export.catalog_writer import CatalogWriter
from splitplace.export.measure.profiler import QUICK, Effort, fingerprint, profile_split
from splitplace.placement.outcome import TaskOutcome
from splitplace.placement.protocol.messages import Precedence
from splitplace.placement.registry import parse_policy
from splitplace.placement.simulator.capacity import capacity
from splitplace.placement.simulator.scenario import Scenario, Workload
from splitplace.placement.simulator.setting import prepare
from splitplace.records.demand import Demand
from splitplace.records.device import Device, FleetSpec
from splitplace.records.split import Strategy
from splitplace.seeds import derive, generator

PRECEDENCES: tuple[Precedence, ...] = ("pipelined", "strict")
LOADS = (0.3, 0.55, 0.8)
"""Of what the fleet could do of whole models, whatever the split: all four meet the same tasks."""
SHARES = {1: (0.6, 0.4), 2: (0.4, 0.4)}
"""By cores of a device, its part of each; what is left of this machine's two is the broker's."""
SIZES = (32, 96, 160, 256)
"""Images a task."""
WARM = 8
"""The first tasks of a stream load fragments, and are not counted."""


def run(
    path: Path,
    work: Path,
    tasks: int,
    say: Callable[[str], None],
    strategies: Sequence[str] = STRATEGIES,
    cores: Sequence[int] = tuple(SHARES),
    fresh: bool = False,
    effort: Effort = QUICK,
) -> LoadedResults:
    """Measure what the results file lacks, group by group, and write it after each.

    Args:
        path: The results file.
        work: Folder of the catalog; profiles in it are of this machine and taken anew.
        tasks: Of a stream, after those that warm it up.
        say: Told what is being measured.
        strategies: Which splits.
        cores: Of a device: which fleets.
        fresh: Measure what is there, too.
        effort: Of the profiles.

    Raises:
        UsageError: A split or fleet that is none of these.
    """
    from splitplace.benchmarks import artifacts  # needs torch; who reads the results does not

    wanted = [name for name in STRATEGIES if name in strategies]
    for asked in strategies:
        if asked not in STRATEGIES:
            raise unknown("split", asked, STRATEGIES)
    for count in cores:
        if count not in SHARES:
            raise unknown("fleet of devices of so many cores", str(count), map(str, SHARES))
    kept: list[LoadedCell] = []
    if path.is_file() and not fresh:
        kept = list(LoadedResults.parse(path.read_bytes(), str(path)).cells)
    there = {(cell.strategy, cell.cores) for cell in kept}
    missing = [group for group in product(wanted, cores) if group not in there]
    if not missing and kept:
        return LoadedResults.parse(path.read_bytes(), str(path))
    say("exporting a chain, a tree, a whole and a compressed model")
    catalog, references = CatalogWriter(work), dict[Strategy, str]()
    for artifact in artifacts.splits("mobilenetv2", 0):
        catalog.write(artifact)
        references[artifact.split.strategy] = artifact.split.reference
    load = os.getloadavg()[0]
    say("what profiles do not have")
    more = testbed.overheads()
    for strategy, count in missing:
        group = _Group(catalog, references, strategy, count, tasks, more, effort, say)
        kept += group.cells()
        results = LoadedResults(
            handover_s=more.handover_s, broker_s=more.broker_s, load=load, cells=tuple(kept),
            provenance=provenance.collect(0),
        )  # fmt: skip
        save(path, results)
    return results


class _Group:
    """One split on one fleet: its runs, between two rounds of profiles."""

    def __init__(
        self,
        catalog: CatalogWriter,
        references: dict[Strategy, str],
        strategy: Strategy,
        cores: int,
        tasks: int,
        more: Overheads,
        effort: Effort,
        say: Callable[[str], None],
    ):
        self.catalog, self.strategy, self.cores, self.tasks = catalog, strategy, cores, tasks
        self.references, self.more, self.effort, self.say = references, more, effort, say
        _, self.rtt_s, self.bytes_per_s = testbed.link()

    def cells(self) -> Iterable[LoadedCell]:
        """All of them."""
        policy = f"{self.strategy}+least-loaded"
        whole = self._profiled("full")
        before = whole if self.strategy == "full" else self._profiled(self.strategy)
        shares = dict(zip((device.name for device in before[0]), SHARES[self.cores], strict=True))
        done = []
        for precedence, load in product(PRECEDENCES, LOADS):
            self.say(f"{policy}, {self.cores} core(s), {precedence}, load {load:g}")
            rate = load * self._capacity(*whole)
            stream = self._stream(precedence, load, rate)
            outcomes = streamed(*before, self.catalog.path, parse_policy(policy), precedence, stream, shares)
            done.append((precedence, load, rate, outcomes))
        after = self._profiled(self.strategy)
        return [self._cell(policy, before, after, *each) for each in done]

    def _profiled(self, strategy: Strategy) -> tuple[tuple[Device, ...], Demand]:
        """The devices, and what the split costs on them now."""
        reference, speeds = self.references[strategy], dict[float, float]()
        for share in dict.fromkeys(SHARES[self.cores]):
            self.say(f"profiling {reference} at {share:g} of {self.cores} core(s)")
            device = fingerprint(testbed.kind(share, self.cores), self.cores, share)
            found = profile_split(self.catalog, reference, self.effort, device, again=True)
            speeds[share] = median(profile.core_speed for profile in found)
        devices = testbed.fleet(SHARES[self.cores], speeds, self.rtt_s, self.bytes_per_s, self.cores)
        return devices, gather(self.catalog, [reference], testbed.MICRO_BATCH)

    def _capacity(self, devices: tuple[Device, ...], demand: Demand) -> float:
        """Tasks a second that the fleet could do of whole models."""
        workload = Workload(rate=1.0, batch=(min(SIZES), max(SIZES)), deadline_intervals={"random": (1, 1)})
        scenario = Scenario(
            name="loaded", interval_s=1.0, parallelism="intra", weights="warm", broker_bytes_per_s=None,
            workload=workload, handover_s=self.more.handover_s,
        )  # fmt: skip
        found = capacity(scenario, *prepare(scenario, FleetSpec(name="testbed", devices=devices), demand))
        return found.tasks_per_interval

    def _stream(self, precedence: Precedence, load: float, rate: float) -> list[tuple[float, int]]:
        """When tasks come and how many images they have: the same for every split."""
        rng = generator(derive(0, "loaded-testbed", f"{self.cores}-{precedence}-{load:g}"), "stream")
        count = WARM + self.tasks
        arrival_s = np.cumsum(rng.exponential(1.0, count)) / rate
        return list(zip(arrival_s.tolist(), rng.choice(SIZES, count).tolist(), strict=True))

    def _cell(
        self,
        policy: str,
        before: tuple[tuple[Device, ...], Demand],
        after: tuple[tuple[Device, ...], Demand],
        precedence: Precedence,
        load: float,
        rate: float,
        outcomes: Sequence[TaskOutcome],
    ) -> LoadedCell:
        came = [(outcome.arrival_s - outcomes[0].arrival_s, outcome.n) for outcome in outcomes]
        first, last = (
            simulated_stream(*costs, parse_policy(policy), precedence, came, self.more) for costs in (before, after)
        )
        simulated = {name: (first[name][WARM:] + last[name][WARM:]) / 2 for name in PARTS}
        measured = {name: [getattr(outcome, name) for outcome in outcomes[WARM:]] for name in PARTS}
        return LoadedCell(
            strategy=self.strategy, cores=self.cores, precedence=precedence, load=load, rate=rate,
            images=tuple(n for _, n in came[WARM:]), arrival_s=_short(at_s for at_s, _ in came[WARM:]),
            measured={name: _short(times) for name, times in measured.items()},
            simulated={name: _short(times) for name, times in simulated.items()},
            drift=float(last["response_s"].mean() / first["response_s"].mean()), commit=provenance.commit(),
        )  # fmt: skip


def _short(seconds: Iterable[float]) -> Times:
    return tuple(round(float(each), 6) for each in seconds)
