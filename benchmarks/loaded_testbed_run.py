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
from splitplace.benchmarks.loaded_testbed import (
    PARTS,
    STRATEGIES,
    FleetCosts,
    LoadedCell,
    LoadedCosts,
    LoadedResults,
    Times,
    policy_of,
)
from splitplace.benchmarks.results_file import save
from splitplace.catalog.demand import demand as gather
from splitplace.errors import NotReadyError, unknown
from splitplace.export.catalog_writer import CatalogWriter
from splitplace.export.measure.profiler import QUICK, Effort, fingerprint, profile_split
from splitplace.inference.cpu_share import quota
from splitplace.placement.outcome import TaskOutcome
from splitplace.placement.protocol.messages import Precedence
from splitplace.placement.registry import parse_policy
from splitplace.placement.simulator.capacity import capacity
from splitplace.placement.simulator.scenario import CpuLimit, Scenario, Workload
from splitplace.placement.simulator.setting import prepare
from splitplace.records.device import FleetSpec
from splitplace.records.split import Strategy
from splitplace.seeds import derive, generator

PRECEDENCES: tuple[Precedence, ...] = ("pipelined", "strict")
LOADS = (0.3, 0.55, 0.8)
"""Of what the fleet could do of whole models, whatever the split: all four meet the same tasks."""
SHARES = {1: (0.6, 0.4), 2: (0.4, 0.4)}
"""By cores of a device, its part of each; what is left of this machine's two is the broker's."""
SIZES = (32, 96, 160, 256)
"""Images a task."""
TRIES = 3
"""Of a group, while the machine's profiles change meanwhile."""
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
    kept = [] if fresh or not path.is_file() else [LoadedResults.parse(path.read_bytes(), str(path))]
    cells, costs = [cell for one in kept for cell in one.cells], [each for one in kept for each in one.costs]
    there = {(each.strategy, each.cores) for each in costs}
    missing = [group for group in product(wanted, cores) if group not in there]
    if not missing and kept:
        return kept[0]
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
        for tries in range(1, TRIES + 1):
            found, told = group.measured(load, tries)
            if not told.shaky:
                break
        cells, costs = [*cells, *found], [*costs, told]
        results = LoadedResults(cells=tuple(cells), costs=tuple(costs), provenance=provenance.collect(0))
        save(path, results)
    return results


def simulated_again(path: Path, say: Callable[[str], None]) -> LoadedResults:
    """What is measured stays, what was simulated is simulated anew: of the costs that the file has, as of now.

    Raises:
        NotReadyError: There is no such file.
        SplitPlaceError: It is none of such results.
    """
    if not path.is_file():
        raise NotReadyError(f"{path} is not there: measure first, without --simulate-again")
    old = LoadedResults.parse(path.read_bytes(), str(path))
    costs, cells = {(each.strategy, each.cores): each for each in old.costs}, list[LoadedCell]()
    for cell in old.cells:
        say(f"{cell.strategy}, {cell.cores} core(s), {cell.precedence}, load {cell.load:g}")
        came = [*cell.warm, *zip(cell.arrival_s, cell.images, strict=True)]
        simulated, drift = _simulated(costs[cell.strategy, cell.cores], cell.precedence, came)
        cells.append(cell.model_copy(update={"simulated": simulated, "drift": drift}))
    save(path, results := old.model_copy(update={"cells": tuple(cells)}))
    return results


def _simulated(
    costs: LoadedCosts, precedence: Precedence, came: Sequence[tuple[float, int]]
) -> tuple[dict[str, Times], float]:
    """What a cell has of the simulator: the mean of both rounds of profiles, and its drift."""
    policy, more = (
        parse_policy(policy_of(costs.strategy)),
        Overheads(costs.handover_s, costs.handover_s_per_byte, costs.broker_s),
    )
    first, last = (
        simulated_stream(told.devices, told.demand, policy, precedence, came, more, costs.cpu_limits)
        for told in (costs.before, costs.after)
    )
    mean = {name: _short((first[name][WARM:] + last[name][WARM:]) / 2) for name in PARTS}
    return mean, float(last["response_s"].mean() / first["response_s"].mean())


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

    def measured(self, load: float, tries: int) -> tuple[list[LoadedCell], LoadedCosts]:
        """All of them, and what the simulator was told."""
        whole = self._profiled("full")
        before = whole if self.strategy == "full" else self._profiled(self.strategy)
        devices, demand = before.devices, before.demand
        shares = dict(zip((device.name for device in devices), SHARES[self.cores], strict=True))
        done, most = [], self._capacity(whole)
        for precedence, load_ in product(PRECEDENCES, LOADS):
            self.say(f"{self.strategy}, {self.cores} core(s), {precedence}, load {load_:g}")
            rate = load_ * most
            stream = self._stream(precedence, load_, rate)
            policy = parse_policy(policy_of(self.strategy))
            outcomes = streamed(devices, demand, self.catalog.path, policy, precedence, stream, shares)
            done.append((precedence, load_, rate, outcomes))
        costs = LoadedCosts(
            strategy=self.strategy, cores=self.cores, before=before, after=self._profiled(self.strategy),
            cpu_limits={testbed.kind(share, self.cores): self._limit(share) for share in SHARES[self.cores]},
            handover_s=self.more.handover_s, handover_s_per_byte=self.more.handover_s_per_byte,
            broker_s=self.more.broker_s, load=load, tries=tries,
        )  # fmt: skip
        return [self._cell(costs, *each) for each in done], costs

    def _limit(self, share: float) -> CpuLimit:
        return CpuLimit(share=share, period_s=quota(share, self.cores)[1] / 1e6)

    def _profiled(self, strategy: Strategy) -> FleetCosts:
        """The devices, and what the split costs on them now."""
        reference, speeds = self.references[strategy], dict[float, float]()
        for share in dict.fromkeys(SHARES[self.cores]):
            self.say(f"profiling {reference} at {share:g} of {self.cores} core(s)")
            device = fingerprint(testbed.kind(share, self.cores), self.cores, share)
            found = profile_split(self.catalog, reference, self.effort, device, again=True)
            speeds[share] = median(profile.core_speed for profile in found)
        devices = testbed.fleet(SHARES[self.cores], speeds, self.rtt_s, self.bytes_per_s, self.cores)
        return FleetCosts(devices=devices, demand=gather(self.catalog, [reference], testbed.MICRO_BATCH))

    def _capacity(self, whole: FleetCosts) -> float:
        """Tasks a second that the fleet could do of whole models."""
        workload = Workload(rate=1.0, batch=(min(SIZES), max(SIZES)), deadline_intervals={"random": (1, 1)})
        scenario = Scenario(
            name="loaded", interval_s=1.0, parallelism="intra", weights="warm", broker_bytes_per_s=None,
            workload=workload, handover_s=self.more.handover_s,
        )  # fmt: skip
        fleet = FleetSpec(name="testbed", devices=whole.devices)
        found = capacity(scenario, *prepare(scenario, fleet, whole.demand))
        return found.tasks_per_interval

    def _stream(self, precedence: Precedence, load: float, rate: float) -> list[tuple[float, int]]:
        """When tasks come and how many images they have: the same for every split."""
        rng = generator(derive(0, "loaded-testbed", f"{self.cores}-{precedence}-{load:g}"), "stream")
        count = WARM + self.tasks
        arrival_s = np.cumsum(rng.exponential(1.0, count)) / rate
        return list(zip(arrival_s.tolist(), rng.choice(SIZES, count).tolist(), strict=True))

    def _cell(
        self, costs: LoadedCosts, precedence: Precedence, load: float, rate: float, outcomes: Sequence[TaskOutcome]
    ) -> LoadedCell:
        came = [(outcome.arrival_s - outcomes[0].arrival_s, outcome.n) for outcome in outcomes]
        at_s, images = zip(*came, strict=True)
        measured = {name: _short(getattr(outcome, name) for outcome in outcomes[WARM:]) for name in PARTS}
        simulated, drift = _simulated(costs, precedence, came)
        return LoadedCell(
            strategy=self.strategy, cores=self.cores, precedence=precedence, load=load, rate=rate,
            images=images[WARM:], arrival_s=_short(at_s[WARM:]), warm=tuple(came[:WARM]), measured=measured,
            simulated=simulated, drift=drift, commit=provenance.commit(),
        )  # fmt: skip


def _short(seconds: Iterable[float]) -> Times:
    return tuple(round(float(each), 6) for each in seconds)
