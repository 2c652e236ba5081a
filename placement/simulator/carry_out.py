"""Carries a plan out, in its order. `plan` has held it against the rules by the view it was made of.

Where a plan takes effect some time after its view (`scheduling_delay_s`), a device may have failed meanwhile, with what
it held: what that makes void is left out, and waits for the next plan. Memory can only have come free.
"""

from collections.abc import Sequence

from splitplace.placement.simulator.disruptions import migrate
from splitplace.placement.simulator.engine import SimulationEngine
from splitplace.records.action import Action, Decide, Evict, Migrate, Place, Wait
from splitplace.records.view import NONE


def carry_out(engine: SimulationEngine, actions: Sequence[Action]) -> None:
    """Apply a checked plan."""
    late = engine.world.scenario.scheduling_delay_s > 0
    for action in actions:
        if type(action) is Wait:
            continue
        done = _apply(engine, action)
        assert done or late, f"{action} came to nothing: check_actions let it pass"


def _apply(engine: SimulationEngine, action: Action) -> bool:
    """Whether there was still something to do it to."""
    match action:
        case Decide(task, split, tag, context):
            engine.decide(task, split, tag, context)
        case Place(task, fragment, device):
            c = _container(engine, task, fragment)
            if not engine.containers.queued[c] or not engine.up[device]:
                return False  # or whoever made its inputs failed
            engine.place(c, device)
        case Migrate(task, fragment, device):
            return _migrate(engine, _container(engine, task, fragment), device)
        case Evict(fragment, device):
            if not engine.memory.idle(fragment, device):
                return False
            engine.evict(fragment, device)
    return True


def _migrate(engine: SimulationEngine, c: int, device: int) -> bool:
    containers = engine.containers
    if containers.device[c] == NONE or not engine.up[device]:
        return False
    computed = containers.done[c] == engine.tasks.chunks[containers.task[c]]
    # What the view does not show: it may have been computed, or be on its way already; then it goes nowhere else.
    if not computed and containers.moving[c] == NONE and containers.device[c] != device:
        migrate(engine, c, device)
    return True


def _container(engine: SimulationEngine, task: int, fragment: int) -> int:
    first = int(engine.world.costs.splits.first_S[engine.tasks.split[task]])
    return engine.tasks.first_c[task] + fragment - first
