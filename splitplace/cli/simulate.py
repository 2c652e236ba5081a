"""`splitplace simulate`: a policy on a simulated fleet; and `simulate trace`, vehicles on the road."""

import logging
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import App, Parameter

from splitplace.cli.output import number, remark
from splitplace.cli.verb import Shown, verb

if TYPE_CHECKING:
    from splitplace import Simulation
    from splitplace.records.metrics import GroupMetrics

app = App(name="simulate", help_format="plaintext")
_log = logging.getLogger(__name__)

Here = Annotated[Path, Parameter(converter=lambda _, tokens: Path(tokens[0].value).absolute())]
"""A path from this folder: a policy of the user's own may go to another."""


@app.default
@verb("simulate", positional=0, state=Path, trace_dir=Here, plot=Here)
def simulate(
    done: "Simulation",
    *,
    policy: str,
    fleet: str | None,
    demand: str,
    seed: int,
    frozen: bool,
    trace_dir: Path | None,
    plot: Path | None,
) -> Shown:
    """How the policy did."""
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
    return document, _table(document, done)


@app.command
@verb("mobility_trace", positional=0, out=Here)
def trace(rows: int, *, out: Path, vehicles: int, seconds: int, seed: int) -> Shown:
    """What was written."""
    document = {"path": str(out), "vehicles": vehicles, "seconds": seconds, "seed": seed, "rows": rows}
    return document, f"{rows} rows in {out}"


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
