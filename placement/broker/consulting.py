"""When the policy is asked, what it is shown, and what becomes of its answer."""

import logging
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

from splitplace import seeds
from splitplace.placement import plan as planner
from splitplace.placement.broker import effects as do
from splitplace.placement.broker import events as ev
from splitplace.placement.broker.avoiding import Avoiding
from splitplace.placement.broker.deciding import event_of, live_view
from splitplace.placement.broker.fleet import LiveFleet
from splitplace.placement.broker.pace import Pace
from splitplace.placement.broker.planning import Planner
from splitplace.placement.broker.setup import Setup
from splitplace.placement.broker.state import FleetState, TaskState
from splitplace.placement.broker.store import Store
from splitplace.placement.policy import Policy
from splitplace.records.view import View

log = logging.getLogger(__name__)

KEPT_TIMES = 10_000
NO_NEWS = (ev.DeviceRan, ev.SinkAnswered, ev.DeviceAssigned, ev.DeviceLoaded)
"""Events after which a policy has no more to decide than before."""


class Consulting:
    """For the loop's thread; it reads the state, and never writes it.

    Args:
        fleet: Started.
        setup: The splits, devices and limits.
        state: Of the fleet.
        policy: Decides and places.
        pace: When it is asked, and of what.
        seed: Of its randomness.
        store: Where what it remembers is kept, if that is to outlive this process.
        states: What it starts from, where the store has nothing of it.
        wake: Called from the policy's thread when there is an answer.
    """

    def __init__(
        self,
        fleet: LiveFleet,
        setup: Setup,
        state: FleetState,
        policy: Policy,
        pace: Pace,
        seed: int,
        *,
        store: Store | None,
        states: Any | None,
        wake: Callable[[], None],
    ):
        self._fleet, self._setup, self._state = fleet, setup, state
        self._members = tuple(fleet.members.values())
        self.pace, self._avoiding = pace, Avoiding()
        self.decision_s: deque[float] = deque(maxlen=KEPT_TIMES)
        self.failed_plans = 0
        self._changed = False
        self._shown: tuple[tuple[float, ...], Setup] | None = None
        rng = seeds.generator(seed, "broker")
        if store is not None:
            states = store.policy.restore(policy, states, rng)
        if states is None:
            states = planner.first_state(policy, self.view([]))
        self.planner = Planner(policy, states, rng, wake)

    def note(self, event: ev.Event, todo: Sequence[do.Effect]) -> None:
        """Something happened, from which that followed: is there more to decide than before?"""
        # A plan that took nothing away leaves what it saw: of the same view it would be the same.
        news = event.evicted if isinstance(event, ev.PlanMade) else not isinstance(event, NO_NEWS)
        self._changed |= bool(news) or any(isinstance(effect, do.EndTask) for effect in todo)

    def ask(self) -> None:
        """Ask for a plan, if it is time for one."""
        now_s, state = self._fleet.now_s(), self._state
        waiting, many = bool(state.waiting), len(state.tasks) > len(self._members)
        if not self.pace.due(now_s, changed=self._changed, waiting=waiting, busy=self.planner.busy, many=many):
            return
        self._changed = False
        tasks = self.pace.shown(state, now_s)
        if tasks or state.left or self.pace.always:
            self.planner.ask(self.view(tasks), len(state.left))

    def take(self) -> ev.PlanMade | ev.PlanRefused | None:
        """The answer, if there is one that changes anything."""
        answer = self.planner.take()
        if answer is None:
            return None
        self.decision_s.append(answer.decision_s)
        now_s = self._fleet.now_s()
        self.pace.planned(now_s, answer.decision_s)
        if answer.failure is not None:
            log.warning("%s", answer.failure)
            self.failed_plans += 1
            self.pace.failed(now_s)
        elif not answer.acts and not answer.told and not self._state.plan_failure:
            return None
        return event_of(answer, now_s)

    def view(self, tasks: list[TaskState]) -> View:
        """What the policy is shown if it is asked of these tasks now."""
        setup, now_s = self._measured(), self._fleet.now_s()
        avoided = self._avoiding.devices(self._state, tasks, now_s)
        return live_view(setup, self._state, self._members, tasks, now_s, self.pace.interval_s, avoided)

    def _measured(self) -> Setup:
        """With the devices as fast as the probe found each one when it joined; emulated ones are as stated."""
        if self._fleet.engine.same_machine:
            return self._setup
        speeds = tuple(member.core_speed for member in self._members)
        if self._shown is None or self._shown[0] != speeds:
            self._shown = speeds, self._setup.at_speeds(speeds)
        return self._shown[1]
