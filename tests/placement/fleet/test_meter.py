"""How busy a device was of late, against a sum over all that it did."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from splitplace.placement.broker.meter import LOOK_BACK_S, Meter

SPANS = st.lists(st.tuples(st.floats(0.0, 1.0), st.floats(0.0, 1.0)), max_size=20)
"""Of one thing after another: how long before it there was nothing, and how long it took."""


@given(SPANS, st.floats(0.0, 3.0), st.booleans())
def test_busy_is_the_share_of_the_last_moments(spans, later_s, forgets):
    """One run after the other; of one that began before, what is of these moments."""
    meter, now_s, runs = Meter(), 0.0, []
    for idle_s, took_s in spans:
        start_s = now_s + idle_s
        now_s = start_s + took_s
        meter.ran(start_s, now_s)
        runs.append((start_s, now_s))
    now_s += later_s
    if forgets:
        meter.forget(now_s)
    since_s = max(now_s - LOOK_BACK_S, 0.0)
    busy_s = sum(max(end_s - max(start_s, since_s), 0.0) for start_s, end_s in runs)
    assert meter.busy(now_s) == pytest.approx(min(busy_s / max(now_s - since_s, 1e-9), 1.0), abs=1e-6)


@given(st.lists(st.tuples(st.floats(0.0, 1.0), st.integers(0, 10**6)), max_size=20), st.floats(0.0, 3.0), st.booleans())
def test_a_link_is_in_use_for_what_was_sent_in_the_last_moments(sends, later_s, forgets):
    """By its stated speed."""
    meter, now_s, sent = Meter(), 0.0, []
    for idle_s, size_bytes in sends:
        now_s += idle_s
        meter.sent(now_s, size_bytes)
        sent.append((now_s, size_bytes))
    now_s += later_s
    if forgets:
        meter.forget(now_s)
    since_s = max(now_s - LOOK_BACK_S, 0.0)
    seconds = sum(size_bytes for at_s, size_bytes in sent if at_s >= since_s) / 1e6
    assert meter.link(now_s, 1e6) == pytest.approx(min(seconds / max(now_s - since_s, 1e-9), 1.0))
