"""Where a task's time went: against histories worked out by hand, and a brute force over moments."""

import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st

from splitplace.placement.dashboard.attribution import RANK, Stretch, attribute, stretches
from tests.placement.dashboard.conftest import Told


def parts(events, end_s):
    """Seconds by kind, without those of which there are none."""
    found = dataclasses.asdict(attribute(events, end_s))
    assert found.pop("response_s") == pytest.approx(end_s - events[0].at_s)
    return {name.removesuffix("_s"): round(value, 9) for name, value in found.items() if value > 1e-12}


def test_a_task_alone(told):
    """Placed after 1 s; loaded from 1.5 to 3.5; ready at 4, sent at 4.25, there at 5; run to 8, back at 9."""
    task = told(deadline_s=20.0)
    events = [
        task.arrive(),
        task.decide(1.0),
        task.place(1.0, "a", "d-0"),
        task.load(1.5, 3.5, "a", "d-0"),
        task.flow(4.0),
        task.run(5.0, 6.0, 8.0),
        task.send(4.25, 5.0),
        task.send(8.5, 9.0, "@answer", "@broker"),
        task.finish(9.0),
    ]
    assert parts(events, 9.0) == {
        "wait": 1.0 + 0.25,  # for a place; for the journal
        "queue": 0.5 + 1.0,  # before it is loaded; before it is run
        "load": 2.0,
        "compute": 2.0,
        "link": 0.5 + 0.75 + 0.5,  # the device's word; its input; its answer
        "unexplained": 0.5,  # between the end of the run and the answer's leaving
    }


def test_a_result_that_waits_to_leave(told):
    """Made at 2 and sent at 2.5, then made at 4 and there at 4.25 on the same device; answered at 6, told at 7."""
    task = told()
    events = [
        task.arrive(),
        task.place(0.0, "a", "d-0"),
        task.place(0.0, "b", "d-1"),
        task.place(0.0, "c", "d-1"),
        task.flow(0.0),
        task.send(0.0, 1.0),
        task.run(1.0, 1.0, 2.0),
        task.send(2.5, 3.0, "b", "d-1", made_s=2.0),
        task.run(3.0, 3.0, 4.0, "b", "d-1"),
        task.run(4.25, 4.5, 5.0, "c", "d-1", made_s=4.0),
        task.send(5.5, 6.0, "@answer", "@broker", made_s=5.0),
    ]
    assert parts([*events, task.finish(7.0)], 7.0) == {
        "link": 1.0 + 0.5 + 0.5,
        "compute": 3 * 1.0 - 0.5,
        "queue": 0.5 + 0.25 + 0.25 + 0.5,
        "wait": 1.0,  # with the broker, until all runs were reported
    }
    assert parts([*events, task.finish(7.0, "its deadline has passed")], 7.0)["unexplained"] == 1.0


def test_a_moment_counts_once(told):
    """Two micro-batches: the second is on its way and waits while the first is run; what is run counts."""
    task = told()
    events = [
        task.arrive(),
        task.place(0.0, "a", "d-0"),
        task.flow(0.0),
        task.run(1.0, 1.0, 3.0),
        task.send(0.0, 1.0),
        task.run(2.0, 3.0, 5.0, row=1),
        task.send(0.0, 2.0, row=1),
        task.finish(5.0),
    ]
    assert parts(events, 5.0) == {"link": 1.0, "compute": 4.0}


def test_branches_side_by_side_count_as_long_as_one_of_them_runs(told):
    """On two devices from 1 to 4 and from 2 to 6; then the second one's answer travels."""
    task = told()
    events = [
        task.arrive(),
        task.place(0.0, "a", "d-0"),
        task.place(0.0, "b", "d-1"),
        task.flow(0.0),
        task.run(1.0, 1.0, 4.0, "a", "d-0"),
        task.send(0.0, 1.0, "a", "d-0"),
        task.run(1.0, 2.0, 6.0, "b", "d-1"),
        task.send(0.0, 1.0, "b", "d-1"),
        task.send(4.0, 5.0, "@answer", "@broker"),
        task.send(6.0, 7.0, "@answer", "@broker"),
        task.finish(7.0),
    ]
    assert parts(events, 7.0) == {"link": 2.0, "compute": 5.0}


def test_a_lost_attempt(told):
    """Its device is lost at 3 and never said anything: from 1 to 3 nothing is known; 2 s pass until the next."""
    task = told()
    events = [
        task.arrive(),
        task.place(1.0, "a", "d-0"),
        task.put_back(3.0),
        task.place(5.0, "a", "d-1", attempt=1),
        task.flow(5.0),
        task.run(6.0, 6.0, 8.0, device="d-1"),
        task.send(5.0, 6.0, device="d-1"),
        task.finish(8.0),
    ]
    assert parts(events, 8.0) == {"wait": 3.0, "unexplained": 2.0, "link": 1.0, "compute": 2.0}


def test_a_task_that_never_had_a_place(told):
    """Waited, and nothing else."""
    task = told()
    assert parts([task.arrive(), task.finish(4.0, "its deadline has passed")], 4.0) == {"wait": 4.0}


def test_a_fragment_that_is_loading_for_another_task_counts_from_when_it_is_waited_for(told):
    """Ordered at 0 for somebody else; this task comes to the device at 2, and it is there at 3."""
    task = told(arrival_s=1.0)
    events = [task.arrive(), task.place(2.0, "a", "d-0"), task.load(0.0, 3.0, "a", "d-0"), task.flow(3.0)]
    assert parts([*events, task.finish(3.0)], 3.0) == {"wait": 1.0, "load": 1.0}


def test_another_devices_load_is_none_of_its_time(told):
    """Nor one after its inputs have begun to flow: it is somebody else's."""
    task = told()
    events = [
        task.arrive(),
        task.place(0.0, "a", "d-0"),
        task.load(0.0, 1.0, "a", "d-1"),
        task.flow(1.0),
        task.load(1.0, 2.0, "a", "d-0"),
        task.finish(2.0),
    ]
    assert parts(events, 2.0) == {"link": 1.0, "unexplained": 1.0}


def test_what_is_under_way_is_taken_apart_until_now(told):
    """A task on a device, looked at in the middle of nothing."""
    task = told()
    events = [task.arrive(), task.place(1.0, "a", "d-0"), task.flow(2.0), task.send(2.0, 3.0), task.run(3.0, 3.0, 4.0)]
    assert parts(events, 6.0) == {"wait": 1.0, "link": 2.0, "compute": 1.0, "unexplained": 2.0}


def test_stretches_say_whose_they_are(told):
    """Fragment, device and micro-batch, in the order of their starts; nothing without a length."""
    task = told()
    found = stretches(task.whole(1.0), 1.0)
    assert found == [
        Stretch("wait", 0.0, 0.1),
        Stretch("orders", 0.1, 0.2),
        Stretch("link", 0.2, 0.3, "a", "d-0", 0),
        Stretch("queue", 0.3, 0.4, "a", "d-0", 0),
        Stretch("compute", 0.4, 0.9, "a", "d-0", 0),
        Stretch("link", 0.9, 1.0, "@answer", "@broker", 0),
    ]


TIMES = st.integers(0, 60)
SPANS = st.tuples(TIMES, TIMES).map(sorted)


@given(
    runs=st.lists(st.tuples(TIMES, TIMES, TIMES).map(sorted), max_size=5),
    sends=st.lists(SPANS, max_size=5),
    loads=st.lists(SPANS, max_size=2),
    attempts=st.lists(st.tuples(TIMES, TIMES, TIMES).map(sorted), max_size=3),
    end=st.integers(1, 70),
)
def test_it_is_what_every_moment_says(runs, sends, loads, attempts, end):
    """A brute force: each whole second counts for the first kind that holds in it, and what none holds in is left."""
    task = Told()
    events = [task.arrive()]
    for number, (placed, flows, over) in enumerate(sorted(attempts)):
        events += [task.place(placed, "a", "d-0", number)]
        events += [task.load(start, stop, "a", "d-0") for start, stop in loads]
        events += [task.flow(flows), *(task.run(*times) for times in runs), *(task.send(*span) for span in sends)]
        events += [task.put_back(over)]
    found = stretches(events, end)
    expected = dict.fromkeys((*RANK, None), 0)
    for second in range(end):
        holding = {one.kind for one in found if one.start_s <= second and second + 1 <= one.end_s}
        expected[next((kind for kind in RANK if kind in holding), None)] += 1
    got = attribute(events, end)
    assert [got.compute_s, got.load_s, got.queue_s, got.wait_s] == [
        expected[kind] for kind in ("compute", "load", "queue", "wait")
    ]
    assert got.link_s == expected["link"] + expected["orders"] and got.unexplained_s == expected[None]
    assert sum(dataclasses.astuple(got)[:-1]) == got.response_s == end
