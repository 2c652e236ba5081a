"""What an application's images take as PNG: bytes on the wire, and the time to decode them as a device does it."""

import time

import numpy as np
import numpy.typing as npt

from splitplace.inference import probe
from splitplace.inference.encoded_images import encode_images
from splitplace.records.demand import EncodedInput
from splitplace.seeds import generator

IMAGES = 500
"""Drawn from all; their mean size is then known to a few percent."""
ROUNDS = 5
PROBE_S = 0.2


def png_input(x_NCHW: npt.NDArray[np.uint8], source: str = "") -> EncodedInput:
    """Encode some of the images, losslessly, and decode them again on one thread, as often as it takes to be sure.

    Args:
        x_NCHW: Grey or RGB, uint8; 500 of them are drawn.
        source: Where they come from.

    Returns:
        Mean bytes, and seconds an image on a core of speed 1: the median round, scaled by the probe of this moment.

    Raises:
        MissingExtraError: Pillow is not installed.
    """
    images = encode_images(x_NCHW[generator(0, "encoding").permutation(len(x_NCHW))[:IMAGES]])

    def decode_all() -> float:
        began = time.perf_counter()
        images.decode()
        return time.perf_counter() - began

    decode_all()
    speed = probe.core_speed(1, PROBE_S, PROBE_S)
    seconds = float(np.median([decode_all() for _ in range(ROUNDS)])) / len(images)
    return EncodedInput(
        codec="png",
        bytes_per_sample=round(float(np.mean(images.sizes_N))),
        decode_s=float(f"{seconds * speed:.3g}"),
        source=source,
    )
