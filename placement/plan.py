"""The one pure function that simulator and broker both call (Algorithm 1).

    leaving tasks  ->  update  (lines 3-6)
    new tasks      ->  decide  (lines 7-10), update
    waiting + new  ->  place   (lines 11-12)
    placements     ->  update  (line 14 needs to know them)

It touches no clock, no network and no global; what it answers, the caller carries out.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from splitplace.errors import SplitPlaceError
from splitplace.placement.policy import Leaving, Placed, PlacementRequest, Policy, Taken
from splitplace.records.action import Action, Decide
from splitplace.records.view import NONE, Floats, Ints, View


def plan(
    policy: Policy, view: View, state: Any, rng: np.random.Generator, ahead: bool = True
) -> tuple[list[Action], Any]:
    """Decide every undecided task and place every fragment without a device.

    Args:
        policy: What to ask.
        view: The environment now. `view.finished` is taken in exactly once: pass each finished task to one plan only.
        state: What `policy.init` or the last plan answered.
        rng: The only source of randomness.
        ahead: Whether a fragment gets its device before its inputs exist; if not, only ready ones are asked for.

    Returns:
        The decisions first, then placements; and the state for the next plan.

    Raises:
        SplitPlaceError: A view with numbers that are none; and whatever the policy raises, as it is.
    """
    check(view)
    state = policy.update(state, Leaving(view, view.finished))
    decided = policy.decide(state, view, rng)
    _check_decisions(policy, view, decided)
    state = policy.update(state, Taken(view, tuple(decided)))

    placed = policy.place(state, view, _requests(view, decided, ahead), rng)
    state = policy.update(state, Placed(view, tuple(decided), tuple(placed)))
    return [*decided, *placed], state


def check(view: View) -> None:
    """Refuse a view with numbers that are none: a policy that learned from them would never be right again.

    Raises:
        SplitPlaceError: Names the field and the device or task.
    """
    devices, links, tasks, left = view.devices, view.links, view.tasks, view.finished
    names = devices.names
    for field in ("memory_bytes_D", "memory_used_bytes_D", "cpu_D", "net_D", "disk_D", "backlog_s_D", "energy_j_D"):
        _finite(getattr(devices, field), field, names)
    for field in ("up_bytes_per_s_D", "down_bytes_per_s_D", "rtt_s_D"):
        _finite(getattr(links, field), field, names)
    _finite(tasks.deadline_s_T, "deadline_s_T", tasks.id_T)
    for field in ("response_s_E", "deadline_s_E"):
        _finite(getattr(left, field), field, left.id_E)


def _finite(values: Floats, field: str, names: Sequence[object] | Ints) -> None:
    if not np.isfinite(values).all():
        row = int(np.flatnonzero(~np.isfinite(values))[0])
        name = field.rpartition("_")[0]
        raise SplitPlaceError(f"the view's {name} of {names[row]} is {values[row]}, expected a finite number")


def _check_decisions(policy: Policy, view: View, decided: list[Decide]) -> None:
    wanted = sorted(int(task) for task in view.tasks.id_T[view.tasks.undecided])
    assert sorted(decision.task for decision in decided) == wanted, (
        f"{policy.name} must decide each of the tasks {wanted} once, got {decided}"
    )


def _requests(view: View, decided: list[Decide], ahead: bool) -> list[PlacementRequest]:
    """The waiting containers, oldest task first, then those of the tasks just decided."""
    waiting: dict[int, list[int]] = {}
    may_have = view.containers.device_C == NONE
    if not ahead:
        may_have &= view.containers.ready_C
    for row in np.flatnonzero(may_have):
        waiting.setdefault(int(view.containers.task_C[row]), []).append(int(view.containers.fragment_C[row]))
    requests = [PlacementRequest(task, int(view.tasks.split_T[task]), tuple(rows)) for task, rows in waiting.items()]
    requests.sort(key=lambda request: -view.tasks.age_s_T[request.task])
    row_of = {int(task): row for row, task in enumerate(view.tasks.id_T)}
    later = set() if ahead else set(view.fragments.edge_dst_X[view.fragments.edge_src_X != NONE].tolist())
    for decision in decided:
        fragments = tuple(row for row in view.splits.fragments(decision.split) if row not in later)
        requests.append(PlacementRequest(row_of[decision.task], decision.split, fragments))
    return requests
