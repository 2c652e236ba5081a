"""Comparisons in pairs: ratios of run times (METHODOLOGY.md, "Ratios"), and means or differences over seeds."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import special, stats

from splitplace.placement.advice.trial import t_interval
from splitplace.records.base import Positive, PositiveCount, Record
from splitplace.seeds import generator

MIN_PAIRS = 30
RESAMPLES = 2000


class Ratio(Record):
    """Median of the paired ratios to the baseline, with a bootstrap 95 % interval of that median."""

    median: Positive
    low: Positive
    high: Positive
    pairs: PositiveCount


def paired_ratios(
    baseline: Callable[[], float], others: Mapping[str, Callable[[], float]], pairs: int, seed: int = 0
) -> tuple[float, dict[str, Ratio]]:
    """Run baseline and others in turn, forwards and backwards, and compare within each round.

    Args:
        baseline: Does the work once and answers its seconds.
        others: What to compare, by name.
        pairs: Rounds; each gives every one of `others` one ratio.
        seed: Of the bootstrap.

    Returns:
        The baseline's median seconds, and the ratios of `others` and of `A/A`: the baseline against itself.
    """
    runs = {"": baseline, **others, "A/A": baseline}
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    for run in runs.values():
        run()  # warms caches and arenas
    for i in range(pairs):
        # Drift of the machine then falls on all alike.
        for name in sorted(runs, key=list(runs).index, reverse=bool(i % 2)):
            seconds[name].append(runs[name]())
    base = np.array(seconds.pop(""))
    return float(np.median(base)), {
        name: bootstrap(np.array(measured) / base, seed) for name, measured in seconds.items()
    }


def bootstrap(ratios: np.typing.NDArray[np.float64], seed: int = 0) -> Ratio:
    """The median of these ratios with its percentile-bootstrap 95 % interval; of one, that one: it has no interval."""
    if len(ratios) < 2:
        (only,) = map(float, ratios)
        return Ratio(median=only, low=only, high=only, pairs=1)
    rng = generator(seed, "bootstrap")
    found = stats.bootstrap((ratios,), np.median, n_resamples=RESAMPLES, method="percentile", rng=rng)
    low, high = map(float, found.confidence_interval)
    return Ratio(median=float(np.median(ratios)), low=low, high=high, pairs=len(ratios))


@dataclass(frozen=True)
class Interval:
    """A mean with its 95 % interval."""

    mean: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.mean:+.4f} [{self.low:+.4f}, {self.high:+.4f}]"


def interval(values: Sequence[float]) -> Interval:
    """Mean and 95 % interval over seeds (Student's t)."""
    mean = float(np.mean(values))
    if len(values) < 2:
        return Interval(mean, float("-inf"), float("inf"))
    return Interval(mean, *t_interval(values))


def p_value(differences: Sequence[float]) -> float:
    """Of a mean of zero, two-sided, over seeds (Student's t); 1 of fewer than two, or of none that differs."""
    if len(set(differences)) < 2:  # the distribution has no width, and scipy no answer
        return 0.0 if len(differences) > 1 and differences[0] else 1.0
    return 2 * _below(-abs(_student_t(differences)), len(differences))


def p_below(differences: Sequence[float]) -> float:
    """Of a mean of at least zero, one-sided: small where it is told from one; as `p_value` otherwise."""
    if len(set(differences)) < 2:
        return 0.0 if len(differences) > 1 and differences[0] < 0 else 1.0
    return _below(_student_t(differences), len(differences))


def _student_t(values: Sequence[float]) -> float:
    return float(np.mean(values) / (np.std(values, ddof=1) / np.sqrt(len(values))))


def _below(t: float, count: int) -> float:
    return float(special.stdtr(count - 1, t))


def holm(p_values: Mapping[str, float]) -> dict[str, float]:
    """The same, each raised so that below .05 none of all is wrong in 95 of 100 such families (Holm, 1979).

    The smallest of m times m, the next times m - 1, ..., none smaller than the one before, and at most 1.
    """
    adjusted, before = dict[str, float](), 0.0
    for rank, (name, p) in enumerate(sorted(p_values.items(), key=lambda entry: entry[1])):
        before = adjusted[name] = min(1.0, max(before, (len(p_values) - rank) * p))
    return {name: adjusted[name] for name in p_values}
