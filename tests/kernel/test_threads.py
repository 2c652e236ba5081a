"""What a fragment gains from threads, by Amdahl's law."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from splitplace.records.threads import parallel_share, share_of_time

pytestmark = pytest.mark.base


@pytest.mark.parametrize(
    ("share", "threads", "expected"), [(0.9, 1, 1.0), (0.9, 3, 0.4), (0.0, 8, 1.0), (1.0, 8, 0.125)]
)
def test_what_is_parallel_is_divided_and_the_rest_stays(share, threads, expected):
    """1 - p + p / c."""
    assert share_of_time(share, threads) == pytest.approx(expected)


@given(
    share=st.floats(0.0, 1.0), counts=st.sets(st.integers(1, 64), min_size=2, max_size=5), second=st.floats(1e-6, 1e3)
)
def test_what_follows_the_law_gives_its_share(share, counts, second):
    """However many thread counts, and whatever they are."""
    measured = {threads: second * share_of_time(share, threads) for threads in counts}
    assert parallel_share(measured) == pytest.approx(share, abs=1e-6)


def test_of_what_does_not_the_share_is_that_of_least_squares():
    """Held against numpy: seconds over 1 / threads."""
    measured = {1: 1.0, 2: 0.62, 4: 0.35, 8: 0.3}
    parallel_s, serial_s = np.polyfit([1 / threads for threads in measured], list(measured.values()), 1)
    assert parallel_share(measured) == pytest.approx(parallel_s / (parallel_s + serial_s))


@pytest.mark.parametrize(("two_s", "expected"), [(1.3, 0.0), (0.3, 1.0)])
def test_a_share_is_between_none_and_all(two_s, expected):
    """Threads that slow a fragment down help with nothing of it; caches may do more than double."""
    assert parallel_share({1: 1.0, 2: two_s}) == expected
