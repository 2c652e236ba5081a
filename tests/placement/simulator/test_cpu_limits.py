"""Devices that have a quota of a faster machine's time: what a rest is worth, by hand and against the kernel's rule."""

import numpy as np
import pytest

pytestmark = pytest.mark.base

HALF = {"share": 0.5, "period_s": 4.0}
"""Two seconds are gained after a rest of two seconds or more."""


def ends_s(world, by_hand, rows, limit=HALF, core_s=10.0):
    """When tasks that come at these times are answered by one device with that limit, one after another."""
    demand = world.constants({"core_s": (core_s,)}, micro_batch=1000)
    run = by_hand(
        [(at_s, "a", 1000, 99) for at_s in rows], world.fleet(world.device()), demand, "layer+random",
        discipline="fifo", cpu_limits={"k": limit},
    )  # fmt: skip
    return (run.tasks["arrival_s"] + run.tasks["response_s"]).tolist()


def test_who_has_rested_is_done_sooner_by_what_a_period_leaves_over(world, by_hand):
    """Ten seconds of work take eight."""
    assert ends_s(world, by_hand, [0.0]) == pytest.approx([8.0])


def test_work_within_the_quota_runs_at_full_speed(world, by_hand):
    """One second at half of a machine is half a second of all of it, and no less."""
    assert ends_s(world, by_hand, [0.0], core_s=1.0) == pytest.approx([0.5])


def test_who_works_on_has_the_share_alone(world, by_hand):
    """Of three that come at once the second and third gain nothing."""
    assert ends_s(world, by_hand, [0.0] * 3) == pytest.approx([8.0, 18.0, 28.0])


def test_a_short_rest_is_worth_its_length(world, by_hand):
    """One second after one second."""
    assert ends_s(world, by_hand, [0.0, 9.0]) == pytest.approx([8.0, 18.0])


def test_a_device_of_another_kind_has_no_limit(world, by_hand):
    """Kinds are told apart."""
    demand = world.constants({"core_s": (10.0,)}, micro_batch=1000)
    fleet = world.fleet(world.device(kind="other"))
    run = by_hand([(0.0, "a", 1000, 99)], fleet, demand, "layer+random", cpu_limits={"k": HALF})
    assert run.tasks["response_s"].tolist() == pytest.approx([10.0])


def by_the_kernels_rule(work_s, begins_s, share, period_s):
    """How long work of so many seconds of a whole machine takes that begins in a period whose quota is untouched."""
    now_s, quota_s = begins_s, share * period_s
    while work_s > 1e-12:
        until_s = period_s * (np.floor(now_s / period_s + 1e-9) + 1)
        ran_s = min(work_s, quota_s, until_s - now_s)
        work_s, quota_s, now_s = work_s - ran_s, quota_s - ran_s, now_s + ran_s
        if work_s > 1e-12:
            now_s, quota_s = until_s, share * period_s
    return now_s - begins_s


@pytest.mark.parametrize("share", [0.25, 0.4, 0.6, 0.8])
def test_the_mean_over_where_a_period_work_begins_is_the_kernels(world, by_hand, share):
    """Period by period, over 400 beginnings and works of some periods: within a hundredth of a period."""
    period_s = 4.0
    works_s = 20.0 + (np.arange(20) + 0.5) / 20 * share * period_s
    limit = {"share": share, "period_s": period_s}
    begins_s = (np.arange(400) + 0.5) / 400 * period_s
    kernel_s = [by_the_kernels_rule(work_s, begin_s, share, period_s) for work_s in works_s for begin_s in begins_s]
    ours_s = [ends_s(world, by_hand, [0.0], limit, work_s / share)[0] for work_s in works_s]
    assert np.mean(ours_s) == pytest.approx(np.mean(kernel_s), abs=period_s / 100)
