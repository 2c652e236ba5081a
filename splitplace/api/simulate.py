"""`simulate`: a policy on a simulated fleet."""

import json
import logging
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from splitplace.api.asked import amount, whole_number
from splitplace.api.demand import load_demand
from splitplace.api.simulation import Simulation
from splitplace.catalog import Catalog
from splitplace.errors import UsageError, explained, some
from splitplace.extras import needs
from splitplace.files import check_folder
from splitplace.placement import states as store
from splitplace.placement.policy import Frozen, Policy
from splitplace.placement.registry import as_policy
from splitplace.placement.simulator.demands import DemandLike
from splitplace.placement.simulator.discernment import indifference
from splitplace.placement.simulator.recorded import read_trace
from splitplace.placement.simulator.run import Watch
from splitplace.placement.simulator.run import simulate as run_simulation
from splitplace.placement.simulator.scenario import Scenario, Workload
from splitplace.placement.simulator.setting import prepare
from splitplace.placement.simulator.shipped import load_fleet, load_scenario, names
from splitplace.progress import Progress, silent
from splitplace.records.base import MAX_AMOUNT, MIN_AMOUNT
from splitplace.records.device import FleetSpec
from splitplace.report.picture import check_picture

if TYPE_CHECKING:
    from splitplace.records.view import View

_log = logging.getLogger(__name__)

OF_DRAWN = ("phases", "mix", "spread", "arrivals", "batch")
"""Of a workload, what tasks that were recorded do not go by; deadlines are for those that `--rate` asks for."""


@explained()
def simulate(
    policy: str | Policy = "joint",
    *,
    scenario: str | Path | Scenario = "paper-50",
    fleet: str | Path | FleetSpec | None = None,
    demand: str | Path | Catalog | DemandLike = "measured",
    intervals: int | None = None,
    seed: int = 0,
    rate: float | None = None,
    load: float | None = None,
    utilisation: float | None = None,
    state: str | Path | None = None,
    untrained: bool = False,
    frozen: bool = False,
    trace_dir: str | Path | None = None,
    plot: str | Path | None = None,
    watch: Watch | None = None,
    progress: Progress = silent,
) -> Simulation:
    """Run a policy on a simulated fleet; the same arguments give the same result, `metrics.timings` apart.

    Args:
        policy: joint; DECIDER+PLACER, as random+random; or module:Class for one of your own. From Python, also a
            policy.
        scenario: A shipped scenario, or a TOML file. From Python, also a scenario.
        fleet: A shipped fleet, NAME:N for N devices in its proportions, or a TOML file; the scenario's own if not
            stated. From Python, also a fleet.
        demand: What the splits cost: measured, upstream, a demand file (.json, .toml), or a catalog folder. From
            Python, also a catalog or a demand.
        intervals: How many, 1 to 1,000,000; the scenario's own number if not stated.
        seed: Of the workload, the accuracies, the failures and the policy: same seed, same result.
        rate: Mean tasks an interval, in place of the scenario's load.
        load: Share of what the best policy could sustain, as 0.75, likewise.
        utilisation: Offered load of chains kept apart, as a share of cores or links, likewise.
        state: Folder of trained states, as `policy train` writes it; by default one that ships, where it fits.
        untrained: Start anew even where a trained state ships.
        frozen: Learn nothing during the run.
        trace_dir: Folder for tasks, fragments and intervals as Parquet.
        plot: A .svg for a picture of who ran what when.
        watch: Called with each view and the plan made of it.
        progress: Told how far it is.

    Returns:
        The run, its metrics, and which parts of the policy were trained.

    Raises:
        MissingExtraError: A trace, a picture or a trained state, and the extra `sim` is not installed.
        UsageError: Unknown names, numbers out of range, or options that exclude each other.
        SplitPlaceError: The scenario cannot be run, or the policy failed all its plans. Of some, the tasks waited for
            the next: `metrics.failed_plans` counts them, `run.first_failure` says when and why the first failed.
    """
    if intervals is not None:
        intervals = whole_number("--intervals", intervals, 1, 1_000_000)
    seed = whole_number("--seed", seed)
    if state is not None and untrained:
        raise UsageError("--state and --untrained exclude each other")
    if plot is not None:
        plot = Path(plot).absolute()  # now: a policy of the user's own may go to another folder
        check_picture(plot, "sim", (".svg",))
    if trace_dir is not None:
        needs("--trace-dir", "sim", packages=("pyarrow",))
        trace_dir = Path(trace_dir).absolute()
        check_folder(trace_dir, "--trace-dir")
    chosen, devices, costs = resolve(scenario, fleet, demand)
    chosen = _with_load(chosen, rate, load, utilisation)
    asked = as_policy(policy)
    number = intervals or chosen.intervals
    _say_limits_of_nobody(chosen, devices)
    _say_what_is_left_out(chosen, devices, costs, number)
    trained: list[str] = []
    run = run_simulation(
        chosen,
        devices,
        costs,
        Frozen(asked) if frozen else asked,
        number,
        seed,
        states=_first_states(asked, chosen.name, None if state is None else Path(state), untrained, trained),
        watch=watch,
        progress=lambda interval: progress("simulating", interval / number),
    )
    anew = [part for part in store.trainable(asked) if part not in trained]
    if anew:
        _log.warning("%s started untrained; `splitplace policy train` makes states", " and ".join(anew))
    if run.first_failure is not None:
        count = run.metrics.failed_plans
        _log.warning("policy %s failed %d plans, the first %s", asked.name, count, run.first_failure)
    indifferent = indifference(chosen, devices, costs, run, seed) if run.first_failure is None else None
    done = Simulation(chosen, devices, asked, number, seed, run, tuple(trained), costs, indifferent)
    if trace_dir is not None:
        done.write_trace(trace_dir)
    if plot is not None:
        done.plot(plot)
    return done


def resolve(
    scenario: str | Path | Scenario, fleet: str | Path | FleetSpec | None, demand: str | Path | Catalog | DemandLike
) -> tuple[Scenario, FleetSpec, DemandLike]:
    """Scenario, fleet and demand by name, file or as they are.

    Raises:
        UsageError: Unknown names.
        SplitPlaceError: Files that are not what they should be.
    """
    chosen = load_scenario(str(scenario)) if isinstance(scenario, str | Path) else scenario
    if not isinstance(chosen, Scenario):
        raise UsageError(f"scenario {chosen!r}: expected one by name, a TOML file, or a Scenario")
    fleet = chosen.fleet if fleet is None else fleet
    costs = load_demand(demand) if isinstance(demand, str | Path | Catalog) else demand
    if not isinstance(costs, DemandLike):
        raise UsageError(f"demand {costs!r}: expected one by name, a file, a catalog, or a Demand")
    return chosen, resolve_fleet(fleet), costs


def resolve_fleet(fleet: str | Path | FleetSpec) -> FleetSpec:
    """A fleet by name, file or as it is.

    Raises:
        UsageError: An unknown name, or something else.
        SplitPlaceError: A file that is not what it should be.
    """
    devices = load_fleet(str(fleet)) if isinstance(fleet, str | Path) else fleet
    if not isinstance(devices, FleetSpec):
        raise UsageError(f"fleet {devices!r}: expected one by name, a TOML file, or a FleetSpec")
    return devices


def _say_limits_of_nobody(scenario: Scenario, fleet: FleetSpec) -> None:
    """A limit of a kind that no device has changes nothing: most often, its name is meant otherwise."""
    kinds = dict.fromkeys(device.kind for device in fleet.devices)
    nobodys = [kind for kind in scenario.cpu_limits if kind not in kinds]
    if nobodys:
        _log.warning("cpu_limits of %s limit nobody: the fleet's kinds are %s", some(nobodys), some(list(kinds)))


def _say_what_is_left_out(scenario: Scenario, fleet: FleetSpec, demand: DemandLike, intervals: int) -> None:
    """Of a workload: applications that the demand lacks, which most often are mistyped; tasks after the run's end."""
    workload = scenario.workload
    mixed = {name for mix in (workload.mix, *(phase.mix for phase in workload.phases)) for name in mix}
    if workload.trace is not None:
        applications = prepare(scenario, fleet, demand)[1].applications
        arrival_s_N, end_s = read_trace(Path(workload.trace), applications)[0], intervals * scenario.interval_s
        if late := int((arrival_s_N >= end_s).sum()):
            _log.warning(
                f"{late} of {len(arrival_s_N)} tasks of {workload.trace} come after the run's end at {end_s:g} s, the "
                f"last at {arrival_s_N[-1]:g} s: raise --intervals, or have arrival_s count from 0"
            )
        drawn = Workload(trace=workload.trace)
        if asked := [name for name in OF_DRAWN if getattr(workload, name) != getattr(drawn, name)]:
            _log.warning(f"without effect beside the tasks of {workload.trace}: {', '.join(asked)} of [workload]")
    elif mixed and scenario.name not in names("scenario"):  # those that ship are for more demands than one
        applications = prepare(scenario, fleet, demand)[1].applications
        if strange := sorted(mixed.difference(applications)):
            _log.warning("left out of the mix: %s; the demand offers %s", some(strange), some(applications))


def _first_states(
    policy: Policy, scenario: str, folder: Path | None, untrained: bool, trained: list[str]
) -> "Callable[[View], Any]":
    """What the policy starts from, once there is a view; adds to `trained` the parts that have a trained state."""

    def states(view: "View") -> Any:
        if untrained:
            return policy.init(view)
        found = store.shipped(policy, scenario, view) if folder is None else store.from_folder(policy, folder, view)
        trained.extend(found[1])
        return found[0]

    return states


def _with_load(scenario: Scenario, rate: float | None, load: float | None, utilisation: float | None) -> Scenario:
    stated = {"rate": rate, "load": load, "utilisation": utilisation}
    given = [f"--{name}" for name, value in stated.items() if value is not None]
    if not given:
        return scenario
    if len(given) > 1:
        raise UsageError(f"{' and '.join(given)} exclude each other: give one")
    for name, value in stated.items():
        if value is not None:
            amount(f"--{name}", value, MIN_AMOUNT, MAX_AMOUNT)
    workload = scenario.workload
    if not (workload.deadline_intervals or workload.deadline_relative or workload.deadline_straddle):
        raise UsageError(
            f"{given[0]}: scenario {scenario.name} has the tasks of {workload.trace}, and no deadlines of others: "
            f"state them in it (deadline_straddle, ...), or leave {given[0]} out"
        )
    document = scenario.model_dump(mode="json")
    document["workload"] |= stated | {"trace": None}
    text = json.dumps(document, default=float)  # a number out of somebody's array
    return Scenario.parse(text, f"scenario {scenario.name} with the load asked for")
