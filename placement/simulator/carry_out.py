"""Holds a plan against the rules before anything of it happens, and then carries it out."""

import math
from collections.abc import Sequence

import numpy as np

from splitplace.errors import SplitPlaceError
from splitplace.placement.objective import CONTEXTS
from splitplace.placement.simulator.disruptions import migrate
from splitplace.placement.simulator.engine import SimulationEngine
from splitplace.records.action import Action, Decide, Evict, Migrate, Place, Wait
from splitplace.records.view import NONE


def carry_out(engine: SimulationEngine, actions: Sequence[Action]) -> None:
    """Apply a plan, in its order.

    Raises:
        SplitPlaceError: An action names what is not there, or would overrun a device's memory. The run is over then.
    """
    for action in actions:
        _check_whole(action)
        match action:
            case Decide(task, split):
                _decide(engine, task, split, action)
            case Place(task, fragment, device):
                _place(engine, _container(engine, task, fragment, action), device, action)
            case Migrate(task, fragment, device):
                _migrate(engine, _container(engine, task, fragment, action), device, action)
            case Evict(fragment, device):
                _evict(engine, fragment, device, action)
            case Wait(task, fragment):
                _container(engine, task, fragment, action)
            case _:
                raise SplitPlaceError(f"{action!r} is no action")


def _check_whole(action: Action) -> None:
    numbers = [getattr(action, name) for name in getattr(action, "__slots__", ())]
    if not all(isinstance(number, int | np.integer) for number in numbers):
        raise SplitPlaceError(f"{action!r}: expected whole numbers")


def _late(engine: SimulationEngine) -> bool:
    """Whether a plan takes effect some time after its view: a device may have failed meanwhile, with what it held.

    What that makes void is left out; it waits for the next plan.
    """
    return engine.world.scenario.scheduling_delay_s > 0


def _decide(engine: SimulationEngine, task: int, split: int, action: Decide) -> None:
    splits = engine.world.costs.splits
    if task not in engine.active or engine.tasks.split[task] != NONE:
        raise SplitPlaceError(f"task {task} is not there or decided already")
    if not 0 <= split < len(splits.references):
        raise SplitPlaceError(f"task {task}: split {split} does not exist, there are {len(splits.references)}")
    if splits.application_S[split] != engine.world.application_N[task]:
        raise SplitPlaceError(f"task {task}: {splits.references[split]} is a split of another application")
    if not 0 <= action.context < len(CONTEXTS):
        raise SplitPlaceError(f"{action}: expected a context of 0 or 1")
    engine.decide(task, split, action.tag, action.context)


def _container(engine: SimulationEngine, task: int, fragment: int, action: Action) -> int:
    if task not in engine.active or engine.tasks.split[task] == NONE:
        raise SplitPlaceError(f"{action}: no such decided task")
    rows = engine.world.costs.splits.fragments(engine.tasks.split[task])
    if fragment not in rows:
        raise SplitPlaceError(f"{action}: the task's split has the fragments {rows.start}..{rows.stop - 1}")
    return engine.tasks.first_c[task] + fragment - rows.start


def _place(engine: SimulationEngine, c: int, device: int, action: Action) -> None:
    if engine.containers.device[c] != NONE:
        raise SplitPlaceError(f"{action}: it has a device already")
    if not engine.containers.queued[c]:
        if _late(engine):
            return  # whoever made its inputs failed
        raise SplitPlaceError(f"{action}: its inputs do not exist yet")
    if _takes(engine, c, device, action):
        engine.place(c, device)


def _migrate(engine: SimulationEngine, c: int, device: int, action: Action) -> None:
    containers = engine.containers
    if containers.device[c] == NONE:
        if _late(engine):
            return  # its device failed
        raise SplitPlaceError(f"{action}: it has no device to move from")
    computed = containers.done[c] == engine.tasks.chunks[containers.task[c]]
    # It may have been computed, or have started to move, since the plan's view.
    if computed or containers.moving[c] != NONE or containers.device[c] == device:
        return
    if _takes(engine, c, device, action):
        migrate(engine, c, device)


def _evict(engine: SimulationEngine, fragment: int, device: int, action: Action) -> None:
    if engine.memory.idle(fragment, device):
        engine.evict(fragment, device)
    elif not _late(engine):
        raise SplitPlaceError(f"{action}: no idle weights of it there")


def _takes(engine: SimulationEngine, c: int, device: int, action: Action) -> bool:
    """Whether the device is still up; it must exist, and have the room."""
    if not 0 <= device < len(engine.up):
        raise SplitPlaceError(f"{action}: there are {len(engine.up)} devices")
    if not engine.up[device]:
        if _late(engine):
            return False
        raise SplitPlaceError(f"{action}: {engine.world.devices[device].name} is down")
    fragment = engine.containers.fragment[c]
    if math.isinf(engine.memory.need(fragment, device)):
        raise SplitPlaceError(f"{action}: {engine.world.devices[device].name} has no image of it on its disk")
    if not engine.memory.fits(fragment, device):
        free = engine.memory.limit_D[device] - engine.memory.used[device]
        raise SplitPlaceError(
            f"{action}: {engine.world.devices[device].name} has {free:.0f} bytes free, it needs "
            f"{engine.memory.need(fragment, device):.0f}"
        )
    return True
