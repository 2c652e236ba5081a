"""How well a speed is known, and what the fleet does about a share that came out wrong."""

import os
import statistics

import numpy as np
import pytest

from splitplace.inference.speed import median_error
from splitplace.placement.broker.fleet import LiveFleet
from splitplace.placement.engines.local import LocalEngine


def test_the_error_of_a_median_is_its_scatter_over_many_samples():
    """Against the scatter of the medians of 4,000 samples of 15 normal values around 1."""
    rng = np.random.default_rng(0)
    samples = rng.normal(1.0, 0.1, (4000, 15)).tolist()
    scatter = statistics.stdev(statistics.median(sample) for sample in samples)
    assert statistics.median(median_error(sample) for sample in samples) == pytest.approx(scatter, rel=0.15)


def test_one_outlier_does_not_move_the_error():
    """A neighbour that took the core away once says nothing about the other rounds."""
    calm = [1.0, 1.01, 0.99, 1.02, 0.98]
    assert median_error([*calm, 5.0]) < 2 * median_error(calm)


class ScriptedFleet(LiveFleet):
    """A fleet whose devices answer the probe with stated share x trim x a machine's error."""

    errors = (1.0, 0.85, 1.02)

    def _probe(self, members, stopping):
        for member, error in zip(members, self.errors, strict=True):
            member.core_speeds += [member.cpu_share * member.trim * error] * 4


def test_a_share_that_came_out_wrong_is_trimmed_and_measured_again(toy, tmp_path):
    """15 % too slow: the share grows by 1/0.85; 2 % off stays; what is reported is the second measurement."""
    devices = tuple(toy.make_device(name) for name in ("a", "b", "c"))
    woken, wake = os.pipe()
    fleet = ScriptedFleet(devices, LocalEngine(), tmp_path, {"a": 0.8, "b": 0.5, "c": 0.4}, "auto", woken)
    for member in fleet.members.values():
        member.connected = True
    try:
        fleet._measure(lambda: False)
        first, second, third = fleet.members.values()
        assert [member.trim for member in (first, second, third)] == [1.0, pytest.approx(1 / 0.85), 1.0]
        assert second.off(first) == pytest.approx(1.0)
        assert third.off(first) == pytest.approx(1.02)
    finally:
        fleet.node.close()
        fleet.relay.close()
        os.close(woken)
        os.close(wake)
