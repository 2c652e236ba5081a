"""What one more would do to those that stand on a device: against the same worked out with it booked."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from splitplace.placement.joint import jobs as jobs_module
from splitplace.placement.joint.estimate import Doubt
from splitplace.placement.joint.jobs import IN_TIME, DeviceJobs, Job

pytestmark = pytest.mark.base

DEVICES = 3
BYTES = st.floats(1.0, 400.0)
JOBS = st.lists(
    st.tuples(st.integers(0, DEVICES - 1), BYTES, st.floats(0.1, 20.0), st.floats(0.5, 60.0)), min_size=1, max_size=6
)


def booked(view, jobs, card: float) -> tuple[DeviceJobs, list[Job]]:
    """Jobs on devices that receive 100 bytes a second."""
    now = view(memory_bytes=(100.0,) * DEVICES)
    now = replace(now, links=replace(now.links, broker_bytes_per_s=card))
    found = DeviceJobs(now, Doubt(0.1, np.full(DEVICES, 0.1), 0.3))
    made = [Job(size, (size,), work_s, work_s, slack_s, 1.0) for _, size, work_s, slack_s in jobs]
    for (device, *_), job in zip(jobs, made, strict=True):
        found.book(device, job)
    return found, made


def in_time(jobs: DeviceJobs) -> np.ndarray:
    """P of each, in the order in which they were booked."""
    jobs._settle()
    return jobs._facts[IN_TIME, 1 : jobs._count]


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(jobs=JOBS, device=st.integers(0, DEVICES - 1), size=BYTES, work_s=st.floats(0.1, 20.0))
def test_who_comes_is_foreseen(view, jobs, device, size, work_s):
    """What the others on its device lose by a newcomer is what they have lost when it is booked."""
    before, _ = booked(view, jobs, np.inf)
    after, _ = booked(view, [*jobs, (device, size, work_s, 9.0)], np.inf)
    sizes_KX = np.array([[size]])
    one = np.array([1.0])
    _, lost = before.with_newcomer(np.array([device]), size * one, work_s * one, work_s * one, sizes_KX)
    assert lost[0] == pytest.approx((in_time(after)[:-1] - in_time(before)).sum(), abs=1e-9)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(size=BYTES, work_s=st.floats(0.1, 20.0), slack_s=st.floats(0.1, 60.0), other=BYTES, other_s=st.floats(0.1, 20.0))
def test_who_is_alone_gains_nothing_by_a_newcomer(view, size, work_s, slack_s, other, other_s):
    """Whatever the two are."""
    found, _ = booked(view, [(0, size, work_s, slack_s)], np.inf)
    one = np.array([1.0])
    _, lost = found.with_newcomer(np.array([0]), other * one, other_s * one, other_s * one, np.array([[other]]))
    assert lost[0] <= 1e-12


def test_who_holds_up_one_may_help_another(view):
    """The first has nearly no input, the second's 117 bytes share the link with the newcomer's 132: they come later.

    So the second is less in the first's way, which is later by the newcomer's share of the link alone.
    """
    jobs = [(0, 1.0, 1.0, 1.0), (0, 117.0, 1.0, 9.0)]
    (first, second), (helped, held_up, _) = (
        in_time(booked(view, found, np.inf)[0]) for found in (jobs, [*jobs, (0, 132.0, 1.0, 9.0)])
    )
    assert helped > first and held_up < second


def test_where_nobody_is_it_is_as_in_sight_of_others(view):
    """A device without a job says the same of a newcomer whether a busy one is asked about with it or not."""
    found, _ = booked(view, [(1, 30.0, 2.0, 9.0), (1, 10.0, 4.0, 9.0)], 50.0)
    asked = [[20.0, 20.0], [3.0, 3.0], [3.0, 3.0]]
    both = found.with_newcomer(np.array([0, 1]), *np.array(asked), np.full((2, 1), 20.0))
    alone = found.with_newcomer(np.array([0]), *np.array(asked)[:, :1], np.full((1, 1), 20.0))
    assert [one[0] for one in both] == [one[0] for one in alone]
    assert alone[1][0] == 0.0 > both[1][1]


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(jobs=JOBS)
def test_when_one_is_free_is_known_at_any_time(view, jobs):
    """Asked after every job that is booked, it is what it is if it was never asked before."""
    asked, _ = booked(view, [], np.inf)
    every = np.ones(DEVICES, np.bool_)
    _, made = booked(view, jobs, np.inf)
    for count, ((device, *_), job) in enumerate(zip(jobs, made, strict=True), 1):
        asked.busy_s(every)
        asked.book(device, job)
        assert asked.busy_s(every) == booked(view, jobs[:count], np.inf)[0].busy_s(every)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(jobs=JOBS, sizes=st.lists(BYTES, min_size=1, max_size=3))
def test_what_sending_costs_the_others(view, jobs, sizes):
    """By device, what all elsewhere lose when the card has these to send as well: as if it had."""
    before, made = booked(view, jobs, 50.0)
    now = in_time(before).copy()
    before.card.add(tuple(sizes))
    before._changed.append(np.arange(1, before._count))
    later = in_time(before)
    found, _ = booked(view, jobs, 50.0)
    lost = found.lost_by_sending(np.array([sizes]))
    assert lost.total_S[0] == pytest.approx((later - now).sum(), abs=1e-9)
    devices = np.arange(DEVICES)[None]
    elsewhere = found.elsewhere(lost, np.zeros(1, np.int64), devices)[0]
    for device in range(DEVICES):
        others = np.array([where != device for where, *_ in jobs])
        assert elsewhere[device] == pytest.approx((later - now)[others].sum(), abs=1e-9)
    assert len(made) == len(now)


def test_a_sample_tells_of_very_many(view, monkeypatch):
    """Every fourth of a thousand transfers, for all of them: within a twentieth of asking all."""
    many, _ = booked(view, [(row % DEVICES, 10.0, 1.0, 170.0 + row / 10) for row in range(1000)], 50.0)
    sampled = many.lost_by_sending(np.array([[10.0], [4.0]]))
    assert sampled.by_job_SN.shape == (2, 1)
    assert many.elsewhere(sampled, np.arange(2), np.zeros((2, 1), np.int64))[:, 0].tolist() == sampled.total_S.tolist()
    monkeypatch.setattr(jobs_module, "SAMPLE", 1001)
    of_all = many.lost_by_sending(np.array([[10.0], [4.0]]))
    assert of_all.by_job_SN.shape == (2, 1001)
    assert sampled.total_S.tolist() == pytest.approx(of_all.total_S.tolist(), rel=0.05)


def test_a_copy_books_for_itself(view):
    """What is booked there is not here."""
    jobs, _ = booked(view, [(0, 100.0, 4.0, 9.0)], 50.0)
    other = jobs.copy()
    other.book(1, Job(100.0, (100.0,), 4.0, 4.0, 9.0, 1.0))
    assert jobs.count_D.tolist() == [1, 0, 0]
    assert other.count_D.tolist() == [1, 1, 0]
    assert (jobs.card.left_bytes, other.card.left_bytes) == (100.0, 200.0)
    everywhere = np.ones(DEVICES, bool)
    assert (jobs.busy_s(everywhere), other.busy_s(everywhere)) == (2.0, 4.0)
