"""What profiles and links do not tell, learned from the tasks that left: how much longer each split and device took.

    log(seen / expected) = a_split + mean of b_device over its devices + noise

by stochastic gradient with a step that falls to a floor, so that what changes is noticed and what is there to stay is
averaged. What was not seen for long is forgotten slowly, towards no difference: it is then tried again.
"""

from dataclasses import dataclass, field, replace

import numpy as np

from splitplace.records.view import Finished, Floats

LEAST_STEP, PRIOR = 0.05, 4.0
"""The step is 1 / (PRIOR + times seen), and at least so much."""
FORGET = 0.998
"""Of what is known of those that a task was not of, kept a task."""
MOST = 8.0
"""Of a logarithm: whatever came in between, more is told of no split."""
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


@dataclass(frozen=True, eq=False)
class Residuals:
    """What was learned, and what is expected of those under way."""

    split_S: Floats
    device_D: Floats
    split_times_S: Floats
    device_times_D: Floats
    squares: float = NOISE**2 * PRIOR
    """Σ of squared noise, and how many tasks it is of."""
    times: float = PRIOR
    under_way: dict[int, Expected] = field(default_factory=dict)
    """By task id."""

    @staticmethod
    def none(splits: int, devices: int) -> "Residuals":
        """Nothing was seen."""
        return Residuals(np.zeros(splits), np.zeros(devices), np.zeros(splits), np.zeros(devices))

    @property
    def noise(self) -> float:
        """Standard deviation of log(seen / expected) with both corrections."""
        return float(np.sqrt(self.squares / self.times))

    def expecting(self, expected: dict[int, Expected]) -> "Residuals":
        """These were placed just now."""
        return replace(self, under_way=self.under_way | expected) if expected else self

    def seen(self, left: Finished, here: set[int]) -> "Residuals":
        """These left; of others that are not here any more nothing is expected either."""
        if not len(left) and self.under_way.keys() <= here:
            return self
        split_S, device_D = self.split_S.copy(), self.device_D.copy()
        split_times_S, device_times_D = self.split_times_S.copy(), self.device_times_D.copy()
        squares, times = self.squares, self.times
        for task, response_s in zip(left.id_E.tolist(), left.response_s_E.tolist(), strict=True):
            expected = self.under_way.get(task)
            if expected is None:
                continue
            took_s, devices = max(response_s - expected.placed_s, 1e-9), list(expected.devices)
            known = split_S[expected.split] + device_D[devices].mean()
            error = float(np.clip(np.log(took_s / max(expected.took_s, 1e-9)), -MOST, MOST)) - known
            squares, times = 0.98 * squares + error**2, 0.98 * times + 1.0
            for values, counts, rows in (
                (split_S, split_times_S, [expected.split]),
                (device_D, device_times_D, devices),
            ):
                kept = values[rows] + np.maximum(1.0 / (PRIOR + counts[rows]), LEAST_STEP) * error
                values *= FORGET
                counts *= FORGET
                values[rows] = np.clip(kept, -MOST, MOST)
                counts[rows] += 1.0
        under_way = {task: expected for task, expected in self.under_way.items() if task in here}
        return Residuals(split_S, device_D, split_times_S, device_times_D, squares, times, under_way)
