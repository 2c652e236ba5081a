"""The paper's published code against the simulator: its constants, its ten hosts, its whole intervals.

What that code gave when it was run (10 hosts, 5 seeds, its own workload) is stated here; beside it stands scenario
`upstream-10` three ways, with random placement, which that code's own placer could not be told from: placed as that
code places, placed as ours does, and the same event by event. A response counts from a task's first fragment's start,
as in that code.
"""

from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np

from splitplace import provenance
from splitplace.benchmarks.results_file import save
from splitplace.placement.placers.random import RandomPlacer
from splitplace.placement.policy import Composed, PlacementRequest
from splitplace.placement.registry import DECIDERS
from splitplace.placement.room import Room
from splitplace.placement.simulator.demands import load_demand
from splitplace.placement.simulator.results import SimulationRun
from splitplace.placement.simulator.run import simulate
from splitplace.placement.simulator.scenario import load_fleet, load_scenario
from splitplace.records.action import Action, Place, Wait
from splitplace.records.base import Fraction, NonNegative, Positive, PositiveCount, Record
from splitplace.records.provenance import Provenance
from splitplace.records.view import View

SCENARIO = "upstream-10"
GIVEN = {"layer": 9.97, "semantic": 1.48}
"""Mean response in intervals, wait left out: its Layer+GOBI and Semantic+GOBI."""
TOLERANCE = 0.2
MEMORY_SHARE = 0.8
"""Of a host's memory that the published code gives to containers."""
Tick = Literal["interval", "event"]
Placement = Literal["unchecked", "checked"]
WAYS: tuple[tuple[Placement, Tick], ...] = (("unchecked", "interval"), ("checked", "interval"), ("checked", "event"))


class Unchecked(RandomPlacer):
    """As the published code places: each fragment by itself, on a device drawn without a look at its room.

    Where it does not fit it is refused and drawn again an interval later, while the rest of its task runs.
    """

    name: ClassVar[str] = "unchecked"

    def place(self, state: Any, view: View, requests: list[PlacementRequest], rng: np.random.Generator) -> list[Action]:
        """One draw a fragment, requests in the order given."""
        room = Room(view)
        actions: list[Action] = []
        for request in requests:
            task = int(view.tasks.id_T[request.task])
            for fragment in request.fragments:
                device = int(rng.integers(len(view.devices.names)))
                if room.fits_on(fragment, device):
                    actions += [*room.take(fragment, device), Place(task, fragment, device)]
                else:
                    actions.append(Wait(task, fragment))
        return actions


class StrategyCell(Record):
    """One strategy for every task, means over seeds; times in intervals."""

    decider: str
    placement: Placement
    tick: Tick
    response: Positive
    """From the first fragment's start to the result."""
    response_std: NonNegative
    """Over seeds."""
    wait: NonNegative
    transfer: NonNegative
    sla_violation: Fraction
    scored: Fraction | None = None
    """Share of the tasks that it is of; none in a file from before there was a cohort."""
    published: Positive
    """What that code gave."""


class PublishedCodeResults(Record):
    """All cells."""

    intervals: PositiveCount
    seeds: PositiveCount
    cells: tuple[StrategyCell, ...]
    provenance: Provenance


def measure(seeds: int) -> PublishedCodeResults:
    """Both strategies, each way of placing and of keeping time."""
    scenario, fleet, demand = load_scenario(SCENARIO), load_fleet(SCENARIO), load_demand("upstream")
    rooms = [
        device.model_copy(update={"memory_bytes": int(MEMORY_SHARE * device.memory_bytes)}) for device in fleet.devices
    ]
    tight = fleet.model_copy(update={"devices": tuple(rooms)})
    cells = []
    for name in GIVEN:
        decider = DECIDERS.make(name)
        for placement, tick in WAYS:
            chosen = scenario.model_copy(update={"tick": tick})
            policy = Composed(decider, Unchecked() if placement == "unchecked" else RandomPlacer())
            hosts = tight if placement == "unchecked" else fleet
            rows = []
            for seed in range(seeds):
                run = simulate(chosen, hosts, demand, policy, seed=seed, strict=True)
                found = run.metrics
                times = (_since_start_s(run), found.wait_s.mean or 0.0, found.transfer_s.mean or 0.0)
                rows.append((*(time / scenario.interval_s for time in times), found.sla_violation, found.scored))
            table = np.array(rows, np.float64)
            response, wait, transfer, violation, scored = table.mean(axis=0).tolist()
            cells.append(
                StrategyCell(
                    decider=name,
                    placement=placement,
                    tick=tick,
                    response=response,
                    response_std=float(table[:, 0].std(ddof=1)) if seeds > 1 else 0.0,
                    wait=wait,
                    transfer=transfer,
                    sla_violation=violation,
                    scored=scored,
                    published=GIVEN[name],
                )
            )
    return PublishedCodeResults(
        intervals=scenario.intervals, seeds=seeds, cells=tuple(cells), provenance=provenance.collect(seed=0)
    )


def _since_start_s(run: SimulationRun) -> float:
    """Mean seconds from a task's first fragment's start to its result, over the finished tasks, scored or not."""
    start_s = np.full(len(run.tasks["task"]), np.inf)
    np.minimum.at(start_s, run.fragments["task"].astype(np.int64), run.fragments["start_s"].astype(np.float64))
    end_s = run.tasks["arrival_s"].astype(np.float64) + run.tasks["response_s"].astype(np.float64)
    return float((end_s - start_s)[run.tasks["finished"].astype(bool)].mean())


def verdict(results: PublishedCodeResults) -> dict[str, bool]:
    """Whether both strategies come within the tolerance placed as that code places, and layer-only as ours too."""
    found = {(c.decider, c.placement): c.response for c in results.cells if c.tick == "interval"}
    held = {key: abs(found[key] / GIVEN[key[0]] - 1) <= TOLERANCE for key in found}
    within = f"within {TOLERANCE:.0%} of the published code's"
    return {
        f"layer-only {within} {GIVEN['layer']} intervals": held["layer", "checked"],
        "the same, placed as that code places": held["layer", "unchecked"],
        f"semantic-only, placed as that code places, {within} {GIVEN['semantic']}": held["semantic", "unchecked"],
    }


def run(path: Path, seeds: int) -> PublishedCodeResults:
    """Measure, and write the results file."""
    results = measure(seeds)
    save(path, results, indent=2)
    return results
