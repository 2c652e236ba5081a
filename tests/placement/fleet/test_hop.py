"""A hop between two processes of this machine; what it costs is for `bench timings` to say."""

import numpy as np
import pytest

from splitplace.benchmarks.echo import echo


@pytest.mark.slow
@pytest.mark.parametrize("encrypted", [True, False])
@pytest.mark.parametrize("size_bytes", [1, 2**18, 2**20])
def test_tensors_come_back_from_another_process_bit_for_bit(size_bytes, encrypted):
    """There and back, ten times, as between machines and as on one."""
    rng = np.random.default_rng(0)
    with echo(encrypted) as there_and_back:
        for _ in range(10):
            x = rng.integers(0, 255, (1, size_bytes)).astype(np.uint8)
            np.testing.assert_array_equal(there_and_back(x), x)
