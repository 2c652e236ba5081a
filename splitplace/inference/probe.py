"""How fast a core of this machine is, by a fixed small ONNX model: needs neither torch nor onnx.

The model (`probe.onnx`, built by `export/convert/probe_model.py`) is an inverted residual and a dense 3x3 convolution
on 28x28 maps: what mobile CNNs spend their time on. A core's speed is the reference core's time over its time.
"""

import time
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from importlib.resources import files
from itertools import repeat

import numpy as np
import onnxruntime as ort

from splitplace.inference.executor import open_session

REFERENCE_S = 0.13e-3
"""Seconds of one run on the reference core, which has speed 1.0 by definition."""

REFERENCE_CPU = "AMD EPYC (family 26 model 2, Zen 5, under KVM), onnxruntime 1.32.0, one thread, machine idle"

BLOCK_S = 0.1
"""Spans several periods of a CPU quota; one run of the probe is shorter than any, and would not feel it."""
_WARM_UP_S = 0.1
_BUDGET_S = 0.5


def core_speed(cores: int = 1, block_s: float = BLOCK_S, budget_s: float = _BUDGET_S) -> float:
    """The speed of this process's CPU relative to the reference core: 2.0 runs the probe in half its time.

    Takes about 0.1 s more than `budget_s`.

    Args:
        cores: How many run the probe at once, a thread each: the answer is the mean speed of one of them.
        block_s: By default the sustained speed, which a CPU quota or busy neighbours slow as they slow everything
            else; with 0 the speed of a single undisturbed run.
        budget_s: How long to measure.
    """
    return REFERENCE_S / measure(cores, block_s, budget_s)


def measure(cores: int = 1, block_s: float = BLOCK_S, budget_s: float = _BUDGET_S) -> float:
    """Seconds of one run of the probe: the median over blocks, the mean inside a block (one run, if block_s is 0)."""
    return float(np.median(Probe(cores).times(block_s, budget_s)))


class Probe:
    """The probe on so many cores at once, a session of one thread on each, loaded and warm.

    What is asked is how fast a core is while all of a device are busy, under whatever quota: what a network gains by
    threads is its own, and in its profiles.
    """

    def __init__(self, cores: int = 1):
        self._sessions = [open_session(model(), 1, "the probe") for _ in range(cores)]
        self._cores = ThreadPoolExecutor(cores) if cores > 1 else None
        self._x = np.linspace(-1, 1, 24 * 28 * 28, dtype=np.float32).reshape(1, 24, 28, 28)
        self._block(_WARM_UP_S)

    def times(self, block_s: float, budget_s: float) -> list[float]:
        """Seconds of one run, for each block that begins within the budget; at least one."""
        times: list[float] = []
        end = time.perf_counter() + budget_s
        while not times or time.perf_counter() < end:
            times.append(self._block(block_s))
        return times

    def _block(self, block_s: float) -> float:
        if self._cores is None:
            return self._on_a_core(self._sessions[0], block_s)
        seconds = list(self._cores.map(self._on_a_core, self._sessions, repeat(block_s)))
        return len(seconds) / sum(1 / each for each in seconds)

    def _on_a_core(self, session: ort.InferenceSession, block_s: float) -> float:
        runs, start, elapsed = 0, time.perf_counter(), 0.0
        while runs == 0 or elapsed < block_s:
            session.run(["y"], {"x": self._x})
            runs, elapsed = runs + 1, time.perf_counter() - start
        return elapsed / runs


@cache
def model() -> bytes:
    """The probe's ONNX file, as shipped."""
    return (files("splitplace.inference") / "probe.onnx").read_bytes()
