"""`mulinucb`: µLinUCB over cuts, after ANS.

Zhang, Chen, Xu, "Autodidactic Neurosurgeon: collaborative deep inference for mobile edge intelligence via online
learning", WWW 2021: for each frame a cut of a network, by one linear model of the delay with the cut's known costs as
its context, x; the cut of the lowest

    d(x) = θᵀx - α sqrt((1 - L) xᵀ A⁻¹ x)

is taken, where L is larger for key frames, which explore less; and every T^µ frames one of the cuts that teach
something is forced, for the plain lower bound can settle on the one that teaches nothing. T doubles when it is reached.

What ANS has and a fleet has not, and what became of it:

* *A device in front and a server behind.* ANS knows the front end's delay and learns the server's. Here no part of a
  split is the asker's own: the whole response is learned. Arms are the cuts on offer, that is layer splits, and the
  unsplit models, full and compressed; a semantic split is no cut.
* *x.* Operations by kind of layer and the bytes between: here, of a chain, seconds of work by the profiles on the
  median device, of the input and of the tensors between fragments on the median link, how many hops; and 1.
* *No feedback of what runs on the device alone.* Here every arm answers, but one fragment alone tells nothing of the
  links between two: those arms are left out where a frame is forced.
* *Key frames* are those in which a video's objects move. Here: tasks whose deadline is below R, what the first arm
  takes alone, which have nothing to spare.
* *All cuts give one accuracy and there are no deadlines.* Here, of the arms whose d(x) is within the deadline the most
  accurate by its evaluation is taken, of equals the quickest; if none is, the quickest, as printed. `delay_only` is as
  printed for all.

Answers come late: what is under way counts in widths (`ridge.py`).
"""

import math
from dataclasses import dataclass, field, replace
from typing import ClassVar

import numpy as np

from splitplace.errors import ContractError, NotFoundError
from splitplace.placement.deciders.estimate import unloaded_response_s
from splitplace.placement.deciders.ridge import Ridge, is_ridge
from splitplace.placement.learner import Taught, Traces
from splitplace.placement.policy import Feedback, Leaving, Taken, still_out
from splitplace.placement.state_files import LoadedPart, Packed
from splitplace.records.action import Decide
from splitplace.records.fleet_status import PolicyEstimate
from splitplace.records.split import Strategy
from splitplace.records.view import NONE, Floats, View

CUTS: tuple[Strategy, ...] = ("layer", "full", "compressed")
"""Strategies whose splits are arms."""
CONTEXT = ("a task", "work", "input", "between fragments", "hops")
"""What x is of; work and transfers in seconds alone, over the scheduling interval, as the response is."""


@dataclass(frozen=True, eq=False)
class MuLinUcbState:
    """The model of the delay, one for all arms."""

    delay: Ridge
    t: int = 0
    """Decisions so far."""
    under_way: dict[int, Floats] = field(default_factory=dict)
    """By task id: x."""


@dataclass(frozen=True)
class MuLinUcb:
    """See above; draws nothing.

    Args:
        alpha: α, widths below the estimate, of delays in scheduling intervals.
        ridge: Weight of θ = 0 in the regression.
        mu: µ, of the forced frames.
        first: T of the first phase; each has twice the frames of the one before.
        key_weight: L of a key frame.
        weight: L of others.
        delay_only: Whether deadlines and accuracies have no say, as in ANS.
    """

    alpha: float = 0.3
    ridge: float = 1.0
    mu: float = 0.25
    first: int = 16
    key_weight: float = 0.8
    weight: float = 0.2
    delay_only: bool = False

    name: ClassVar[str] = "mulinucb"

    def init(self, view: View) -> MuLinUcbState:
        """Nothing known.

        Raises:
            UsageError: An application has no cut.
        """
        for row, application in enumerate(view.applications):
            if not arms(view, row):
                raise NotFoundError(f"decider {self.name!r}: {application} has no {', '.join(CUTS)} split")
        return MuLinUcbState(Ridge.none(len(CONTEXT), self.ridge))

    def decide(self, state: MuLinUcbState, view: View, rng: np.random.Generator) -> list[Decide]:
        """By the lower bounds of their delays; in forced frames without the arms that teach nothing of links."""
        theta_F, doubt = state.delay.theta_F, state.delay.doubt(state.under_way.values())
        decisions = []
        for t, row in enumerate(view.tasks.undecided.tolist(), start=state.t + 1):
            offered = arms(view, int(view.tasks.application_T[row]))
            if self.forced(t):
                offered = [split for split in offered if view.splits.count_S[split] > 1] or offered
            n, deadline_s = int(view.tasks.n_T[row]), float(view.tasks.deadline_s_T[row])
            x = {split: context_of(view, split, n) for split in offered}
            explore = self.alpha * math.sqrt(1 - self.importance(view, offered[0], n, deadline_s))
            delay = {split: float(theta_F @ x[split]) - explore * doubt.width(x[split]) for split in offered}
            best = self._best(view, delay, deadline_s / view.interval_s)
            doubt = doubt.asked(x[best])
            decisions.append(Decide(int(view.tasks.id_T[row]), best))
        return decisions

    def forced(self, t: int) -> bool:
        """Whether the frame of this number, from 1, is one of m T^µ, m = 1, 2, ..., of its phase, rounded up."""
        horizon = self.first
        while t > horizon:
            t, horizon = t - horizon, 2 * horizon
        every = math.pow(horizon, self.mu)
        return math.ceil(math.floor(t / every) * every) == t

    def importance(self, view: View, yardstick: int, n: int, deadline_s: float) -> float:
        """L of a task."""
        alone_s = unloaded_response_s(view.splits, view.fragments, view.links, yardstick, n)
        return self.key_weight if deadline_s < alone_s else self.weight

    def _best(self, view: View, delay: dict[int, float], deadline: float) -> int:
        in_time = [] if self.delay_only else [split for split in delay if delay[split] <= deadline]
        top1_S = np.nan_to_num(view.splits.top1_S)
        if in_time:
            return min(in_time, key=lambda split: (-top1_S[split], delay[split]))
        return min(delay, key=lambda split: delay[split])

    def update(self, state: MuLinUcbState, feedback: Feedback) -> MuLinUcbState:
        """The model grows by the responses of those that left; what is decided is noted until then."""
        view = feedback.view
        if isinstance(feedback, Taken) and feedback.decisions:
            n_of = dict(zip(view.tasks.id_T.tolist(), view.tasks.n_T.tolist(), strict=True))
            asked = {d.task: context_of(view, d.split, n_of[d.task]) for d in feedback.decisions}
            return replace(state, t=state.t + len(asked), under_way=state.under_way | asked)
        if isinstance(feedback, Leaving) and state.under_way:
            delay, left = state.delay, feedback.finished
            for task, response_s in zip(left.id_E.tolist(), left.response_s_E.tolist(), strict=True):
                if task in state.under_way:
                    delay = delay.seen(state.under_way[task], response_s / view.interval_s)
            return replace(state, delay=delay, under_way=still_out(state.under_way, left))
        return state

    def train(self, traces: Traces) -> Taught:
        """The training workload's first run, deciding by itself."""
        learned = traces.replay(0, decider=self).states.decider
        return Taught(replace(learned, under_way={}), {"samples": learned.delay.samples})

    def describe(self, loaded: LoadedPart) -> list[str]:
        """θ: by how much each cost of the profiles comes out longer."""
        theta_F = np.linalg.solve(loaded.arrays["gram"], loaded.arrays["target"])
        told = ", ".join(f"{name} {value:.3g}" for name, value in zip(CONTEXT, theta_F, strict=True))
        return [f"delay of {int(loaded.saved.facts['samples'])} tasks: {told}"]

    def estimates(self, state: MuLinUcbState, applications: tuple[str, ...]) -> list[PolicyEstimate]:
        """θ."""
        theta_F = state.delay.theta_F if state.delay.samples else np.full(len(CONTEXT), np.nan)
        return [
            PolicyEstimate(name=f"delay by {name}", unit="ratio", value=None if math.isnan(value) else float(value))
            for name, value in zip(CONTEXT, theta_F, strict=True)
        ]

    def pack(self, state: MuLinUcbState) -> Packed:
        """A, b and how many; of those under way nothing is kept."""
        arrays = {"gram": state.delay.gram_FF, "target": state.delay.target_F}
        return Packed(arrays, {"samples": state.delay.samples, "t": state.t})

    def unpack(self, packed: Packed, view: View) -> MuLinUcbState:
        """The same.

        Raises:
            SplitPlaceError: Not such a regression.
        """
        fresh, samples, t = self.init(view), int(packed.facts["samples"]), int(packed.facts["t"])
        gram, target = packed.arrays["gram"], packed.arrays["target"]
        if not (is_ridge(gram, target, len(CONTEXT)) and samples >= 0 and t >= 0):
            raise ContractError(f"the state of {self.name} has not the regression of its context")
        return replace(fresh, delay=Ridge(gram.astype(np.float64), target.astype(np.float64), samples), t=t)


def arms(view: View, application: int) -> list[int]:
    """The cuts on offer for an application, as rows of splits."""
    mine = np.flatnonzero(view.splits.application_S == application).tolist()
    return [split for split in mine if view.splits.strategies[split] in CUTS]


def context_of(view: View, split: int, n: int) -> Floats:
    """The costs, x, of a split for n images; shape F."""
    f, links, rows = view.fragments, view.links, view.splits.fragments(split)
    mine_X = (f.edge_dst_X >= rows.start) & (f.edge_dst_X < rows.stop)
    input_X, between_X = mine_X & (f.edge_src_X == NONE), mine_X & (f.edge_src_X != NONE)
    bandwidth = max(min(float(np.median(links.up_bytes_per_s_D)), float(np.median(links.down_bytes_per_s_D))), 1.0)
    work_s = sum(float(np.median(f.service_s(fragment, n))) for fragment in rows)
    sent_s = [n * float(f.edge_bytes_X[edges].sum()) / bandwidth for edges in (input_X, between_X)]
    hops = float(between_X.sum())
    return np.array([1.0, *(seconds / view.interval_s for seconds in (work_s, *sent_s)), hops])
