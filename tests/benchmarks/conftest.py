"""What the tests of benchmarks have in common."""

import numpy as np
import pytest

from splitplace.training.data.dataset import Dataset


@pytest.fixture
def noise():
    """64 images of four classes that have nothing in common."""
    x_NCHW = np.random.default_rng(1).integers(0, 256, (64, 1, 28, 28), dtype=np.uint8)
    y_N = np.arange(64) % 4
    return Dataset("noise", x_NCHW, y_N, x_NCHW, y_N, tuple("abcd"), "drawn in the test")
