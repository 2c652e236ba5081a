"""Asks the policy, in a thread of its own: it is somebody's code, and however long it thinks, the loop goes on.

What it remembers is packed and kept there as well, between two plans: that is its code, too, and waits for the disk.
"""

import logging
import queue
import threading
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from time import perf_counter
from typing import Any

import numpy as np

from splitplace.errors import PolicyError, SplitPlaceError
from splitplace.placement import plan as planner
from splitplace.placement.policy import Policy
from splitplace.records.action import Action, Wait
from splitplace.records.view import View

log = logging.getLogger(__name__)

PLAN_LIMIT_S = 10.0
"""A plan that took longer fails: it is of a fleet that is no more."""
MOST_LEFT_BEHIND = 4
"""Threads in which the policy still thinks of plans that failed for that: with so many it is not asked again."""
KEEP_LIMIT_S = 10.0
"""For how long it is waited at the end until what the policy remembers is kept."""

Keeper = Callable[[Policy, Any, np.random.Generator], None]
"""Packs what a policy remembers, which is the policy's own code, and keeps it. It raises nothing."""


@dataclass(frozen=True, eq=False)
class PlanAnswer:
    """What came of asking."""

    told: int
    """How many of the tasks that left the view showed."""
    decision_s: float
    actions: tuple[Action, ...] = ()
    failure: PolicyError | None = None

    @property
    def acts(self) -> list[Action]:
        """All that is more than to wait."""
        return [action for action in self.actions if not isinstance(action, Wait)]


class Planner:
    """One policy and what it remembers; asked for one plan at a time.

    Args:
        policy: Decides and places.
        states: What it remembers.
        rng: Its randomness.
        wake: Called from the planner's thread when there is an answer.
    """

    def __init__(self, policy: Policy, states: Any, rng: np.random.Generator, wake: Callable[[], None]):
        self.policy, self.states, self.rng, self._wake = policy, states, rng, wake
        self._asked: tuple[int, float] | None = None
        """How many departures the plan under way was told, and since when it is."""
        self._round = 0
        self._answers: queue.SimpleQueue[tuple[int, PlanAnswer, Any]] = queue.SimpleQueue()
        self._left_behind: list[threading.Thread] = []
        self._start()

    def _start(self) -> None:
        self._work: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._kept = threading.Event()
        self._kept.set()
        thread = threading.Thread(target=_run, args=(self._work,), name="broker-plan", daemon=True)
        thread.start()
        self._thread = thread

    def _not_ready(self) -> str:
        """Why no thread listens, if none does; in place of one that was left behind another begins."""
        if self._thread not in self._left_behind:
            return ""
        still = [thread for thread in self._left_behind if thread.is_alive()]
        if len(still) >= MOST_LEFT_BEHIND:
            return f"it still thinks of {len(still)} plans before: it is asked again when one has ended"
        try:
            self._start()
        except RuntimeError as error:  # none is to be had now
            return f"it cannot be asked now: {error}"
        self._left_behind = still
        return ""

    @property
    def busy(self) -> bool:
        """Whether a plan is under way."""
        return self._asked is not None

    def ask(self, view: View, told: int) -> None:
        """Have a plan made of this view, of which nothing may change any more."""
        assert not self.busy, "one plan at a time"
        self._round += 1
        self._asked = told, perf_counter()
        if said := self._not_ready():
            self._put(self._round, PlanAnswer(told, 0.0, failure=PolicyError(self.policy.name, said)), self.states)
            return
        self._work.put(partial(self._plan, self._round, view, self.states))

    def keep(self, keeper: Keeper) -> None:
        """Have what the policy remembers kept, unless it is being kept; while no plan is under way."""
        assert not self.busy, "what it remembers is changing"
        if self._kept.is_set() and not self._not_ready():
            self._kept.clear()
            self._work.put(partial(self._keep, keeper, self.states, self._kept))

    def take(self) -> PlanAnswer | None:
        """The answer, if there is one. A policy that thinks for too long is not waited for: its answer is dropped."""
        while not self._answers.empty():
            number, answer, states = self._answers.get()
            if number == self._round and self._asked is not None:
                self._asked = None
                if answer.decision_s > PLAN_LIMIT_S:
                    return self._late(answer.told, answer.decision_s)
                if answer.failure is None:
                    self.states = states
                return answer
        if self._asked is not None and perf_counter() - self._asked[1] > PLAN_LIMIT_S:
            (told, since_s), self._asked = self._asked, None
            self._work.put(None)  # to the thread that is left behind: end, whenever you are done
            self._left_behind.append(self._thread)
            return self._late(told, perf_counter() - since_s)
        return None

    def close(self, keeper: Keeper | None = None) -> None:
        """Let the thread end; first, if no plan is under way, what the policy remembers is kept."""
        if keeper is not None and not self.busy:
            self.keep(keeper)
            if not self._kept.wait(KEEP_LIMIT_S):
                log.warning("policy %s: what it remembers was not saved within %g s", self.policy.name, KEEP_LIMIT_S)
        self._work.put(None)

    def _late(self, told: int, spent_s: float) -> PlanAnswer:
        said = f"it took {spent_s:.1f} s for a plan, expected at most {PLAN_LIMIT_S:g} s"
        return PlanAnswer(told, spent_s, failure=PolicyError(self.policy.name, said))

    def _plan(self, number: int, view: View, states: Any) -> None:
        told, start_s = len(view.finished), perf_counter()
        try:
            actions, states = planner.plan(self.policy, view, states, self.rng)
            answer = PlanAnswer(told, perf_counter() - start_s, tuple(actions))
        except PolicyError as error:
            answer = PlanAnswer(told, perf_counter() - start_s, failure=error)
        except SplitPlaceError as error:
            answer = PlanAnswer(told, perf_counter() - start_s, failure=PolicyError(self.policy.name, str(error)))
        self._put(number, answer, states)

    def _put(self, number: int, answer: PlanAnswer, states: Any) -> None:
        self._answers.put((number, answer, states))
        self._wake()

    def _keep(self, keeper: Keeper, states: Any, kept: threading.Event) -> None:
        try:
            keeper(self.policy, states, self.rng)
        finally:
            kept.set()


def _run(work: "queue.SimpleQueue[Callable[[], None] | None]") -> None:
    while (job := work.get()) is not None:
        job()
