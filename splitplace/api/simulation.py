"""`Simulation`: what came of a simulated run, to be read, written and drawn."""

import json
import logging
from dataclasses import dataclass
from functools import cached_property
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from splitplace.extras import needs
from splitplace.files import replace_file
from splitplace.placement.policy import Policy
from splitplace.placement.simulator.demands import DemandLike
from splitplace.placement.simulator.results import SimulationRun
from splitplace.placement.simulator.scenario import Scenario
from splitplace.placement.simulator.setting import prepare
from splitplace.records.device import FleetSpec
from splitplace.records.metrics import Metrics
from splitplace.records.split import STRATEGIES
from splitplace.report.picture import check_picture

if TYPE_CHECKING:
    from splitplace.placement.simulator.capacity import Capacity

_log = logging.getLogger(__name__)

PLOTTED_TASKS = 200


@dataclass(frozen=True, eq=False)
class Simulation:
    """What came of a simulated run.

    Args:
        scenario: That was run.
        fleet: That it ran on.
        policy: That decided and placed.
        intervals: How many.
        seed: Of all of it.
        run: Tasks, fragments and intervals as columns, and what the policy remembers at the end.
        trained: Parts of the policy that started from a trained state.
        demand: What its splits cost.
        indifference: Why the scenario cannot tell policies apart, if it cannot.
    """

    scenario: Scenario
    fleet: FleetSpec
    policy: Policy
    intervals: int
    seed: int
    run: SimulationRun
    trained: tuple[str, ...]
    demand: DemandLike
    indifference: str | None

    @cached_property
    def capacity(self) -> "Capacity | None":
        """What the best policy could sustain, in tasks an interval; None where the extra `sim` is not installed.

        Raises:
            SplitPlaceError: Too many different devices to solve it.
        """
        if find_spec("scipy") is None or not self.run.metrics.tasks.arrived:
            return None
        from splitplace.placement.simulator.capacity import capacity

        return capacity(self.scenario, *prepare(self.scenario, self.fleet, self.demand))

    @property
    def load(self) -> float | None:
        """Tasks that were asked for, as a share of the capacity; None where that is not known."""
        return self.run.rate / self.capacity.tasks_per_interval if self.capacity else None

    @property
    def metrics(self) -> Metrics:
        """Reward, SLA violations, response in seconds, energy in joules, ... over the scored tasks."""
        return self.run.metrics

    def write_trace(self, folder: str | Path) -> tuple[Path, ...]:
        """Write tasks, fragments and intervals as Parquet; what the rows' numbers stand for is in the metadata.

        Returns:
            The absolute paths of the three files.

        Raises:
            MissingExtraError: pyarrow is not installed.
        """
        needs("--trace-dir", "sim", packages=("pyarrow",))
        from splitplace.placement.simulator.traces import write_parquet

        run, costs = self.run, prepare(self.scenario, self.fleet, self.demand)[1]
        names = {
            "devices": run.devices,
            "splits": run.splits,
            "first_fragments": costs.splits.first_S.tolist(),
            "applications": costs.applications,
            "strategies": STRATEGIES,
        }
        about = json.dumps(names)
        paths = []
        for name, columns in (("tasks", run.tasks), ("fragments", run.fragments), ("intervals", run.intervals)):
            paths.append((Path(folder) / f"{name}.parquet").absolute())
            write_parquet(paths[-1], columns, about)
        return tuple(paths)

    def plot(self, path: str | Path) -> Path:
        """Draw who ran what when, of the first `PLOTTED_TASKS` tasks that finished.

        Args:
            path: A .svg.

        Returns:
            Its absolute path.

        Raises:
            MissingExtraError: matplotlib is not installed.
            UsageError: Another ending.
        """
        check_picture(Path(path), "sim", (".svg",))
        from splitplace.report.timeline import Span, TaskSpan, timeline_svg

        tasks, parts, devices = self.run.tasks, self.run.fragments, self.run.devices
        finished = [row for row in range(len(tasks["task"])) if tasks["finished"][row]][:PLOTTED_TASKS]
        if len(tasks["task"]) > len(finished):
            _log.warning("the picture shows the first %d finished tasks of %d", len(finished), len(tasks["task"]))
        shown = {int(tasks["task"][row]) for row in finished}
        strategy = [STRATEGIES[int(row)] for row in tasks["strategy"]]
        spans = [
            Span(devices[int(device)], strategy[int(task)], float(start), float(end))
            for task, device, start, end in zip(
                parts["task"], parts["device"], parts["start_s"], parts["end_s"], strict=True
            )
            if int(task) in shown
        ]
        bars = [
            TaskSpan(strategy[row], *(float(tasks[name][row]) for name in ("arrival_s", "response_s", "deadline_s")))
            for row in finished
        ]
        used = {span.device for span in spans}
        place = Path(path).absolute()
        replace_file(place, timeline_svg([name for name in devices if name in used], spans, bars))
        return place
