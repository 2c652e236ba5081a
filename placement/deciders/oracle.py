"""A clairvoyant decider, for a yardstick and not for use: it knows the accuracy p_i that each task would get.

It chooses, of all splits on offer, the one with the best reward (1(response <= deadline) + p) / 2, where p is the
task's own, drawn before the run and handed over in `View.foresight`, which only a simulator fills and only for a
decider that says `clairvoyant`. The response is estimated from the profiles and the queues of the moment, so that
this is what perfect knowledge of accuracy is worth, and no bound: what nobody can exceed is computed apart from any
policy (`simulator/bound.py`). Of equal rewards, the faster split.
"""

from typing import Any, ClassVar

import numpy as np

from splitplace.errors import SplitPlaceError
from splitplace.placement.deciders.estimate import expected_response_s
from splitplace.placement.policy import Feedback
from splitplace.records.action import Decide
from splitplace.records.view import View


class Oracle:
    """Stateless; draws nothing."""

    name: ClassVar[str] = "oracle"
    clairvoyant: ClassVar[bool] = True

    def init(self, view: View) -> None:
        """Check that there is something to know.

        Raises:
            SplitPlaceError: The environment does not tell, as a live fleet cannot.
        """
        if view.foresight is None:
            raise SplitPlaceError(
                "decider 'oracle' needs what only a simulator knows: it runs in `splitplace simulate`"
            )

    def decide(self, state: Any, view: View, rng: np.random.Generator) -> list[Decide]:
        """The best split for each undecided task."""
        assert view.foresight is not None, "init has checked it"
        decisions = []
        for row in view.tasks.undecided:
            splits = np.flatnonzero(view.splits.application_S == view.tasks.application_T[row]).tolist()
            left_s = float(view.tasks.deadline_s_T[row] - view.tasks.age_s_T[row])
            n, p_S = int(view.tasks.n_T[row]), np.nan_to_num(view.foresight.accuracy_TS[row])
            response_s = {split: expected_response_s(view, split, n) for split in splits}
            best = max(splits, key=lambda s: ((response_s[s] <= left_s) + p_S[s], -response_s[s]))
            decisions.append(Decide(int(view.tasks.id_T[row]), int(best)))
        return decisions

    def update(self, state: Any, feedback: Feedback) -> None:
        """Nothing to learn."""
