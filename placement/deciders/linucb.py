"""`linucb`: a contextual bandit over all splits on offer, by disjoint linear models.

Algorithm 1 of Li, Chu, Langford, Schapire, "A contextual-bandit approach to personalized news article recommendation",
WWW 2010. An arm is a split without its application, as `mobilenetv2.layer-2`; what it is worth is linear in the task's
features: which application, deadline over R, work and bytes in the way, size. Its bound is θᵀx + α sqrt(xᵀ A⁻¹ x).

Deliberate readings:

* R is what the application's layer split, or else its first split, takes alone by the profiles: a yardstick, not
  learned (what is seen to take longer shows in θ).
* The reward is a task's (1(r <= sla) + p) / 2 and comes when it leaves: meanwhile its features count in widths only.
* θ learns by how much it falls short of what the split's evaluation promises, (1 + top1) / 2: what is known need not be
  learned, and an arm of which nothing is known is good, so that a small α is enough to have it tried.

Of the libraries with this algorithm (MABWiser, river, contextualbandits, Vowpal Wabbit) each is an object that changes
itself and is kept by pickling, none takes a decision whose reward comes later into account, and all bring pandas,
scikit-learn or a compiled engine to where a decider needs numpy alone: for twenty lines of it (`ridge.py`).
"""

from dataclasses import dataclass, field, replace
from typing import ClassVar

import numpy as np

from splitplace.errors import ContractError
from splitplace.placement.deciders.estimate import unloaded_response_s
from splitplace.placement.deciders.ridge import Ridge, is_ridge
from splitplace.placement.learner import Taught, Traces
from splitplace.placement.objective import rewards
from splitplace.placement.policy import Feedback, Leaving, Taken, still_out
from splitplace.placement.state_files import LoadedPart, Packed
from splitplace.records.action import Decide
from splitplace.records.fleet_status import PolicyEstimate
from splitplace.records.view import NONE, Floats, View

MOST = 3.0
"""Of a ratio to R: what is beyond is as good, or as bad."""
AFTER_APPLICATIONS = ("deadline / R", "work waiting / R", "links busy", "R / longest deadline")
"""The features after the application's own."""


@dataclass(frozen=True, eq=False)
class LinUcbState:
    """What was learned of each arm, K of them in the order of `arms`, and what was asked of those under way."""

    ridge_K: tuple[Ridge, ...]
    under_way: dict[int, tuple[int, Floats]] = field(default_factory=dict)
    """By task id: arm and features, as they were when it was decided."""


@dataclass(frozen=True)
class LinUcb:
    """See above; draws nothing.

    Args:
        alpha: α, widths above the estimate.
        ridge: λ of the regressions.
        sla_weight: Weight of the deadline against accuracy in the reward (eq. 3, 4).
    """

    alpha: float = 0.3
    ridge: float = 1.0
    sla_weight: float = 0.5

    name: ClassVar[str] = "linucb"

    def init(self, view: View) -> LinUcbState:
        """Nothing known: every arm is worth what its evaluation promises."""
        features = len(view.applications) + len(AFTER_APPLICATIONS)
        return LinUcbState(tuple(Ridge.none(features, self.ridge) for _ in arms(view)[0]))

    def decide(self, state: LinUcbState, view: View, rng: np.random.Generator) -> list[Decide]:
        """The arm of the highest bound for each undecided task, of equals the first on offer."""
        _, arm_S = arms(view)
        promised_S, theta_K = self.promised(view), [ridge.theta_F for ridge in state.ridge_K]
        asked_K = [[x for arm, x in state.under_way.values() if arm == k] for k in range(len(theta_K))]
        doubt_K = [ridge.doubt(asked) for ridge, asked in zip(state.ridge_K, asked_K, strict=True)]
        decisions = []
        for row in view.tasks.undecided.tolist():
            x_F = features_of(view, row)
            offered = np.flatnonzero(view.splits.application_S == view.tasks.application_T[row]).tolist()
            bound = {
                split: promised_S[split] + theta_K[k] @ x_F + self.alpha * doubt_K[k].width(x_F)
                for split, k in ((split, arm_S[split]) for split in offered)
            }
            best = max(offered, key=lambda split: bound[split])
            doubt_K[arm_S[best]] = doubt_K[arm_S[best]].asked(x_F)
            decisions.append(Decide(int(view.tasks.id_T[row]), best))
        return decisions

    def update(self, state: LinUcbState, feedback: Feedback) -> LinUcbState:
        """A regression grows by what left; what is decided is noted until then."""
        if isinstance(feedback, Taken) and feedback.decisions:
            arm_S, view = arms(feedback.view)[1], feedback.view
            row_of = {int(task): row for row, task in enumerate(view.tasks.id_T.tolist())}
            asked = {d.task: (arm_S[d.split], features_of(view, row_of[d.task])) for d in feedback.decisions}
            return replace(state, under_way=state.under_way | asked)
        if isinstance(feedback, Leaving) and (len(feedback.finished) or state.under_way):
            ridge_K = list(state.ridge_K)
            reward_E = rewards(feedback.view, feedback.finished, self.sla_weight).tolist()
            promised_E = self.promised(feedback.view)[feedback.finished.split_E].tolist()
            for task, reward, promised in zip(feedback.finished.id_E.tolist(), reward_E, promised_E, strict=True):
                if task in state.under_way:
                    arm, x_F = state.under_way[task]
                    ridge_K[arm] = ridge_K[arm].seen(x_F, reward - promised)
            return LinUcbState(tuple(ridge_K), still_out(state.under_way, feedback.finished))
        return state

    def promised(self, view: View) -> Floats:
        """The reward of a task in time by each split's evaluation; by 1 where there is none."""
        promised_S: Floats = self.sla_weight + (1 - self.sla_weight) * np.nan_to_num(view.splits.top1_S, nan=1.0)
        return promised_S

    def train(self, traces: Traces) -> Taught:
        """The training workload's first run, deciding by itself."""
        learned = traces.replay(0, decider=self).states.decider
        return Taught(replace(learned, under_way={}), {"samples": sum(ridge.samples for ridge in learned.ridge_K)})

    def describe(self, loaded: LoadedPart) -> list[str]:
        """Rewards by arm."""
        samples_K = loaded.arrays["samples"].tolist()
        names = sorted({_arm(reference) for reference in loaded.saved.trained_for.splits})
        return [f"{name}: {count} rewards" for name, count in zip(names, samples_K, strict=True)]

    def estimates(self, state: LinUcbState, applications: tuple[str, ...]) -> list[PolicyEstimate]:
        """How many rewards there are; coefficients say little to people."""
        seen = sum(ridge.samples for ridge in state.ridge_K)
        return [PolicyEstimate(name="rewards", unit="tasks", value=float(seen))]

    def pack(self, state: LinUcbState) -> Packed:
        """A, b and counts; of those under way nothing is kept."""
        return Packed(
            {
                "gram": np.stack([ridge.gram_FF for ridge in state.ridge_K]),
                "target": np.stack([ridge.target_F for ridge in state.ridge_K]),
                "samples": np.array([ridge.samples for ridge in state.ridge_K], np.int64),
            },
            {},
        )

    def unpack(self, packed: Packed, view: View) -> LinUcbState:
        """The same.

        Raises:
            SplitPlaceError: Not regressions of these arms and features.
        """
        fresh = self.init(view)
        gram, target, samples = (packed.arrays[name] for name in ("gram", "target", "samples"))
        features, count = len(fresh.ridge_K[0].target_F), len(fresh.ridge_K)
        if not (
            len(gram) == len(target) == count and samples.shape == (count,) and (samples >= 0).all()
            and all(is_ridge(a, b, features) for a, b in zip(gram, target, strict=True))
        ):  # fmt: skip
            raise ContractError(f"the state of {self.name} has not the regressions of these splits and applications")
        rows = zip(gram.astype(np.float64), target.astype(np.float64), samples.tolist(), strict=True)
        return LinUcbState(tuple(Ridge(a, b, n) for a, b, n in rows))


def arms(view: View) -> tuple[list[str], list[int]]:
    """The arms by name, in alphabetical order, and the arm of each split."""
    of_split = [_arm(reference) for reference in view.splits.references]
    names = sorted(set(of_split))
    return names, [names.index(name) for name in of_split]


def _arm(reference: str) -> str:
    """A catalog reference, APP.MODEL.STRATEGY-VARIANT, without its application."""
    return reference.partition(".")[2]


def features_of(view: View, row: int) -> Floats:
    """What is known of the view's task when it is decided: one of each application, then `AFTER_APPLICATIONS`."""
    application, n = int(view.tasks.application_T[row]), int(view.tasks.n_T[row])
    mine = np.flatnonzero(view.splits.application_S == application)
    yardstick = view.offers.get((application, "layer"), int(mine[0]) if len(mine) else NONE)
    alone_s = unloaded_response_s(view.splits, view.fragments, view.links, yardstick, n)
    waiting_s = float(view.devices.backlog_s_D.sum() / view.devices.servers_D.sum())
    which_A = np.zeros(len(view.applications))
    which_A[application] = 1.0
    rest = (
        min(float(view.tasks.deadline_s_T[row]) / alone_s, MOST),
        min(waiting_s / alone_s, MOST),
        float(view.devices.net_D.mean()),
        min(alone_s / view.longest_s, 1.0),
    )
    return np.concatenate([which_A, rest])
