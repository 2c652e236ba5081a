"""What the policy sees of an engine: the same `View` that the live broker shows."""

import math
from dataclasses import dataclass
from functools import partial

import numpy as np

from splitplace.errors import NotReadyError
from splitplace.placement.simulator.costs import Costs
from splitplace.placement.simulator.engine import SimulationEngine
from splitplace.placement.simulator.monitor import ResourceMonitor
from splitplace.placement.simulator.shown import ShownContainers
from splitplace.placement.simulator.workload import Arrivals
from splitplace.records.task import micro_batches
from splitplace.records.view import (
    NONE,
    Containers,
    Devices,
    Finished,
    Floats,
    Foresight,
    Ints,
    Links,
    Tasks,
    Utilisation,
    View,
)


@dataclass(frozen=True, eq=False)
class Mark:
    """Totals at the last look, from which the next one's shares are taken."""

    now_s: float
    busy_s_D: Floats
    moved_bytes: Floats


class Viewer:
    """Builds views; what never changes is built once.

    Args:
        engine: Whose.
        arrivals: All tasks of the run.
        told: What the policy is told of the costs: those of the engine, unless the scenario has mistakes.
        clairvoyant: Whether it is told each task's luck, too.
    """

    def __init__(self, engine: SimulationEngine, arrivals: Arrivals, told: Costs, clairvoyant: bool = False):
        self._clairvoyant = clairvoyant
        self.engine = engine
        self._told = told
        self.arrivals = arrivals
        self._monitor, self._shown = ResourceMonitor(engine), ShownContainers(engine)
        self._looks = 0
        world = engine.world
        costs, devices = world.costs, world.devices
        self._names = tuple(device.name for device in devices)
        self._cores_D = np.array([device.cores for device in devices], np.int64)
        self._servers_D = np.array(engine.processors.servers, np.int64)
        self._speed_D = np.array([device.core_speed for device in devices])
        self._power_D11 = np.array([device.power_w for device in devices])
        # Every device holds the images of all fragments, distributed at the start (§3.1).
        images = float(costs.fragments.weight_bytes_F.sum())
        self._disk_D = np.minimum(images / np.array([float(device.disk_bytes) for device in devices]), 1.0)
        scenario = engine.world.scenario
        self._grain = float(scenario.pipeline_grain) if scenario.precedence == "pipelined" else math.inf
        self._none_resident = np.zeros(costs.fragments.memory_bytes_FD.shape, np.bool_)
        self._mark = Mark(0.0, np.zeros(len(devices)), np.zeros(2 * len(devices) + 2))

    def look(self) -> View:
        """The view of this instant; takes in the tasks that finished since the last look."""
        engine = self.engine
        costs = engine.world.costs
        ids = np.fromiter(engine.active, np.int64, len(engine.active))
        tasks = self._tasks(ids)
        rows_C, containers, backlog_s_D = self._containers(tasks)
        left, engine.left = engine.left, []
        self._looks += 1
        return View(
            now_s=engine.now,
            interval_s=engine.world.scenario.interval_s,
            longest_s=self.arrivals.longest_s,
            applications=costs.applications,
            devices=self._devices(backlog_s_D),
            links=self._links(),
            splits=self._told.splits,
            fragments=self._told.fragments,
            tasks=tasks,
            containers=containers,
            finished=self._finished(np.array(left, np.int64)),
            measure=partial(self._measure, rows_C, self._looks),
            grain=self._grain,
            foresight=Foresight(self.arrivals.p_NS[ids]) if self._clairvoyant else None,
        )

    def _measure(self, rows_C: Ints, look: int) -> Utilisation:
        if look != self._looks:
            raise NotReadyError("the utilisation of an earlier view: look at it in the plan that the view is for")
        return self._monitor.look(rows_C.tolist())

    def _devices(self, backlog_s_D: Floats) -> Devices:
        engine, before = self.engine, self._mark
        busy_D, energy_j_D, _ = engine.processors.totals(engine.now)
        moved = engine.links.moved_bytes(engine.now)
        elapsed = engine.now - before.now_s
        cpu_D = net_D = np.zeros(len(self._names))
        if elapsed > 0:
            cpu_D = np.minimum((busy_D - before.busy_s_D) / (elapsed * self._servers_D), 1.0)
            capacity = np.array(engine.links.capacity) * elapsed
            share = np.divide(moved - before.moved_bytes, capacity, out=np.zeros(len(capacity)), where=capacity > 0)
            count = len(self._names)
            # The busier of the two directions; the broker's links are the last of each half.
            net_D = np.clip(np.maximum(share[:count], share[count + 1 : 2 * count + 1]), 0.0, 1.0)
            self._mark = Mark(engine.now, busy_D, moved)
        memory = engine.memory
        shared = engine.world.scenario.weights != "container"
        return Devices(
            names=self._names,
            up_D=np.array(engine.up),
            cores_D=self._cores_D,
            servers_D=self._servers_D,
            core_speed_D=self._speed_D,
            memory_bytes_D=memory.limit_D,
            memory_used_bytes_D=np.array(memory.used),
            cpu_D=cpu_D,
            net_D=net_D,
            disk_D=self._disk_D,
            backlog_s_D=backlog_s_D,
            power_w_D11=self._power_D11,
            energy_j_D=energy_j_D,
            shares_fragments=shared,
            resident_FD=memory.resident_FD.copy() if shared else self._none_resident,
            idle_FD=memory.idle_FD.copy() if shared else self._none_resident,
        )

    def _links(self) -> Links:
        links, count = self.engine.links, len(self._names)
        return Links(
            up_bytes_per_s_D=np.array(links.capacity[:count]),
            down_bytes_per_s_D=np.array(links.capacity[count + 1 : 2 * count + 1]),
            rtt_s_D=np.array(self.engine.rtt_s[:count]),
            broker_bytes_per_s=links.capacity[count],
        )

    def _tasks(self, ids: Ints) -> Tasks:
        arrivals, split = self.arrivals, self.engine.tasks.split
        return Tasks(
            id_T=ids,
            application_T=arrivals.application_N[ids],
            n_T=arrivals.n_N[ids],
            deadline_s_T=arrivals.deadline_s_N[ids],
            age_s_T=self.engine.now - arrivals.arrival_s_N[ids],
            split_T=np.array([split[task] for task in ids.tolist()], np.int64),
        )

    def _containers(self, tasks: Tasks) -> tuple[Ints, Containers, Floats]:
        """The containers that are not complete, as the engine numbers them and as they are shown; and the backlogs."""
        shown = self._shown.look(tasks.id_T)
        task_C, device_C = np.repeat(np.arange(len(tasks.id_T)), shown.count_T), shown.device_C
        containers = Containers(
            task_C=task_C,
            fragment_C=shown.fragment_C,
            device_C=device_C,
            remaining_C=shown.remaining_C,
            coming_bytes_C=shown.coming_bytes_C,
            ready_C=shown.ready_C,
        )
        fragments = self._told.fragments
        placed = device_C != NONE
        fragment_C, device_C = shown.fragment_C[placed], device_C[placed]
        batches_C = micro_batches(tasks.n_T[task_C[placed]], fragments.micro_batch_F[fragment_C])
        work_C = shown.remaining_C[placed] * batches_C * fragments.latency_s_FD[fragment_C, device_C]
        backlog_s_D = np.bincount(device_C, work_C, len(self._names)).astype(np.float64)
        return shown.rows_C, containers, backlog_s_D

    def _finished(self, ids: Ints) -> Finished:
        if len(ids) == 0:
            return Finished.none()
        tasks, arrivals = self.engine.tasks, self.arrivals
        split = np.array([tasks.split[task] for task in ids], np.int64)
        finish_s = np.array([tasks.finish_s[task] for task in ids])
        return Finished(
            id_E=ids,
            application_E=arrivals.application_N[ids],
            split_E=split,
            deadline_s_E=arrivals.deadline_s_N[ids],
            response_s_E=finish_s - arrivals.arrival_s_N[ids],
            accuracy_E=arrivals.p_NS[ids, split],
            tag_E=np.array([tasks.tag[task] for task in ids], np.int64),
            context_E=np.array([tasks.context[task] for task in ids], np.int64),
        )
