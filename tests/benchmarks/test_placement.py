"""`bench placement`: a row is a record; what it is called says nothing of what it does."""

import pytest

from splitplace.benchmarks import placement as bench
from splitplace.errors import NotFoundError, UsageError
from splitplace.placement.simulator.demands import load_demand
from splitplace.placement.simulator.shipped import load_fleet, load_scenario


def setting(fleet="azure50", only=()):
    """Twenty-four intervals with the states that ship: the last 18, the largest deadline, have no O^P."""
    return bench.Setting(
        load_scenario("measured-50"), load_fleet(fleet), load_demand("measured"), "measured", None, 24, only=only
    )


def figures(row):
    """What a row got, but for its label and the clock."""
    return bench.measure(setting(), row, 0).model_dump(include={"realised", "predicted", "reward", "response_s"})


def test_a_label_is_only_a_label():
    """Called "daso, untrained, η = 100", the least-loaded placer is what it is; DASO with other fields is not."""
    rows = {row.name: row for row in bench.rows()}
    named = rows["least-loaded"].model_copy(update={"name": "daso, untrained, η = 100"})
    assert figures(named) == figures(rows["least-loaded"])
    leaves = {"state": {"daso": {"eta": 1e5}}}  # a step that leaves the start
    climbing, as_tuned = rows["daso, η = 100"].model_copy(update=leaves), rows["daso"]
    assert figures(climbing) == figures(as_tuned.model_copy(update=leaves))
    assert figures(climbing) != figures(as_tuned)


def test_the_exact_placer_takes_part_on_small_fleets_only():
    """Up to ten devices; asked for beyond, it is an unknown row."""
    assert [row.name for row in setting("azure10").rows][-1] == "exact"
    assert "exact" not in [row.name for row in setting().rows]
    assert [row.name for row in setting(only=("gobi", "daso")).rows] == ["daso", "gobi"]
    with pytest.raises(NotFoundError, match="unknown row 'exact'"):
        setting(only=("exact",))


def test_what_is_there_is_kept_and_the_order_is_the_tables(tmp_path, monkeypatch):
    """Whichever cell was measured first; another setting's file is refused."""
    asked, path = [], tmp_path / "placement.json"

    def made(setting, row, seed):
        asked.append((row.name, seed))
        return bench.PlacerCell(row=row.name, seed=seed, realised=0.1, predicted=0.2, reward=0.3, response_s=1.0,
                                energy_kwh=1.0, decision_p50_s=0.0, decision_p95_s=0.0)  # fmt: skip

    monkeypatch.setattr(bench, "measure", made)
    monkeypatch.setattr(bench, "reward_bound", lambda *arguments: 0.9)
    bench.run(path, setting(only=("random",)), lambda line: None)
    found = bench.run(path, setting(only=("gobi", "random")), lambda line: None)
    assert asked == [("random", seed) for seed in range(5)] + [("gobi", seed) for seed in range(5)]
    assert [cell.row for cell in found.cells] == ["gobi", "random"] * 5
    assert [bound.seed for bound in found.reward_bounds] == list(range(5))
    with pytest.raises(UsageError, match="holds another setting"):
        bench.run(path, setting("azure10"), lambda line: None)
