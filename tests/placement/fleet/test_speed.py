"""How well a speed is known, and what the fleet does about a share that came out wrong."""

import statistics

import numpy as np
import pytest

from splitplace.inference.speed import median_error
from splitplace.placement.broker.member import Member
from splitplace.placement.broker.probing import SpeedProbe


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


ERRORS = {"a": 1.0, "b": 0.85, "c": 1.02}
"""Of a machine, by device."""


def test_a_share_that_came_out_wrong_is_trimmed_and_measured_again(toy):
    """15 % too slow: the share grows by 1/0.85; 2 % off stays; what is reported is the second measurement."""
    shares = {"a": 0.8, "b": 0.5, "c": 0.4}
    members = [Member(toy.make_device(name), row, share) for row, (name, share) in enumerate(shares.items())]

    def answer(member):
        member.core_speeds.append(member.cpu_share * member.trim * ERRORS[member.name])

    SpeedProbe(answer, dict, lambda: False).measure(members)
    first, second, third = members
    assert [member.trim for member in members] == [1.0, pytest.approx(1 / 0.85), 1.0]
    assert second.off(first) == pytest.approx(1.0)
    assert third.off(first) == pytest.approx(1.02)
