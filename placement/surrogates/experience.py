"""Pairs (x, O^P of the next interval) for eq. 11, collected as a run goes by; a value, like every state.

Plans may come at any moment, so the next interval is the span of one interval's length after the plan; it is closed by
the first plan after its end. A span in which no task left has no O^P and gives no pair.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from splitplace.placement.objective import observed_objective
from splitplace.records.action import Action
from splitplace.records.view import Finished, Floats, Ints, View

UNLIMITED = 10**9
PER_INTERVAL = 8
"""Spans begun in one interval at most: plans of one moment look alike."""


@dataclass(frozen=True, eq=False)
class Pairs:
    """B pairs of eq. 11 as arrays, to train on."""

    x_BN: Floats
    y: Floats

    def __len__(self) -> int:
        return len(self.y)

    def __getitem__(self, rows: Ints) -> "Pairs":
        """Some of them."""
        return Pairs(self.x_BN[rows], self.y[rows])


@dataclass(frozen=True, eq=False)
class Pending:
    """A span that has not ended."""

    from_s: float
    energy_j: float
    """Of the fleet, at its start."""
    x: Floats


@dataclass(frozen=True, eq=False)
class Experience:
    """Closed pairs, newest last, at most `limit` of them; and what is still open."""

    limit: int
    pairs: tuple[tuple[Floats, float], ...] = ()
    pending: tuple[Pending, ...] = ()
    left: tuple[tuple[float, Finished], ...] = ()
    """Tasks that left, with the moment the broker knew, since the start of the oldest pending span."""
    closed: int = 0
    """Pairs ever."""

    def look(self, view: View, alpha: float, beta: float) -> "Experience":
        """Take in the tasks that left; close the spans that are over."""
        left = (*self.left, (view.now_s, view.finished)) if len(view.finished) else self.left
        energy_j = float(view.devices.energy_j_D.sum())
        pairs, pending, closed = list(self.pairs), list[Pending](), self.closed
        for span in self.pending:
            if view.now_s < span.from_s + view.interval_s:
                pending.append(span)
                continue
            inside = [finished for at_s, finished in left if at_s > span.from_s]
            seconds = view.now_s - span.from_s
            y = observed_objective(view, inside, energy_j - span.energy_j, seconds, alpha, beta)
            if y is not None:
                pairs.append((span.x, y))
                closed += 1
        oldest_s = pending[0].from_s if pending else view.now_s
        left = tuple(entry for entry in left if entry[0] > oldest_s)
        return replace(self, pairs=tuple(pairs[-self.limit :]), pending=tuple(pending), left=left, closed=closed)

    def due(self, view: View) -> bool:
        """Whether a new span may begin."""
        return not self.pending or view.now_s - self.pending[-1].from_s >= view.interval_s / PER_INTERVAL

    def begin(self, view: View, x: Floats) -> "Experience":
        """A span begins with this input."""
        span = Pending(view.now_s, float(view.devices.energy_j_D.sum()), x)
        return replace(self, pending=(*self.pending, span))


class PairRecorder:
    """Watches a run: the pairs of all its placements.

    Args:
        x: The input for the placements of a plan.
        alpha: Weight of energy in O^P.
        beta: Weight of response time in O^P.
    """

    def __init__(self, x: Callable[[View, Sequence[Action]], Floats], alpha: float, beta: float):
        self._x, self._weights, self._experience = x, (alpha, beta), Experience(UNLIMITED)

    def __call__(self, view: View, actions: Sequence[Action]) -> None:
        """A plan was made."""
        self._experience = self._experience.look(view, *self._weights)
        if self._experience.due(view):
            self._experience = self._experience.begin(view, self._x(view, actions))

    def pairs(self) -> Pairs | None:
        """After the run; none if no task left or was overdue."""
        pairs = self._experience.pairs
        return Pairs(np.stack([x for x, _ in pairs]), np.array([y for _, y in pairs])) if pairs else None
