"""Asks the policy, in a thread of its own: it is somebody's code, and however long it thinks, the loop goes on."""

import queue
import threading
from collections.abc import Callable
from dataclasses import dataclass
from time import perf_counter
from typing import Any

import numpy as np

from splitplace.errors import PolicyError, SplitPlaceError
from splitplace.placement import plan as planner
from splitplace.placement.policy import Policy
from splitplace.records.action import Action, Wait
from splitplace.records.view import View

PLAN_LIMIT_S = 10.0
"""A plan that took longer fails: it is of a fleet that is no more."""


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
        self._views: queue.SimpleQueue[tuple[int, View] | None] = queue.SimpleQueue()
        self._start()

    def _start(self) -> None:
        threading.Thread(target=self._run, args=(self._views,), name="broker-plan", daemon=True).start()

    @property
    def busy(self) -> bool:
        """Whether a plan is under way."""
        return self._asked is not None

    def ask(self, view: View, told: int) -> None:
        """Have a plan made of this view, of which nothing may change any more."""
        assert not self.busy, "one plan at a time"
        self._round += 1
        self._asked = told, perf_counter()
        self._views.put((self._round, view))

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
            self._views.put(None)  # to the thread that is left behind: end, whenever you are done
            self._views = queue.SimpleQueue()
            self._start()
            return self._late(told, perf_counter() - since_s)
        return None

    def close(self) -> None:
        """Let the thread end."""
        self._views.put(None)

    def _late(self, told: int, spent_s: float) -> PlanAnswer:
        said = f"it took {spent_s:.1f} s for a plan, expected at most {PLAN_LIMIT_S:g} s"
        return PlanAnswer(told, spent_s, failure=PolicyError(self.policy.name, said))

    def _run(self, views: "queue.SimpleQueue[tuple[int, View] | None]") -> None:
        while (asked := views.get()) is not None:
            number, view = asked
            told, states = len(view.finished), self.states
            start_s = perf_counter()
            try:
                actions, states = planner.plan(self.policy, view, states, self.rng)
                answer = PlanAnswer(told, perf_counter() - start_s, tuple(actions))
            except PolicyError as error:
                answer = PlanAnswer(told, perf_counter() - start_s, failure=error)
            except SplitPlaceError as error:
                answer = PlanAnswer(told, perf_counter() - start_s, failure=PolicyError(self.policy.name, str(error)))
            self._answers.put((number, answer, states))
            self._wake()
