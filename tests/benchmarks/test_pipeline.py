"""The bench of hops and chains: its verdicts by hand, and a round of everything."""

import numpy as np
import pytest

from splitplace import provenance
from splitplace.benchmarks import hops, pipeline


@pytest.mark.parametrize(
    ("median", "claimed", "kept"),
    [
        (1.1, {"at_most": 1.1}, True),
        (1.11, {"at_most": 1.1}, False),
        (0.9, {"at_least": 0.9}, True),
        (0.89, {"at_least": 0.9}, False),
    ],
)
def test_a_claim_holds_up_to_its_bound(median, claimed, kept):
    """The bound itself is allowed, from either side; what nothing is claimed of is in no verdict."""
    cell = pipeline.PipelineCell(what="x", unit="times", median=median, low=0, high=2, repeats=3, **claimed)
    beside = cell.model_copy(update={"what": "y", "at_most": None, "at_least": None})
    results = pipeline.PipelineResults(load=0.0, cells=(cell, beside), provenance=provenance.collect())
    assert list(pipeline.verdict(results).values()) == [kept]


@pytest.mark.slow
def test_every_way_brings_back_what_was_sent():
    """Sizes that no buffer fits exactly, in a new order; each way has a figure for each round."""
    for size_bytes in (1, 100_003):
        seconds = hops.hops_s(size_bytes, rounds=2, each=1)
        assert len(seconds) == 5 and all(len(found) == 2 and min(found) > 0 for found in seconds.values())
    with hops.ways() as found:
        for there_and_back in found.values():
            x = np.arange(77, dtype=np.uint8).reshape(1, 77)
            np.testing.assert_array_equal(there_and_back(x), x)


@pytest.mark.slow
def test_every_claim_gets_its_figure(tmp_path):
    """One repeat: the chain answers as the whole, nothing is zero, and the file reads back."""
    found = pipeline.run(tmp_path / "pipeline.json", tmp_path / "work", 1, 3, lambda _: None)
    assert pipeline.PipelineResults.parse((tmp_path / "pipeline.json").read_text(), "results") == found
    assert len(pipeline.verdict(found)) == 4
    assert all(cell.median > 0 for cell in found.cells)
