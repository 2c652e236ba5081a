"""What the broker's card does to transfers: against events played one after another."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from splitplace.placement.joint.card import BrokerCard

pytestmark = pytest.mark.base

SIZES = st.lists(st.floats(0.1, 20.0), min_size=1, max_size=6)


def card(sizes, bytes_per_s=1.0) -> BrokerCard:
    """One with these transfers under way."""
    made = BrokerCard(bytes_per_s)
    made.add(tuple(sizes))
    return made


def played(sizes: list[float], bytes_per_s: float) -> list[float]:
    """When each transfer is done, all sharing equally: the smallest first."""
    left, now, ends = dict(enumerate(sizes)), 0.0, [0.0] * len(sizes)
    while left:
        row = min(left, key=left.__getitem__)
        step = left[row]
        now += step * len(left) / bytes_per_s
        left = {other: size - step for other, size in left.items() if other != row}
        ends[row] = now
    return ends


@given(sizes=SIZES, bytes_per_s=st.floats(0.5, 4.0))
def test_transfers_share_it(sizes, bytes_per_s):
    """Exactly as processor sharing has it."""
    assert card(sizes, bytes_per_s).sent_s(np.array(sizes)).tolist() == pytest.approx(played(sizes, bytes_per_s))


@given(sizes=SIZES, more=SIZES)
def test_newcomers_are_as_if_they_had_been_there(sizes, more):
    """When the last of them is done, and how much later the others are."""
    before, after = card(sizes), card(sizes + more)
    assert before.with_more_s(tuple(more)) == pytest.approx(max(played(sizes + more, 1.0)[len(sizes) :]))
    later = before.sent_s(np.array(sizes)) + before.later_s(np.array(sizes), tuple(more))
    assert later.tolist() == pytest.approx(after.sent_s(np.array(sizes)).tolist())


@given(links=st.lists(st.tuples(st.floats(0.1, 20.0), st.floats(0.1, 3.0)), min_size=1, max_size=6))
def test_it_is_full_as_long_as_the_links_take_all(links):
    """Until then the devices could have received what it can send, and at no later moment."""
    left, rate = np.array([size for size, _ in links]), np.array([each for _, each in links])
    full_s = card([1.0], 2.0).full_s(left, rate)
    assert np.minimum(left, rate * full_s).sum() >= 2.0 * full_s - 1e-6
    for later in (1e-3, 0.1, 1.0, 50.0):
        assert np.minimum(left, rate * (full_s + later)).sum() < 2.0 * (full_s + later)


def test_one_that_nobody_stated_holds_nobody_up():
    """Whatever is sent."""
    free = card([5.0], math.inf)
    assert not free.limits
    assert (free.busy_s, free.with_more_s((9.0,)), free.full_s(np.ones(2), np.ones(2))) == (0.0, 0.0, 0.0)
    assert free.later_s(np.ones(2), (9.0,)).tolist() == [0.0, 0.0]


def test_a_copy_is_its_own():
    """What is added to it is not added to the first."""
    first = card([1.0])
    second = first.copy()
    second.add((3.0,))
    assert (first.busy_s, second.busy_s) == (1.0, 4.0)
    assert second.sent_s(np.array([1.0, 3.0])).tolist() == [2.0, 4.0]
