"""How busy a device was of late, against a sum over all that it did."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from splitplace.placement.broker.meter import LOOK_BACK_S, Meter

SPANS = st.lists(st.tuples(st.floats(0.0, 1.0), st.floats(0.0, 1.0)), max_size=20)
"""Of one thing after another: how long before it there was nothing, and how long it took."""


@given(SPANS, st.floats(0.0, 3.0), st.booleans(), st.randoms(use_true_random=False))
def test_busy_is_the_share_of_the_last_moments(spans, later_s, forgets, order):
    """Runs one after the other, heard of in any order; of one that began before, what is of these moments."""
    meter, now_s, runs = Meter(), 0.0, []
    for idle_s, took_s in spans:
        start_s = now_s + idle_s
        now_s = start_s + took_s
        runs.append((start_s, now_s))
    order.shuffle(runs)
    for start_s, end_s in runs:
        meter.ran(start_s, end_s)
    now_s += later_s
    if forgets:
        meter.forget(now_s)
    since_s = max(now_s - LOOK_BACK_S, 0.0)
    busy_s = sum(max(end_s - max(start_s, since_s), 0.0) for start_s, end_s in runs)
    assert meter.busy(now_s) == pytest.approx(min(busy_s / max(now_s - since_s, 1e-9), 1.0), abs=1e-6)


@given(st.lists(st.tuples(st.floats(0.0, 8.0), st.integers(0, 10**6)), max_size=20), st.floats(0.0, 3.0), st.booleans())
def test_a_link_is_in_use_for_what_was_sent_in_the_last_moments(sends, later_s, forgets):
    """By its stated speed, whenever it is heard of: it is when who received it comes to work on it."""
    meter = Meter()
    for at_s, size_bytes in sends:
        meter.sent(at_s, size_bytes)
    now_s = max((at_s for at_s, _ in sends), default=0.0) + later_s
    if forgets:
        meter.forget(now_s)
    since_s = max(now_s - LOOK_BACK_S, 0.0)
    seconds = sum(size_bytes for at_s, size_bytes in sends if at_s >= since_s) / 1e6
    assert meter.link(now_s, 1e6) == pytest.approx(min(seconds / max(now_s - since_s, 1e-9), 1.0))


def test_a_late_word_takes_nothing_of_what_was_sent_since():
    """One receiver is idle, and another comes 5 s later to what it was sent before."""
    meter = Meter()
    meter.sent(9.7, 10**5)
    meter.sent(5.1, 10**6)
    assert meter.link(10.0, 1e6) == pytest.approx(0.05) and meter.sent_bytes == 1_100_000
