"""The one pure function that simulator and broker both call (Algorithm 1).

    leaving tasks  ->  update  (lines 3-6)
    new tasks      ->  decide  (lines 7-10), update
    waiting + new  ->  place   (lines 11-12)
    placements     ->  update  (line 14 needs to know them)

It touches no clock, no network and no global; what it answers has been held against the rules, as a whole and against
the view it was made of, and the caller carries it out. A policy is somebody's code: one that raises or breaks a rule
fails its own plan, by name, and whoever runs it goes on. How long it may take is for the caller to say: a fleet
measures it, in a simulator a wall clock would make the results depend on the machine.
"""

import threading
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from itertools import islice
from typing import Any, TypeVar

import numpy as np

from splitplace.errors import ContractError, PolicyError, SplitPlaceError, raised
from splitplace.placement.plan_rules import check_decisions, check_plan
from splitplace.placement.policy import Leaving, Placed, PlacementRequest, Policy, Taken
from splitplace.records.action import Action, Decide, Wait
from splitplace.records.view import NONE, Floats, Ints, View

ActionT = TypeVar("ActionT", bound=Action)


def first_state(policy: Policy, view: View, make: Callable[[View], Any] | None = None) -> Any:
    """What the policy remembers before anything was seen; or what `make` says that it does.

    Raises:
        PolicyError: It raised something of its own.
        SplitPlaceError: It says what it lacks.
    """
    _keep(view)
    try:
        return (make or policy.init)(view)
    except SplitPlaceError:
        raise
    except BaseException as error:  # somebody's code: it may raise anything
        if _is_the_users(error):
            raise
        raise PolicyError(policy.name, raised(error)) from error


def plan(
    policy: Policy, view: View, state: Any, rng: np.random.Generator, ahead: bool = True
) -> tuple[list[Action], Any]:
    """Decide every undecided task and place every fragment without a device.

    Args:
        policy: What to ask.
        view: The environment now. `view.finished` is taken in exactly once: pass each finished task to one plan only,
            also if that plan fails (it may have failed of them).
        state: What `policy.init` or the last plan that did not fail answered.
        rng: The only source of randomness.
        ahead: Whether a fragment gets its device before its inputs exist; if not, only ready ones are asked for.

    Returns:
        The decisions first, then placements; and the state for the next plan.

    Raises:
        PolicyError: The policy raised, or answered what breaks a rule: nothing of this plan is to be carried out.
        SplitPlaceError: The view has a number that is none.
    """
    check(view)
    _keep(view)
    try:
        state = policy.update(state, Leaving(view, view.finished))
        # What is answered may be made while it is read, and without end: one more than can be right breaks a rule.
        decided = list(islice(policy.decide(state, view, rng), len(view.tasks.undecided) + 1))
        check_decisions(view, decided)
        decided = [_plain(action) for action in decided]
        state = policy.update(state, Taken(view, tuple(decided)))

        requests = _requests(view, decided, ahead)
        asked = sum(len(request.fragments) for request in requests)
        most = asked + len(view.containers.task_C) + view.devices.idle_FD.size
        placed = list(islice(policy.place(state, view, list(requests), rng), most + 1))
        check_plan(view, [*decided, *placed], requests)
        placed = [_plain(action) for action in placed]
        return [*decided, *placed], policy.update(state, Placed(view, tuple(decided), tuple(placed)))
    except BaseException as error:
        if _is_the_users(error):
            raise
        raise PolicyError(policy.name, raised(error)) from error


def _is_the_users(error: BaseException) -> bool:
    """Whether it is Ctrl-C, which comes to the main thread alone: in any other the policy has raised it."""
    return isinstance(error, KeyboardInterrupt) and threading.current_thread() is threading.main_thread()


def _keep(view: View) -> None:
    """Have every table of the view refuse to be written to.

    Some are those that the environment goes by, for all plans of a run: a policy that notes down there what it has
    given away would change what fragments cost, or the memory that its own plan is held against.
    """
    for part in (view.devices, view.links, view.splits, view.fragments, view.tasks, view.containers, view.finished):
        for table in vars(part).values():
            if isinstance(table, np.ndarray):
                table.setflags(write=False)


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
        raise ContractError(f"the view's {name} of {names[row]} is {values[row]}, expected a finite number")


def check_actions(view: View, actions: Sequence[Action], ahead: bool = True) -> None:
    """Hold a whole plan against the rules, in its order; whoever carries it out need not look again.

    Every undecided task is decided once, as a split on offer for its application. Every fragment that may have a device
    is placed or waits, once; one that has a device may move, once, and takes memory there while it still has it here.
    Devices are up, and no placement needs more memory than is free at its turn: `Room` is the account. Only idle
    weights are unloaded.

    Args:
        view: What the plan was made of.
        actions: The plan.
        ahead: As `plan` has it.

    Raises:
        ContractError: The first rule that is broken, and by which action.
    """
    decided = [action for action in actions if isinstance(action, Decide)]
    check_decisions(view, decided)  # before anything is made of them
    check_plan(view, actions, _requests(view, decided, ahead))


def _plain(action: ActionT) -> ActionT:
    """The same with Python's whole numbers in place of numpy's, which no journal and no JSON takes."""
    if isinstance(action, Wait) and type(action.task) is type(action.fragment) is int:
        return action  # of thousands that wait
    numbers = [getattr(action, name) for name in action.__slots__]
    if all(type(number) is int for number in numbers):
        return action
    plain: dict[str, Any] = dict(zip(action.__slots__, map(int, numbers), strict=True))
    return replace(action, **plain)


def _requests(view: View, decided: Iterable[Decide], ahead: bool) -> list[PlacementRequest]:
    """The waiting containers, oldest task first, then those of the tasks just decided."""
    c, waiting = view.containers, dict[int, list[int]]()
    may_have = c.device_C == NONE
    if not ahead:
        may_have &= c.ready_C
    for task, fragment in zip(c.task_C[may_have].tolist(), c.fragment_C[may_have].tolist(), strict=True):
        waiting.setdefault(task, []).append(fragment)
    requests = [PlacementRequest(task, int(view.tasks.split_T[task]), tuple(rows)) for task, rows in waiting.items()]
    requests.sort(key=lambda request: -view.tasks.age_s_T[request.task])
    row_of = {task: row for row, task in enumerate(view.tasks.id_T.tolist())}
    later = set() if ahead else set(view.fragments.edge_dst_X[view.fragments.edge_src_X != NONE].tolist())
    for decision in decided:
        fragments = tuple(row for row in view.splits.fragments(decision.split) if row not in later)
        requests.append(PlacementRequest(row_of[decision.task], decision.split, fragments))
    return requests
