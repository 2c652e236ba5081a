"""The benchmark that makes the measured demand, on made-up images: every split comes out, and it can be simulated."""

from dataclasses import replace

import numpy as np
import pytest

from splitplace.benchmarks import demand as bench
from splitplace.errors import UsageError
from splitplace.export.measure.profiler import Effort
from splitplace.placement.registry import parse_policy
from splitplace.placement.simulator.demands import load_demand
from splitplace.placement.simulator.run import simulate
from splitplace.placement.simulator.scenario import load_fleet, load_scenario
from splitplace.progress import silent
from splitplace.training.data.dataset import Dataset


def images() -> Dataset:
    """Two classes, bright and dark."""
    rng = np.random.default_rng(3)

    def part(n: int) -> tuple[np.ndarray, np.ndarray]:
        y_N = np.arange(n) % 2
        x_NCHW = rng.integers(0, 100, (n, 1, 28, 28)) + 120 * y_N[:, None, None, None]
        return x_NCHW.astype(np.uint8), y_N

    return Dataset("squares", *part(160), *part(96), ("dark", "bright"), "drawn in the test")


@pytest.mark.slow
def test_every_step_once(tmp_path):
    """Layer, semantic, compressed and full splits with profiles and accuracies; the file runs in the simulator."""
    settings = bench.DemandSettings(
        trainings={"squares": bench.Training(12, 2)}, layers=(2,), tree=(2,), effort=Effort((1, 64), 1, 0.01)
    )
    made, size_bytes = bench.run(tmp_path / "work", tmp_path / "demand.json", lambda _: images(), settings, silent)
    assert size_bytes == (tmp_path / "demand.json").stat().st_size
    assert load_demand(str(tmp_path / "demand.json")) == made
    rows = bench.table(made)
    variants = [row.reference.removeprefix("squares.mobilenetv2.") for row in rows]
    assert variants[:3] == ["layer-2", "semantic-2-roots", "semantic-2"]
    assert sorted(variants[3:]) == ["compressed-50", "compressed-75", "full"]
    assert all(row.top1 >= 0.9 for row in rows if "layer" in row.reference or "full" in row.reference)
    workload = load_scenario("measured-50").workload.model_copy(update={"utilisation": 0.05})
    scenario = load_scenario("measured-50").model_copy(update={"workload": workload, "interval_s": 10.0})
    run = simulate(scenario, load_fleet("azure10"), made, parse_policy("random+random"), 3)
    assert run.metrics.tasks.arrived > 0


def test_an_application_nobody_trains():
    """Named are those that can be asked for."""
    with pytest.raises(UsageError, match="mnist, fashionmnist, tiny100"):
        bench.DemandSettings().only(("cifar100",))
    assert list(bench.DemandSettings().only(("tiny100", "mnist")).trainings) == ["mnist", "tiny100"]
    assert replace(bench.DemandSettings(), seed=1).layers == (4, 3, 2)
