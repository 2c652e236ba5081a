"""`splitplace bench placement`: what DASO is worth, beside controls and bounds."""

from pathlib import Path

from rich.console import Group
from rich.table import Table

from splitplace.cli.output import emit, err
from splitplace.errors import UsageError

FIELDS = ("predicted", "reward", "response_s", "energy_kwh", "decision_p50_s", "decision_p95_s")
"""What the table shows the mean of, over seeds."""


def placement(
    *,
    results: Path = Path("benchmarks/results/placement.json"),
    scenario: str = "measured-50",
    fleet: str | None = None,
    demand: str = "measured",
    state: Path | None = None,
    seeds: int = 5,
    intervals: int = 50,
    decider: str = "mab",
    rows: tuple[str, ...] = (),
    fresh: bool = False,
    json: bool = False,
) -> None:
    """Measure what DASO and daso-tasks are worth: realised O^P beside controls and bounds, on paired workloads.

    Cells already in the results file are kept, so an interrupted run goes on where it stopped. On fleets of up to 10
    devices, the exact placer takes part.

    Args:
        results: The results file.
        scenario: A shipped scenario, or a TOML file.
        fleet: A shipped fleet, NAME:N, or a TOML file; the scenario's own if not stated.
        demand: As in `simulate`.
        state: Folder of trained states; those that ship if not stated.
        seeds: How many; 0 to N - 1.
        intervals: Of each run.
        decider: Who decides the splits, the same for every placer, as in `simulate --policy`.
        rows: Some of the rows, as the table names them; once for each. All if not stated.
        fresh: Measure everything again.
        json: Print one JSON document.
    """
    if not 2 <= seeds <= 100 or intervals < 2:
        raise UsageError(f"--seeds {seeds} --intervals {intervals}: expected 2 to 100 seeds and at least 2 intervals")
    from splitplace.api.demand import load_demand
    from splitplace.benchmarks import placement as bench
    from splitplace.benchmarks.paired import interval
    from splitplace.placement.registry import parse_policy
    from splitplace.placement.simulator.scenario import load_fleet, load_scenario

    parse_policy(f"{decider}+random")  # a wrong name is told before anything runs
    chosen = load_scenario(scenario)
    setting = bench.Setting(
        chosen,
        load_fleet(fleet or chosen.fleet),
        load_demand(demand),
        demand,
        state,
        intervals,
        tuple(range(seeds)),
        decider,
        rows,
    )
    if fresh:
        results.unlink(missing_ok=True)
    with err.status("placement") as status:
        found = bench.run(results, setting, status.update)
    columns = ("placer", "realised O^P", "predicted", "reward", "response s", "kWh", "plan ms p50", "p95")
    table = Table(*columns, title=f"Placers under {decider}, {found.scenario}, {found.fleet}, {seeds} seeds")
    for row in setting.rows:
        realised = interval(bench.column(found, row, "realised"))
        mean = {field: interval(bench.column(found, row, field)).mean for field in FIELDS}
        table.add_row(
            row,
            f"{realised.mean:.3f} [{realised.low:.3f}, {realised.high:.3f}]",
            *(f"{mean[field]:.3f}" for field in ("predicted", "reward")),
            f"{mean['response_s']:.1f}",
            f"{mean['energy_kwh']:.3f}",
            *(f"{1e3 * mean[field]:.1f}" for field in ("decision_p50_s", "decision_p95_s")),
        )
    verdict, tasks = bench.verdict(found), bench.verdict(found, "daso-tasks")
    document = {
        "results": str(results.absolute()),
        "verdict": verdict,
        "verdict_tasks": tasks,
        **found.model_dump(mode="json"),
    }
    limit = interval([bound.reward for bound in found.reward_bounds]).mean
    bound = f"No policy can have a reward above {limit:.4f} on these tasks, whatever it knows of the future."
    emit(document, Group(table, bound, *verdict.values(), *tasks.values()), json)
