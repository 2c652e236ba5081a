"""What physics alone expects of a placement: by hand, and beside the simulator."""

from dataclasses import replace

import numpy as np
import pytest

from splitplace.placement.surrogates import fluid
from splitplace.placement.surrogates.fluid import expected_s
from splitplace.placement.surrogates.problem import carried_out
from splitplace.records.action import Place

pytestmark = pytest.mark.base


def places(task, *devices, first=0):
    """Fragment after fragment of a task."""
    return [Place(100 + task, first + i, device) for i, device in enumerate(devices)]


@pytest.mark.parametrize(
    ("actions", "seconds"),
    [
        # The input's 4 x 50 bytes at 100 bytes/s and half a round trip of 0.2 s; 10 s and 5 s of work.
        (places(0, 0, 0), [2.1 + 10 + 5]),
        # ... and between devices 4 x 25 bytes and a round trip.
        (places(0, 0, 1), [2.1 + 10 + 1.2 + 5]),
        # Two inputs of 200 bytes share a downlink, two branches of 2 s one core.
        (places(1, 0, 0, first=2), [4.1 + 4]),
        (places(1, 0, 1, first=2), [2.1 + 2]),
        # The chain's first is held up by two branches for 2 s each, its second likewise; the branches by both of it.
        ([*places(0, 0, 0), *places(1, 0, 0, first=2)], [6.1 + 14 + 9, 6.1 + 8]),
    ],
    ids=["together", "apart", "branches together", "branches apart", "both on one"],
)
def test_a_placement_by_hand(view, actions, seconds):
    """Equal shares of cores and links; before and after take turns."""
    now = view(deadlines_s=(50.0, 50.0), memory_bytes=(200.0, 200.0))
    _, left_s = expected_s(now, carried_out(now, actions))
    assert left_s == pytest.approx(seconds)


def test_a_device_with_more_cores(view):
    """Two branches side by side; none is faster than alone."""
    now = view(deadlines_s=(50.0, 50.0))
    two = replace(now, devices=replace(now.devices, servers_D=np.array([4, 1])))
    _, left_s = expected_s(two, carried_out(two, places(1, 0, 0, first=2)))
    assert left_s == pytest.approx([4.1 + 2])


def test_what_waits_counts_as_the_longest(view):
    """A plan that starts a task is worth more than one that starts none; of nothing, nothing is expected."""
    now = view(deadlines_s=(50.0,))
    assert fluid.worth(now, places(0, 0, 0), 0.5, 0.5) > fluid.worth(now, [], 0.5, 0.5)
    assert len(expected_s(now, carried_out(now, []))[0]) == 0


def test_links_that_carry_nothing_take_for_ever_and_no_error(view):
    """Apart over links of 0 bytes/s: as of 1, and so far beyond any deadline."""
    now = view(deadlines_s=(50.0,))
    away = replace(now, links=replace(now.links, up_bytes_per_s_D=np.zeros(2), down_bytes_per_s_D=np.zeros(2)))
    _, left_s = expected_s(away, carried_out(away, places(0, 0, 1)))
    assert left_s[0] > 200.0
    assert np.isfinite(left_s).all()
