"""Whether a scenario can tell policies apart: where nobody is late, or the fleet idles, it ranks accuracies alone."""

from splitplace.placement.metrics import outcomes_of
from splitplace.placement.registry import parse_policy
from splitplace.placement.simulator.demands import DemandLike
from splitplace.placement.simulator.results import SimulationRun
from splitplace.placement.simulator.run import simulate
from splitplace.placement.simulator.scenario import Scenario
from splitplace.placement.simulator.setting import prepare
from splitplace.records.device import FleetSpec
from splitplace.records.split import STRATEGIES

IDLE = 0.2
"""Busier than this must be cores, links or the broker's card."""
LEAST_INTERVALS = 5
"""A shorter run is mostly its own beginning."""
INTERVALS, TASKS, DEVICES = 20, 20_000, 1_000
"""Two more runs are made, of so many intervals at most; of larger ones none."""


def indifference(
    scenario: Scenario, fleet: FleetSpec, demand: DemandLike, run: SimulationRun, seed: int = 0
) -> str | None:
    """Why the scenario cannot tell policies apart, in words; None if it may, or the run is too small or large to say.

    Args:
        scenario: That was run.
        fleet: That it ran on.
        demand: What its splits cost.
        run: What came of it, under any policy.
        seed: Of two shorter runs under fixed rules, made where this one has no violation.

    Raises:
        SplitPlaceError: As `simulate`.
    """
    if not run.metrics.tasks.arrived or len(run.intervals["interval"]) < LEAST_INTERVALS or _left_lying(run):
        return None
    busiest = max(share or 0.0 for name, share in run.utilisation.items() if name != "memory")
    if busiest < IDLE:
        return f"cores, links and the broker's card are busy for {busiest:.1%} of the time at most"
    if run.metrics.sla_violation != 0.0 or run.metrics.tasks.arrived > TASKS or len(run.devices) > DEVICES:
        return None
    rules = [f"{strategy}+least-loaded" for strategy in _offered(scenario, fleet, demand)[:2]]
    intervals = min(len(run.intervals["interval"]), INTERVALS)
    for rule in rules:
        if simulate(scenario, fleet, demand, parse_policy(rule), intervals, seed).metrics.sla_violation != 0.0:
            return None
    return f"no task is late under {' nor under '.join(rules)}"


def _left_lying(run: SimulationRun) -> bool:
    """Whether tasks are past their deadline and still there: where a policy leaves its tasks, a fleet idles of that."""
    tasks = outcomes_of(run.tasks)
    return bool((~tasks.finished_N & (tasks.response_s_N > tasks.deadline_s_N)).any())


def _offered(scenario: Scenario, fleet: FleetSpec, demand: DemandLike) -> list[str]:
    """The strategies that every application has a split of."""
    _, costs = prepare(scenario, fleet, demand)
    found = {(int(a), name) for a, name in zip(costs.splits.application_S, costs.splits.strategies, strict=True)}
    return [name for name in STRATEGIES if all((a, name) in found for a in range(len(costs.applications)))]
