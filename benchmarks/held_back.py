"""Which tasks a simulated fleet starts: as many as a live broker would, by the same rule.

A live broker shows its policy as many tasks as keep the devices busy (`placement/broker/dispatch.py`), the simulator
shows all of them. Where both are held against each other the simulated tasks wait for their turn, too.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from splitplace.placement.broker.dispatch import Dispatch
from splitplace.placement.broker.setup import Setup
from splitplace.placement.broker.state import Attempt, FleetState, TaskState
from splitplace.placement.policy import Feedback, PlacementRequest, Policy
from splitplace.placement.protocol.fields import Precedence
from splitplace.records.action import Action, Decide, Wait
from splitplace.records.demand import Demand
from splitplace.records.device import Device
from splitplace.records.task import Task, micro_batches
from splitplace.records.view import NONE, View

WINDOW, TIMEOUT_S = 4, 300.0
"""Of a broker, as it has them where nobody says otherwise; nothing here turns on them."""


class HeldBack:
    """Decides and places as another policy; of the tasks that have no device, those that a broker would start now.

    For one run, of tasks whose answers are wanted late: what it has seen of them corrects what it expects, as there.

    Args:
        inner: The other.
        demand: The splits on offer.
        devices: Single devices, in the order of their rows.
        precedence: Whether a task's fragments overlap.
    """

    def __init__(self, inner: Policy, demand: Demand, devices: Sequence[Device], precedence: Precedence):
        self.inner, self.name = inner, inner.name
        self._setup = Setup(demand, tuple(devices), precedence, WINDOW, TIMEOUT_S)
        self._dispatch = Dispatch(self._setup)
        self._began_s: dict[int, float] = {}

    def init(self, view: View) -> Any:
        """As the other."""
        return self.inner.init(view)

    def update(self, state: Any, feedback: Feedback) -> Any:
        """As the other."""
        return self.inner.update(state, feedback)

    def decide(self, state: Any, view: View, rng: np.random.Generator) -> list[Decide]:
        """As the other; who is decided may still wait."""
        return self.inner.decide(state, view, rng)

    def place(self, state: Any, view: View, requests: list[PlacementRequest], rng: np.random.Generator) -> list[Action]:
        """What the other says of those whose turn it is."""
        shown = {task.task.id for task in self._dispatch.shown(self._state(view), view.now_s)}
        ids = view.tasks.id_T.tolist()
        actions = self.inner.place(state, view, [one for one in requests if ids[one.task] in shown], rng)
        waiting = [one for one in requests if ids[one.task] not in shown]
        return [*actions, *(Wait(ids[one.task], fragment) for one in waiting for fragment in one.fragments)]

    def _state(self, view: View) -> FleetState:
        """The fleet as a broker would have it: a task has devices for all that is left of it, or waits."""
        state, tasks, containers = self._setup.first(), view.tasks, view.containers
        for device, up in zip(state.devices, view.devices.up_D.tolist(), strict=True):
            device.up = up
        mine: dict[int, list[int]] = {}
        for container, row in enumerate(containers.task_C.tolist()):
            mine.setdefault(row, []).append(container)
        for row, id_ in enumerate(tasks.id_T.tolist()):
            placed = [containers.device_C[container] != NONE for container in mine.get(row, [])]
            decided = tasks.split_T[row] != NONE
            if decided and not placed:
                continue  # it has run, only its answer is still under way
            state.tasks[id_] = TaskState(self._task(view, row), "", late=True)
            if decided and all(placed):
                split = int(tasks.split_T[row])
                state.tasks[id_].decision, state.tasks[id_].job = Decide(id_, split, 0, 0), id_
                state.jobs[id_] = self._attempt(view, id_, int(tasks.n_T[row]), split, mine[row])
            else:
                state.waiting[id_] = None
        return state

    @staticmethod
    def _task(view: View, row: int) -> Task:
        tasks = view.tasks
        return Task(
            id=int(tasks.id_T[row]),
            application=view.applications[int(tasks.application_T[row])],
            n=int(tasks.n_T[row]),
            deadline_s=float(tasks.deadline_s_T[row]),
            arrival_s=max(view.now_s - float(tasks.age_s_T[row]), 0.0),
        )

    def _attempt(self, view: View, id_: int, n: int, split: int, mine: Sequence[int]) -> Attempt:
        containers, total = view.containers, micro_batches(n, self._setup.entry(split).micro_batch)
        devices, ran = dict[str, int](), dict[str, dict[int, float]]()
        for container in mine:
            _, name = self._setup.fragment(int(containers.fragment_C[container]))
            devices[name] = int(containers.device_C[container])
            ran[name] = dict.fromkeys(
                range(total - round(float(containers.remaining_C[container]) * total)), view.now_s
            )
        began_s = self._began_s.setdefault(id_, view.now_s)
        return Attempt(
            id_, id_, split, devices, tuple(range(total)), began_s, set(), ran=ran, started_s=began_s
        )  # fmt: skip
