"""The same tasks by a live fleet and by the simulator, one by one or as a stream: their plans and their times."""

import csv
import gc
import math
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from splitplace.benchmarks.device_faults import DeviceFault, FaultThread, simulated_events
from splitplace.benchmarks.held_back import HeldBack
from splitplace.inference.cpu_share import PERIOD_US
from splitplace.placement.broker.broker import Broker
from splitplace.placement.broker.pace import TICK_S
from splitplace.placement.engines.local import LocalEngine
from splitplace.placement.history import Event
from splitplace.placement.outcome import TaskOutcome
from splitplace.placement.policy import Feedback, PlacementRequest, Policy
from splitplace.placement.protocol.fields import Array, Precedence
from splitplace.placement.simulator.run import simulate
from splitplace.placement.simulator.scenario import CpuLimit, DeviceEvent, Scenario, Workload
from splitplace.records.action import Action, Decide, Wait
from splitplace.records.demand import Demand
from splitplace.records.device import Device, FleetSpec
from splitplace.records.view import Floats, View

APART_S = 100.0
"""Between two simulated tasks: none meets another."""
REST_S = 5 * PERIOD_US / 1e6
"""Between two tasks of the fleet: as idle as the simulated one, with no CPU quota used up by the task before."""
DEADLINE_S = 60.0
STREAM_INTERVAL_S = TICK_S
"""As often as a live broker asks again where nothing has happened."""

NO_LIMITS: Mapping[str, CpuLimit] = {}
Plan = list[Action]
Task = tuple[str, int]
"""Application and images."""


@dataclass(frozen=True)
class Overheads:
    """What profiles do not have, measured on tiny splits, a device each, that nothing else is measured on."""

    handover_s: float
    """CPU seconds of a device a micro-batch, without its run, on a core of speed 1."""
    handover_s_per_byte: float
    """The same a byte that it receives or sends."""
    broker_s: float
    """What a task takes longer when a broker takes it in, decides and answers."""


class Noting:
    """A policy that does as another, and keeps each plan that does something."""

    def __init__(self, inner: Policy):
        self.inner, self.name = inner, inner.name
        self.plans: list[Plan] = []
        self._decided: list[Decide] = []

    def init(self, view: View) -> Any:
        """As the other."""
        return self.inner.init(view)

    def update(self, state: Any, feedback: Feedback) -> Any:
        """As the other."""
        return self.inner.update(state, feedback)

    def decide(self, state: Any, view: View, rng: np.random.Generator) -> list[Decide]:
        """As the other."""
        self._decided = self.inner.decide(state, view, rng)
        return self._decided

    def place(self, state: Any, view: View, requests: list[PlacementRequest], rng: np.random.Generator) -> list[Action]:
        """As the other."""
        actions = self.inner.place(state, view, requests, rng)
        plan: Plan = [*self._decided, *actions]
        if any(not isinstance(action, Wait) for action in plan):
            self.plans.append(plan)
        return actions


def simulated(
    devices: tuple[Device, ...],
    demand: Demand,
    policy: Policy,
    precedence: Precedence,
    tasks: Sequence[Task],
    more: Overheads | None = None,
) -> tuple[list[Plan], list[float]]:
    """The plans and the responses in seconds of these tasks, each long after the one before has finished."""
    noting = Noting(policy)
    rows = [(APART_S * (i + 1), application, n) for i, (application, n) in enumerate(tasks)]
    columns = _simulated(devices, demand, noting, precedence, rows, APART_S / 2, more)
    return noting.plans, columns["response_s"].tolist()


def simulated_stream(
    devices: tuple[Device, ...],
    demand: Demand,
    policy: Policy,
    precedence: Precedence,
    stream: Sequence[tuple[float, int]],
    more: Overheads,
    cpu_limits: Mapping[str, CpuLimit] = NO_LIMITS,
    fault: DeviceFault | None = None,
) -> dict[str, Floats]:
    """What became of tasks of the demand's application that come at these times: columns as of a simulated run.

    As many of them are started as a live broker would start. The fault comes so long after time 0.
    """
    application = demand.splits[0].split.application
    rows = [(at_s, application, n) for at_s, n in stream]
    policy = HeldBack(policy, demand, devices, precedence)
    events = () if fault is None else simulated_events(fault)
    return _simulated(devices, demand, policy, precedence, rows, STREAM_INTERVAL_S, more, cpu_limits, events)


def _simulated(
    devices: tuple[Device, ...],
    demand: Demand,
    policy: Policy,
    precedence: Precedence,
    rows: Sequence[tuple[float, str, int]],
    interval_s: float,
    more: Overheads | None,
    cpu_limits: Mapping[str, CpuLimit] = NO_LIMITS,
    events: tuple[DeviceEvent, ...] = (),
) -> dict[str, Floats]:
    """The columns of all tasks (arrival, application, images), each of which finishes."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "tasks.csv"
        with path.open("w", newline="", encoding="utf-8") as lines:
            written = [(*row, DEADLINE_S) for row in rows]
            csv.writer(lines).writerows([("arrival_s", "application", "n", "deadline_s"), *written])
        scenario = Scenario(
            name="testbed",
            interval_s=interval_s,
            precedence=precedence,
            parallelism="intra",
            weights="warm",  # as a fleet keeps them
            broker_bytes_per_s=None,  # a process of the same machine
            cpu_limits=dict(cpu_limits),
            handover_s=more.handover_s if more else 0.0,
            handover_s_per_byte=more.handover_s_per_byte if more else 0.0,
            scheduling_delay_s=more.broker_s if more else 0.0,
            workload=Workload(trace=str(path)),
            events=events,
        )
        fleet = FleetSpec(name="testbed", devices=devices)
        intervals = math.ceil((rows[-1][0] + 2 * DEADLINE_S) / interval_s)
        run = simulate(scenario, fleet, demand, policy, intervals, strict=True)
    assert run.metrics.tasks.finished == len(rows)
    return {name: np.asarray(column, np.float64) for name, column in run.tasks.items()}


def measured(
    devices: tuple[Device, ...],
    demand: Demand,
    catalog: Path,
    policy: Policy,
    precedence: Precedence,
    tasks: Sequence[tuple[str, Array]],
    cpu_shares: dict[str, float] | None = None,
    engine: LocalEngine | None = None,
) -> tuple[list[Plan], list[float]]:
    """The same of a fleet that is brought up for them; each task is sent when the one before has been answered."""
    noting, seconds = Noting(policy), list[float]()
    engine = LocalEngine() if engine is None else engine
    with Broker(devices, demand, catalog, noting, engine, cpu_shares=cpu_shares, precedence=precedence) as broker:
        for application, images in tasks:
            time.sleep(REST_S)
            labels = np.zeros(len(images), np.int64)  # what is answered is nobody's concern here
            outcome = broker.submit(application, images, DEADLINE_S, labels, late=True).result().outcome
            assert outcome.response_s is not None, outcome.error
            seconds.append(outcome.response_s)
    return noting.plans, seconds


@dataclass(frozen=True)
class Streamed:
    """What came of a stream on a live fleet."""

    outcomes: Sequence[TaskOutcome]
    events: Sequence[Event]
    """The last of what happened (`KEPT_EVENTS`)."""
    fault: DeviceFault | None
    """As it was: when, after the first task had come."""


def streamed(
    devices: tuple[Device, ...],
    demand: Demand,
    catalog: Path,
    policy: Policy,
    precedence: Precedence,
    stream: Sequence[tuple[float, int]],
    cpu_shares: dict[str, float],
    engine: LocalEngine | None = None,
    fault: DeviceFault | None = None,
) -> Streamed:
    """Tasks of the demand's application, sent to a fleet at these times.

    Args:
        devices: Single devices.
        demand: One split.
        catalog: That has it.
        policy: Of the broker.
        precedence: Of the broker.
        stream: Seconds, and images.
        cpu_shares: By device.
        engine: What launches the devices, if they are no processes that meet over socket files.
        fault: So long after the first task.
    """
    (split,) = (entry.split for entry in demand.splits)
    (spec,) = split.inputs
    sizes = (max(n for _, n in stream), *map(int, spec.shape[1:]))
    images = np.random.default_rng(0).integers(0, 256, sizes).astype(spec.dtype)
    futures, engine = [], LocalEngine() if engine is None else engine
    with ExitStack() as stack:
        stack.enter_context(no_collections())
        broker = stack.enter_context(
            Broker(devices, demand, catalog, policy, engine, cpu_shares=cpu_shares, precedence=precedence)
        )
        begun_s = time.monotonic()
        injected = None
        if fault is not None:
            cores = next(device.cores for device in devices if device.name == fault.device)
            injected = FaultThread(engine, fault, begun_s + stream[0][0], cpu_shares[fault.device], cores)
        for at_s, n in stream:
            time.sleep(max(begun_s + at_s - time.monotonic(), 0.0))
            labels = np.zeros(n, np.int64)  # what is answered is nobody's concern here
            futures.append(broker.submit(split.application, images[:n], DEADLINE_S, labels, late=True))
        outcomes = [future.result().outcome for future in futures]
        done = None if injected is None else injected.done()
        events = broker.events
    for outcome in outcomes:
        assert outcome.finished, outcome.error
    return Streamed(outcomes, events, done)


@contextmanager
def no_collections() -> Iterator[None]:
    """Meanwhile Python's collector looks at nothing that is there now.

    A process that has made models has some 700,000 objects: each full collection stops all of it, the broker's loop
    among it, for over half a second.
    """
    gc.collect()
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()
