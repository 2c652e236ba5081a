"""MC, the paper's model-compression baseline: a compressed model for every task (ours; upstream has none).

Where an application has several ratios, `policy train` picks one by the reward of runs kept for that; untrained, it is
the one with the best evaluated accuracy.
"""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from splitplace.errors import ContractError, NotFoundError
from splitplace.placement.learner import Taught, Traces
from splitplace.placement.policy import Composed, Feedback, States
from splitplace.placement.state_files import LoadedPart, Packed
from splitplace.records.action import Decide
from splitplace.records.view import View


@dataclass(frozen=True)
class CompressedState:
    """The split of each application."""

    split_A: tuple[int, ...]


class Compressed:
    """Compressed models only."""

    name: ClassVar[str] = "compressed"

    @staticmethod
    def candidates(view: View) -> list[list[int]]:
        """The compressed splits of each application, the most accurate first.

        Raises:
            UsageError: An application has none.
        """
        found = []
        for row, application in enumerate(view.applications):
            mine = np.flatnonzero(view.splits.application_S == row).tolist()
            rows = [split for split in mine if view.splits.strategies[split] == "compressed"]
            if not rows:
                offered = sorted({view.splits.strategies[split] for split in mine})
                raise NotFoundError(
                    f"decider 'compressed': {application} has no compressed split that fits the fleet, "
                    f"only {', '.join(offered) or 'none'}"
                )
            top1 = np.nan_to_num(view.splits.top1_S)
            found.append(sorted(rows, key=lambda split: -top1[split]))
        return found

    def init(self, view: View) -> CompressedState:
        """The most accurate of each."""
        return CompressedState(tuple(rows[0] for rows in self.candidates(view)))

    def decide(self, state: CompressedState, view: View, rng: np.random.Generator) -> list[Decide]:
        """The application's, for each undecided task."""
        tasks = view.tasks
        return [Decide(int(tasks.id_T[row]), state.split_A[int(tasks.application_T[row])]) for row in tasks.undecided]

    def update(self, state: CompressedState, feedback: Feedback) -> CompressedState:
        """Nothing to learn."""
        return state

    def train(self, traces: Traces) -> Taught:
        """The ratio of each application, all at one rank of accuracy: by the reward of the tuning runs under GOBI."""
        (gobi, placed), candidates = traces.trained("gobi"), self.candidates(traces.view)
        scores: dict[tuple[int, ...], float] = {}
        for rank in range(max(len(rows) for rows in candidates)):
            split_A = tuple(rows[min(rank, len(rows) - 1)] for rows in candidates)
            tuned = traces.tune(Composed(self, gobi), States(CompressedState(split_A), placed))
            scores[split_A] = float(np.mean([worth.reward for worth in tuned]))
        best = max(scores, key=lambda split_A: scores[split_A])
        about = {f"reward_of_rank_{rank}": reward for rank, reward in enumerate(scores.values())}
        return Taught(CompressedState(best), about)

    def describe(self, loaded: LoadedPart) -> list[str]:
        """The split of each application."""
        return ["runs " + ", ".join(loaded.saved.trained_for.splits[int(row)] for row in loaded.arrays["split"])]

    def pack(self, state: CompressedState) -> Packed:
        """The splits' rows."""
        return Packed({"split": np.array(state.split_A, np.int64)}, {})

    def unpack(self, packed: Packed, view: View) -> CompressedState:
        """The splits, which must be compressed ones of their applications."""
        split_A = tuple(int(row) for row in packed.arrays["split"])
        allowed = self.candidates(view)
        if len(split_A) != len(allowed) or any(s not in rows for s, rows in zip(split_A, allowed, strict=True)):
            raise ContractError(
                "the state of compressed names splits that are no compressed ones of these applications"
            )
        return CompressedState(split_A)
