"""What `plan` refuses, and what it takes as it comes."""

from dataclasses import replace

import numpy as np
import pytest

from splitplace.errors import SplitPlaceError
from splitplace.placement.deciders.mab import Mab
from splitplace.placement.placers.daso import Daso
from splitplace.placement.plan import init, plan
from splitplace.placement.policy import Policy
from splitplace.records.action import Decide, Place, Wait

POLICY = Policy(Mab(), Daso())


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
        plan(POLICY, now, init(POLICY, view()), np.random.default_rng(0))


@pytest.mark.parametrize("devices", [1, 2])
def test_no_task_is_no_action_and_without_room_all_waits(view, devices):
    """On one device and on two; the decision is taken all the same."""
    rng = np.random.default_rng(0)
    states = init(POLICY, view(memory_bytes=(1.0,) * devices))
    assert plan(POLICY, view(memory_bytes=(1.0,) * devices), states, rng)[0] == []
    kinds = [type(a) for a in plan(POLICY, view(memory_bytes=(1.0,) * devices, deadlines_s=(9.0,)), states, rng)[0]]
    assert kinds == [Decide, Wait, Wait]
    roomy = view(memory_bytes=(200.0,) * devices, deadlines_s=(9.0,))
    assert [type(a) for a in plan(POLICY, roomy, states, rng)[0]] == [Decide, Place, Place]
