"""Times several works against each other on a machine whose speed drifts; needs neither torch nor onnx.

Neighbours on one machine slow a core by a quarter, for seconds at a time. So works take turns, in rounds: each runs for
a moment, with the probe before and after, and counts by the core's speed of that moment. The answer is what each takes
at one `core_speed`, the median of them all.

One thread's time is the time that it had the core: what another process took of it is not this work's cost. Of several
threads, and under a CPU quota, whose pauses do count, it is the time that passed.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from time import perf_counter, thread_time

import numpy as np
import numpy.typing as npt

from splitplace.inference import probe
from splitplace.records.profile import Latency

STABLE = 0.05
"""Warm when the median of the last runs is within this of the runs before."""
WINDOW = 3
MIN_ROUNDS = 3
"""A run that outlasts the budget is still made three times."""
PROBE_S = 0.01

Work = Callable[[], object]


def in_rounds(
    works: Mapping[int, Work],
    *,
    threads: int,
    rounds: int,
    budget_s: float,
    block_s: float = 0.0,
    after_round: Callable[[int], None] = lambda number: None,
) -> tuple[float, tuple[Latency, ...]]:
    """Warm every work up, then time them all.

    Args:
        works: What to time, by batch size.
        threads: That the works use; the probe runs on as many cores, one thread each.
        rounds: Turns each work gets, at most; 3 at least.
        budget_s: Seconds of timed runs of each work, over all rounds.
        block_s: Seconds of runs behind a sample, where a CPU quota pauses between runs; 0 takes each run as it is.
        after_round: Called with the round's number.

    Returns:
        The core's speed, and the latency of each work at that speed.
    """
    clock = thread_time if threads == 1 and block_s == 0 else perf_counter
    series = {size: _Series(work, clock, budget_s, budget_s / rounds, block_s) for size, work in works.items()}
    for one in series.values():
        one.warm_up()
    reference = probe.Probe(threads)

    def probed_s() -> float:
        # As the works are timed: a speed that a quota's pauses slowed must not scale latencies that they did not.
        return float(np.median(reference.times(block_s, PROBE_S)))

    probed = [probed_s()]
    for number in range(max(rounds, MIN_ROUNDS)):
        for one in series.values():
            if number < MIN_ROUNDS or one.spent_s < budget_s:
                one.take_turn(len(probed))
                probed.append(probed_s())
        after_round(number)
    speed = probe.REFERENCE_S / float(np.median(probed))
    return speed, tuple(one.latency(size, np.array(probed)) for size, one in series.items())


@dataclass
class _Series:
    """The runs of one work."""

    work: Work
    clock: Callable[[], float]
    budget_s: float
    turn_s: float
    block_s: float
    samples: list[tuple[float, int]] = field(default_factory=list)
    """Seconds of a run, and how many probes had been taken before it."""
    runs: int = 0
    spent_s: float = 0.0

    def warm_up(self) -> None:
        """Run until it takes as long as before, or the budget is spent."""
        times: list[float] = []
        while sum(times) < self.budget_s and not _stable(times):
            times.append(self._run())

    def take_turn(self, probes: int) -> None:
        """One round's runs."""
        if not self.samples or self.samples[-1][0] < self.turn_s:
            self._run()  # another work ran last: the caches are its
        spent_s = 0.0
        while spent_s < self.turn_s:
            block: list[float] = []
            while not block or sum(block) < self.block_s:
                block.append(self._run())
            self.samples.append((float(np.mean(block)), probes))
            self.runs += len(block)
            spent_s += sum(block)
        self.spent_s += spent_s

    def latency(self, batch_size: int, probed: npt.NDArray[np.float64]) -> Latency:
        """Seconds at the median speed: each sample scaled by the probes just before and just after it."""
        seconds, probes = (np.array(column) for column in zip(*self.samples, strict=True))
        scaled = seconds * np.median(probed) / ((probed[probes - 1] + probed[probes]) / 2)
        p10, median, p90 = (float(value) for value in np.percentile(scaled, [10, 50, 90]))
        return Latency(batch_size=batch_size, median_s=median, p10_s=p10, p90_s=p90, runs=self.runs)

    def _run(self) -> float:
        start = self.clock()
        self.work()
        return self.clock() - start


def _stable(times: list[float]) -> bool:
    if len(times) < 2 * WINDOW:
        return False
    last, earlier = np.median(times[-WINDOW:]), np.median(times[-2 * WINDOW : -WINDOW])
    return bool(abs(last - earlier) <= STABLE * earlier)
