"""The largest rate at which an alternative still keeps its deadlines: bisection between rates, below the capacity."""

from collections.abc import Callable

from splitplace.placement.advice.race import Raced, holds
from splitplace.placement.advice.trial import Trials
from splitplace.records.base import NonNegative, Record

STEPS = 6
STREAMS = 2
NEAR = 1.05
"""Rates that differ by less are not told apart."""


class Break(Record):
    """Where an alternative breaks, in requests a second."""

    holds: NonNegative
    """The largest simulated rate at which it keeps its deadlines; 0 where none was found."""
    breaks: NonNegative
    """The smallest at which it does not: simulated, or the capacity, beyond which queues grow without end."""
    capacity: NonNegative
    """What the best policy could sustain with the same splits."""
    bottleneck: str
    """What limits that."""


def breaking(trials: Trials, one: Raced, told: Callable[[], None] = lambda: None) -> Break:
    """Bisection.

    Args:
        trials: Runs it.
        one: That is to break, with what came of it at the rate asked for.
        told: Called after each run.
    """
    capacity = one.capacity.tasks_per_interval
    low, high = (trials.ask.rate, capacity) if one.keeps_up else (0.0, min(trials.ask.rate, capacity))
    for _ in range(STEPS):
        if high <= NEAR * low:
            break
        rate = (low + high) / 2
        outcomes = []
        for stream in range(STREAMS):
            outcomes.append(trials.run(one.alternative, rate, stream))
            told()
        low, high = (rate, high) if holds(outcomes, trials.ask.late) else (low, rate)
    return Break(holds=low, breaks=high, capacity=capacity, bottleneck=one.capacity.bottleneck)
