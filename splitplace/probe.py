"""How fast a core of this machine is, by a fixed small ONNX model: needs neither torch nor onnx.

The model (`probe.onnx`, built by `export/probe_model.py`) is an inverted residual and a dense 3x3 convolution on 28x28
maps: what mobile CNNs spend their time on. A core's speed is the reference core's time over its time.
"""

import time
from functools import cache
from importlib.resources import files

import numpy as np
import numpy.typing as npt
import onnxruntime as ort

from splitplace.executor import open_session

REFERENCE_S = 0.13e-3
"""Seconds of one run on the reference core, which has speed 1.0 by definition."""

REFERENCE_CPU = "AMD EPYC (family 26 model 2, Zen 5, under KVM), onnxruntime 1.32.0, one thread, machine idle"

_BLOCK_S = 0.1
_BLOCKS = 5


def core_speed(threads: int = 1) -> float:
    """The speed of this process's CPU relative to the reference core: 2.0 runs the probe in half its time.

    Takes about 0.6 s. A CPU quota on the process slows it as it slows everything else.

    Args:
        threads: onnxruntime threads to measure with; with more than one the result is the speed of them together.
    """
    return REFERENCE_S / measure(threads)


def measure(threads: int = 1, blocks: int = _BLOCKS) -> float:
    """Seconds of one run of the probe: the median over blocks of a tenth of a second, the mean inside a block.

    One run is shorter than any quota's period and would not feel it; a block spans several periods.
    """
    session = open_session(model(), threads, "the probe")
    x = np.linspace(-1, 1, 24 * 28 * 28, dtype=np.float32).reshape(1, 24, 28, 28)
    times = [_block(session, x) for _ in range(1 + blocks)]
    return float(np.median(times[1:]))  # the first warms up


def _block(session: ort.InferenceSession, x: npt.NDArray[np.float32]) -> float:
    runs, start = 0, time.perf_counter()
    while (elapsed := time.perf_counter() - start) < _BLOCK_S:
        session.run(["y"], {"x": x})
        runs += 1
    return elapsed / runs


@cache
def model() -> bytes:
    """The probe's ONNX file, as shipped."""
    return (files("splitplace") / "probe.onnx").read_bytes()
