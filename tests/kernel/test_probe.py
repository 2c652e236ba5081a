"""The probe that measures a core's speed."""

import statistics
import time

from splitplace.inference import probe


def test_the_shipped_model_is_the_one_its_script_builds():
    """Byte by byte, so that speeds measured anywhere compare."""
    from splitplace.export.convert.probe_model import build

    assert build() == probe.model()


def test_the_probe_takes_less_than_a_second_and_gives_a_speed():
    """A core of today is within a factor of fifty of the reference, whatever else runs here."""
    start = time.perf_counter()
    speed = probe.core_speed()
    assert time.perf_counter() - start < 2  # under one on an idle machine
    assert 0.02 < speed < 50


def test_a_single_run_is_never_slower_than_a_sustained_one_by_much():
    """The median run of an undisturbed core against the mean that neighbours and quotas take part in.

    Five interleaved pairs, because a shared machine's speed drifts between two measurements.
    """
    pairs = [probe.measure(block_s=0.0, budget_s=0.1) / probe.measure(budget_s=0.1) for _ in range(5)]
    assert statistics.median(pairs) < 1.2
