"""What images take as PNG."""

import io

import numpy as np
import pytest
from PIL import Image

from splitplace.export.measure import encoding


@pytest.mark.parametrize("channels", [1, 3])
def test_bytes_are_those_of_the_files_and_decoding_is_timed(channels):
    """Flat images compress well, noise does not at all; what it takes is the mean of the files."""
    flat = np.full((20, channels, 32, 32), 7, np.uint8)
    noise = np.random.default_rng(0).integers(0, 256, flat.shape, dtype=np.uint8)
    small, large = encoding.png_input(flat, "by hand"), encoding.png_input(noise)
    assert small.bytes_per_sample < 150 < channels * 32 * 32 <= large.bytes_per_sample
    file = io.BytesIO()
    Image.fromarray(flat[0, 0] if channels == 1 else flat[0].transpose(1, 2, 0)).save(file, "png", optimize=True)
    assert small.bytes_per_sample == len(file.getvalue())
    assert (small.codec, small.source) == ("png", "by hand")
    assert small.decode_s > 0


def test_seconds_are_those_of_a_core_of_speed_1(monkeypatch):
    """A clock that ticks .5 s a look and a probe of speed 2: 20 images in .5 s are .05 s each on a core of speed 1."""
    ticks = iter(np.arange(100) * 0.5)
    monkeypatch.setattr(encoding.time, "perf_counter", lambda: next(ticks))
    monkeypatch.setattr(encoding.probe, "core_speed", lambda *_: 2.0)
    assert encoding.png_input(np.zeros((20, 1, 8, 8), np.uint8)).decode_s == pytest.approx(0.5 / 20 * 2)
