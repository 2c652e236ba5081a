"""As many tasks in time as one machine can have: against all orders there are."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from splitplace.placement.joint.agenda import least_late

pytestmark = pytest.mark.base

TASKS = st.lists(st.tuples(st.integers(1, 20), st.integers(1, 9)), max_size=6)


def in_time(order, due_s, takes_s, start_s) -> int:
    """How many are, one after another."""
    ends_s = itertools.accumulate((takes_s[row] for row in order), initial=start_s)
    return sum(end_s <= due_s[row] for row, end_s in zip(order, itertools.islice(ends_s, 1, None), strict=True))


@given(tasks=TASKS, start_s=st.integers(0, 5))
def test_no_order_has_more_in_time(tasks, start_s):
    """Those that it keeps are all in time, and no permutation of all tasks has more of them so."""
    due_s, takes_s = [due for due, _ in tasks], [takes for _, takes in tasks]
    kept, late = least_late(due_s, takes_s, start_s)
    assert sorted(kept + late) == list(range(len(tasks)))
    most = max(in_time(order, due_s, takes_s, start_s) for order in itertools.permutations(range(len(tasks))))
    assert in_time(kept, due_s, takes_s, start_s) == len(kept) == most


def test_the_longest_is_put_off():
    """Three that take 4, 9 and 4 s by 14 s: without the longest two are in time."""
    assert least_late([12.0, 13.0, 14.0], [4.0, 9.0, 4.0], 0.0) == ([0, 2], [1])


def test_where_nothing_is_scarce_it_is_the_due_date():
    """And who is overdue comes last."""
    assert least_late([3.0, 1.0, -2.0], [0.0, 0.0, 0.0], 0.0) == ([1, 0], [2])
