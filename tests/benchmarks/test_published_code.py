"""The published code's figures beside the simulator's."""

import pytest

from splitplace.benchmarks import published_code as bench


@pytest.mark.slow
def test_placed_as_that_code_places_both_strategies_come_close(tmp_path):
    """Within a fifth of 9.97 and of 1.48; branches of 6 to 38 s that all find room take exactly one interval."""
    found = bench.run(tmp_path / "results.json", seeds=2)
    assert list(bench.verdict(found).values()) == [True, True, True]
    cells = {(cell.decider, cell.placement, cell.tick): cell.response for cell in found.cells}
    assert 0.95 < cells["semantic", "checked", "interval"] <= 1.0
    assert cells["semantic", "checked", "event"] < 0.2
    assert cells["layer", "checked", "event"] < cells["layer", "checked", "interval"]
    assert bench.PublishedCodeResults.parse((tmp_path / "results.json").read_text(), "results") == found
