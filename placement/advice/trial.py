"""One alternative on one stream of requests: what came of it; and over streams, with 95 % intervals."""

import csv
import math
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache, cached_property
from pathlib import Path

import numpy as np

from splitplace.placement.advice.alternatives import Alternative
from splitplace.placement.advice.offers import Offered, OnOffer, restricted
from splitplace.placement.registry import parse_policy
from splitplace.placement.simulator.bound import least_response_s
from splitplace.placement.simulator.capacity import Capacity, capacity
from splitplace.placement.simulator.costs import Costs
from splitplace.placement.simulator.recorded import TRACE_COLUMNS
from splitplace.placement.simulator.results import SimulationRun
from splitplace.placement.simulator.run import simulate
from splitplace.placement.simulator.scenario import Scenario, Workload
from splitplace.placement.simulator.setting import prepare
from splitplace.records.base import Record
from splitplace.records.device import Device, FleetSpec
from splitplace.records.task import micro_batches
from splitplace.records.view import NONE, Floats, Ints
from splitplace.seeds import derive, generator

LEAST, MOST, MOST_OF_ONE = 200, 800, 1600
"""Requests of a stream: `PASSES` times what is under way at once, within these; more of an alternative on its own."""
PASSES = 8
WARM = 0.25
"""The first of them fill the fleet, and are not scored."""
CHUNKS = 8
"""In which a request passes through its fragments at most: a chunk is some micro-batches. Fewer make late what is not;
more cost more and change little."""
DRAIN = 20.0
"""After the last arrival a run goes on until that deadline, or for so many times as long as requests came."""
PLAN_S = 10.0
"""Length of an interval as a live broker tells it to a policy that it asks at once."""
MOST_INTERVALS = 400


@dataclass(frozen=True)
class Ask:
    """What is asked of a fleet.

    Args:
        rate: Requests a second, of all applications together, in equal shares.
        images: Of each.
        deadline_s: Of each, from its arrival.
        late: Share of them that may be later.
    """

    rate: float
    images: int
    deadline_s: float
    late: float


@dataclass(frozen=True, eq=False)
class TrialOutcome:
    """What one stream's scored requests got.

    Args:
        response_s: Mean and 95th percentile of those that were answered; NaN of none.
        response_p95_s: See above.
        late: Share that was answered after the deadline, or not at all.
        accuracy: Mean of the evaluated accuracy of the split that answered; 0 where none did.
        reward: Mean of (1(in time) + accuracy) / 2 (eq. 15).
        growth: By how much more requests were under way at the end of the stream than at its first scored request, as
            a share of those that came between: what the fleet falls behind by.
        energy_j: A request: its share of what the fleet draws idle, and what its own work adds.
        used: By reference, the share of its application's requests that a split got.
    """

    response_s: float
    response_p95_s: float
    late: float
    accuracy: float
    reward: float
    growth: float
    energy_j: float
    used: dict[str, float]


class Estimate(Record):
    """A mean over streams with its 95 % interval (Student's t); none of a single stream."""

    mean: float
    low: float | None = None
    high: float | None = None


def estimate(values: Sequence[float]) -> Estimate | None:
    """The mean of the values, at least one; None where one is not known."""
    mean = float(np.mean(values))
    if math.isnan(mean):
        return None
    if len(values) < 2:
        return Estimate(mean=mean)
    low, high = t_interval(values)
    return Estimate(mean=mean, low=low, high=high)


def t_interval(values: Sequence[float]) -> tuple[float, float]:
    """The 95 % interval of the mean of two values or more (Student's t)."""
    mean = float(np.mean(values))
    if len(set(values)) == 1:  # the distribution has no width
        return mean, mean
    low, high = _quantiles(len(values) - 1)
    error = float(np.std(values, ddof=1) / math.sqrt(len(values)))
    return mean + low * error, mean + high * error


@cache
def _quantiles(degrees: int) -> tuple[float, float]:
    from scipy import special

    return float(special.stdtrit(degrees, (1 - 0.95) / 2)), float(special.stdtrit(degrees, (1 + 0.95) / 2))


@dataclass(eq=False)
class Trials:
    """Runs alternatives on streams, each once, and counts.

    Args:
        fleet: The devices.
        offers: What is on offer.
        ask: What is asked for; its rate may be another from trial to trial.
        seed: Of all streams.
    """

    fleet: FleetSpec
    offers: OnOffer
    ask: Ask
    seed: int
    runs: int = 0
    requests: int = 0
    """That were simulated, in so many runs."""
    _known: dict[tuple[Alternative, float, int], TrialOutcome] = field(default_factory=dict)
    _capacity: dict[tuple[Offered, ...], Capacity] = field(default_factory=dict)

    @cached_property
    def alone_s(self) -> dict[str, float]:
        """Seconds that each split takes alone on the best devices, by reference; nothing is quicker."""
        devices, costs = self.prepared(self.offers.splits)
        images = np.array([self.ask.images])
        return {
            reference: float(least_response_s(self.drawn(1.0), devices, costs, row, images)[0])
            for row, reference in enumerate(costs.splits.references)
        }

    def count(self, alternative: Alternative, rate: float) -> int:
        """Requests of a stream: enough that those under way at once come and go some times.

        At the rate asked for, all alternatives have the same.
        """
        alike = rate == self.ask.rate
        splits, most = (self.offers.splits, MOST) if alike else (alternative.splits, MOST_OF_ONE)
        slowest_s = max(self.alone_s[split.reference] for split in splits)
        return self._rounds(min(max(LEAST, PASSES * rate * slowest_s), most))

    def _rounds(self, requests: float) -> int:
        """As many at least, of each application the same number."""
        each = len(self.offers.applications)
        return math.ceil(requests / each) * each

    def scenario(self, workload: Workload, end_s: float = PLAN_S) -> Scenario:
        """The rules of every run: what a live fleet does unless it is told otherwise."""
        return Scenario(
            name="advice",
            interval_s=max(PLAN_S, end_s / MOST_INTERVALS),
            precedence="pipelined",
            pipeline_grain=micro_batches(micro_batches(self.ask.images, self.offers.micro_batch), CHUNKS),
            weights="warm",
            workload=workload,
        )

    def drawn(self, rate: float) -> Scenario:
        """The same with the requests as a distribution: what a capacity is stated for."""
        images = (self.ask.images, self.ask.images)
        deadlines = dict.fromkeys(self.offers.applications, (1, 1))
        workload = Workload(rate=rate, spread=True, batch=images, deadline_intervals=deadlines)
        return self.scenario(workload).model_copy(update={"interval_s": 1.0})

    def capacity(self, splits: tuple[Offered, ...]) -> Capacity:
        """What the best policy could sustain with these splits; an interval is a second."""
        if splits not in self._capacity:
            self._capacity[splits] = capacity(self.drawn(1.0), *self.prepared(splits))
        return self._capacity[splits]

    def prepared(self, splits: Sequence[Offered]) -> tuple[tuple[Device, ...], Costs]:
        """Devices, and what these splits cost on them."""
        return prepare(self.drawn(1.0), self.fleet, restricted(self.offers.demand, {s.reference for s in splits}))

    def run(self, alternative: Alternative, rate: float, stream: int) -> TrialOutcome:
        """What came of an alternative on a stream, numbered from 0, at a rate.

        Raises:
            SplitPlaceError: It cannot be simulated.
        """
        key = (alternative, rate, stream)
        if key not in self._known:
            count = self.count(alternative, rate)
            self.runs, self.requests = self.runs + 1, self.requests + count
            self._known[key] = self._run(alternative, rate, stream, count)
        return self._known[key]

    def _run(self, alternative: Alternative, rate: float, stream: int, count: int) -> TrialOutcome:
        seed = derive(self.seed, "advice", stream)
        arrival_s_N = np.cumsum(generator(seed, "requests").exponential(1.0, count)) / rate
        application_N = self._applications(seed, count)
        end_s = float(arrival_s_N[-1]) + min(self.ask.deadline_s, DRAIN * float(arrival_s_N[-1]))
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "requests.csv"
            self._write(path, arrival_s_N, application_N)
            scenario = self.scenario(Workload(trace=str(path)), end_s)
            run = simulate(
                scenario,
                self.fleet,
                restricted(self.offers.demand, set(alternative.references)),
                parse_policy(alternative.policy),
                math.ceil(end_s / scenario.interval_s),
                seed,
                loaded=True,
            )
        return self._outcome(run, rate, application_N, scenario.interval_s)

    def _applications(self, seed: int, count: int) -> Ints:
        """Of each request: equal shares in every stretch of a stream, so that streams differ by luck in time alone."""
        each = len(self.offers.applications)
        rounds = np.tile(np.arange(each), (count // each, 1))
        rows: Ints = generator(seed, "applications").permuted(rounds, axis=1).ravel()
        return rows

    def _write(self, path: Path, arrival_s_N: Floats, application_N: Ints) -> None:
        names = self.offers.applications
        with path.open("w", newline="", encoding="utf-8") as lines:
            rows = csv.writer(lines)
            rows.writerow(TRACE_COLUMNS)
            for arrival_s, application in zip(arrival_s_N.tolist(), application_N.tolist(), strict=True):
                rows.writerow((arrival_s, names[application], self.ask.images, self.ask.deadline_s))

    def _outcome(self, run: SimulationRun, rate: float, application_N: Ints, interval_s: float) -> TrialOutcome:
        count = len(application_N)
        tasks, first = run.tasks, self._rounds(WARM * count)
        arrival_s, response_s = (np.asarray(tasks[name], np.float64) for name in ("arrival_s", "response_s"))
        finished, split = np.asarray(tasks["finished"], np.bool_), np.asarray(tasks["split"], np.int64)
        top1 = {offered.reference: offered.top1 or 0.0 for offered in self.offers.splits}
        top1_S = np.array([top1[reference] for reference in run.splits])
        in_time = finished & (response_s <= self.ask.deadline_s)
        # The luck of single images would hide what splits differ by: who is answered gets the split's own accuracy.
        accuracy = np.where(finished, top1_S[split], 0.0)
        answered_s = response_s[first:][finished[first:]]
        left_s = np.where(finished, arrival_s + response_s, np.inf)
        under_way = [int(((arrival_s <= at) & (left_s > at)).sum()) for at in (arrival_s[first], arrival_s[-1])]
        length_s = len(run.intervals["interval"]) * interval_s
        idle_w = sum(device.power_w[0] * device.count for device in self.fleet.devices)
        decided = split != NONE
        asked_A = np.bincount(application_N, minlength=len(self.offers.applications))
        index = {name: row for row, name in enumerate(self.offers.applications)}
        used = {
            reference: float((split[decided] == row).sum() / max(asked_A[index[reference.split(".", 1)[0]]], 1))
            for row, reference in enumerate(run.splits)
        }
        return TrialOutcome(
            response_s=float(answered_s.mean()) if len(answered_s) else math.nan,
            response_p95_s=float(np.percentile(answered_s, 95)) if len(answered_s) else math.nan,
            late=float(1 - in_time[first:].mean()),
            accuracy=float(accuracy[first:].mean()),
            reward=float((in_time + accuracy)[first:].mean() / 2),
            growth=(under_way[1] - under_way[0]) / (count - first),
            energy_j=((run.metrics.energy_j or 0.0) - idle_w * length_s) / count + idle_w / rate,
            used=used,
        )
