"""The simulator's benchmark, one round: figures come out, and the bounds that do not hang on a quiet machine hold."""

import pytest

from splitplace.benchmarks import simulator


@pytest.mark.slow
def test_a_task_costs_about_the_same_at_10_000_devices(tmp_path):
    """At most twice what it costs at 50; the results file reads back."""
    found = simulator.run(tmp_path / "simulator.json", pairs=3, large=False, say=lambda _: None)
    assert found.task_large.low <= simulator.TASK_RATIO_LIMIT
    assert simulator.SimulatorResults.parse((tmp_path / "simulator.json").read_text(), "results") == found
