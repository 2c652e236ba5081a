"""`splitplace simulate`: a policy on a simulated fleet; and `simulate trace`, vehicles on the road."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import App, Parameter

from splitplace.cli.output import emit, err
from splitplace.errors import UsageError

if TYPE_CHECKING:
    from splitplace.placement.simulator.results import SimulationRun
    from splitplace.placement.simulator.scenario import Scenario
    from splitplace.records.metrics import GroupMetrics
    from splitplace.records.view import View

app = App(name="simulate", help_format="plaintext")
PLOTTED_TASKS = 200


@app.default
def simulate(
    *,
    policy: str,
    scenario: str = "paper-50",
    fleet: str | None = None,
    demand: str = "measured",
    intervals: Annotated[int | None, Parameter(help="How many; the scenario's own if not stated.")] = None,
    seed: int = 0,
    rate: Annotated[float | None, Parameter(help="Mean tasks an interval, in place of the scenario's load.")] = None,
    utilisation: Annotated[float | None, Parameter(help="Offered load of the cores, likewise.")] = None,
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
        DECIDER+PLACER, as random+random; or module:Class for one of your own.
    scenario
        A shipped scenario, or a TOML file.
    fleet
        A shipped fleet, NAME:N for N devices in its proportions, or a TOML file; the scenario's own if not stated.
    demand
        What the splits cost: measured, upstream, a demand file (.json, .toml), or a catalog folder.
    seed
        Same seed, same result.
    """
    from splitplace.placement import states as store
    from splitplace.placement.policy import Frozen
    from splitplace.placement.registry import parse_policy
    from splitplace.placement.simulator.run import simulate as run_simulation
    from splitplace.placement.simulator.scenario import load_fleet, load_scenario

    chosen = load_scenario(scenario)
    chosen = _with_load(chosen, rate, utilisation)
    if intervals is not None and not 1 <= intervals <= 1_000_000:
        raise UsageError(f"--intervals {intervals}: expected 1 to 1000000")
    if seed < 0:
        raise UsageError(f"--seed {seed}: expected 0 or more")
    if plot is not None and plot.suffix != ".svg":
        raise UsageError(f"--plot {plot}: expected a file that ends in .svg")
    fleet = fleet or chosen.fleet
    if state is not None and untrained:
        raise UsageError("--state and --untrained exclude each other")
    number = intervals or chosen.intervals
    devices, costs = load_fleet(fleet), load_costs(demand)
    chosen_policy = parse_policy(policy)
    trained: list[str] = []

    def first_states(view: "View") -> Any:
        if untrained:
            return chosen_policy.init(view)
        if state is not None:
            states, found = store.from_folder(chosen_policy, state, view)
        else:
            states, found = store.shipped(chosen_policy, chosen.name, view)
        trained.extend(found)
        return states

    with _Bar(number) as bar:
        running = Frozen(chosen_policy) if frozen else chosen_policy
        run = run_simulation(chosen, devices, costs, running, number, seed, states=first_states, progress=bar.at)
    start_untrained = [part for part in store.trainable(chosen_policy) if part not in trained]
    if start_untrained:
        err.print(f"{' and '.join(start_untrained)} started untrained; `splitplace policy train` makes states")
    document: dict[str, Any] = {
        "scenario": chosen.name,
        "fleet": fleet,
        "devices": len(run.devices),
        "demand": demand,
        "policy": policy,
        "intervals": number,
        "seed": seed,
        "trained": trained,
        "frozen": frozen,
        "rate": run.rate,
        "splits_that_fit_no_device": list(run.dropped),
        "metrics": run.metrics.model_dump(mode="json"),
    }
    if trace_dir is not None:
        document["trace"] = [str(path) for path in _write_trace(run, trace_dir)]
    if plot is not None:
        document["plot"] = str(_write_plot(run, plot))
    emit(document, _table(document, run), json)


@app.command
def trace(*, out: Path, vehicles: int = 10, seconds: int = 600, seed: int = 0, json: bool = False) -> None:
    """Let vehicles drive through a city (SUMO) and write rtt and bandwidth per vehicle and second.

    Parameters
    ----------
    out
        Parquet file; name it as `mobility` in a scenario.
    vehicles
        The first so many devices of a fleet move.
    seconds
        A longer run starts the trace over.
    seed
        Same seed, same traffic.
    """
    from splitplace.placement.simulator.roads import write_trace

    if not 1 <= vehicles <= 500 or not 2 <= seconds <= 86_400 or not 0 <= seed < 2**31:
        raise UsageError("expected 1 to 500 vehicles, 2 to 86400 seconds, and a seed from 0 to 2147483647")
    path = out.resolve()
    with err.status("driving"):
        rows = write_trace(path, vehicles, seconds, seed)
    document = {"path": str(path), "vehicles": vehicles, "seconds": seconds, "seed": seed, "rows": rows}
    emit(document, f"{rows} rows in {path}", json)


def _with_load(scenario: "Scenario", rate: float | None, utilisation: float | None) -> "Scenario":
    if rate is None and utilisation is None:
        return scenario
    from splitplace.placement.simulator.scenario import Scenario

    document = scenario.model_dump(mode="json")
    document["workload"] |= {"rate": rate, "utilisation": utilisation, "trace": None}
    import json

    return Scenario.parse(json.dumps(document), f"scenario {scenario.name} with the load asked for")


def load_costs(name: str) -> Any:
    """A demand by name, file or catalog folder."""
    if Path(name).is_dir():
        from splitplace.catalog import Catalog
        from splitplace.catalog.demand import demand

        return demand(Catalog(Path(name)))
    from splitplace.placement.simulator.demands import load_demand

    return load_demand(name)


class _Bar:
    """Intervals done, on stderr; gone when the run ends."""

    def __init__(self, total: int):
        from rich.progress import Progress

        self._progress = Progress(console=err, transient=True, disable=not err.is_terminal)
        self._bar = self._progress.add_task("simulating", total=total)

    def __enter__(self) -> "_Bar":
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    def at(self, interval: int) -> None:
        """This interval starts."""
        self._progress.update(self._bar, completed=interval)


def _write_trace(run: "SimulationRun", folder: Path) -> list[Path]:
    import json

    from splitplace.placement.simulator.traces import write_parquet

    about = json.dumps({"devices": run.devices, "splits": run.splits})
    paths = []
    for name, columns in (("tasks", run.tasks), ("fragments", run.fragments), ("intervals", run.intervals)):
        path = (folder / f"{name}.parquet").resolve()
        write_parquet(path, columns, about)
        paths.append(path)
    return paths


def _write_plot(run: "SimulationRun", path: Path) -> Path:
    from splitplace.records.split import STRATEGIES
    from splitplace.report.timeline import Span, TaskSpan, timeline_svg

    tasks, parts = run.tasks, run.fragments
    finished = [row for row in range(len(tasks["task"])) if tasks["finished"][row]][:PLOTTED_TASKS]
    if len(tasks["task"]) > len(finished):
        err.print(f"the picture shows the first {len(finished)} finished tasks of {len(tasks['task'])}")
    shown = {int(tasks["task"][row]) for row in finished}
    strategy = [STRATEGIES[int(row)] for row in tasks["strategy"]]
    spans = [
        Span(run.devices[int(device)], strategy[int(task)], float(start), float(end))
        for task, device, start, end in zip(
            parts["task"], parts["device"], parts["start_s"], parts["end_s"], strict=True
        )
        if int(task) in shown
    ]
    bars = [
        TaskSpan(
            strategy[row],
            float(tasks["arrival_s"][row]),
            float(tasks["response_s"][row]),
            float(tasks["deadline_s"][row]),
        )
        for row in finished
    ]
    used = {span.device for span in spans}
    path = path.resolve()
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(timeline_svg([name for name in run.devices if name in used], spans, bars), encoding="utf-8")
    return path


def _table(document: dict[str, Any], run: "SimulationRun") -> Any:
    from rich.table import Table

    about = f"{document['policy']} on {document['scenario']}, {document['devices']} devices, seed {document['seed']}"
    table = Table(title=about, title_justify="left")
    table.add_column("")
    overall = run.metrics
    columns: dict[str, GroupMetrics] = {"all": overall, **overall.applications}
    for name in columns:
        table.add_column(name, justify="right")
    rows: dict[str, Callable[[GroupMetrics], str]] = {
        "tasks arrived / finished": lambda o: f"{o.tasks.arrived} / {o.tasks.finished}",
        "response, mean s": lambda o: _number(o.response_s.mean),
        "response, p95 s": lambda o: _number(o.response_s.p95),
        "wait, mean s": lambda o: _number(o.wait_s.mean),
        "SLA violation": lambda o: _number(o.sla_violation, 3),
        "accuracy": lambda o: _number(o.accuracy, 3),
        "reward": lambda o: _number(o.reward, 3),
    }
    for label, read in rows.items():
        table.add_row(label, *(read(column) for column in columns.values()))
    table.add_row("energy, kWh", _number(overall.energy_kwh))
    table.add_row("cost, USD", _number(overall.cost_usd))
    table.add_row("Jain, devices", _number(overall.jain_devices, 3))
    table.add_row("decision, mean ms", _number((overall.timings.decision_s.mean or 0.0) * 1e3, 2))
    return table


def _number(value: float | None, digits: int = 1) -> str:
    return "-" if value is None else f"{value:.{digits}f}"
