"""The simulator's benchmark: what it measures reads back, and what it claims holds in calls, which are no seconds."""

import pytest

from splitplace.benchmarks import simulator


@pytest.mark.slow
def test_a_task_takes_as_many_calls_at_10_000_devices_as_at_50(calls):
    """Within a tenth: nothing looks at all devices, tasks or containers for each of them."""

    def calls_a_task(devices, rate, intervals):
        tasks = []
        made = calls(
            lambda: tasks.append(simulator.timed_run("random+least-loaded", "upstream", devices, rate, intervals)[1])
        )
        return made / tasks[0]

    assert calls_a_task(10_000, 1200.0, 5) < 1.1 * calls_a_task(50, 6.0, 100)


@pytest.mark.slow
def test_the_results_file_reads_back(tmp_path):
    """Two rounds, without the run at full size."""
    found = simulator.run(tmp_path / "simulator.json", pairs=2, large=False, say=lambda _: None)
    assert simulator.SimulatorResults.parse((tmp_path / "simulator.json").read_text(), "results") == found
    assert (found.task_large.pairs, found.large) == (2, None)
