"""O^P of a run as it goes by, interval after interval: by the same rule for every placer, whether it learns or not."""

from collections.abc import Sequence

from splitplace.placement.objective import observed_objective
from splitplace.records.action import Action
from splitplace.records.view import Finished, View


class Score:
    """A `watch` for `simulate`: the O^P of each interval in which a task left (eq. 10)."""

    def __init__(self, alpha: float = 0.5, beta: float = 0.5):
        self.alpha, self.beta = alpha, beta
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
        if value is not None:
            self.intervals.append(value)
            self.from_s.append(self._from_s)
        self._left, self._from_s, self._energy_j = [], view.now_s, energy_j

    @property
    def mean(self) -> float:
        """Over intervals; NaN if no task ever left."""
        return sum(self.intervals) / len(self.intervals) if self.intervals else float("nan")
