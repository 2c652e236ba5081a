"""What learning during a run is worth: the copies, the verdict, and one small run of all."""

from dataclasses import dataclass
from types import SimpleNamespace

import pytest

from splitplace.benchmarks import adaptation as bench
from splitplace.benchmarks import adaptation_cell
from splitplace.benchmarks.copies import Until
from splitplace.placement.simulator.demands import load_demand
from splitplace.provenance import collect


@dataclass(frozen=True)
class Counter:
    """Counts its updates."""

    name: str = "counter"

    def update(self, state: int, feedback: object) -> int:
        """One more."""
        return state + 1


def test_a_frozen_copy_learns_until_the_shift_and_no_more():
    """At 9 s it still does, at 10 s no longer."""
    copy, state = Until(Counter(), 10.0), 0
    for now_s in (0.0, 9.0, 10.0, 11.0):
        state = copy.update(state, SimpleNamespace(view=SimpleNamespace(now_s=now_s)))
    assert state == 2


def test_all_shifts_start_from_one_scenario_and_shift_half_way():
    """Which is what they are trained on; and each does change something."""
    assert adaptation_cell.calm().workload.phases == ()
    assert adaptation_cell.shift_interval() == adaptation_cell.scenario_of("rate").intervals / 2
    scenarios = map(adaptation_cell.scenario_of, adaptation_cell.SHIFTS)
    assert len({scenario.model_dump_json(exclude={"name", "about"}) for scenario in scenarios}) == 3


def results(rewards: dict[str, float], error: float) -> bench.AdaptationResults:
    """Two shifts' worth of cells with these rewards after the shift, and this error of the online surrogate."""
    cells = [
        adaptation_cell.AdaptationCell(
            shift="rate",
            placer="daso",
            row=row,
            seed=seed,
            reward=(0.8,) * 10 + (reward + 0.001 * seed * (row == "online"),) * 10,
            objective=(0.5,) * 20,
            error=(0.1,) * 10 + (error + 0.001 * seed if row == "online" else 0.3,) * 10,
        )
        for row, reward in rewards.items()
        for seed in range(3)
    ]
    return bench.AdaptationResults(demand="d", intervals=100, cells=tuple(cells), provenance=collect())


@pytest.mark.parametrize(
    ("online", "frozen", "arm", "says"),
    [
        (0.7, 0.4, 0.7, "the online policy recovers, its frozen copy does not"),
        (0.4, 0.7, 0.7, "the online policy does worse than its frozen copy"),
        (0.699, 0.7, 0.7, "no recovery to be seen"),
        (0.399, 0.4, 0.7, "the online policy does not recover"),
    ],
)
def test_the_verdict_says_what_the_figures_say(online, frozen, arm, says):
    """Only an interval that leaves out zero counts; the better arm alone is what there was to gain."""
    rewards = {"online": online, "frozen": frozen, "frozen bandit": frozen, "frozen surrogate": online}
    (words,) = bench.verdict(results(rewards | {"layer": arm, "semantic": 0.0}, error=0.05)).values()
    assert words.startswith(says)
    assert "the surrogate follows under the online bandit" in words
    assert "is not to be told from its copy under the frozen one" in words
    assert "layer alone" in words


@pytest.mark.slow
def test_copies_are_the_same_until_the_shift(tmp_path, monkeypatch):
    """One seed of one shift, small: online and frozen agree before it, and not after; nothing runs twice."""
    monkeypatch.setattr(adaptation_cell, "TRAINING_RUNS", 2)
    monkeypatch.setattr(adaptation_cell, "TRAINING_INTERVALS", 12)
    for module in (bench, adaptation_cell):
        monkeypatch.setattr(module, "SHIFTS", ("rate",))
    path, said = tmp_path / "results.json", []
    demand = load_demand("measured")
    found = bench.run(path, tmp_path / "states", demand, "measured", ["daso"], 1, said.append)
    before = round(adaptation_cell.shift_interval() / adaptation_cell.BIN)
    rows = {cell.row: cell for cell in found.cells}
    assert set(rows) == set(adaptation_cell.rows())
    assert adaptation_cell.arms() == ["layer", "semantic"]
    # Not the rewards: a task that came before the shift may leave after it.
    assert rows["online"].objective[:before] == rows["frozen"].objective[:before]
    assert rows["online"].error[:before] == rows["frozen"].error[:before]
    assert rows["online"].error[before + 1 :] != rows["frozen"].error[before + 1 :]
    said.clear()
    assert bench.run(path, tmp_path / "states", demand, "measured", ["daso"], 1, said.append) == found
    assert said == []
