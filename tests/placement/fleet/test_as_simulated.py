"""One task at a time on an idle fleet: policies do there what they do in the simulator, action for action.

How long a task takes beside its simulated time judges the machine: `splitplace bench testbed` has that.
"""

import csv

import pytest

from splitplace.placement.placers.least_loaded import LeastLoaded
from splitplace.placement.policy import Composed
from splitplace.placement.registry import parse_policy
from splitplace.placement.simulator.run import simulate
from splitplace.placement.simulator.scenario import Scenario, Workload
from splitplace.records.action import Evict, Wait
from splitplace.records.device import Fleet

pytestmark = pytest.mark.slow
PATIENCE_S = 120
TASKS = (("toy", 9), ("other", 4), ("toy", 1), ("toy", 30), ("other", 9))
"""Application and images."""


class Noting:
    """A policy that behaves as another, and keeps each plan that does something."""

    def __init__(self, inner):
        self.inner, self.name, self.plans = inner, inner.name, []
        self.init, self.update = inner.init, inner.update

    def decide(self, state, view, rng):
        """As the other."""
        self.decided = self.inner.decide(state, view, rng)
        return self.decided

    def place(self, state, view, requests, rng):
        """As the other."""
        actions = self.inner.place(state, view, requests, rng)
        if any(not isinstance(action, Wait) for action in (*self.decided, *actions)):
            self.plans.append([*self.decided, *actions])
        return actions


def on_a_fleet(start, graphs, devices, policy, precedence, images):
    """What the policy planned, and the order in which tasks got their answers."""
    noting = Noting(policy)
    with start(*graphs, devices=devices, policy=noting, precedence=precedence) as broker:
        for application, n in TASKS:
            assert broker.submit(application, images(n), 60.0).result(PATIENCE_S).outcome.error is None
    return noting.plans


def in_the_simulator(toy, graphs, devices, policy, precedence, path):
    """The same tasks, each long after the one before has finished."""
    with path.open("w", newline="") as lines:
        rows = [(100.0 * (i + 1), application, n, 60.0) for i, (application, n) in enumerate(TASKS)]
        csv.writer(lines).writerows([("arrival_s", "application", "n", "deadline_s"), *rows])
    scenario = Scenario(
        name="idle",
        interval_s=50.0,
        precedence=precedence,
        weights="warm",
        workload=Workload(trace=str(path)),
    )
    noting = Noting(policy)
    fleet = Fleet(name="test", devices=devices)
    run = simulate(scenario, fleet, toy.demand_of(*graphs), noting, intervals=20, strict=True)
    assert run.metrics.tasks.finished == len(TASKS)
    return noting.plans


@pytest.mark.parametrize(
    ("policy", "precedence", "room"),
    [
        ("layer+least-loaded", "pipelined", 12),
        ("layer+least-loaded", "strict", 4),
        ("semantic+least-loaded", "strict", 12),
        ("semantic+least-loaded", "pipelined", 4),
    ],
)
def test_the_same_actions_on_a_fleet_as_simulated(start, toy, images, tmp_path, policy, precedence, room):
    """Chains and trees of two applications on three unequal devices; where memory is tight, the same ones give way."""
    layer, semantic = [toy.chain(name) for name in ("toy", "other")], [toy.tree(name) for name in ("toy", "other")]
    graphs = (*layer, *semantic)
    devices = tuple(
        toy.make_device(name, room).model_copy(update={"core_speed": speed})
        for name, speed in (("fast", 1.0), ("middle", 0.6), ("slow", 0.3))
    )
    live = on_a_fleet(start, graphs, devices, parse_policy(policy), precedence, images)
    simulated = in_the_simulator(toy, graphs, devices, parse_policy(policy), precedence, tmp_path / "trace.csv")
    assert live == simulated
    assert len(live) == len(TASKS)
    if room == 4 and policy.startswith("semantic"):
        assert any(isinstance(action, Evict) for plan in live for action in plan)


def test_a_difference_would_be_seen(start, toy, images, tmp_path):
    """A placer that looks at the clock, which is another one in the simulator, does not pass."""

    class Clocked(LeastLoaded):
        def place(self, state, view, requests, rng):
            actions = super().place(state, view, requests, rng)
            return actions if view.now_s < 50 else actions[::-1]

    graphs, devices = (toy.chain("toy"), toy.chain("other")), (toy.make_device("a"), toy.make_device("b"))
    policy = Composed(parse_policy("layer+random").decider, Clocked())
    live = on_a_fleet(start, graphs, devices, policy, "pipelined", images)
    assert live != in_the_simulator(toy, graphs, devices, policy, "pipelined", tmp_path / "trace.csv")
