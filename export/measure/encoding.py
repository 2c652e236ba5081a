"""What an application's images take as PNG: bytes on the wire, and the time to decode them on this device."""

import io
import time

import numpy as np
import numpy.typing as npt

from splitplace.extras import needs
from splitplace.inference import probe
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
    needs("encoding images", "images")
    from PIL import Image

    rows = generator(0, "encoding").permutation(len(x_NCHW))[:IMAGES]
    files = []
    for image_CHW in x_NCHW[rows]:
        file = io.BytesIO()
        pixels = image_CHW[0] if len(image_CHW) == 1 else image_CHW.transpose(1, 2, 0)
        Image.fromarray(pixels).save(file, "png", optimize=True)
        files.append(file.getvalue())

    def decode_all() -> float:
        began = time.perf_counter()
        for data in files:
            np.asarray(Image.open(io.BytesIO(data)))
        return time.perf_counter() - began

    decode_all()
    speed = probe.core_speed(1, PROBE_S, PROBE_S)
    seconds = float(np.median([decode_all() for _ in range(ROUNDS)])) / len(files)
    return EncodedInput(
        codec="png",
        bytes_per_sample=round(float(np.mean([len(data) for data in files]))),
        decode_s=float(f"{seconds * speed:.3g}"),
        source=source,
    )
