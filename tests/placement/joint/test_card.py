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
    before, after, more_SX = card(sizes), card(sizes + more), np.array([more])
    assert before.with_more_s(more_SX).tolist() == pytest.approx([max(played(sizes + more, 1.0)[len(sizes) :])])
    later = before.sent_s(np.array(sizes)) + before.later_s(np.array([sizes]), more_SX)
    assert later[0].tolist() == pytest.approx(after.sent_s(np.array(sizes)).tolist())


@given(sizes=SIZES, more=SIZES)
def test_sets_of_newcomers_are_held_against_each_other(sizes, more):
    """Each is as it is alone, whatever stands beside it; a size of 0 is nobody."""
    first, sets_SX = card(sizes), np.array([[*more, 0.0], [0.0] * (len(more) + 1)])
    assert first.with_more_s(sets_SX).tolist() == [first.with_more_s(np.array([more]))[0], 0.0]
    later = first.later_s(np.array([sizes]), sets_SX)
    assert later.tolist() == [first.later_s(np.array([sizes]), np.array([more]))[0].tolist(), [0.0] * len(sizes)]


def test_one_more_of_very_many_changes_nothing_yet():
    """What is left is known at once, the others' ends only when there is one more in sixty-four."""
    many = card([1.0] * 128)
    before = many.sent_s(np.array([1.0]))[0]
    many.add((1.0,))
    assert (many.left_bytes, many.sent_s(np.array([1.0]))[0]) == (129.0, before)
    many.add((1.0, 1.0))
    assert many.sent_s(np.array([1.0]))[0] == before + 3.0


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
    assert (free.busy_s, free.with_more_s(np.array([[9.0]])), free.full_s(np.ones(2), np.ones(2))) == (0.0, [0.0], 0.0)
    assert free.later_s(np.ones((1, 2)), np.array([[9.0]])).tolist() == [[0.0, 0.0]]


def test_a_copy_is_its_own():
    """What is added to it is not added to the first."""
    first = card([1.0])
    second = first.copy()
    second.add((3.0,))
    assert (first.busy_s, second.busy_s) == (1.0, 4.0)
    assert second.sent_s(np.array([1.0, 3.0])).tolist() == [2.0, 4.0]
