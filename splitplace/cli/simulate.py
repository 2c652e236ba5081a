"""`splitplace simulate`: a policy on a simulated fleet; and `simulate trace`, vehicles on the road."""

import logging
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import App, Parameter

from splitplace.cli.output import bar, emit, number, remark

if TYPE_CHECKING:
    from splitplace import Simulation
    from splitplace.records.metrics import GroupMetrics

app = App(name="simulate", help_format="plaintext")
_log = logging.getLogger(__name__)


@app.default
def simulate(
    *,
    policy: str = "joint",
    scenario: str = "paper-50",
    fleet: str | None = None,
    demand: str = "measured",
    intervals: Annotated[int | None, Parameter(help="1 to 1,000,000; the scenario's own if not stated.")] = None,
    seed: int = 0,
    rate: Annotated[float | None, Parameter(help="Mean tasks an interval, in place of the scenario's load.")] = None,
    load: Annotated[
        float | None, Parameter(help="Share of what the best policy could sustain, as 0.75, likewise.")
    ] = None,
    utilisation: Annotated[
        float | None, Parameter(help="Offered load of chains kept apart, of cores or links, likewise.")
    ] = None,
    state: Annotated[Path | None, Parameter(help="Folder of trained states, as `policy train` writes it.")] = None,
    untrained: Annotated[bool, Parameter(help="Start anew even where a trained state ships.")] = False,
    frozen: Annotated[bool, Parameter(help="Learn nothing during the run.")] = False,
    trace_dir: Annotated[Path | None, Parameter(help="Folder for tasks, fragments and intervals as Parquet.")] = None,
    plot: Annotated[Path | None, Parameter(help="File (.svg) for a picture of who ran what when.")] = None,
    json: bool = False,
) -> None:
    """Run a policy on a simulated fleet.

    Parameters
    ----------
    policy
        joint; DECIDER+PLACER, as random+random; or module:Class for one of your own.
    scenario
        A shipped scenario, or a TOML file.
    fleet
        A shipped fleet, NAME:N for N devices in its proportions, or a TOML file; the scenario's own if not stated.
    demand
        What the splits cost: measured, upstream, a demand file (.json, .toml), or a catalog folder.
    seed
        Same seed, same result.
    json
        Print one JSON document.
    """
    import splitplace as sp

    trace_dir = None if trace_dir is None else trace_dir.absolute()
    plot = None if plot is None else plot.absolute()
    with bar() as progress:
        done = sp.simulate(
            policy,
            scenario=scenario,
            fleet=fleet,
            demand=demand,
            intervals=intervals,
            seed=seed,
            rate=rate,
            load=load,
            utilisation=utilisation,
            state=state,
            untrained=untrained,
            frozen=frozen,
            trace_dir=trace_dir,
            plot=plot,
            progress=progress,
        )
    run = done.run
    if done.indifference is not None:
        enough = done.scenario.workload.trace or run.metrics.sla_violation == 1.0
        raised = "" if enough else "; raise the load"
        remark(f"scenario {done.scenario.name} cannot tell policies apart: {done.indifference}{raised}")
    if not run.metrics.scored:
        _log.warning("no task is scored: %s", _nobody(run.metrics.tasks.arrived, done.scenario.workload.trace))
    document: dict[str, Any] = {
        "scenario": done.scenario.name,
        "fleet": fleet or done.scenario.fleet,
        "devices": len(run.devices),
        "demand": demand,
        "policy": policy,
        "intervals": done.intervals,
        "seed": seed,
        "trained": list(done.trained),
        "frozen": frozen,
        "rate": run.rate,
        "load": done.load,
        "capacity": done.capacity.model_dump(mode="json") if done.capacity else None,
        "utilisation": run.utilisation,
        "cannot_tell_policies_apart": done.indifference,
        "splits_that_fit_no_device": list(run.dropped),
        "first_failed_plan": run.first_failure,
        "metrics": run.metrics.model_dump(mode="json"),
    }
    if trace_dir is not None:
        document["trace"] = [str(trace_dir / f"{part}.parquet") for part in ("tasks", "fragments", "intervals")]
    if plot is not None:
        document["plot"] = str(plot)
    emit(document, _table(document, done), json)


@app.command
def trace(*, out: Path, vehicles: int = 10, seconds: int = 600, seed: int = 0, json: bool = False) -> None:
    """Let vehicles drive through a city (SUMO) and write rtt and bandwidth per vehicle and second.

    Parameters
    ----------
    out
        Parquet file; name it as `mobility` in a scenario.
    vehicles
        The first so many devices of a fleet move, 1 to 500.
    seconds
        2 to 86,400; a longer run starts the trace over.
    seed
        Same seed, same traffic.
    json
        Print one JSON document.
    """
    import splitplace as sp

    path = out.absolute()
    with bar() as progress:
        rows = sp.mobility_trace(path, vehicles=vehicles, seconds=seconds, seed=seed, progress=progress)
    document = {"path": str(path), "vehicles": vehicles, "seconds": seconds, "seed": seed, "rows": rows}
    emit(document, f"{rows} rows in {path}", json)


def _table(document: dict[str, Any], done: "Simulation") -> Any:
    from rich.console import Group
    from rich.table import Table

    about = f"{document['policy']} on {document['scenario']}, {document['devices']} devices, seed {document['seed']}"
    table = Table(title=about, title_justify="left")
    table.add_column("")
    overall = done.metrics
    columns: dict[str, GroupMetrics] = {"all": overall, **overall.applications}
    for name in columns:
        table.add_column(name, justify="right")
    rows: dict[str, Callable[[GroupMetrics], str]] = {
        "tasks arrived / finished": lambda o: f"{o.tasks.arrived} / {o.tasks.finished}",
        "scored, share": lambda o: _share(o.scored),
        "response, mean s": lambda o: number(o.response_s.mean),
        "response, p95 s": lambda o: number(o.response_s.p95),
        "wait, mean s": lambda o: number(o.wait_s.mean),
        "SLA violation": lambda o: _share(o.sla_violation),
        "accuracy": lambda o: _share(o.accuracy),
        "reward": lambda o: _share(o.reward),
    }
    for label, read in rows.items():
        table.add_row(label, *(read(column) for column in columns.values()))
    for name, share in done.run.utilisation.items():
        table.add_row(f"in use, {name.replace('_', ' ')}", _share(share))
    table.add_row("energy, kWh", number(overall.energy_kwh))
    table.add_row("cost, USD", number(overall.cost_usd))
    table.add_row("Jain, devices", _share(overall.jain_devices))
    table.add_row("decision, mean ms", number((overall.timings.decision_s.mean or 0.0) * 1e3))
    if done.load is None or done.capacity is None:
        return table
    most = f"{done.capacity.tasks_per_interval:.1f} tasks an interval, limited by {done.capacity.bottleneck}"
    return Group(table, f"load: {done.load:.2f} of what the best policy could sustain, {most}")


def _nobody(arrived: int, trace: str | None) -> str:
    if not arrived:
        return f"{trace} has none before the run's end" if trace else "none arrived; raise the load, or --intervals"
    return "each came during start-up, or its deadline lies beyond the run's end; raise --intervals"


def _share(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"
