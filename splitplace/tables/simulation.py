"""How a policy did on a simulated fleet, for people."""

from collections.abc import Callable
from typing import TYPE_CHECKING

from rich.console import Group, RenderableType
from rich.table import Table

from splitplace.tables.digits import number

if TYPE_CHECKING:
    from splitplace import Simulation
    from splitplace.records.metrics import GroupMetrics


def simulation_shown(title: str, done: "Simulation") -> RenderableType:
    """A column for all tasks and for those of each application; the load below, where it is known."""
    table = Table(title=title, title_justify="left")
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


def _share(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"
