"""Measures one split on one fleet for the bench of fleets under load: its streams, between two rounds of profiles."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import product
from statistics import median

import numpy as np

from splitplace import provenance
from splitplace.benchmarks import testbed
from splitplace.benchmarks.device_faults import KINDS, DeviceFault, FaultKind, seconds_to_return
from splitplace.benchmarks.live_and_simulated import Overheads, Streamed, simulated_stream, streamed
from splitplace.benchmarks.loaded_testbed import (
    LINK_BYTES_PER_S,
    PARTS,
    STRATEGIES,
    FleetCosts,
    LoadedCell,
    LoadedCosts,
    Part,
    Times,
    policy_of,
)
from splitplace.benchmarks.shaped_links import NamespaceEngine, shaped
from splitplace.benchmarks.stream_parts import stream_parts
from splitplace.catalog.demand import demand as gather
from splitplace.export.catalog_writer import CatalogWriter
from splitplace.export.measure.profiler import Effort, fingerprint, profile_split
from splitplace.inference.cpu_share import quota
from splitplace.placement.broker.broker import Broker
from splitplace.placement.engines.local import LocalEngine
from splitplace.placement.protocol.fields import Precedence
from splitplace.placement.registry import parse_policy
from splitplace.placement.simulator.capacity import capacity
from splitplace.placement.simulator.scenario import CpuLimit, Scenario, Workload
from splitplace.placement.simulator.setting import prepare
from splitplace.records.device import FleetSpec
from splitplace.records.split import Strategy
from splitplace.seeds import derive, generator

PRECEDENCES: tuple[Precedence, ...] = ("pipelined", "strict")
LOADS, SHAPED_LOADS, FAULTY_LOAD = (0.3, 0.55, 0.8), (0.2, 0.4), 0.4
"""Of what the fleet could do of whole models, whatever the split: all meet the same tasks."""
SHARES = {1: (0.6, 0.4), 2: (0.4, 0.4)}
"""By cores of a device, its part of each; what is left of this machine's two is the broker's."""
SPLITS: dict[Part, tuple[Strategy, ...]] = {
    "plain": STRATEGIES, "shaped": ("layer", "semantic"), "faulty": ("full", "layer", "semantic"),
}  # fmt: skip
CORES: dict[Part, tuple[int, ...]] = {"plain": tuple(SHARES), "shaped": (1,), "faulty": (1,)}
SIZES = (32, 96, 160, 256)
"""Images a task."""
WARM = 8
"""The first tasks of a stream load fragments, and are not counted."""
LONGER = 2
"""As many times the tasks has a stream with a fault."""
AWAY_S = 4.0
"""How long a device is paused, or slow: a paused one is given up for the time being, and comes back."""


@dataclass(frozen=True)
class GroupKey:
    """A group of runs."""

    part: Part
    strategy: Strategy
    cores: int


@dataclass(frozen=True)
class StreamWanted:
    """A run of a group."""

    precedence: Precedence
    load: float
    fault: FaultKind | None = None


def wanted(part: Part) -> list[StreamWanted]:
    """The runs of each group of a part."""
    if part == "faulty":
        return [StreamWanted("pipelined", FAULTY_LOAD, kind) for kind in KINDS]
    return [StreamWanted(*both) for both in product(PRECEDENCES, LOADS if part == "plain" else SHAPED_LOADS)]


def simulated_cell(
    costs: LoadedCosts, precedence: Precedence, came: Sequence[tuple[float, int]], fault: DeviceFault | None
) -> tuple[dict[str, Times], float]:
    """What a cell has of the simulator: the mean of both rounds of profiles, and its drift."""
    policy = parse_policy(policy_of(costs.strategy))
    more = Overheads(costs.handover_s, costs.handover_s_per_byte, costs.broker_s)
    first, last = (
        simulated_stream(told.devices, told.demand, policy, precedence, came, more, costs.cpu_limits, fault)
        for told in (costs.before, costs.after)
    )
    mean = {name: _short((first[name][WARM:] + last[name][WARM:]) / 2) for name in PARTS}
    return mean, float(last["response_s"].mean() / first["response_s"].mean())


@dataclass(frozen=True, eq=False)
class LoadedGroup:
    """One split on one fleet.

    Args:
        key: Which.
        catalog: That has all splits.
        references: Of the splits.
        tasks: Of a stream.
        more: What profiles do not have.
        effort: Of the profiles.
        say: Told what is being measured.
    """

    key: GroupKey
    catalog: CatalogWriter
    references: dict[Strategy, str]
    tasks: int
    more: Overheads
    effort: Effort
    say: Callable[[str], None]

    def measured(self, load: float, tries: int) -> tuple[list[LoadedCell], LoadedCosts]:
        """All of its runs, and what the simulator was told.

        Raises:
            NotReadyError: No such links can be had here.
        """
        link = self._link()
        whole = self._profiled("full", link)
        before = whole if self.key.strategy == "full" else self._profiled(self.key.strategy, link)
        shares = dict(zip((device.name for device in before.devices), SHARES[self.key.cores], strict=True))
        most, policy, done = self._capacity(whole), parse_policy(policy_of(self.key.strategy)), []
        with self._engines(list(shares)) as engine:
            back_s = self._back_s(before, shares, engine()) if self.key.part == "faulty" else 0.0
            for run in wanted(self.key.part):
                self.say(f"{self.key.strategy}, {self.key.cores} core(s), {run.precedence}, load {run.load:g}")
                stream = self._stream(run, run.load * most)
                fault = self._fault(run, stream, next(iter(shares)), back_s)
                found = streamed(
                    before.devices, before.demand, self.catalog.path, policy, run.precedence, stream, shares,
                    engine(), fault,
                )  # fmt: skip
                done.append((run, run.load * most, stream, found))
        key, more = self.key, self.more
        costs = LoadedCosts(
            strategy=key.strategy, cores=key.cores, before=before, after=self._profiled(key.strategy, link),
            cpu_limits={testbed.kind(share, key.cores): self._limit(share) for share in SHARES[key.cores]},
            handover_s=more.handover_s, handover_s_per_byte=more.handover_s_per_byte, broker_s=more.broker_s,
            load=load, part=key.part, tries=tries,
        )  # fmt: skip
        return [self._cell(costs, *each) for each in done], costs

    def _link(self) -> tuple[float, float]:
        """The rtt and bytes/s of the devices' links."""
        _, rtt_s, bytes_per_s = testbed.link(encrypted=self.key.part == "shaped")
        return rtt_s, min(bytes_per_s, LINK_BYTES_PER_S) if self.key.part == "shaped" else bytes_per_s

    @contextmanager
    def _engines(self, names: Sequence[str]) -> Iterator[Callable[[], LocalEngine]]:
        """Makes what launches the devices of a run."""
        if self.key.part != "shaped":
            yield LocalEngine
            return
        network = shaped(names, LINK_BYTES_PER_S)
        try:
            yield lambda: NamespaceEngine(network)
        finally:
            network.close()

    def _limit(self, share: float) -> CpuLimit:
        return CpuLimit(share=share, period_s=quota(share, self.key.cores)[1] / 1e6)

    def _profiled(self, strategy: Strategy, link: tuple[float, float]) -> FleetCosts:
        """The devices, and what the split costs on them now."""
        reference, speeds, cores = self.references[strategy], dict[float, float](), self.key.cores
        for share in dict.fromkeys(SHARES[cores]):
            self.say(f"profiling {reference} at {share:g} of {cores} core(s)")
            device = fingerprint(testbed.kind(share, cores), cores, share)
            found = profile_split(self.catalog, reference, self.effort, device, again=True)
            speeds[share] = median(profile.core_speed for profile in found)
        devices = testbed.fleet(SHARES[cores], speeds, *link, cores)
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

    def _stream(self, run: StreamWanted, rate: float) -> list[tuple[float, int]]:
        """When tasks come and how many images they have: the same for every split."""
        rng = generator(derive(0, "loaded-testbed", f"{self.key.cores}-{run.precedence}-{run.load:g}"), "stream")
        count = WARM + self.tasks * (LONGER if run.fault else 1)
        arrival_s = np.cumsum(rng.exponential(1.0, count)) / rate
        return list(zip(arrival_s.tolist(), rng.choice(SIZES, count).tolist(), strict=True))

    def _back_s(self, costs: FleetCosts, shares: dict[str, float], engine: LocalEngine) -> float:
        """How long the first device is away when it is killed and nothing else goes on."""
        self.say("a device that is killed and comes back")
        policy = parse_policy(policy_of(self.key.strategy))
        with Broker(costs.devices, costs.demand, self.catalog.path, policy, engine, cpu_shares=shares) as broker:
            return seconds_to_return(broker, engine, next(iter(shares)))

    @staticmethod
    def _fault(
        run: StreamWanted, stream: Sequence[tuple[float, int]], device: str, back_s: float
    ) -> DeviceFault | None:
        """A quarter of the tasks have come by then."""
        if run.fault is None:
            return None
        at_s = stream[len(stream) // 4][0] - stream[0][0]
        return DeviceFault(
            kind=run.fault, device=device, at_s=at_s, lasts_s=back_s if run.fault == "killed" else AWAY_S
        )

    def _cell(
        self, costs: LoadedCosts, run: StreamWanted, rate: float, stream: Sequence[tuple[float, int]], live: Streamed
    ) -> LoadedCell:
        outcomes = live.outcomes
        came = [(outcome.arrival_s - outcomes[0].arrival_s, outcome.n) for outcome in outcomes]
        at_s, images = zip(*came, strict=True)
        later_s = np.subtract(at_s, [sent_s for sent_s, _ in stream])
        measured = {name: _short(getattr(outcome, name) for outcome in outcomes[WARM:]) for name in PARTS}
        told = (costs.before, costs.after)
        found = [stream_parts(outcomes, live.events, each.devices, each.demand) for each in told]
        parts = [each for each in found if each is not None]
        if parts and costs.part != "shaped":  # there a tensor that is under way is under way, whatever its device does
            measured |= {
                "execute_s": _short(parts[0].execute_s[WARM:]),
                "transfer_s": _short(parts[0].transfer_s[WARM:]),
            }
        simulated, drift = simulated_cell(costs, run.precedence, came, live.fault)
        return LoadedCell(
            strategy=costs.strategy, cores=costs.cores, precedence=run.precedence, load=run.load, rate=rate,
            images=images[WARM:], arrival_s=_short(at_s[WARM:]), warm=tuple(came[:WARM]), measured=measured,
            simulated=simulated, drift=drift, part=costs.part, fault=live.fault,
            sent_late_s=round(float(np.ptp(later_s)), 6),
            run_over_profile=float(np.mean([each.run_over_profile for each in parts])) if parts else None,
            between_s=parts[0].between_s if parts else None, commit=provenance.commit(),
        )  # fmt: skip


def _short(seconds: Iterable[float]) -> Times:
    return tuple(round(float(each), 6) for each in seconds)
