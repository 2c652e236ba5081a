"""Whether a scenario can tell policies apart: where nobody is late, or everybody, or the fleet idles, it cannot."""

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
"""A few more runs are made, of so many intervals at most; of larger ones none."""


def indifference(
    scenario: Scenario, fleet: FleetSpec, demand: DemandLike, run: SimulationRun, seed: int = 0
) -> str | None:
    """Why the scenario cannot tell policies apart, in words; None if it may, or the run is too small or large to say.

    Args:
        scenario: That was run.
        fleet: That it ran on.
        demand: What its splits cost.
        run: What came of it, under any policy.
        seed: Of shorter runs under fixed rules, made where in this one no task is late, or all are.

    Raises:
        SplitPlaceError: As `simulate`.
    """
    late = run.metrics.sla_violation
    if not run.metrics.tasks.arrived or len(run.intervals["interval"]) < LEAST_INTERVALS:
        return None
    if late == 1.0 and (rules := _rules_under_which(1.0, scenario, fleet, demand, run, seed)):
        return f"every task is late, under {', '.join(rules)} as well: {_relief(scenario)}"
    if _left_lying(run):
        return None
    busiest = max(share or 0.0 for name, share in run.utilisation.items() if name != "memory")
    if busiest < IDLE:
        return f"cores, links and the broker's card are busy for {busiest:.1%} of the time at most"
    if late == 0.0 and (rules := _rules_under_which(0.0, scenario, fleet, demand, run, seed, most=2)):
        return f"no task is late under {' nor under '.join(rules)}"
    return None


def _rules_under_which(
    late: float,
    scenario: Scenario,
    fleet: FleetSpec,
    demand: DemandLike,
    run: SimulationRun,
    seed: int,
    most: int = len(STRATEGIES),
) -> list[str]:
    """The fixed rules, if this share of the tasks is late under each of them; none of a run that is too large."""
    if run.metrics.tasks.arrived > TASKS or len(run.devices) > DEVICES:
        return []
    rules = [f"{strategy}+least-loaded" for strategy in _offered(scenario, fleet, demand)[:most]]
    intervals = min(len(run.intervals["interval"]), INTERVALS)
    for rule in rules:
        if simulate(scenario, fleet, demand, parse_policy(rule), intervals, seed).metrics.sla_violation != late:
            return []
    return rules


def _relief(scenario: Scenario) -> str:
    """What to state where nothing is in time: in the paper's way, the tasks of an interval wait for one another."""
    if scenario.workload.trace:
        return "give its tasks more time"
    together = "" if scenario.workload.spread else "; all tasks of an interval come at its start, unless spread = true"
    return f"lower the load, or give tasks more time{together}"


def _left_lying(run: SimulationRun) -> bool:
    """Whether tasks are past their deadline and still there: where a policy leaves its tasks, a fleet idles of that."""
    tasks = outcomes_of(run.tasks)
    return bool((~tasks.finished_N & (tasks.response_s_N > tasks.deadline_s_N)).any())


def _offered(scenario: Scenario, fleet: FleetSpec, demand: DemandLike) -> list[str]:
    """The strategies that every application has a split of."""
    _, costs = prepare(scenario, fleet, demand)
    found = {(int(a), name) for a, name in zip(costs.splits.application_S, costs.splits.strategies, strict=True)}
    return [name for name in STRATEGIES if all((a, name) in found for a in range(len(costs.applications)))]
