"""The same tasks by a live fleet and by the simulator, each long after the one before: their plans and their times."""

import csv
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from splitplace.inference.cpu_share import PERIOD_US
from splitplace.placement.broker.broker import Broker
from splitplace.placement.engines.local import LocalEngine
from splitplace.placement.policy import Feedback, PlacementRequest, Policy
from splitplace.placement.protocol.messages import Array, Precedence
from splitplace.placement.simulator.run import simulate
from splitplace.placement.simulator.scenario import Scenario, Workload
from splitplace.records.action import Action, Decide, Wait
from splitplace.records.demand import Demand
from splitplace.records.device import Device, FleetSpec
from splitplace.records.view import View

APART_S = 100.0
"""Between two simulated tasks: none meets another."""
REST_S = 5 * PERIOD_US / 1e6
"""Between two tasks of the fleet: as idle as the simulated one, with no CPU quota used up by the task before."""
DEADLINE_S = 60.0

Plan = list[Action]
Task = tuple[str, int]
"""Application and images."""


@dataclass(frozen=True)
class Overheads:
    """What profiles do not have, measured on tiny splits, a device each, that nothing else is measured on."""

    handover_s: float
    """CPU seconds of a device a micro-batch, without its run, on a core of speed 1."""
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
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "tasks.csv"
        with path.open("w", newline="", encoding="utf-8") as lines:
            rows = [(APART_S * (i + 1), application, n, DEADLINE_S) for i, (application, n) in enumerate(tasks)]
            csv.writer(lines).writerows([("arrival_s", "application", "n", "deadline_s"), *rows])
        scenario = Scenario(
            name="idle",
            interval_s=APART_S / 2,
            precedence=precedence,
            weights="warm",  # as a fleet keeps them
            broker_bytes_per_s=None,  # a process of the same machine
            handover_s=more.handover_s if more else 0.0,
            scheduling_delay_s=more.broker_s if more else 0.0,
            workload=Workload(trace=str(path)),
        )
        noting = Noting(policy)
        run = simulate(
            scenario, FleetSpec(name="testbed", devices=devices), demand, noting, 2 * (len(tasks) + 2), strict=True
        )
    assert run.metrics.tasks.finished == len(tasks)
    return noting.plans, np.asarray(run.tasks["response_s"], np.float64).tolist()


def measured(
    devices: tuple[Device, ...],
    demand: Demand,
    catalog: Path,
    policy: Policy,
    precedence: Precedence,
    tasks: Sequence[tuple[str, Array]],
    cpu_shares: dict[str, float] | None = None,
) -> tuple[list[Plan], list[float]]:
    """The same of a fleet that is brought up for them; each task is sent when the one before has been answered."""
    noting, seconds = Noting(policy), list[float]()
    engine = LocalEngine()
    with Broker(devices, demand, catalog, noting, engine, cpu_shares=cpu_shares, precedence=precedence) as broker:
        for application, images in tasks:
            time.sleep(REST_S)
            labels = np.zeros(len(images), np.int64)  # what is answered is nobody's concern here
            outcome = broker.submit(application, images, DEADLINE_S, labels, late=True).result().outcome
            assert outcome.response_s is not None, outcome.error
            seconds.append(outcome.response_s)
    return noting.plans, seconds
