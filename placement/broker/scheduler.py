"""The broker's loop, in one thread: takes tasks in, asks `plan`, has its actions carried out, lets tasks go."""

import logging
from collections.abc import Iterable
from concurrent.futures import InvalidStateError
from contextlib import suppress
from time import perf_counter
from typing import Any

import numpy as np

from splitplace import seeds
from splitplace.errors import PolicyError
from splitplace.placement import plan as planner
from splitplace.placement.broker import history as book
from splitplace.placement.broker.dispatcher import Dispatcher
from splitplace.placement.broker.fleet import LiveFleet
from splitplace.placement.broker.history import History
from splitplace.placement.broker.task import CANCELLED, Live
from splitplace.placement.broker.view import Statics, build_view
from splitplace.placement.outcome import TaskResult
from splitplace.placement.policy import Policy
from splitplace.placement.protocol import messages
from splitplace.records.action import Action, Decide, Evict, Migrate, Place, Wait
from splitplace.records.demand import Demand
from splitplace.records.view import Finished, View

log = logging.getLogger(__name__)

INTERVAL_S = 10.0
"""A scheduling interval: what a policy averages its objectives over."""
TICK_S = 0.05
"""How often a waiting task is planned again when nothing else happens."""
PLAN_LIMIT_S = 10.0
"""A plan that took longer fails: it is of a fleet that is no more, and while the policy thinks nobody is answered."""
RETRY_S = 1.0
"""A policy that failed is asked again no sooner: it will hardly know better a tick later."""


class Scheduler:
    """Everything between a task's receipt and its result; `step` is called over and over by one thread."""

    def __init__(
        self,
        fleet: LiveFleet,
        demand: Demand,
        policy: Policy,
        seed: int,
        journal: History,
        *,
        precedence: messages.Precedence,
        window: int,
        task_timeout_s: float,
        states: Any | None,
    ):
        self.fleet, self.demand, self.policy, self.journal = fleet, demand, policy, journal
        self.task_timeout_s = task_timeout_s
        self.members = tuple(fleet.members.values())
        self.statics = Statics.of(demand, tuple(member.device for member in self.members))
        self.dispatcher = Dispatcher(
            fleet, demand, self.statics, journal, self._leave, precedence=precedence, window=window
        )
        self.tasks: dict[int, Live] = {}
        self.decision_s: list[float] = []
        self._left: list[tuple[int, int, int, float, float, float, int, int]] = []
        self._rng = seeds.generator(seed, "broker")
        self._dirty = False
        self._planned_s = self._not_before_s = 0.0
        self.failed_plans = 0
        self._failure: PolicyError | None = None
        """Of the last plan, if it failed."""
        self.states = planner.first_state(policy, self._view(Finished.none())) if states is None else states

    def step(self, arrivals: Iterable[Live], cancelled: Iterable[int] = ()) -> None:
        """Hear, check, plan; waits at most a tick for something to happen."""
        for member, received in self.fleet.hear(TICK_S):
            self.dispatcher.handle(member, received)
        for live in arrivals:
            self._arrive(live)
        for task in cancelled:
            if task in self.tasks:
                self._leave(self.tasks[task], self.tasks[task].failed(CANCELLED))
        for lost in self.fleet.check():
            self.dispatcher.lose(lost)
            self._dirty = True
        self._give_up()
        waiting, now_s = any(live.job is None for live in self.tasks.values()), self.fleet.now_s()
        if now_s >= self._not_before_s and (self._dirty or (waiting and now_s - self._planned_s > TICK_S)):
            self._plan()

    def abandon(self, reason: str, arrivals: Iterable[Live]) -> None:
        """Fail every task that has not left, and those not even taken in."""
        for live in arrivals:
            self._arrive(live)
        for live in tuple(self.tasks.values()):
            self._leave(live, live.failed(reason))

    def _give_up(self) -> None:
        """No wait is for ever: on a task that took too long, or on a place when no device is left."""
        now_s = self.fleet.now_s()
        none_up = not any(member.up for member in self.members)
        for live in tuple(self.tasks.values()):
            if none_up:
                self._leave(live, live.failed("no device is left"))
            elif now_s > live.task.arrival_s + self.task_timeout_s:
                self._leave(live, live.failed(f"no answer within {self.task_timeout_s:g} s: {self._stage(live)}"))

    def _arrive(self, live: Live) -> None:
        task = live.task
        self.tasks[task.id] = live
        self._dirty = True
        self.journal.append(
            book.Arrive(
                at_s=task.arrival_s, task=task.id, application=task.application, n=task.n, deadline_s=task.deadline_s
            )
        )

    def _leave(self, live: Live, result: TaskResult) -> None:
        now_s = self.fleet.now_s()
        del self.tasks[live.task.id]
        self._dirty = True
        if live.job is not None:
            self.dispatcher.drop(live, cancel=not result.outcome.finished)
        self._remember(live, result, now_s)
        self.journal.append(book.Finish(at_s=now_s, outcome=result.outcome))
        with suppress(InvalidStateError):  # the caller cancelled it: nobody waits
            live.future.set_result(result)

    def _remember(self, live: Live, result: TaskResult, now_s: float) -> None:
        """Keep what the next plan must learn. An answer that never comes has missed its deadline, with p = 0."""
        if live.decision is None:
            return
        task, outcome = live.task, result.outcome
        response_s = outcome.response_s
        if response_s is None:
            response_s = max(now_s - task.arrival_s, float(np.nextafter(task.deadline_s, np.inf)))
        application = self.statics.applications.index(task.application)
        split, marks = live.decision.split, (live.decision.tag, live.decision.context)
        self._left.append((task.id, application, split, task.deadline_s, response_s, outcome.p or 0.0, *marks))

    def _finished(self) -> Finished:
        """The tasks that left since the last plan; each is told once."""
        if not self._left:
            return Finished.none()
        ids, application, split, deadline_s, response_s, p, tag, context = zip(*self._left, strict=True)
        self._left = []
        return Finished(
            id_E=np.array(ids, np.int64),
            application_E=np.array(application, np.int64),
            split_E=np.array(split, np.int64),
            deadline_s_E=np.array(deadline_s, np.float64),
            response_s_E=np.array(response_s, np.float64),
            accuracy_E=np.array(p, np.float64),
            tag_E=np.array(tag, np.int64),
            context_E=np.array(context, np.int64),
        )

    def _view(self, finished: Finished) -> View:
        tasks, ledger = tuple(self.tasks.values()), self.dispatcher.ledger
        now_s, longest_s = self.fleet.now_s(), self.task_timeout_s  # no task is waited for longer
        return build_view(self.statics, self.members, ledger, tasks, finished, now_s, INTERVAL_S, longest_s)

    def _plan(self) -> None:
        view, start_s = self._view(self._finished()), perf_counter()
        try:
            actions, states = planner.plan(self.policy, view, self.states, self._rng)
            spent_s, failure = perf_counter() - start_s, None
            if spent_s > PLAN_LIMIT_S:
                failure = PolicyError(
                    self.policy.name, f"it took {spent_s:.1f} s for a plan, expected at most {PLAN_LIMIT_S:g} s"
                )
        except PolicyError as error:
            spent_s, failure = perf_counter() - start_s, error
        self.decision_s.append(spent_s)
        self._dirty, self._planned_s, self._failure = False, self.fleet.now_s(), failure
        if failure is not None:
            self._fail_plan(view, failure)
            return
        self.states = states
        acts = sum(not isinstance(action, Wait) for action in actions)
        if acts:
            self.journal.append(book.Planned(at_s=view.now_s, decision_s=spent_s, actions=acts))
        self._carry_out(actions)

    def _fail_plan(self, view: View, failure: PolicyError) -> None:
        """Nothing of it is carried out, the policy remembers what it did before, and the tasks wait for the next."""
        log.warning("%s", failure)
        self.failed_plans += 1
        self._not_before_s = self._planned_s + RETRY_S
        self.journal.append(
            book.PlanFailed(
                at_s=view.now_s, decision_s=self.decision_s[-1], policy=failure.policy, reason=failure.reason
            )
        )

    def _carry_out(self, actions: list[Action]) -> None:
        placed: dict[int, dict[int, int]] = {}
        moved: dict[int, dict[int, int]] = {}
        for action in actions:
            match action:
                case Decide():
                    self._decide(action)
                case Evict(fragment=fragment, device=device):
                    self.dispatcher.evict(fragment, device)
                case Place(task=task, fragment=fragment, device=device):
                    placed.setdefault(task, {})[fragment] = device
                case Migrate(task=task, fragment=fragment, device=device):
                    moved.setdefault(task, {})[fragment] = device
        for task, devices in moved.items():
            self.dispatcher.migrate(self.tasks[task], devices)
        for task, devices in placed.items():
            live = self.tasks[task]
            assert live.decision is not None
            # Half a pipeline would hold memory that another half waits for: all of it, or none for now.
            if devices.keys() == set(self.statics.splits.fragments(live.decision.split)):
                self.dispatcher.start(live, devices)

    def _decide(self, action: Decide) -> None:
        live = self.tasks[action.task]
        live.decision, live.demand = action, self.demand.splits[action.split]
        split = live.split
        self.journal.append(
            book.Decided(at_s=self.fleet.now_s(), task=action.task, split=split.reference, strategy=split.strategy)
        )

    def _stage(self, live: Live) -> str:
        """What a task that took too long was waiting for."""
        if live.job is None and self._failure is not None:
            return str(self._failure)
        if live.job is None:
            return "it found no place on the devices' memory"
        if live.job.started_s is None:
            return f"its devices {sorted(set(live.job.devices.values()))} were not ready"
        behind = [
            f"{name} on {live.job.devices[name]}" for name, done in live.job.done.items() if done < live.job.total
        ]
        return f"still running {', '.join(behind) or 'nothing, but an answer is missing'}"
