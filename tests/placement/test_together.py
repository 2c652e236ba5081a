"""Every decider with every placer on the measured demand; and how much work a plan is."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from splitplace.placement import plan as planning
from splitplace.placement.registry import DECIDERS, PLACERS, parse_policy
from splitplace.placement.simulator.demands import load_demand
from splitplace.placement.simulator.run import simulate
from splitplace.placement.simulator.shipped import load_fleet, load_scenario


@pytest.mark.slow
@pytest.mark.parametrize("decider", sorted(DECIDERS.shipped))
def test_any_decider_composes_with_any_placer(decider: str) -> None:
    """Ten devices, three intervals, about two tasks each: the simulator checks every action, MC's and Gillis's too."""
    scenario = load_scenario("measured-50")
    workload = scenario.workload.model_copy(update={"utilisation": None, "rate": 2.0})
    scenario = scenario.model_copy(update={"workload": workload, "startup_s": 0.0})
    fleet, demand = load_fleet("azure10"), load_demand("measured")
    for placer in sorted(PLACERS.shipped):
        run = simulate(scenario, fleet, demand, parse_policy(f"{decider}+{placer}"), 3, seed=1, strict=True)
        assert run.metrics.tasks.arrived > 0
        if decider == "compressed":
            assert set(run.metrics.decisions) == {"compressed"}
        if decider == "gillis":
            assert set(run.metrics.decisions) <= {"compressed", "layer"}


@pytest.mark.slow
@pytest.mark.parametrize("placer", ["daso", "daso-tasks"])
def test_a_plan_of_daso_takes_at_most_ten_thousand_calls(
    monkeypatch: pytest.MonkeyPatch, placer: str, calls: Callable[[Callable[[], object]], int]
) -> None:
    """The median plan of 30 intervals for azure50 at λ = 6; `bench placement` has the milliseconds."""
    made: list[int] = []
    inner: Callable[..., Any] = planning.plan

    def counted(*arguments: Any) -> Any:
        answers: list[Any] = []
        made.append(calls(lambda: answers.append(inner(*arguments))))
        return answers[0]

    monkeypatch.setattr(planning, "plan", counted)
    scenario, fleet, demand = load_scenario("paper-50"), load_fleet("azure50"), load_demand("upstream")
    simulate(scenario, fleet, demand, parse_policy(f"mab+{placer}"), 30)
    assert len(made) == 30
    assert np.median(made) <= 10_000
