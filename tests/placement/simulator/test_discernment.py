"""Whether a scenario can tell policies apart is said in words."""

import pytest

from splitplace.placement.policy import Composed
from splitplace.placement.registry import as_policy, parse_policy
from splitplace.placement.simulator.discernment import indifference
from splitplace.placement.simulator.run import simulate
from splitplace.placement.simulator.scenario import Workload
from splitplace.records.action import Wait

pytestmark = pytest.mark.base


def said(world, rate, deadline, policy="layer+random", core_s=(10.0,), intervals=20, spread=True):
    """Of two devices that get so many tasks of 10 s each in 100 s, a chain or a model of half its work."""
    demand = world.constants(
        {"core_s": core_s}, {"core_s": tuple(s / 2 for s in core_s), "strategy": "compressed"}, micro_batch=10
    )
    workload = Workload(rate=rate, spread=spread, batch=(1000, 1000), deadline_relative=deadline)
    scenario, fleet = world.scenario(workload=workload), world.fleet(world.device(count=2))
    run = simulate(scenario, fleet, demand, as_policy(policy), intervals, 3)
    return indifference(scenario, fleet, demand, run, 3)


class Waiting:
    """Places nothing, ever."""

    name = "waiting"

    def init(self, view):
        """Remembers nothing."""

    def update(self, state, feedback):
        """Learns nothing."""

    def place(self, state, view, requests, rng):
        """All wait."""
        return [Wait(int(view.tasks.id_T[one.task]), part) for one in requests for part in one.fragments]


def test_a_fleet_that_idles(world):
    """One task of 10 s in 100 s on two cores: about 5 % of the time."""
    assert "are busy for 4.2%" in said(world, 1.0, (0.3, 2.0))


def test_deadlines_that_nobody_misses(world):
    """Ten of them, with thirty times the time that they need."""
    assert said(world, 10.0, (30.0, 40.0)) == "no task is late under layer+least-loaded nor under " + (
        "compressed+least-loaded"
    )


def test_deadlines_that_a_fixed_rule_misses(world):
    """Whoever runs whole chains is late now and then; the half models are not."""
    assert said(world, 12.0, (1.0, 3.0), "compressed+least-loaded") is None
    assert said(world, 12.0, (1.0, 3.0)) is None


def test_deadlines_that_nobody_can_meet(world):
    """Half of what the quicker of the two takes alone; that these come one by one goes without saying."""
    assert said(world, 10.0, (0.1, 0.25)) == (
        "every task is late, under layer+least-loaded, compressed+least-loaded as well: lower the load, or give tasks "
        "more time"
    )


def test_deadlines_that_nobody_can_meet_of_tasks_that_come_at_once(world):
    """There a way out is to have them come one by one."""
    reason = said(world, 10.0, (0.1, 0.25), spread=False)
    assert reason.endswith("; all tasks of an interval come at its start, unless spread = true")


def test_a_fleet_that_idles_because_its_policy_does(world):
    """All wait for ever, past their deadlines: of the scenario that says nothing."""
    assert said(world, 1.0, (0.3, 2.0), Composed(parse_policy("layer+random").decider, Waiting())) is None


def test_a_run_without_a_task_says_nothing(world):
    """There is nothing to judge."""
    assert said(world, 1e-9, (1.0, 2.0)) is None


def test_a_run_that_has_hardly_begun_says_nothing(world):
    """Four intervals of the fleet that idles."""
    assert said(world, 1.0, (0.3, 2.0), intervals=4) is None
    assert said(world, 1.0, (0.3, 2.0), intervals=5) is not None
