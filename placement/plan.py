"""The one pure function that simulator and broker both call (Algorithm 1).

    leaving tasks  ->  decider.update  (lines 3-6)
    new tasks      ->  decider.decide  (lines 7-10)
    waiting + new  ->  placer.place    (lines 11-12)

It touches no clock, no network and no global; what it answers, the caller carries out.
"""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from splitplace.placement.policy import Leaving, Policy, Request, Taken
from splitplace.records.action import Action, Decide
from splitplace.records.view import NONE, View


@dataclass(frozen=True, eq=False)
class States:
    """What a policy remembers between two plans."""

    decider: Any
    placer: Any


def init(policy: Policy, view: View) -> States:
    """The states of a policy that has seen nothing; of the view, only static tables are read."""
    return States(policy.decider.init(view), policy.placer.init(view))


def plan(
    policy: Policy, view: View, states: States, rng: np.random.Generator, ahead: bool = True
) -> tuple[list[Action], States]:
    """Decide every undecided task and place every fragment without a device.

    Args:
        policy: The decider and placer to ask.
        view: The environment now. `view.finished` is taken in exactly once: pass each finished task to one plan only.
        states: What `init` or the last plan answered.
        rng: The only source of randomness.
        ahead: Whether a fragment gets its device before its inputs exist; if not, only ready ones are asked for.

    Returns:
        The decisions first, then placements; and the states for the next plan.
    """
    leaving = Leaving(view, view.finished)
    decider = policy.decider.update(states.decider, leaving)
    placer = policy.placer.update(states.placer, leaving)

    decided = policy.decider.decide(decider, view, rng)
    _check_decisions(policy, view, decided)
    taken = Taken(view, tuple(decided))
    decider = policy.decider.update(decider, taken)
    placer = policy.placer.update(placer, taken)

    requests = _requests(view, decided, ahead)
    placed = policy.placer.place(placer, view, requests, rng)
    return [*decided, *placed], replace(states, decider=decider, placer=placer)


def _check_decisions(policy: Policy, view: View, decided: list[Decide]) -> None:
    wanted = sorted(int(task) for task in view.tasks.id_T[view.tasks.undecided])
    assert sorted(decision.task for decision in decided) == wanted, (
        f"{policy.decider.name} must decide each of the tasks {wanted} once, got {decided}"
    )


def _requests(view: View, decided: list[Decide], ahead: bool) -> list[Request]:
    """The waiting containers, oldest task first, then those of the tasks just decided."""
    waiting: dict[int, list[int]] = {}
    may_have = view.containers.device_C == NONE
    if not ahead:
        may_have &= view.containers.ready_C
    for row in np.flatnonzero(may_have):
        waiting.setdefault(int(view.containers.task_C[row]), []).append(int(view.containers.fragment_C[row]))
    requests = [Request(task, int(view.tasks.split_T[task]), tuple(rows)) for task, rows in waiting.items()]
    requests.sort(key=lambda request: -view.tasks.age_s_T[request.task])
    row_of = {int(task): row for row, task in enumerate(view.tasks.id_T)}
    later = set() if ahead else set(view.fragments.edge_dst_X[view.fragments.edge_src_X != NONE].tolist())
    for decision in decided:
        fragments = tuple(row for row in view.splits.fragments(decision.split) if row not in later)
        requests.append(Request(row_of[decision.task], decision.split, fragments))
    return requests
