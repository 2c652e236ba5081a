"""One task at a time on an idle fleet: policies do there what they do in the simulator, action for action.

How long a task takes beside its simulated time judges the machine: `splitplace bench testbed` has that.
"""

import pytest

from splitplace.benchmarks.live_and_simulated import measured, simulated
from splitplace.placement.placers.least_loaded import LeastLoaded
from splitplace.placement.policy import Composed
from splitplace.placement.registry import parse_policy
from splitplace.records.action import Evict

pytestmark = pytest.mark.slow
TASKS = (("toy", 9), ("other", 4), ("toy", 1), ("toy", 30), ("other", 9))
"""Application and images."""


@pytest.fixture
def both(toy, catalog, images):
    """What a policy planned on a fleet, and what it planned in the simulator."""

    def run(graphs, devices, policy, precedence):
        demand, folder = toy.demand_of(*graphs), catalog(*graphs)
        tasks = [(application, images(n)) for application, n in TASKS]
        live, _ = measured(devices, demand, folder, policy, precedence, tasks)
        planned, _ = simulated(devices, demand, policy, precedence, TASKS)
        return live, planned

    return run


@pytest.mark.parametrize(
    ("policy", "precedence", "room"),
    [
        ("layer+least-loaded", "pipelined", 12),
        ("layer+least-loaded", "strict", 4),
        ("semantic+least-loaded", "strict", 12),
        ("semantic+least-loaded", "pipelined", 4),
    ],
)
def test_the_same_actions_on_a_fleet_as_simulated(toy, both, policy, precedence, room):
    """Chains and trees of two applications on three unequal devices; where memory is tight, the same ones give way."""
    graphs = [make(name) for make in (toy.chain, toy.tree) for name in ("toy", "other")]
    devices = tuple(
        toy.make_device(name, room).model_copy(update={"core_speed": speed})
        for name, speed in (("fast", 1.0), ("middle", 0.6), ("slow", 0.3))
    )
    live, planned = both(graphs, devices, parse_policy(policy), precedence)
    assert live == planned
    assert len(live) == len(TASKS)
    gave_way = any(isinstance(action, Evict) for plan in live for action in plan)
    assert gave_way == (policy.startswith("semantic") and room == 4)


def test_a_difference_would_be_seen(toy, both):
    """A placer that was told a thing of only one of the two does not pass: the second that asks is the other."""
    asked = []

    class Partial(LeastLoaded):
        def init(self, view):
            asked.append(view)
            return len(asked), super().init(view)

        def update(self, state, feedback):
            return state[0], super().update(state[1], feedback)

        def place(self, state, view, requests, rng):
            actions = super().place(state[1], view, requests, rng)
            return actions if state[0] == 1 else actions[::-1]

    graphs, devices = (toy.chain("toy"), toy.chain("other")), (toy.make_device("a"), toy.make_device("b"))
    policy = Composed(parse_policy("layer+random").decider, Partial())
    live, planned = both(graphs, devices, policy, "pipelined")
    assert live != planned
