"""Claim: the simulator tells what a fleet does. One task at a time on an idle fleet, and the same tasks simulated.

A chain and a tree of MobileNetV2 (random weights: costs do not depend on them) run on device processes of this machine,
each at a share of a core, under `layer+least-loaded` and `semantic+least-loaded`. The simulator gets profiles taken at
these very shares and the link that two processes here have, and no figure of the fleet. Expected: the same actions, and
every response within 25 % of the simulated one.
"""

import csv
import os
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from itertools import islice
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from splitplace import provenance
from splitplace.benchmarks.results_file import Measured, save
from splitplace.benchmarks.timings import hops_s
from splitplace.catalog.demand import demand as gather
from splitplace.export.catalog_writer import CatalogWriter
from splitplace.export.measure.profiler import QUICK, Effort, fingerprint, profile_split
from splitplace.inference.cpu_share import PERIOD_US
from splitplace.placement.broker.broker import Broker
from splitplace.placement.engines.local import LocalEngine
from splitplace.placement.policy import Feedback, PlacementRequest, Policy
from splitplace.placement.protocol.messages import Array, Precedence
from splitplace.placement.registry import parse_policy
from splitplace.placement.simulator.run import simulate
from splitplace.placement.simulator.scenario import Scenario, Workload
from splitplace.records.action import Action, Decide, Wait
from splitplace.records.base import NonNegative, Positive, PositiveCount, Record
from splitplace.records.demand import Demand
from splitplace.records.device import Device, FleetSpec
from splitplace.records.provenance import Provenance
from splitplace.records.view import View

POLICIES = ("layer+least-loaded", "semantic+least-loaded")
PRECEDENCES: tuple[Precedence, ...] = ("pipelined", "strict")
SIZES = (32, 256, 1024)
"""Images a task."""
MICRO_BATCH = 32
APART_S = 100.0
"""Between two simulated tasks: none meets another."""
REST_S = 5 * PERIOD_US / 1e6
"""Between two tasks of the fleet: as idle as the simulated one, with no CPU quota used up by the task before."""
DEADLINE_S = 60.0
BOUND = 0.25
LINK_SIZES = 2**18, 2**20

Plan = list[Action]
Task = tuple[str, int]
"""Application and images."""


class TestbedCell(Measured):
    """Tasks of one size under one policy."""

    __test__ = False  # no test, whatever its name begins with

    policy: str
    precedence: Precedence
    images: PositiveCount
    simulated_s: Positive
    measured_s: tuple[Positive, ...]
    """The response of each task."""
    same_actions: bool
    """Whether the fleet's plans were the simulator's."""

    @property
    def errors(self) -> list[float]:
        """Measured over simulated, less 1, of each task."""
        return [seconds / self.simulated_s - 1 for seconds in self.measured_s]

    @property
    def worst(self) -> float:
        """The error that is largest either way."""
        return max(self.errors, key=abs)


class TestbedResults(Record):
    """Everything measured."""

    __test__ = False

    shares: tuple[Positive, ...]
    """Of a core, by device."""
    hop_s: Positive
    """Of a tensor of 256 KiB between two processes, from which the simulator's link is."""
    load: NonNegative
    """Processes that wanted to run in the minute before, without ours: a quiet machine has under 0.1 a core."""
    cells: tuple[TestbedCell, ...]
    provenance: Provenance


class Noting:
    """A policy that does as another, and keeps each plan that does something."""

    def __init__(self, inner: Policy):
        self.inner, self.name = inner, inner.name
        self.plans: list[Plan] = []
        self._decided: list[Decide] = []

    def init(self, view: View) -> Any:
        """As the other."""
        return self.inner.init(view)

    def update(self, state: Any, feedback: Feedback) -> Any:
        """As the other."""
        return self.inner.update(state, feedback)

    def decide(self, state: Any, view: View, rng: np.random.Generator) -> list[Decide]:
        """As the other."""
        self._decided = self.inner.decide(state, view, rng)
        return self._decided

    def place(self, state: Any, view: View, requests: list[PlacementRequest], rng: np.random.Generator) -> list[Action]:
        """As the other."""
        actions = self.inner.place(state, view, requests, rng)
        plan: Plan = [*self._decided, *actions]
        if any(not isinstance(action, Wait) for action in plan):
            self.plans.append(plan)
        return actions


def simulated(
    devices: tuple[Device, ...], demand: Demand, policy: Policy, precedence: Precedence, tasks: Sequence[Task]
) -> tuple[list[Plan], list[float]]:
    """The plans and the responses in seconds of these tasks, each long after the one before has finished."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "tasks.csv"
        with path.open("w", newline="", encoding="utf-8") as lines:
            rows = [(APART_S * (i + 1), application, n, DEADLINE_S) for i, (application, n) in enumerate(tasks)]
            csv.writer(lines).writerows([("arrival_s", "application", "n", "deadline_s"), *rows])
        scenario = Scenario(
            name="idle",
            interval_s=APART_S / 2,
            precedence=precedence,
            weights="warm",  # as a fleet keeps them
            workload=Workload(trace=str(path)),
        )
        noting = Noting(policy)
        run = simulate(
            scenario, FleetSpec(name="testbed", devices=devices), demand, noting, 2 * (len(tasks) + 2), strict=True
        )
    assert run.metrics.tasks.finished == len(tasks)
    return noting.plans, np.asarray(run.tasks["response_s"], np.float64).tolist()


def measured(
    devices: tuple[Device, ...],
    demand: Demand,
    catalog: Path,
    policy: Policy,
    precedence: Precedence,
    tasks: Sequence[tuple[str, Array]],
    cpu_shares: dict[str, float] | None = None,
) -> tuple[list[Plan], list[float]]:
    """The same of a fleet that is brought up for them; each task is sent when the one before has been answered."""
    noting, seconds = Noting(policy), list[float]()
    engine = LocalEngine()
    with Broker(devices, demand, catalog, noting, engine, cpu_shares=cpu_shares, precedence=precedence) as broker:
        for application, images in tasks:
            time.sleep(REST_S)
            labels = np.zeros(len(images), np.int64)  # what is answered is nobody's concern here
            outcome = broker.submit(application, images, DEADLINE_S, labels, late=True).result().outcome
            assert outcome.response_s is not None, outcome.error
            seconds.append(outcome.response_s)
    return noting.plans, seconds


def link() -> tuple[float, float, float]:
    """Seconds of a hop of 256 KiB here, and the rtt and bytes/s of a link that takes as long at both sizes."""
    small_s, large_s = (median(hops_s(size_bytes, 50, encrypted=False)) for size_bytes in LINK_SIZES)
    bytes_per_s = (LINK_SIZES[1] - LINK_SIZES[0]) / max(large_s - small_s, 1e-6)
    return small_s, max(small_s - LINK_SIZES[0] / bytes_per_s, 0.0), bytes_per_s


def fleet(
    shares: Sequence[float], core_speeds: Mapping[float, float], rtt_s: float, bytes_per_s: float
) -> tuple[Device, ...]:
    """A device for each share of a core of this machine, of a kind by its share, with memory for everything."""
    return tuple(
        Device(
            name=f"share-{share:g}-{row}",
            kind=f"share-{share:g}",
            cores=1,
            core_speed=core_speeds[share],
            memory_bytes=10**9,
            disk_bytes=10**10,
            disk_bytes_per_s=1e9,
            up_bytes_per_s=bytes_per_s,
            down_bytes_per_s=bytes_per_s,
            rtt_s=rtt_s,
            power_w=(0.0,) * 10 + (1.0,),  # nobody asks
        )
        for row, share in enumerate(shares)
    )


def run(
    path: Path,
    work: Path,
    shares: Sequence[float],
    repeats: int,
    say: Callable[[str], None],
    sizes: Sequence[int] = SIZES,
    effort: Effort = QUICK,
) -> TestbedResults:
    """Measure, and write the results file.

    Args:
        path: The results file.
        work: Folder of the catalog; profiles in it are of this machine and taken anew.
        shares: Of a core, a device each; below 1 by a CPU quota.
        repeats: Tasks of each size, after one that loads the fragments and is not counted.
        say: Told what is being measured.
        sizes: Images a task.
        effort: Of the profiles.
    """
    from splitplace.benchmarks import artifacts  # needs torch; who compares plans alone does not

    load, seed = os.getloadavg()[0], 0
    catalog, references = CatalogWriter(work), list[str]()
    say("exporting a chain and a tree")
    for artifact in islice(artifacts.splits("mobilenetv2", seed), 1, 3):
        catalog.write(artifact)
        references.append(artifact.split.reference)
    speeds: dict[float, list[float]] = {share: [] for share in shares}
    for share, found in speeds.items():
        for reference in references:
            say(f"profiling {reference} at {share:g} of a core")
            device = fingerprint(kind=f"share-{share:g}", cpu_share=share)
            found += [profile.core_speed for profile in profile_split(catalog, reference, effort, device, again=True)]
    say("the link")
    hop_s, rtt_s, bytes_per_s = link()
    # The speed that the profiles were taken at: what they say is then taken as it is.
    devices = fleet(shares, {share: median(found) for share, found in speeds.items()}, rtt_s, bytes_per_s)
    names = {device.name: share for device, share in zip(devices, shares, strict=True)}
    rng, cells = np.random.default_rng(seed), list[TestbedCell]()
    order = [max(sizes), *(size for _ in range(repeats) for size in sizes)]
    images = {size: artifacts.images(size, rng) for size in sizes}
    for name, reference in zip(POLICIES, references, strict=True):
        demand = gather(catalog, [reference], MICRO_BATCH)
        for precedence in PRECEDENCES:
            say(f"{name}, {precedence}")
            tasks = [(artifacts.APPLICATION, size) for size in order]
            sent = [(application, images[size]) for application, size in tasks]
            plans, expected_s = simulated(devices, demand, parse_policy(name), precedence, tasks)
            done, took_s = measured(devices, demand, catalog.path, parse_policy(name), precedence, sent, names)
            for size in sizes:
                rows = [row for row, n in enumerate(order) if n == size and row > 0]
                cell = TestbedCell(
                    policy=name, precedence=precedence, images=size, simulated_s=expected_s[rows[0]],
                    measured_s=tuple(took_s[row] for row in rows), same_actions=plans == done,
                    commit=provenance.commit(),
                )  # fmt: skip
                cells.append(cell)
    results = TestbedResults(
        shares=tuple(shares), hop_s=hop_s, load=load, cells=tuple(cells), provenance=provenance.collect(seed)
    )
    save(path, results)
    return results


def verdict(results: TestbedResults) -> dict[str, bool]:
    """Each claim, and whether it held."""
    return {
        "the fleet's actions are the simulator's": all(cell.same_actions for cell in results.cells),
        f"every response within {BOUND:.0%} of the simulated one": all(
            abs(cell.worst) <= BOUND for cell in results.cells
        ),
    }
