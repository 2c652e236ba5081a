"""How long jobs that share a device take, against events played one after another, and against sums done by hand."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from splitplace.placement.joint.estimate import computed_s, in_time, overlap, received_s

pytestmark = pytest.mark.base

SIZES = st.lists(st.floats(0.1, 20.0), min_size=1, max_size=6)


def shared(sizes: list[float]) -> list[float]:
    """When each is through one server that all share equally: the smallest first, event by event."""
    left, now, ends = dict(enumerate(sizes)), 0.0, [0.0] * len(sizes)
    while left:
        row = min(left, key=left.__getitem__)
        step, count = left[row], len(left)
        now += step * count
        left = {i: size - step for i, size in left.items() if i != row}
        ends[row] = now
    return ends


def finish_s(down, work, least, count, bytes_per_s, servers):
    """Seconds until each is done."""
    received = received_s(down, bytes_per_s)
    return received + computed_s(received, work, least, count, servers)


def alone(down: list[float], work: list[float], rate: float = 1.0, servers: int = 1) -> list[float]:
    """Of one device with these jobs."""
    shape = (1, len(down))
    found = finish_s(
        np.reshape(down, shape), np.reshape(work, shape), np.reshape(work, shape), np.array([len(down)]),
        np.array([rate]), np.array([servers]),
    )  # fmt: skip
    return found[0].tolist()


@given(sizes=SIZES)
def test_jobs_that_only_compute_share_a_server(sizes):
    """Exactly as processor sharing has it."""
    assert alone([0.0] * len(sizes), sizes) == pytest.approx(shared(sizes))


@given(sizes=SIZES)
def test_jobs_that_only_receive_share_the_link(sizes):
    """Likewise, at its bytes a second."""
    assert alone(sizes, [0.0] * len(sizes), rate=4.0) == pytest.approx([end / 4 for end in shared(sizes)])


def test_as_many_jobs_as_servers_are_in_nobodys_way():
    """Each has one of its own."""
    assert alone([0.0] * 3, [1.0, 2.0, 5.0], servers=3) == pytest.approx([1.0, 2.0, 5.0])


def in_two_stages(down: list[float], work: list[float]) -> list[float]:
    """When each is done that receives first and then computes, both stages shared equally: event by event."""
    down_left, work_left, now, ends = dict(enumerate(down)), dict(enumerate(work)), 0.0, [0.0] * len(down)
    while work_left:
        for row in [row for row in down_left if down_left[row] <= 1e-9]:
            del down_left[row]
        computing = [row for row in work_left if row not in down_left]
        for row in [row for row in computing if work_left[row] <= 1e-9]:
            del work_left[row]
            ends[row] = now
        computing = [row for row in work_left if row not in down_left]
        steps = [left * len(down_left) for left in down_left.values()] + [
            work_left[r] * len(computing) for r in computing
        ]
        if not steps:
            continue
        step = min(steps)
        now += step
        down_left = {row: left - step / len(down_left) for row, left in down_left.items()}
        for row in computing:
            work_left[row] -= step / len(computing)
    return ends


@given(
    jobs=st.lists(st.tuples(st.floats(0.0, 20.0), st.floats(0.1, 20.0)), min_size=1, max_size=5),
)
def test_it_does_not_hope(jobs):
    """A job that is the last to be done is so no later than estimated; nobody is said to take twice the whole."""
    down, work = [job[0] for job in jobs], [job[1] for job in jobs]
    found, true = alone(down, work), in_two_stages(down, work)
    assert max(found) >= max(true) - 1e-6
    assert max(found) <= sum(down) + sum(work) + 1e-6


def test_who_receives_long_meets_less_work():
    """10 bytes and 3 s of work beside 6 s that are under way: of those 5 are counted as done when it begins."""
    assert alone([0.0, 10.0], [6.0, 3.0]) == pytest.approx([7.0, 14.0])


def test_who_uses_all_servers_is_shared_with_as_work():
    """Five trees of 4 server-seconds that four servers could each run in 1 s: 5 s in all, not a quarter of that."""
    down, work, least = np.zeros((1, 5)), np.full((1, 5), 4.0), np.ones((1, 5))
    found = finish_s(down, work, least, np.array([5]), np.ones(1), np.array([4]))
    np.testing.assert_allclose(found, 5.0)
    alone_there = finish_s(down, work * np.eye(1, 5), least * np.eye(1, 5), np.ones(1, int), np.ones(1), np.array([4]))
    np.testing.assert_allclose(alone_there.max(), 1)


@given(
    down=st.lists(st.floats(0.0, 20.0), min_size=3, max_size=3),
    work=st.lists(st.floats(0.0, 20.0), min_size=3, max_size=3),
    more=st.floats(0.0, 9.0),
)
def test_more_work_makes_nobody_earlier(down, work, more):
    """Neither whose it is nor the others."""
    heavier = alone(down, [work[0] + more, *work[1:]])
    assert all(after >= before - 1e-9 for after, before in zip(heavier, alone(down, work), strict=True))


def test_where_there_is_no_job_there_is_no_time():
    """Columns behind a device's own jobs hold nobody up: few that are compared in pairs, and many that are sorted."""
    for columns in (2, 40):
        four = np.zeros((1, columns))
        four[0, 0] = 4.0
        found = finish_s(four, four, four, np.ones(1, int), np.ones(1), np.ones(1, int))
        assert found.tolist() == [[8.0, *[0.0] * (columns - 1)]]


def test_in_time_is_even_at_the_deadline():
    """Half there, near one well before it and near none well after."""
    np.testing.assert_allclose(in_time(np.array([1.0, 9.0, 0.0]), 1.0, 0.1), [0.5, 1.0, 0.0], atol=1e-4)


@given(
    spans=st.lists(st.tuples(st.floats(0.0, 20.0), st.floats(0.0, 9.0)), min_size=1, max_size=40),
    same=st.integers(0, 3),
)
def test_spans_lie_upon_each_other_as_pairs_do(spans, same):
    """Sorted, as where there are many, or in pairs: the same sums; so also where spans begin or end at once."""
    start = np.array([begin for begin, _ in spans] + [spans[0][0]] * same)
    end = start + np.array([width for _, width in spans] + [spans[0][1]] * same)
    pairs = np.minimum(end[:, None], end) - np.maximum(start[:, None], start)
    np.testing.assert_allclose(overlap(start[None], end[None])[0], np.maximum(pairs, 0.0).sum(axis=1), atol=1e-9)
