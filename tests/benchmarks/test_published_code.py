"""The published code's figures beside the simulator's."""

from splitplace.benchmarks import published_code as bench


def test_layer_only_comes_close_and_whole_intervals_explain_semantic_only(tmp_path):
    """Within a fifth of 9.97; branches of 6 to 38 s are seen at the end of the interval they start in: exactly one."""
    found = bench.run(tmp_path / "results.json", seeds=2)
    assert list(bench.verdict(found).values()) == [True]
    cells = {(cell.decider, cell.tick): cell.response for cell in found.cells}
    assert cells["semantic", "interval"] == 1.0
    assert cells["semantic", "event"] < 0.2
    assert cells["layer", "event"] < cells["layer", "interval"]
    assert bench.Results.parse((tmp_path / "results.json").read_text(), "results") == found
