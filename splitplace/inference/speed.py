"""How fast a device is, measured by the fixed probe, and how well that is known."""

import time
from collections.abc import Sequence
from functools import partial
from math import sqrt
from statistics import median

from splitplace.inference import probe
from splitplace.inference.cpu_share import PERIOD_US, CpuShare, Governor

PROBE_S = 0.2
"""Short, because the broker asks again in every round."""
PERIODS = 15
"""How many periods of a quota a probe spans: the first and the last are cut anywhere, so fewer would say less."""


def measured_core_speed(share: CpuShare, trim: float, cores: int) -> float:
    """A core's speed by the fixed probe on all of them at once, at this share, from now on trimmed so."""
    share.trim(trim)
    probe_s = PERIODS * PERIOD_US / 1e6 if share.method == "cgroup" else PROBE_S
    measure = partial(probe.core_speed, cores, probe_s, probe_s)
    if not isinstance(share, Governor):
        return measure()
    # The governor's pause comes after the probe has taken its own time, so it is put in here, as measured.
    timed_s: list[float] = []

    def work() -> float:
        start_s = time.perf_counter()
        speed = measure()
        timed_s.append(time.perf_counter() - start_s)
        return speed

    start_s = time.perf_counter()
    speed = share.run(work)
    return speed * timed_s[0] / (time.perf_counter() - start_s)


def median_error(values: Sequence[float]) -> float:
    """The standard error of their median as a share of it, by the median deviation: outliers do not move it."""
    middle = median(values)
    deviation = 1.48 * median(abs(value - middle) for value in values)  # the standard deviation, of normal noise
    return 1.25 * deviation / sqrt(len(values)) / middle  # a median scatters 1.25 times as much as a mean
