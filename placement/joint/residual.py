"""What profiles and links do not tell, learned from the tasks that left: how much longer each split and device took.

    log(seen / expected) = a_split + mean of b_device over its devices + noise

by stochastic gradient with a step that falls to a floor, so that what changes is noticed and what is there to stay is
averaged. What was not seen for long is forgotten slowly, towards no difference: it is then tried again.
"""

import math
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from splitplace.placement.joint.ahead import RecentArrivals
from splitplace.placement.policy import still_out
from splitplace.records.view import Finished, Floats

LEAST_STEP, PRIOR = 0.05, 4.0
"""The step is 1 / (PRIOR + times seen), and at least so much."""
GAP_STEP = 0.1
EVALUATED, KEEP = 50.0, 0.99
"""How many tasks an evaluation counts as; what is kept of accuracies seen, a task."""
KEEP_NOISE = 0.9
"""Of a device's noise, a task of it."""
FORGET = 0.998
"""Of what is known of one that was not used, kept by the time that each was on the mean used once."""
MOST = 8.0
"""Of a logarithm: whatever came in between, more is told of no split."""
CERTAIN = 5
"""Tasks that ended at the start of an interval, one after another, until it is taken for the rule."""
NOISE = 0.15
"""Standard deviation of the logarithm before anything was seen, which counts as much as `PRIOR` tasks."""


@dataclass(frozen=True)
class Expected:
    """Of a task on its way: what it runs as, where, and how long profiles and links say it takes from now on."""

    split: int
    devices: tuple[int, ...]
    took_s: float
    placed_s: float
    """Age of the task when that was said."""
    now_s: float
    """The view's time then."""


@dataclass(frozen=True, eq=False)
class Residuals:
    """What was learned, and what is expected of those under way."""

    split_S: Floats
    """Of the logarithm of seen over expected."""
    device_D: Floats
    split_times_S: Floats
    device_times_D: Floats
    squares_D: Floats
    """Σ of squared noise by device, and how many tasks it is of."""
    squares_times_D: Floats
    right_S: Floats
    """Σ of accuracies, and how many tasks it is of."""
    right_times_S: Floats
    squares: float = NOISE**2 * PRIOR
    """Σ of squared noise, and how many tasks it is of."""
    times: float = PRIOR
    gap_s: float = 0.0
    """Between two plans, a running mean; as long as nothing is known, the scheduling interval."""
    gap_off_s: float = 0.0
    """By how much a gap was off that mean, a running mean."""
    planned_s: float = 0.0
    """When the last plan was."""
    at_starts: int = 0
    """Tasks in a row that ended at the start of an interval: some fleets are looked at only then."""
    arrivals: RecentArrivals = field(default_factory=RecentArrivals)
    """What came lately; not kept, it is soon known again."""
    under_way: dict[int, Expected] = field(default_factory=dict)
    """By task id."""

    @staticmethod
    def none(splits: int, devices: int, interval_s: float) -> "Residuals":
        """Nothing was seen."""
        of_splits, of_devices = np.zeros(splits), np.zeros(devices)
        return Residuals(
            split_S=of_splits, device_D=of_devices, split_times_S=of_splits, device_times_D=of_devices,
            squares_D=of_devices, squares_times_D=of_devices, right_S=of_splits, right_times_S=of_splits,
            gap_s=interval_s,
        )  # fmt: skip

    @property
    def by_interval(self) -> bool:
        """Whether tasks are seen to end at the starts of intervals only."""
        return self.at_starts >= CERTAIN

    @property
    def noise(self) -> float:
        """Standard deviation of log(seen / expected) with both corrections."""
        return float(np.sqrt(self.squares / self.times))

    @property
    def noise_D(self) -> Floats:  # noqa: N802 - shape suffix
        """Likewise of each device, of which little may be known."""
        of_all = self.squares / self.times
        result: Floats = np.sqrt((PRIOR * of_all + self.squares_D) / (PRIOR + self.squares_times_D))
        return result

    def accuracy_S(self, top1_S: Floats) -> Floats:  # noqa: N802 - shape suffix
        """Of each split: its evaluation, which counts as `EVALUATED` tasks, and what was seen; 0 of neither."""
        evaluated = np.isfinite(top1_S)
        counts = np.where(evaluated, EVALUATED, 0.0) + self.right_times_S
        total = np.where(evaluated, EVALUATED * np.nan_to_num(top1_S), 0.0) + self.right_S
        result: Floats = np.divide(total, counts, out=np.zeros(len(top1_S)), where=counts > 0)
        return result

    @property
    def next_plan_s(self) -> float:
        """Until there is another plan, most likely."""
        return self.gap_s + 2 * self.gap_off_s

    def planning(self, now_s: float, interval_s: float) -> "Residuals":
        """Another plan is made; a longer pause than an interval was one in which there was nothing to plan."""
        if not self.planned_s:
            return replace(self, planned_s=now_s)
        off_s = min(now_s - self.planned_s, interval_s) - self.gap_s
        gap_s, gap_off_s = self.gap_s + GAP_STEP * off_s, self.gap_off_s + GAP_STEP * (abs(off_s) - self.gap_off_s)
        return replace(self, gap_s=gap_s, gap_off_s=gap_off_s, planned_s=now_s)

    def expecting(self, expected: dict[int, Expected]) -> "Residuals":
        """These were placed just now."""
        return replace(self, under_way=self.under_way | expected) if expected else self

    def seen(self, left: Finished, interval_s: float) -> "Residuals":
        """These left."""
        if not len(left):
            return self
        copies: dict[str, Any] = {name: getattr(self, name).copy() for name in LEARNED}
        now = replace(self, under_way=still_out(self.under_way, left), **copies)
        columns = left.id_E, left.response_s_E, left.accuracy_E, left.deadline_s_E
        at_starts, errors, split_times, device_times = self.at_starts, list[float](), 0, 0
        for task, response_s, accuracy, deadline_s in zip(*(column.tolist() for column in columns), strict=True):
            expected = self.under_way.get(task)
            if expected is None:
                continue
            # A live task that ended without an answer is late, and right in nothing: that tells the time only.
            answered = accuracy > 0 or response_s <= deadline_s
            if answered and math.isfinite(accuracy):
                for values, of_one in ((now.right_S, accuracy), (now.right_times_S, 1.0)):
                    values[expected.split] = KEEP * values[expected.split] + of_one
            took_s = max(response_s - expected.placed_s, 1e-9)
            if answered:
                intervals = (expected.now_s + took_s) / interval_s
                at_starts = at_starts + 1 if abs(intervals - round(intervals)) < 1e-6 else 0
            if at_starts < CERTAIN:  # else nobody saw when it was done
                errors.append(now._learn(expected, took_s))
                split_times, device_times = split_times + 1, device_times + len(expected.devices)
        squares, times = self.squares, self.times
        for error in errors:
            squares, times = 0.98 * squares + error**2, 0.98 * times + 1.0
        # Each by its own share of the tasks, however large the fleet.
        for arrays, uses in (
            ((now.split_S, now.split_times_S), split_times), ((now.device_D, now.device_times_D), device_times)
        ):  # fmt: skip
            for values in arrays:
                values *= FORGET ** (uses / len(values))
        return replace(now, at_starts=at_starts, squares=squares, times=times)

    def _learn(self, expected: Expected, took_s: float) -> float:
        """In place, of its split and devices; by how much what is known was off."""
        devices = expected.devices
        of_devices = sum(float(self.device_D[device]) for device in devices) / len(devices)
        seen = min(max(math.log(took_s / max(expected.took_s, 1e-9)), -MOST), MOST)
        error = seen - float(self.split_S[expected.split]) - of_devices
        for values, counts, rows in (
            (self.split_S, self.split_times_S, (expected.split,)),
            (self.device_D, self.device_times_D, devices),
        ):
            for row in rows:
                step = max(1.0 / (PRIOR + float(counts[row])), LEAST_STEP)
                values[row] = min(max(float(values[row]) + step * error, -MOST), MOST)
                counts[row] += 1.0
        for device in devices:
            self.squares_D[device] = KEEP_NOISE * self.squares_D[device] + error**2
            self.squares_times_D[device] = KEEP_NOISE * self.squares_times_D[device] + 1.0
        return error


LEARNED = (
    "split_S", "device_D", "split_times_S", "device_times_D", "squares_D", "squares_times_D",
    "right_S", "right_times_S",
)  # fmt: skip
"""Arrays of it: what a file keeps."""
