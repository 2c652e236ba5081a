"""What an option leaves for whoever comes next."""

from dataclasses import replace

import numpy as np
import pytest

from splitplace.placement.joint.ahead import KEPT, Ahead, RecentArrivals
from splitplace.placement.joint.jobs import DeviceJobs, Job
from splitplace.placement.joint.joint import Joint
from splitplace.placement.joint.offers import PlanOffers
from splitplace.placement.plan import plan
from splitplace.placement.room import Room
from splitplace.records.action import Place

UNLIKE = np.array([1.0, 3.0])
HURRIED = tuple((0, 4, 9.0) for _ in range(KEPT))
"""The tree takes 4 s and its input 4 s on the first device, and 12 s of computing on the other."""


def unlike(view, **facts):
    """Two devices, of which the second takes three times as long."""
    now = view(**facts)
    return replace(
        now, interval_s=1.0, fragments=replace(now.fragments, latency_s_FD=now.fragments.latency_s_FD * UNLIKE)
    )


@pytest.mark.parametrize(("gap_s", "device"), [(1e6, 0), (8.0, 1)])
def test_who_has_time_leaves_the_quick_device_to_who_has_none(view, gap_s, device):
    """If somebody in a hurry is likely to come meanwhile."""
    now, policy = unlike(view, deadlines_s=(90.0,), split=(1,), containers=((0, 2, -1), (0, 3, -1))), Joint()
    state = replace(policy.init(now), arrivals=RecentArrivals(HURRIED, gap_s, newest=200))
    actions, _ = plan(policy, now, state, np.random.default_rng(0))
    assert {action.device for action in actions if isinstance(action, Place)} == {device}


def test_what_the_next_loses_is_what_half_of_the_work_takes_from_its_best(view):
    """Against jobs that are booked in earnest, one device at a time; spread over one device is on one device."""
    now, policy = unlike(view, deadlines_s=(90.0,), memory_bytes=(400.0, 400.0)), Joint()
    arrivals, off_D = RecentArrivals(((0, 4, 15.0), (0, 4, 30.0), (0, 8, 40.0)), gap_s=5.0), np.ones(2)

    def world(*booked):
        jobs = DeviceJobs(now, policy.doubt(now, policy.init(now)))
        offers = PlanOffers(now, Room(now), jobs, np.ones(2, bool), 16)
        for device, job in booked:
            jobs.book(device, job)
        return Ahead(now, arrivals, offers, jobs, off_D)

    ahead, took_s = world(), 6.0
    work_s = np.array([[4.0, 9.0]])
    lost = ahead.lost(np.array([[0, 1]]), work_s, np.full((1, 2), took_s))[0]
    for device in (0, 1):
        # It holds up who shares for as long as it takes, or the other: booked as it is, it has no second to share with.
        half = Job(0.0, (), float(work_s[0, device]) / 2, float(work_s[0, device]) / 2, 90.0, 1.0)
        left_M = world((device, half))._best_M
        assert lost[device] == pytest.approx(took_s / 5.0 * (left_M - ahead._best_M).mean())
        alone = ahead.lost_spread(np.array([device]), work_s[0, [device]], took_s)
        assert alone == pytest.approx(lost[device])
    assert lost[0] < lost[1] <= 0.0


def test_nothing_is_lost_before_anything_is_known(view):
    """Of the first task nobody knows when the next will come."""
    now, policy = unlike(view, deadlines_s=(90.0,)), Joint()
    jobs = DeviceJobs(now, policy.doubt(now, policy.init(now)))
    ahead = Ahead(
        now, RecentArrivals().seen(now), PlanOffers(now, Room(now), jobs, np.ones(2, bool), 16), jobs, np.ones(2)
    )
    assert ahead.lost_spread(np.array([0]), np.array([4.0]), 8.0) == 0.0
    assert not ahead.lost(np.array([[0, 1]]), np.ones((1, 2)), np.ones((1, 2))).any()


def test_the_last_that_came_are_known_and_how_far_apart(view):
    """Each once, however often it is seen; ten, 3 s apart, of which eight are kept."""
    arrivals, came_s = RecentArrivals(), 3.0 * np.arange(10)
    for seen in (4, 4, 10):
        now = view(deadlines_s=tuple(50.0 + row for row in range(seen)), now_s=30.0)
        arrivals = arrivals.seen(replace(now, tasks=replace(now.tasks, age_s_T=30.0 - came_s[:seen])))
    assert arrivals.gap_s == pytest.approx(3.0)
    assert arrivals.tasks == tuple((0, 4, 50.0 + row) for row in range(2, 10))


@pytest.mark.parametrize("waiting", [KEPT - 1, KEPT])
def test_where_many_wait_already_nothing_is_left_for_who_comes(view, waiting):
    """They are next, and it is known who they are."""
    now = unlike(view, deadlines_s=(90.0,) * (waiting + 1), split=(1,) * waiting + (-1,),
                 containers=tuple((task, fragment, -1) for task in range(waiting) for fragment in (2, 3)))  # fmt: skip
    policy = Joint()
    jobs = DeviceJobs(now, policy.doubt(now, policy.init(now)))
    offers = PlanOffers(now, Room(now), jobs, np.ones(2, bool), 16)
    ahead = Ahead(now, RecentArrivals(HURRIED, 8.0, newest=200), offers, jobs, np.ones(2))
    assert ahead.on == (waiting < KEPT)
