"""Gillis, the paper's serverless baseline, as Q-learning over what is on offer (ours; no parity claimed).

State (§6.5 and the notes of this project): the application, a bucket of deadline / R_layer and a bucket of the fleet's
queue. Actions: layer splits into 2, 3 and 4 fragments and compressed models at two ratios, those that the demand
has; partitions by the exact planner. A decision ends its episode with the task's reward
r = (1(response <= deadline) + p) / 2, so the update is Q <- Q + a (r - Q); ε-greedy while training, greedy after.
"""

from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np

from splitplace.errors import ContractError, NotFoundError
from splitplace.placement.deciders.estimate import unloaded_response_s
from splitplace.placement.learner import Taught, Traces
from splitplace.placement.objective import rewards
from splitplace.placement.policy import Composed, Feedback, Leaving, States, Taken
from splitplace.placement.state_files import LoadedPart, Packed
from splitplace.records.action import Decide
from splitplace.records.view import Floats, Ints, View

DEADLINE_EDGES = (0.5, 0.75, 1.0, 1.5)
"""Of deadline over the unloaded layer response."""
QUEUE_EDGES = (0.1, 0.5)
"""Of the backlog per core over the median unloaded layer response of the tasks at hand."""
BUCKETS = (len(DEADLINE_EDGES) + 1, len(QUEUE_EDGES) + 1)
LAYERS, RATIOS = (2, 3, 4), 2


@dataclass(frozen=True, eq=False)
class GillisState:
    """Q and visits by (application, deadline bucket, queue bucket, action)."""

    value: Floats
    count: Ints
    epsilon: float


@dataclass(frozen=True)
class Gillis:
    """Q-learning.

    Args:
        step: Least step of Q; the first visits are averaged.
        explore: Whether it is being trained.
        decay: Of ε, a task.
        least_epsilon: Where ε stops.
    """

    step: float = 0.1
    explore: bool = False
    decay: float = 0.997
    least_epsilon: float = 0.05

    name: ClassVar[str] = "gillis"

    @staticmethod
    def actions(view: View) -> list[list[int]]:
        """The splits that each application may run as.

        Raises:
            UsageError: An application has neither a layer nor a compressed split.
        """
        found = []
        for row, application in enumerate(view.applications):
            mine = [int(split) for split in np.flatnonzero(view.splits.application_S == row)]
            kind = {split: view.splits.strategies[split] for split in mine}
            layer = [split for split in mine if kind[split] == "layer" and view.splits.count_S[split] in LAYERS]
            squeezed = [split for split in mine if kind[split] == "compressed"][:RATIOS]
            if not layer + squeezed:
                raise NotFoundError(
                    f"decider 'gillis': {application} has no layer split into 2, 3 or 4 and no compressed"
                )
            found.append(layer + squeezed)
        return found

    def init(self, view: View) -> GillisState:
        """Nothing known: optimistic, every action is tried."""
        actions = self.actions(view)
        shape = (len(actions), *BUCKETS, max(len(rows) for rows in actions))
        value = np.full(shape, -np.inf)
        for application, rows in enumerate(actions):
            value[application, ..., : len(rows)] = 1.0
        return GillisState(value, np.zeros(shape, np.int64), 1.0 if self.explore else 0.0)

    def decide(self, state: GillisState, view: View, rng: np.random.Generator) -> list[Decide]:
        """ε-greedy over Q; the tag is the cell, for the update."""
        actions, decisions = self.actions(view), []
        for row in view.tasks.undecided:
            cell = self._cell(view, int(row), actions)
            rows = actions[cell[0]]
            greedy = int(np.argmax(state.value[cell]))
            action = int(rng.integers(len(rows))) if rng.random() < state.epsilon else greedy
            tag = int(np.ravel_multi_index((*cell, action), state.value.shape))
            decisions.append(Decide(int(view.tasks.id_T[row]), rows[action], tag))
        return decisions

    def update(self, state: GillisState, feedback: Feedback) -> GillisState:
        """Q moves when tasks leave, ε when they are decided."""
        if isinstance(feedback, Taken) and self.explore and feedback.decisions:
            epsilon = max(state.epsilon * self.decay ** len(feedback.decisions), self.least_epsilon)
            return replace(state, epsilon=epsilon)
        if not isinstance(feedback, Leaving) or not len(feedback.finished):
            return state
        value, count = state.value.copy(), state.count.copy()
        for tag, reward in zip(feedback.finished.tag_E, rewards(feedback.view, feedback.finished), strict=True):
            cell = np.unravel_index(int(tag), value.shape)
            count[cell] += 1
            value[cell] += max(1.0 / count[cell], self.step) * (reward - value[cell])
        return replace(state, value=value, count=count)

    def train(self, traces: Traces) -> Taught | None:
        """One run of its own, as long as the bandit's, GOBI placing; None where nothing is to be chosen."""
        if all(len(rows) == 1 for rows in self.actions(traces.view)):
            return None
        (gobi, placed), student = traces.trained("gobi"), replace(self, explore=True)
        states = States(student.init(traces.view), placed)
        state = traces.play(Composed(student, gobi), 0, states).states.decider
        return Taught(state, {"visited": int((state.count > 0).sum()), "updates": int(state.count.sum())})

    def describe(self, loaded: LoadedPart) -> list[str]:
        """How much of Q was ever visited."""
        n = loaded.arrays["n"]
        return [f"{int(n.sum())} updates of {int((n > 0).sum())} cells of Q"]

    def pack(self, state: GillisState) -> Packed:
        """Q and visits; an action that is not there has no value."""
        return Packed({"q": np.nan_to_num(state.value, neginf=-1.0), "n": state.count}, {})

    def unpack(self, packed: Packed, view: View) -> GillisState:
        """A trained state, greedy."""
        fresh = self.init(view)
        q, n = packed.arrays["q"], packed.arrays["n"]
        if q.shape != fresh.value.shape or n.shape != q.shape:
            raise ContractError("the state of gillis has not the Q of these applications and splits")
        return GillisState(np.where(np.isinf(fresh.value), -np.inf, q), n.astype(np.int64), fresh.epsilon)

    @staticmethod
    def _cell(view: View, row: int, actions: list[list[int]]) -> tuple[int, int, int]:
        application, n = int(view.tasks.application_T[row]), int(view.tasks.n_T[row])
        tables = view.splits, view.fragments, view.links
        # The same yardstick for every action: the first layer split, else the first of all.
        alone_s = unloaded_response_s(*tables, actions[application][0], n)
        deadline = int(np.searchsorted(DEADLINE_EDGES, view.tasks.deadline_s_T[row] / alone_s, side="right"))
        waiting_s = float(view.devices.backlog_s_D.sum() / view.devices.servers_D.sum())
        queue = int(np.searchsorted(QUEUE_EDGES, waiting_s / alone_s, side="right"))
        return application, deadline, queue
