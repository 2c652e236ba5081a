"""What views keep of containers between two looks, against what would be found if nothing was kept."""

import numpy as np
import pytest

from splitplace.placement.deciders.fixed import Layer
from splitplace.placement.deciders.random import RandomDecider
from splitplace.placement.placers.daso import Daso
from splitplace.placement.placers.least_loaded import LeastLoaded
from splitplace.placement.placers.random import RandomPlacer
from splitplace.placement.policy import Composed
from splitplace.placement.simulator.demands import load_demand
from splitplace.placement.simulator.run import simulate
from splitplace.placement.simulator.shipped import load_fleet, load_scenario
from splitplace.placement.simulator.shown import ShownContainers
from splitplace.records.action import Migrate

pytestmark = pytest.mark.sim


@pytest.mark.parametrize(
    ("scenario", "demand", "policy", "changes"),
    [
        ("churn", "measured", Composed(RandomDecider(), LeastLoaded()), {}),
        ("upstream-10", "upstream", Composed(RandomDecider(), RandomPlacer()), {}),
        ("tight", "measured", Composed(RandomDecider(), LeastLoaded()), {"precedence": "pipelined", "inputs": "ring"}),
        ("measured-50", "measured", Composed(Layer(), Daso(migrate=True)), {"discipline": "fifo"}),
    ],
    ids=["failures", "whole intervals", "pipelined", "migration"],
)
def test_what_is_kept_is_what_would_be_found_anew(monkeypatch, scenario, demand, policy, changes):
    """In every look of a run: devices, work left, bytes to come and who is ready."""
    looks, moved, shown = [], [], ShownContainers.look

    def look(self, tasks):
        kept = shown(self, tasks)
        anew = shown(ShownContainers(self._engine), tasks)
        for name, column in vars(kept).items():
            assert np.array_equal(column, getattr(anew, name)), name
        looks.append(len(kept.rows_C))
        return kept

    monkeypatch.setattr(ShownContainers, "look", look)
    stated = load_scenario(scenario).model_copy(update=changes)
    simulate(
        stated, load_fleet(stated.fleet), load_demand(demand), policy, 6, 100,
        watch=lambda view, actions: moved.extend(a for a in actions if isinstance(a, Migrate)),
    )  # fmt: skip
    assert max(looks) >= 4
    assert bool(moved) == (scenario == "measured-50")
