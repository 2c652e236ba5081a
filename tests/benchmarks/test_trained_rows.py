"""Learners of the paper's experiments start from a state that fits where they run: from the files, without a cell."""

from functools import cache
from pathlib import Path

import pytest

from splitplace.benchmarks.experiment import load_experiment
from splitplace.benchmarks.grid import _first_state, at_load
from splitplace.benchmarks.grid_scenario import GridScenario
from splitplace.placement import states as store
from splitplace.placement.registry import parse_policy
from splitplace.placement.simulator.run import simulate
from splitplace.placement.trained_for import TrainedFor

EXPERIMENTS = ["table4", "fig9", "fig10", "fig13", "fig16", "fig18", "fig19", "fair"]


@cache
def first_view(setting):
    """What policies see first in it, by the setting's text."""
    seen, joint = [], parse_policy("joint")

    def first(view):
        seen.append(view)
        return joint.init(view)

    scenario, fleet, demand = GridScenario.parse(setting, "setting").load()
    simulate(at_load(scenario, 0.1), fleet, demand, joint, 1, 1, first)
    return seen[0]


def view_of(setting):
    """The same, of any setting; a load, rate or mix shows in none."""
    fields = {name: getattr(setting, name) for name in ("fleet", "demand", "changes")}
    return first_view(GridScenario(name="setting", scenario=setting.stated, **fields).model_dump_json())


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_every_learner_of_every_case_starts_trained(name):
    """From what ships and fits there, or from a training of the experiment's own in a setting that does not differ."""
    experiment, lost = load_experiment(name), []
    for scenario in experiment.scenarios:
        here = view_of(scenario)
        own = scenario.trained and TrainedFor.of(view_of(scenario.trained))
        if own is not None and (other := own.differs(TrainedFor.of(here))):
            lost.append(f"{scenario.name}: trained for other {other}")
        for row in (row for row in experiment.rows if row.name in scenario.rows or not scenario.rows):
            for text in row.policies if own is None else ():
                # An oracle learns nothing, and starts only where a run tells it what will be.
                policy, trained = row.policy(text.replace("oracle", "random"), scenario.options), []
                _first_state(policy, (Path(scenario.stated).stem, experiment.states), here, trained)
                if missing := set(store.trainable(policy)) - set(trained) - set(row.untrained):
                    lost.append(f"{scenario.name}: {row.name} as {text}, {', '.join(missing)}")
    assert lost == []
