"""The bench of plans: what it makes of times that are made up, and that a small run reads back; no time is judged."""

import numpy as np
import pytest

from splitplace.benchmarks import plans
from splitplace.provenance import collect


def cell(devices, median_s, p95_s=0.5, limit_s=None, card=False):
    """A row with these times."""
    return plans.PlanTiming(
        devices=devices, rate=6.0, card=card, plans=20, tasks=6.0, median_s=median_s, p95_s=p95_s, limit_s=limit_s
    )


def results(cells=(), growth=None, off=None):
    """A file with these."""
    return plans.PlansResults(
        policy="joint", repeats=1, load=0.0, cells=tuple(cells), growth=growth, growth_off=off, provenance=collect(0)
    )


@pytest.mark.parametrize("power", [0.5, 1.0, 1.3])
def test_the_growth_of_a_power_is_that_power(power):
    """By any factor, and without an interval where all sizes lie on it."""
    slope, off = plans.growth([cell(devices, 3e-5 * devices**power) for devices in (50, 200, 1000, 10_000)])
    assert (slope, off) == pytest.approx((power, 0.0), abs=1e-6)


def test_times_that_scatter_leave_an_interval_around_the_growth():
    """It holds the power that they scatter around."""
    rng = np.random.default_rng(0)
    cells = [cell(devices, 1e-4 * devices * rng.lognormal(0.0, 0.2)) for devices in (50, 200, 1000, 3000, 10_000)]
    slope, off = plans.growth(cells)
    assert 0 < off < 0.5 and slope - off < 1.0 < slope + off


@pytest.mark.parametrize(
    ("growth", "off", "said"),
    [(1.0, 0.05, True), (1.2, 0.05, False), (1.1, 0.05, "cannot be told, the interval holds the bound")],
)
def test_what_is_said_of_the_growth(growth, off, said):
    """Only where the whole interval lies on one side of the bound it is told."""
    assert plans.verdict(results(growth=growth, off=off)) == {
        "a plan grows by no more than the 1.1th power of the fleet": said
    }


def test_what_is_promised_is_of_the_95th_percentile():
    """With the card or without, by name."""
    cells = [cell(50, 0.001, 0.011, 0.01, card=True), cell(50, 0.02, 0.01, 0.01), cell(1000, 9.0)]
    assert plans.verdict(results(cells)) == {
        "50 devices, 6 tasks an interval: at most 10 ms (95th percentile)": False,
        "50 devices, 6 tasks an interval, no card: at most 10 ms (95th percentile)": True,
    }


@pytest.mark.slow
def test_a_run_without_the_large_fleets_reads_back(tmp_path):
    """Every case of fifty devices, with as many plans as it has intervals; of one size there is no growth."""
    found = plans.run(tmp_path / "plans.json", "random+least-loaded", 1, 50, lambda _: None)
    assert plans.PlansResults.parse((tmp_path / "plans.json").read_bytes(), "results") == found
    assert [(cell.rate, cell.card, cell.plans) for cell in found.cells] == [
        (6.0, True, 100), (60.0, True, 60), (60.0, False, 60), (6.0, False, 100)
    ]  # fmt: skip
    assert found.growth is None and all(cell.tasks > 0 for cell in found.cells)
