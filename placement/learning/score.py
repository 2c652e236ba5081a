"""O^P of a run as it goes by, interval after interval: by the same rule for every policy, whether it learns or not."""

from collections.abc import Sequence
from math import inf

from splitplace.placement.objective import observed_objective
from splitplace.records.action import Action
from splitplace.records.view import Finished, View


class Score:
    """A `watch` for `simulate`: the O^P of each interval in which a task left or was overdue (eq. 10).

    Args:
        alpha: Weight of energy.
        beta: Weight of response time.
        from_s: End of the start-up; intervals that began before it do not count.
        to_s: End of the run. Nor do intervals so near it that a task may be due only after it: such a task would count
            where it is done, and cost nothing where it is left alone.
    """

    def __init__(self, alpha: float = 0.5, beta: float = 0.5, from_s: float = 0.0, to_s: float = inf):
        self.alpha, self.beta, self._start_s, self._end_s = alpha, beta, from_s, to_s
        self.intervals: list[float] = []
        self.from_s: list[float] = []
        """When each of them began."""
        self._left: list[Finished] = []
        self._from_s = self._energy_j = 0.0

    def __call__(self, view: View, actions: Sequence[Action]) -> None:
        """A plan was made; the interval is closed by the first one after its end."""
        self._left.append(view.finished)
        seconds = view.now_s - self._from_s
        if seconds < view.interval_s:
            return
        energy_j = float(view.devices.energy_j_D.sum())
        spent_j = energy_j - self._energy_j
        value = observed_objective(view, self._left, spent_j, seconds, self.alpha, self.beta)
        if value is not None and self._start_s <= self._from_s and view.now_s <= self._end_s - view.longest_s:
            self.intervals.append(value)
            self.from_s.append(self._from_s)
        self._left, self._from_s, self._energy_j = [], view.now_s, energy_j

    @property
    def mean(self) -> float:
        """Over intervals; NaN if no task ever left."""
        return sum(self.intervals) / len(self.intervals) if self.intervals else float("nan")
