"""The bench of what is promised in seconds: its verdicts by hand, and a round over what needs no quiet machine."""

import pytest

from splitplace import provenance
from splitplace.benchmarks import small_tasks, timings


@pytest.mark.parametrize(("median", "kept"), [(0.5, True), (0.51, False)])
def test_a_promise_is_kept_up_to_its_limit(median, kept):
    """The limit itself is allowed."""
    cell = timings.TimingCell(what="x", unit="s", median=median, low=0.4, high=0.9, repeats=3, limit=0.5)
    results = timings.TimingResults(cells=(cell,), provenance=provenance.collect())
    assert timings.verdict(results) == {"x: at most 0.5 s": kept}


@pytest.mark.slow
def test_every_promise_gets_its_figures(tmp_path, monkeypatch):
    """One repeat of each, without the demo, of few tasks: all of them above zero, and the file reads back."""
    monkeypatch.setattr(small_tasks, "MANY", {20: 15.0, 40: 50.0})
    monkeypatch.setattr(timings, "ADVISED_RATES", (5.0,))
    found = timings.run(tmp_path / "timings.json", 1, False, lambda _: None)
    assert timings.TimingResults.parse((tmp_path / "timings.json").read_text(), "results") == found
    names = [cell.what for cell in found.cells]
    assert len(names) == len(set(names)) >= 8
    assert all(cell.median > 0 for cell in found.cells)
