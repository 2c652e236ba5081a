"""Claim: under load, too, the simulator tells what a fleet does. Poisson streams on fleets of device processes here.

MobileNetV2 (random weights: costs do not depend on them) as a chain, a tree, whole and compressed, each by a rule of
its own and the least-loaded placer, strict and pipelined, at three loads, on two fleets of two devices: of one core,
and of two, which compute every micro-batch together. The simulator gets the profiles taken on those very devices just
before and just after, at their thread count and share of the CPU, the link that two processes here have, what devices
and broker take beside the runs (of other, tiny splits), when the tasks came in, and no figure of a fleet under load.
`loaded_testbed_run.py` measures; a group of six runs is what an interrupted bench goes on from.
"""

from pathlib import Path
from statistics import median

import numpy as np

from splitplace.benchmarks.results_file import Measured
from splitplace.benchmarks.results_section import FileSection, words
from splitplace.placement.protocol.messages import Precedence
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
PARTS = ("response_s", "wait_s", "execute_s", "transfer_s")
Times = tuple[NonNegative, ...]


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


def orders(results: LoadedResults) -> list[float]:
    """Kendall's tau between the mean responses of all splits, measured and simulated, of each stream that all met."""
    from scipy.stats import kendalltau

    found = []
    streams = dict.fromkeys((cell.cores, cell.precedence, cell.load) for cell in results.cells)
    for stream in streams:
        met = [cell for cell in results.cells if (cell.cores, cell.precedence, cell.load) == stream]
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
    cells, tau = results.cells, orders(results)
    return {
        f"throughput of every run within {THROUGHPUT_BOUND:.0%} of the simulated one": all(
            abs(cell.throughput_error) <= THROUGHPUT_BOUND for cell in cells
        ),
        f"median response of every run within {RUN_BOUND:.0%}": all(abs(cell.run_error) <= RUN_BOUND for cell in cells),
        f"response of a task within {TASK_BOUND:.0%}, in the median over tasks": bool(cells)
        and median(abs(error) for cell in cells for error in cell.errors) <= TASK_BOUND,
        f"the same order of the four splits, Kendall's tau at least {ORDER_BOUND}": bool(tau)
        and float(np.mean(tau)) >= ORDER_BOUND,
    }


def section(text: bytes, file: Path) -> FileSection:
    """A row a run: mean of each part of the response, measured and simulated."""
    found = LoadedResults.parse(text, str(file))
    rows = []
    for cell in found.cells:
        row = {
            "split": cell.strategy,
            "cores": str(cell.cores),
            "precedence": cell.precedence,
            "load": f"{cell.load:g}",
            "throughput": f"{cell.throughput_error:+.1%}",
            "median response": f"{cell.run_error:+.1%}",
            "tasks, median": f"{median(abs(error) for error in cell.errors):.1%}",
        }
        for part in PARTS:
            simulated_s, measured_s = (1e3 * cell.mean_s(times, part) for times in (cell.simulated, cell.measured))
            row[f"{part.removesuffix('_s')} ms"] = f"{simulated_s:.1f} / {measured_s:.1f}"
        rows.append(row | {"drift": f"{cell.drift - 1:+.1%}"})
    tau = orders(found)
    more = found.costs
    remarks = [
        f"{len(found.cells)} runs; milliseconds are means, simulated / measured. A hand-over takes "
        f"{1e3 * median(each.handover_s for each in more):.2f} ms of a core of speed 1 and "
        f"{1e9 * median(each.handover_s_per_byte for each in more):.2f} ms a MB, the broker "
        f"{1e3 * median(each.broker_s for each in more):.2f} ms a task; load average before: "
        f"{max(each.load for each in more):.1f} at most."
        if more
        else "Nothing is measured."
    ]
    if unsteady := [f"{each.strategy} on {each.cores} core(s) {each.change:+.0%}" for each in more if each.shaky]:
        remarks.append(f"The machine changed meanwhile, by its profiles: {', '.join(unsteady)}.")
    if (most := max((each.tries for each in more), default=1)) > 1:
        again = sum(each.tries - 1 for each in more)
        remarks.append(f"{again} group(s) were measured again since the machine had changed, up to {most} times.")
    if tau:
        remarks.append(
            f"Kendall's tau over {len(tau)} streams: {min(tau):.2f} at least, {float(np.mean(tau)):.2f} in the mean."
        )
    seeds = [] if found.provenance.seed is None else [found.provenance.seed]
    commits = [cell.commit for cell in found.cells if cell.commit]
    return FileSection(found.provenance, [rows], words(verdict(found)), seeds, commits, remarks=remarks)


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
