"""`joint`: for each task all splits on offer and the devices worth a look, together; what is known is not learned.

Maximises, task after task,

    w P(in time) + (1 - w) accuracy + w (Σ over the tasks already there of the change of their P(in time) - N u / D)
    + w T / gap x the change of the next one's P(in time) - β T / longest - α E / unit

(the summand of eq. 3 and 4 with P for its indicator; what a task does to others, which eq. 10 sees only afterwards;
ART's part, so that of two that will do the quicker is taken; AEC's, of one task where eq. 10 has that of an interval).
N tasks are behind, and each is held up by u, the seconds that the split takes of what is scarcest, the fleet's servers,
its downlinks or the broker's card; the mean deadline is D. T / gap tasks come while it runs, like those that came
lately (`ahead.py`): who has time leaves the quick devices to who has none. E is what the task's work draws beside
idling, its unit what the mean device can draw so within the longest deadline. T comes from profiles and links
(`estimate.py`, `card.py`), times what tasks were seen to take longer (`residual.py`); accuracy from the splits'
evaluations and what was seen of it since. Cost is no part of it: a device costs the same while it is on, whatever runs
there.

A split is gathered on one device, or spread: fragment after fragment to where it would be done first (Topcuoglu et al.,
"HEFT", TPDS 2002, by earliest finish), which is also how one is placed that no device holds whole. Or it waits for the
next plan, if that is worth more and nobody stands idle meanwhile: transfers and fragments that are under way together
share what they run on, so that of many at once none is in time (`agenda.py` has who comes first).
"""

import math
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any, ClassVar

import numpy as np

from splitplace.errors import ContractError
from splitplace.placement.joint.estimate import Doubt
from splitplace.placement.joint.jobs import DeviceJobs
from splitplace.placement.joint.options import JointPlan
from splitplace.placement.joint.residual import LEARNED, Residuals
from splitplace.placement.joint.search import PlanSearch
from splitplace.placement.joint.worth import JointWorth
from splitplace.placement.policy import Feedback, Leaving, Placed, PlacementRequest
from splitplace.placement.room import Room
from splitplace.placement.state_files import LoadedPart, Packed, summary
from splitplace.records.action import Action, Decide, Place, Wait
from splitplace.records.view import View

FACTS = ("squares", "times", "gap_s", "gap_off_s")
"""Numbers of a state that a file keeps beside its arrays."""
SIGNED = {"split_S", "device_D"}


@dataclass(frozen=True)
class Joint:
    """See above; draws nothing.

    Args:
        sla_weight: w, of a deadline that is met; the rest is the weight of accuracy.
        alpha: Weight of energy; 0 does not look at it.
        beta: Weight of the response over the longest deadline.
        look: Devices that are looked at for a part of a task.
        fixed: How wrong an estimate may be besides what its own size tells, as a share of the scheduling interval.
    """

    sla_weight: float = 0.5
    alpha: float = 0.0
    beta: float = 0.02
    look: int = 16
    fixed: float = 0.03

    name: ClassVar[str] = "joint"

    def init(self, view: View) -> Residuals:
        """Nothing was seen."""
        return Residuals.none(len(view.splits.references), len(view.devices.names), view.interval_s)

    def update(self, state: Residuals, feedback: Feedback) -> Residuals:
        """How long tasks took, against what was expected when they were placed."""
        match feedback:
            case Leaving(view=view, finished=finished):
                state = state.planning(view.now_s, view.interval_s).seen(finished, view.interval_s)
                return replace(state, arrivals=state.arrivals.seen(view))
            case Placed(view=view):
                return state.expecting(_solved(self, view, state).expected)
        return state

    @property
    def worth(self) -> JointWorth:
        """What a plan maximises."""
        return JointWorth(self.sla_weight, self.alpha, self.beta, self.look)

    def pack(self, state: Residuals) -> Packed:
        """What was learned; what is expected of tasks under way is not kept."""
        arrays = {name: getattr(state, name) for name in LEARNED}
        return Packed(arrays, {name: getattr(state, name) for name in FACTS})

    def unpack(self, packed: Packed, view: View) -> Residuals:
        """The same.

        Raises:
            SplitPlaceError: Not of these splits and devices, or numbers that are none.
        """
        fresh = self.init(view)
        known: dict[str, Any] = {name: packed.arrays[name].astype(np.float64) for name in LEARNED}
        known |= {name: float(packed.facts[name]) for name in FACTS}
        fit = all(known[name].shape == getattr(fresh, name).shape for name in LEARNED)
        numbers = all(np.isfinite(each).all() for each in known.values())
        positive = all(np.all(known[name] >= 0) for name in known.keys() - SIGNED) and known["times"] > 0
        if not (fit and numbers and positive):
            raise ContractError(f"the state of {self.name} has not the residuals of these splits and devices")
        return replace(fresh, **known)

    def describe(self, loaded: LoadedPart) -> list[str]:
        """How much there is of it."""
        return summary(loaded)

    @property
    def of_one_fleet(self) -> bool:
        """It knows each device by its place."""
        return True

    def doubt(self, view: View, state: Residuals) -> Doubt:
        """How unsure estimates are: by what was seen; a logistic of standard deviation σ has the scale σ √3 / π."""
        scale = math.sqrt(3) / math.pi
        return Doubt(state.noise * scale, state.noise_D * scale, self.fixed * view.interval_s)

    def decide(self, state: Residuals, view: View, rng: np.random.Generator) -> list[Decide]:
        """The split of each; its devices are found with it, and `place` finds them again."""
        ids, chosen = view.tasks.id_T, _solved(self, view, state).split
        return [Decide(int(ids[row]), chosen[row]) for row in view.tasks.undecided.tolist()]

    def place(
        self, state: Residuals, view: View, requests: list[PlacementRequest], rng: np.random.Generator
    ) -> list[Action]:
        """Whole tasks as they were decided; parts of tasks, where they would be done first."""
        solved, actions, parts = _solved(self, view, state), list[Action](), list[PlacementRequest]()
        asked = {request.task: request.fragments for request in requests}
        for row, planned in solved.actions.items():  # in the order in which they were booked
            if row in asked:  # of a task's fragments, perhaps only those whose inputs are there
                actions += [a for a in planned if not isinstance(a, Place) or a.fragment in asked[row]]
        for request in requests:
            if request.task in solved.waits:
                task = int(view.tasks.id_T[request.task])
                actions += [Wait(task, fragment) for fragment in request.fragments]
            elif request.task not in solved.actions:
                parts.append(request)
        if parts:
            actions += PlanSearch(self.worth, view, state, solved.room.copy(), solved.jobs.copy()).parts(parts)
        return actions


@lru_cache(maxsize=1)
def _solved(policy: Joint, view: View, state: Residuals) -> JointPlan:
    """Decisions and placements of one plan are asked for apart and found together: a memo of the last, no state."""
    jobs = DeviceJobs(view, policy.doubt(view, state))
    return PlanSearch(policy.worth, view, state, Room(view), jobs).all()
