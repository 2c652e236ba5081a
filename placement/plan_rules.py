"""The rules that a plan is held against, in its order: `plan.check_actions` says which they are.

Room is the memory that is free at an action's turn, in the account of `room.py`.
"""

from collections.abc import Iterable, Sequence

import numpy as np

from splitplace.errors import ContractError
from splitplace.placement.objective import CONTEXTS
from splitplace.placement.policy import PlacementRequest
from splitplace.placement.room import Room
from splitplace.records.action import Action, Decide, Evict, Migrate, Place, Wait
from splitplace.records.view import NONE, View

WHOLE = (int, np.integer)
"""What a number of an action may be."""


def check_plan(view: View, actions: Sequence[Action], requests: Sequence[PlacementRequest]) -> None:
    """Hold a whole plan against the rules, given what its decisions leave to be placed.

    Raises:
        ContractError: The first rule that is broken, and by which action.
    """
    decided = [action for action in actions if isinstance(action, Decide)]
    check_decisions(view, decided)
    rules = _Rules(view, decided, requests)
    for action in actions:
        if not (type(action) is Wait and rules.waits(action)):
            rules.hold(action)
    rules.end()


def check_decisions(view: View, decided: Iterable[Decide]) -> None:
    """Hold the decisions of a plan against the rules.

    Raises:
        ContractError: The first rule that is broken, and by which of them; or a task that is not decided.
    """
    tasks, splits = view.tasks, view.splits
    application = dict(zip(tasks.id_T.tolist(), tasks.application_T.tolist(), strict=True))
    undecided = set(tasks.id_T[tasks.undecided].tolist())
    for action in decided:
        if not isinstance(action, Decide):
            raise ContractError(f"{action!r} is no action that decides")
        _check_whole(action)
        if action.task not in undecided:
            raise ContractError(f"{action}: task {action.task} is not there or decided already")
        if not 0 <= action.split < len(splits.references):
            raise ContractError(f"{action}: split {action.split} does not exist, there are {len(splits.references)}")
        if splits.application_S[action.split] != application[action.task]:
            raise ContractError(f"{action}: {splits.references[action.split]} is a split of another application")
        if not 0 <= action.context < len(CONTEXTS):
            raise ContractError(f"{action}: expected a context of 0 or 1")
        undecided.remove(action.task)
    if undecided:
        raise ContractError(f"task {min(undecided)} is not decided, nor are {len(undecided) - 1} others")


def _check_whole(action: Action) -> None:
    numbers = [getattr(action, name) for name in action.__slots__]
    if not all(
        isinstance(number, WHOLE) and not isinstance(number, bool) and -(2**63) <= number < 2**63 for number in numbers
    ):
        raise ContractError(f"{action!r}: expected whole numbers")


class _Rules:
    """One plan, action after action: who may still act, and the memory left."""

    def __init__(self, view: View, decided: Iterable[Decide], requests: Iterable[PlacementRequest]):
        self.view, self.room = view, Room(view)
        tasks = view.tasks
        self.split_of = dict(zip(tasks.id_T.tolist(), tasks.split_T.tolist(), strict=True))
        self.split_of |= {decision.task: decision.split for decision in decided}
        asked = [(int(tasks.id_T[request.task]), request.fragments) for request in requests]
        self.open = {(task, fragment) for task, fragments in asked for fragment in fragments}
        """The containers, as (task, fragment), that may have a device and have none yet."""
        self.acted: set[tuple[int, int]] = set()

    def waits(self, action: Wait) -> bool:
        """Whether it is one of those that may: of thousands that wait, nothing else needs to be asked."""
        task, fragment = container = action.task, action.fragment
        if not (type(task) is type(fragment) is int and container in self.open):
            return False
        self.open.remove(container)
        self.acted.add(container)
        return True

    def hold(self, action: Action) -> None:
        """One action; it is booked."""
        match action:
            case Decide():
                return  # they come before all others, and are held together
            case Place() | Wait():
                _check_whole(action)
                self._once(action)
                if (action.task, action.fragment) not in self.open:
                    has = self._device(action.task, action.fragment) != NONE
                    why = "it has a device already" if has else "its inputs do not exist yet, or it is done"
                    raise ContractError(f"{action}: {why}")
                self.open.remove((action.task, action.fragment))
                if isinstance(action, Place):
                    self._take(action)
            case Migrate():
                _check_whole(action)
                self._once(action)
                device = self._device(action.task, action.fragment)
                if device == NONE:
                    raise ContractError(f"{action}: it has no device to move from")
                if device != action.device:  # else it stays, and takes nothing
                    self._take(action)
            case Evict():
                _check_whole(action)
                there = 0 <= action.fragment < len(self.view.fragments.split_F)
                self._check_device(action)
                if not there or not self.room.evict(action.fragment, action.device):
                    raise ContractError(f"{action}: no idle weights of it there")
            case _:
                raise ContractError(f"{action!r} is no action")

    def end(self) -> None:
        """Nobody may be forgotten."""
        if self.open:
            task, fragment = min(self.open)
            raise ContractError(
                f"{len(self.open)} fragments have no device and do not wait, as fragment {fragment} of task {task}"
            )

    def _once(self, action: Place | Wait | Migrate) -> None:
        """The container exists, and this is the plan's only word on it."""
        split = self.split_of.get(action.task, NONE)
        if split == NONE:
            raise ContractError(f"{action}: no such decided task")
        rows = self.view.splits.fragments(split)
        if action.fragment not in rows:
            raise ContractError(f"{action}: the task's split has the fragments {rows.start}..{rows.stop - 1}")
        if (action.task, action.fragment) in self.acted:
            raise ContractError(f"{action}: the plan has another action for it already")
        self.acted.add((action.task, action.fragment))

    def _device(self, task: int, fragment: int) -> int:
        containers = self.view.containers
        mine_C = (containers.fragment_C == fragment) & (self.view.tasks.id_T[containers.task_C] == task)
        devices = containers.device_C[mine_C].tolist()
        return int(devices[0]) if devices else NONE

    def _check_device(self, action: Place | Migrate | Evict) -> None:
        names = self.view.devices.names
        if not 0 <= action.device < len(names):
            raise ContractError(f"{action}: there are {len(names)} devices")

    def _take(self, action: Place | Migrate) -> None:
        """Book the memory."""
        self._check_device(action)
        name = self.view.devices.names[action.device]
        if not self.view.devices.up_D[action.device]:
            raise ContractError(f"{action}: {name} is down")
        if np.isinf(self.view.fragments.memory_bytes_FD[action.fragment, action.device]):
            raise ContractError(f"{action}: {name} has no image of it on its disk")
        need, free = self.room.need_bytes(action.fragment, action.device), self.room.free_bytes(action.device)
        if need > free:
            raise ContractError(f"{action}: {name} has {free:.0f} bytes free, it needs {need:.0f}")
        self.room.take(action.fragment, action.device)
