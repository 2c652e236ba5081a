"""`splitplace simulate`: a policy on a simulated fleet; and `simulate trace`, vehicles on the road."""

import logging
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import App, Parameter

from splitplace.cli.output import remark
from splitplace.cli.verb import Shown, verb
from splitplace.tables.simulation import simulation_shown

if TYPE_CHECKING:
    from splitplace import Simulation

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
    about = f"{policy} on {done.scenario.name}, {len(run.devices)} devices, seed {seed}"
    return document, simulation_shown(about, done)


@app.command
@verb("mobility_trace", positional=0, out=Here)
def trace(rows: int, *, out: Path, vehicles: int, seconds: int, seed: int) -> Shown:
    """What was written."""
    document = {"path": str(out), "vehicles": vehicles, "seconds": seconds, "seed": seed, "rows": rows}
    return document, f"{rows} rows in {out}"


def _nobody(arrived: int, trace: str | None) -> str:
    if not arrived:
        return f"{trace} has none before the run's end" if trace else "none arrived; raise the load, or --intervals"
    return "each came during start-up, or its deadline lies beyond the run's end; raise --intervals"
