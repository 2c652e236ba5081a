"""What `plan` refuses, and what it takes as it comes."""

from dataclasses import replace

import numpy as np
import pytest

from splitplace.errors import SplitPlaceError
from splitplace.placement.deciders.mab import Mab
from splitplace.placement.objective import cell_sums
from splitplace.placement.placers.daso import Daso
from splitplace.placement.plan import plan
from splitplace.placement.policy import Composed, Frozen, Leaving, Placed, Taken
from splitplace.records.action import Decide, Place, Wait

pytestmark = pytest.mark.base

POLICY = Composed(Mab(), Daso())


@pytest.mark.parametrize(
    ("table", "field", "says"),
    [
        ("devices", "backlog_s_D", "backlog_s of d1 is nan"),
        ("devices", "memory_used_bytes_D", "memory_used_bytes of d1 is nan"),
        ("links", "up_bytes_per_s_D", "up_bytes_per_s of d1 is nan"),
        ("tasks", "deadline_s_T", "deadline_s of 101 is nan"),
    ],
)
def test_a_view_with_a_number_that_is_none_is_refused(view, table, field, says):
    """Named are the field and the device or task."""
    now = view(memory_bytes=(200.0, 200.0), deadlines_s=(9.0, 9.0))
    values = getattr(getattr(now, table), field).copy()
    values[1] = np.nan
    now = replace(now, **{table: replace(getattr(now, table), **{field: values})})
    with pytest.raises(SplitPlaceError, match=f"{says}, expected a finite number"):
        plan(POLICY, now, POLICY.init(view()), np.random.default_rng(0))


@pytest.mark.parametrize("devices", [1, 2])
def test_no_task_is_no_action_and_without_room_all_waits(view, devices):
    """On one device and on two; the decision is taken all the same."""
    rng = np.random.default_rng(0)
    states = POLICY.init(view(memory_bytes=(1.0,) * devices))
    assert plan(POLICY, view(memory_bytes=(1.0,) * devices), states, rng)[0] == []
    kinds = [type(a) for a in plan(POLICY, view(memory_bytes=(1.0,) * devices, deadlines_s=(9.0,)), states, rng)[0]]
    assert kinds == [Decide, Wait, Wait]
    roomy = view(memory_bytes=(200.0,) * devices, deadlines_s=(9.0,))
    assert [type(a) for a in plan(POLICY, roomy, states, rng)[0]] == [Decide, Place, Place]


class Whole:
    """Decides and places together, and keeps what it hears."""

    name = "whole"

    def init(self, view):
        """Nothing heard."""
        return ()

    def decide(self, state, view, rng):
        """Split 0, with a mark of its own that no other part knows of."""
        return [Decide(int(view.tasks.id_T[row]), 0, tag=-7) for row in view.tasks.undecided]

    def place(self, state, view, requests, rng):
        """Everything on device 0; what it heard of this very plan is in the state."""
        assert [type(feedback) for feedback in state[-2:]] == [Leaving, Taken]
        return [Place(int(view.tasks.id_T[r.task]), f, 0) for r in requests for f in r.fragments]

    def update(self, state, feedback):
        """One more."""
        return (*state, feedback)


def test_a_whole_policy_has_one_state_and_hears_each_feedback_once(view):
    """Leaving, then the decisions, then the placements; frozen, it hears nothing."""
    policy, now = Whole(), view(memory_bytes=(200.0, 200.0), deadlines_s=(9.0,))
    actions, state = plan(policy, now, policy.init(now), np.random.default_rng(0))
    assert [type(a) for a in actions] == [Decide, Place, Place]
    assert [type(feedback) for feedback in state] == [Leaving, Taken, Placed]
    assert state[1].decisions == state[2].decisions == (actions[0],)
    assert state[2].actions == tuple(actions[1:])
    kept = Frozen(policy).update(("before",), Leaving(now, now.finished))
    assert kept == ("before",)


def test_a_deciders_own_mark_is_no_context(view, left):
    """Any mark goes, for O^MAB reads the context, which a decider that knows of none leaves at the first."""
    finished = left((0, 9.0, 1.0, 0.9, 0), (0, 9.0, 1.0, 0.8, 1))
    finished = replace(finished, tag_E=np.array([-7, 2**40]))
    total, count = cell_sums(view(), finished)
    assert count.tolist() == [[1, 0], [1, 0]]
    assert total[:, 0] == pytest.approx([0.95, 0.9])
