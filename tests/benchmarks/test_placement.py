"""`bench placement`: a row is a record; what it is called says nothing of what it does."""

from dataclasses import fields, replace

import pytest

from splitplace.benchmarks import placement as bench
from splitplace.errors import NotFoundError
from splitplace.placement.registry import PLACERS
from splitplace.placement.simulator.demands import load_demand
from splitplace.placement.simulator.scenario import load_fleet, load_scenario


def setting(fleet="azure50", only=()):
    """Twenty-four intervals with the states that ship: the last 18, the largest deadline, have no O^P."""
    return bench.Setting(
        load_scenario("measured-50"), load_fleet(fleet), load_demand("measured"), "measured", None, 24, only=only
    )


def figures(row):
    """What a row got, but for its label and the clock."""
    return bench.measure(setting(), row, 0).model_dump(include={"realised", "predicted", "reward", "response_s"})


def test_rows_are_told_apart_by_their_labels_and_set_only_fields_there_are():
    """Every placer is in the registry, and takes the options that are given."""
    assert len(set(bench.LABELS)) == len(bench.ROWS)
    for row in bench.ROWS:
        options = {field.name for field in fields(PLACERS.make(row.placer))} if row.options else set()
        assert set(row.options) <= options


def test_a_label_is_only_a_label():
    """Called "daso, untrained, η = 100", the least-loaded placer is what it is; DASO with other fields is not."""
    rows = {row.label: row for row in bench.ROWS}
    named = replace(rows["least-loaded"], label="daso, untrained, η = 100")
    assert figures(named) == figures(rows["least-loaded"])
    climbing, as_tuned = (
        replace(rows["daso, η = 100"], state={"eta": 1e5}),
        rows["daso"],
    )  # a step that leaves the start
    assert figures(climbing) == figures(replace(as_tuned, state={"eta": 1e5}))
    assert figures(climbing) != figures(as_tuned)


def test_the_exact_placer_takes_part_on_small_fleets_only():
    """Up to ten devices; asked for beyond, it is an unknown row."""
    assert [row.label for row in setting("azure10").rows][-1] == "exact"
    assert "exact" not in [row.label for row in setting().rows]
    assert [row.label for row in setting(only=("gobi", "daso")).rows] == ["daso", "gobi"]
    with pytest.raises(NotFoundError, match="unknown row 'exact'"):
        setting(only=("exact",))
