"""Held-out error of profiles."""

import pytest

from splitplace import provenance
from splitplace.export.measure.fit import held_out
from splitplace.records.profile import DeviceFingerprint, Latency, MemoryIncrement, Profile


def profile(seconds, memory):
    """A profile with given latency and memory by batch size."""
    return Profile(
        fragment="f",
        digest="sha256:" + "0" * 64,
        device=DeviceFingerprint(kind="k", cpu="c", architecture="a", cores=1, onnxruntime="0", threads=1),
        core_speed=1.0,
        load_s=0.1,
        runtime_base_bytes=1,
        memory=tuple(MemoryIncrement(micro_batch=b, fragment_bytes=m) for b, m in memory.items()),
        latency=tuple(Latency(batch_size=b, median_s=s, p10_s=s, p90_s=s, runs=1) for b, s in seconds.items()),
        input_bytes_per_sample=1,
        output_bytes_per_sample=1,
        provenance=provenance.collect(),
    )


def test_an_affine_cost_is_predicted_exactly():
    """Piecewise linear holds what is linear."""
    sizes = (1, 2, 8, 32)
    errors = held_out(profile({b: 0.5 + 0.25 * b for b in sizes}, {b: 100 + 3 * b for b in sizes}))
    assert [row.batch_size for row in errors] == [2, 8]
    assert max(abs(row.latency_error) for row in errors) < 1e-12
    assert max(abs(row.memory_error) for row in errors) == 0


def test_a_bend_shows_as_the_error_by_hand():
    """Between (1, 1) and (3, 9) the line passes 5 at 2, where 4 was measured: 25 % over; memory 20 for 40: half."""
    (row,) = held_out(profile({1: 1.0, 2: 4.0, 3: 9.0}, {1: 10, 2: 40, 3: 30}))
    assert row.latency_error == pytest.approx(0.25)
    assert row.memory_error == pytest.approx(-0.5)


def test_two_sizes_say_nothing_of_others():
    """No inner size, no error to state."""
    assert held_out(profile({1: 1.0, 2: 4.0}, {1: 10, 2: 40})) == ()
