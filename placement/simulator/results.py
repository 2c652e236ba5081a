"""What came of a run: tasks, fragments and intervals as columns, and the metrics of them."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from splitplace.placement.metrics import Outcomes, Usage, cohort, summarise
from splitplace.placement.simulator.engine import SimulationEngine
from splitplace.placement.simulator.state import EXECUTE, MIGRATE, TRANSFER, WAIT
from splitplace.placement.simulator.workload import Arrivals
from splitplace.records.metrics import Metrics
from splitplace.records.split import STRATEGIES
from splitplace.records.view import NONE

Columns = dict[str, npt.NDArray[np.generic]]


@dataclass(frozen=True, eq=False)
class SimulationRun:
    """What came of a run."""

    metrics: Metrics
    tasks: Columns
    """One row a task; NaN or -1 for what did not happen."""
    fragments: Columns
    """One row a fragment that started: task, fragment, device, start and end."""
    intervals: Columns
    devices: tuple[str, ...]
    splits: tuple[str, ...]
    dropped: tuple[str, ...]
    """Splits of the demand that fit no device of the fleet, and were not on offer."""
    rate: float
    """λ, as stated or as solved from the load or the utilisation."""
    utilisation: dict[str, float | None]
    """Of what all devices had together, the share in use, mean over the run: cores, uplinks, downlinks, memory, and
    the broker's card each way, null where it is unlimited."""
    states: Any
    """What the policy remembers at the end."""
    first_failure: str | None
    """Of the plans that failed (`metrics.failed_plans`): when the first did, and of what."""


@dataclass(eq=False)
class PlanLog:
    """What became of a run's plans."""

    decision_s: list[float] = field(default_factory=list)
    failed: int = 0
    first_failure: str | None = None
    done: int = 0
    """Those that had something to do, and did not fail."""


class IntervalMeter:
    """Reads the engine's totals at each interval's start."""

    TOTALS = ("arrived", "finished", "energy_j", "busy_s")
    LEVELS = ("not_executing", "memory_used_bytes", "devices_up")

    def __init__(self) -> None:
        self._rows: list[tuple[float, ...]] = []

    def note(self, engine: SimulationEngine, arrived: int, new: int) -> None:
        """One reading, of what was there before this instant's `new` tasks: they are the next interval's."""
        busy_D, energy_D, _ = engine.processors.totals(engine.now)
        totals = (arrived - new, arrived - len(engine.active), energy_D.sum(), busy_D.sum())
        idle = sum(1 for task in engine.active if not engine.tasks.executing[task]) - new
        self._rows.append((*totals, idle, sum(engine.memory.used), sum(engine.up)))

    def columns(self) -> Columns:
        """Of each interval: totals as what it added, levels as they stood at its end."""
        rows = np.array(self._rows, np.float64)
        count = len(self.TOTALS)
        columns: Columns = {"interval": np.arange(len(rows) - 1)}
        columns |= {name: np.diff(rows[:, i]) for i, name in enumerate(self.TOTALS)}
        columns |= {name: rows[1:, count + i] for i, name in enumerate(self.LEVELS)}
        return columns


def collect(
    engine: SimulationEngine,
    arrivals: Arrivals,
    arrived: int,
    meter: IntervalMeter,
    plans: PlanLog,
    wall_s: float,
    dropped: tuple[str, ...],
    states: Any,
) -> SimulationRun:
    """Everything measured, at the end of the last interval; `engine.now` is that end."""
    costs = engine.world.costs
    outcomes = _outcomes(engine, arrivals, arrived)
    return SimulationRun(
        metrics=summarise(outcomes, costs.applications, _usage(engine, plans, wall_s)),
        tasks={
            "task": np.arange(arrived),
            "arrival_s": arrivals.arrival_s_N[:arrived],
            "images": arrivals.n_N[:arrived],
            "split": np.array(engine.tasks.split, np.int64),
            **{name.removesuffix("_N"): getattr(outcomes, name) for name in outcomes.__dataclass_fields__},
        },
        fragments=_fragments(engine),
        intervals=meter.columns(),
        devices=tuple(device.name for device in engine.world.devices),
        splits=costs.splits.references,
        dropped=dropped,
        rate=arrivals.rate,
        utilisation=_utilisation(engine),
        states=states,
        first_failure=plans.first_failure,
    )


def _outcomes(engine: SimulationEngine, arrivals: Arrivals, arrived: int) -> Outcomes:
    tasks, splits = engine.tasks, engine.world.costs.splits
    for task in engine.active:
        tasks.touch(task, engine.now)
    split_N = np.array(tasks.split, np.int64)
    strategy_S = np.array([STRATEGIES.index(name) for name in splits.strategies], np.int64)
    finish_N = np.array(tasks.finish_s)
    finished_N = finish_N >= 0
    arrival_s_N, deadline_s_N = arrivals.arrival_s_N[:arrived], arrivals.deadline_s_N[:arrived]
    return Outcomes(
        application_N=arrivals.application_N[:arrived],
        strategy_N=np.where(split_N == NONE, NONE, strategy_S[split_N]),
        scored_N=cohort(arrival_s_N, deadline_s_N, engine.world.scenario.startup_s, engine.now),
        finished_N=finished_N,
        deadline_s_N=deadline_s_N,
        response_s_N=np.where(finished_N, finish_N, engine.now) - arrival_s_N,
        wait_s_N=np.array(tasks.spent_s[WAIT]),
        execute_s_N=np.array(tasks.spent_s[EXECUTE]),
        transfer_s_N=np.array(tasks.spent_s[TRANSFER]),
        migrate_s_N=np.array(tasks.spent_s[MIGRATE]),
        p_N=np.where(finished_N, arrivals.p_NS[np.arange(arrived), split_N], np.nan),
    )


def _utilisation(engine: SimulationEngine) -> dict[str, float | None]:
    count = len(engine.world.devices)
    busy_D, _, on_s_D = engine.processors.totals(engine.now)
    there_s = float((np.array(engine.processors.servers) * on_s_D).sum())
    moved, offered = engine.links.moved_bytes(engine.now), engine.links.offered_bytes(engine.now)

    def share(*links: int) -> float | None:
        there = float(offered[list(links)].sum())
        return None if np.isinf(there) else float(moved[list(links)].sum()) / there if there else 0.0

    return {
        "cores": float(busy_D.sum()) / there_s if there_s else 0.0,
        "uplinks": share(*range(count)),
        "downlinks": share(*range(count + 1, 2 * count + 1)),
        "broker_out": share(count),
        "broker_in": share(2 * count + 1),
        "memory": engine.memory.mean_utilisation(engine.now),
    }


def _usage(engine: SimulationEngine, plans: PlanLog, wall_s: float) -> Usage:
    busy_D, energy_D, on_s_D = engine.processors.totals(engine.now)
    there = on_s_D > 0
    servers_D = np.array(engine.processors.servers)
    price_D = np.array([device.cost_usd_per_h for device in engine.world.devices])
    return Usage(
        energy_j=float(energy_D.sum()),
        cost_usd=float((price_D * on_s_D).sum() / 3600),
        fragments=engine.executions,
        work_per_capacity_D=busy_D[there] / (servers_D * on_s_D)[there],
        ram_utilisation=min(engine.memory.mean_utilisation(engine.now), 1.0),
        decision_s=np.array(plans.decision_s),
        wall_s=wall_s,
        failed_plans=plans.failed,
    )


def _fragments(engine: SimulationEngine) -> Columns:
    columns = engine.containers
    rows = [c for c, start_s in enumerate(columns.start_s) if start_s >= 0]
    return {
        "task": np.array([columns.task[c] for c in rows], np.int64),
        "fragment": np.array([columns.fragment[c] for c in rows], np.int64),
        "device": np.array([columns.device[c] for c in rows], np.int64),
        "start_s": np.array([columns.start_s[c] for c in rows]),
        "end_s": np.array([columns.end_s[c] if columns.complete[c] else np.nan for c in rows]),
    }
