"""Claim: under load, too, the simulator tells what a fleet does. Poisson streams on fleets of device processes here.

MobileNetV2 (random weights: costs do not depend on them) as a chain, a tree, whole and compressed, each by a rule of
its own and the least-loaded placer, strict and pipelined, at three loads, on two fleets of two devices: of one core,
and of two, which compute every micro-batch together. The simulator gets the profiles taken on those very devices just
before and just after, at their thread count and share of the CPU, the link that two processes here have, what devices
and broker take beside the runs (of other, tiny splits), when the tasks came in, and no figure of a fleet under load.
Chain and tree also behind links of `LINK_BYTES_PER_S`, shaped by tbf in network namespaces, where root and kernel allow
that; and three splits while a device is killed and comes back, is paused, or is slowed, at the same time in both.
`loaded_testbed_run.py` measures; a group of runs of one split on one fleet is what an interrupted bench goes on from.
"""

from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import Literal

import numpy as np

from splitplace.benchmarks.device_faults import DeviceFault
from splitplace.benchmarks.results_file import Measured
from splitplace.placement.protocol.fields import Precedence
from splitplace.placement.simulator.scenario import CpuLimit
from splitplace.records.base import Name, NonNegative, Positive, PositiveCount, Record
from splitplace.records.demand import Demand
from splitplace.records.device import Device
from splitplace.records.provenance import Provenance
from splitplace.records.split import Strategy

STRATEGIES: tuple[Strategy, ...] = ("full", "layer", "semantic", "compressed")
THROUGHPUT_BOUND, RUN_BOUND, TASK_BOUND, ORDER_BOUND = 0.05, 0.10, 0.20, 0.9
STEADY = 0.1
"""A machine whose profiles change by more meanwhile says nothing of the simulator."""
STALLED_S = 0.1
"""Nor does one on which a task came so much later than it was to be sent: sender and broker stood still."""
PARTS = ("response_s", "wait_s", "execute_s", "transfer_s")
Times = tuple[NonNegative, ...]
Part = Literal["plain", "shaped", "faulty"]
"""Of the bench: as above, behind shaped links, or with a fault."""
LINK_BYTES_PER_S = 12.5e6
"""100 Mb/s, each way, of what TCP is given."""
LATE_S = 1.0
"""A task that takes longer is late, of streams with faults."""
LATE_BOUND, RECOVERY_BOUND_S = 0.05, 1.0
"""How far the shares of tasks that are late may be apart, and the times until none is any more."""


class LoadedCell(Measured):
    """A stream of tasks, each as it was measured and as it was simulated."""

    strategy: Strategy
    cores: PositiveCount
    precedence: Precedence
    load: Positive
    rate: Positive
    """Tasks a second."""
    images: tuple[PositiveCount, ...]
    arrival_s: Times
    """When the fleet had each."""
    warm: tuple[tuple[NonNegative, PositiveCount], ...]
    """When those came that are not counted, and their images."""
    measured: dict[str, Times]
    """By part of the response: wait, execute (with loads and turns on the device), transfer."""
    simulated: dict[str, Times]
    """With what the fragments took before and after: the mean of both."""
    drift: Positive
    """The mean response with the profiles taken after, over that with those before."""
    part: Part = "plain"
    fault: DeviceFault | None = None
    """As it was in the live run; how long one that was killed was away, as measured on an idle fleet before."""
    sent_late_s: NonNegative | None = None
    """How much later than it was to be sent a task came, at most."""
    run_over_profile: Positive | None = None
    """What micro-batches took on the live devices, over what their profiles say, before and after in the mean."""
    between_s: NonNegative | None = None
    """See `StreamParts`."""

    @property
    def stalled(self) -> bool:
        """Whether whoever sends stood still meanwhile."""
        return (self.sent_late_s or 0.0) > STALLED_S

    def late(self, times: dict[str, Times]) -> float:
        """Share of the tasks that took more than `LATE_S`."""
        return float(np.mean(np.array(times["response_s"]) > LATE_S))

    def recovery_s(self, times: dict[str, Times]) -> float:
        """From the fault until the last late task was answered; 0 where none was late."""
        assert self.fault is not None, "nothing happened"
        ends = [
            arrival_s + response_s - self.fault.at_s
            for arrival_s, response_s in zip(self.arrival_s, times["response_s"], strict=True)
            if response_s > LATE_S
        ]
        return max([0.0, *ends])

    @property
    def errors(self) -> list[float]:
        """Measured over simulated response, less 1, of each task."""
        pairs = zip(self.measured["response_s"], self.simulated["response_s"], strict=True)
        return [measured_s / simulated_s - 1 for measured_s, simulated_s in pairs]

    def mean_s(self, times: dict[str, Times], part: str = "response_s") -> float:
        """Of a part of the response."""
        return float(np.mean(times[part]))

    @property
    def run_error(self) -> float:
        """Of the median response."""
        return median(self.measured["response_s"]) / median(self.simulated["response_s"]) - 1

    @property
    def throughput_error(self) -> float:
        """Of images a second, from the first arrival to the last answer."""
        ends = [np.max(np.add(self.arrival_s, times["response_s"])) for times in (self.measured, self.simulated)]
        measured_s, simulated_s = (float(end) - self.arrival_s[0] for end in ends)
        return simulated_s / measured_s - 1


class FleetCosts(Record):
    """What one round of profiles says."""

    devices: tuple[Device, ...]
    demand: Demand


class LoadedCosts(Record):
    """What the simulator is told of one split on one fleet: its cells can be simulated anew."""

    strategy: Strategy
    cores: PositiveCount
    before: FleetCosts
    after: FleetCosts
    cpu_limits: dict[Name, CpuLimit]
    """By kind of device, the quotas that make a share of the machine."""
    handover_s: NonNegative
    handover_s_per_byte: NonNegative
    broker_s: NonNegative
    """See `Overheads`."""
    load: NonNegative
    """Processes that wanted to run in the minute before the bench, without ours."""
    part: Part = "plain"
    tries: PositiveCount = 1
    """Rounds of the whole group: one whose profiles changed by more than `STEADY` is not kept while there are tries."""

    @property
    def change(self) -> float:
        """Of the seconds of a micro-batch through all fragments, after over before less 1, where it is largest."""
        changes = [
            _seconds(self.after, row) / _seconds(self.before, row) - 1 for row in range(len(self.before.devices))
        ]
        return max(changes, key=abs)

    @property
    def shaky(self) -> bool:
        """Whether the machine changed by too much."""
        return abs(self.change) > STEADY


def policy_of(strategy: Strategy) -> str:
    """A split's own decider, and the placer of all."""
    return f"{strategy}+least-loaded"


def _seconds(costs: FleetCosts, row: int) -> float:
    (entry,) = costs.demand.splits
    return sum(entry.latency_s(fragment.name, costs.devices[row]) for fragment in entry.split.fragments)


class LoadedResults(Record):
    """Everything measured so far."""

    cells: tuple[LoadedCell, ...]
    costs: tuple[LoadedCosts, ...]
    """Of each split on each fleet."""
    provenance: Provenance
    left_out: tuple[str, ...] = ()
    """What could not be measured here, and why; a line each."""

    def of(self, part: Part) -> list[LoadedCell]:
        """The runs of a part."""
        return [cell for cell in self.cells if cell.part == part]


def orders(results: LoadedResults) -> list[float]:
    """Kendall's tau between the mean responses of all splits, measured and simulated, of each stream that all met."""
    from scipy.stats import kendalltau

    found = []
    plain = results.of("plain")
    streams = dict.fromkeys((cell.cores, cell.precedence, cell.load) for cell in plain)
    for stream in streams:
        met = [cell for cell in plain if (cell.cores, cell.precedence, cell.load) == stream]
        if len(met) == len(STRATEGIES):
            means = [[cell.mean_s(times(cell)) for cell in met] for times in (_measured, _simulated)]
            found.append(float(kendalltau(*means).statistic))
    return found


def _measured(cell: LoadedCell) -> dict[str, Times]:
    return cell.measured


def _simulated(cell: LoadedCell) -> dict[str, Times]:
    return cell.simulated


def verdict(results: LoadedResults) -> dict[str, bool]:
    """Each claim, and whether it held."""
    cells, tau = results.of("plain"), orders(results)
    found = _close(cells, "")
    found[f"response of a task within {TASK_BOUND:.0%}, in the median over tasks"] = _tasks_close(cells)
    found[f"the same order of the four splits, Kendall's tau at least {ORDER_BOUND} in the mean over streams"] = (
        bool(tau) and float(np.mean(tau)) >= ORDER_BOUND
    )
    if shaped := results.of("shaped"):
        found |= _close(shaped, "behind shaped links: ")
        found[f"behind shaped links: response of a task within {TASK_BOUND:.0%}, in the median"] = _tasks_close(shaped)
    if faulty := results.of("faulty"):
        found |= _close(faulty, "with faults: ")
        found[f"with faults: shares of late tasks within {LATE_BOUND:g} of each other in every run"] = all(
            abs(cell.late(cell.measured) - cell.late(cell.simulated)) <= LATE_BOUND for cell in faulty
        )
        found[f"with faults: none is late any more within {RECOVERY_BOUND_S:g} s of when it was simulated"] = all(
            abs(cell.recovery_s(cell.measured) - cell.recovery_s(cell.simulated)) <= RECOVERY_BOUND_S for cell in faulty
        )
    return found


def _close(cells: Sequence[LoadedCell], where: str) -> dict[str, bool]:
    return {
        f"{where}throughput of every run within {THROUGHPUT_BOUND:.0%} of the simulated one": all(
            abs(cell.throughput_error) <= THROUGHPUT_BOUND for cell in cells
        ),
        f"{where}median response of every run within {RUN_BOUND:.0%}": all(
            abs(cell.run_error) <= RUN_BOUND for cell in cells
        ),
    }


def _tasks_close(cells: Sequence[LoadedCell]) -> bool:
    errors = [abs(error) for cell in cells for error in cell.errors]
    return bool(errors) and median(errors) <= TASK_BOUND


def draw(path: Path, results: LoadedResults) -> Path:
    """One point a task, measured over simulated, beside the results (.svg)."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6, 6))
    axes = figure.subplots()
    for strategy in dict.fromkeys(cell.strategy for cell in results.cells):
        mine = [cell for cell in results.cells if cell.strategy == strategy]
        x, y = ([s for cell in mine for s in times(cell)["response_s"]] for times in (_simulated, _measured))
        axes.loglog(x, y, ".", markersize=3, label=strategy)
    ends = axes.get_xlim()
    axes.plot(ends, ends, color="grey", linewidth=0.8)
    axes.set(xlabel="simulated response (s)", ylabel="measured response (s)", title="Tasks under load")
    axes.legend()
    picture = path.with_suffix(".svg")
    figure.savefig(picture, metadata={"Date": None})
    return picture
