"""Where a task's time went, on a real fleet: what is attributed is all of it."""

import dataclasses
from types import SimpleNamespace

import pytest

from splitplace.placement import history as book
from splitplace.placement.broker.reports import learned
from splitplace.placement.dashboard.attribution import attribute
from splitplace.placement.dashboard.board import Board
from splitplace.placement.placers.best_fit import BestFit
from splitplace.records.fleet_status import PolicyEstimate
from tests.placement.fleet.conftest import InTurn

PATIENCE_S = 240.0


def story(events, task):
    """What the history says of a task, and of files that were opened, since it came."""
    mine = [
        event
        for event in events
        if getattr(event, "task", None) == task
        or isinstance(event, book.FragmentLoaded)
        or (isinstance(event, book.Finish) and event.outcome.id == task)
    ]
    return mine[next(row for row, event in enumerate(mine) if isinstance(event, book.Arrive)) :]


@pytest.mark.slow
@pytest.mark.parametrize("data", [False, True], ids=["in memory", "on disk"])
@pytest.mark.parametrize("placer", [BestFit, InTurn])
def test_no_more_than_a_fiftieth_of_small_tasks_is_unexplained(toy, start, images, tmp_path, placer, data):
    """One image each, one after another: all there is of them is hand-overs, between threads and processes."""
    folder = tmp_path / "data" if data else None
    with start(toy.chain(), devices=[toy.make_device(name) for name in "ab"], placer=placer(), data=folder) as broker:
        tasks = [broker.submit("toy", images(1), 1000.0).result(PATIENCE_S).outcome.id for _ in range(40)]
        events = broker.history(most=10_000).events
    found = []
    for task in tasks[1:]:  # the first loads
        mine = story(events, task)
        found.append(attribute(mine, next(event.at_s for event in mine if isinstance(event, book.Finish))))
    assert sum(one.unexplained_s for one in found) <= 0.02 * sum(one.response_s for one in found)


@pytest.mark.slow
@pytest.mark.parametrize("precedence", ["strict", "pipelined"])
def test_a_real_fleets_tasks_are_taken_apart_whole(toy, start, images, precedence):
    """A chain on two devices: the parts are all of the response, what ran is seen to, and so is what travelled."""
    graph = toy.chain(width=512, layers=2)
    broker = start(graph, devices=[toy.make_device("a"), toy.make_device("b")], precedence=precedence)
    with broker:
        futures = [broker.submit("toy", images(40, 512), 1000.0) for _ in range(6)]
        results = [future.result(PATIENCE_S) for future in futures]
        events = broker.history(most=10_000).events
    for result in results:
        assert result.logits is not None
        mine = story(events, result.outcome.id)
        end = next(event for event in mine if isinstance(event, book.Finish))
        found = attribute(mine, end.at_s)
        whole = dataclasses.astuple(found)
        assert sum(whole[:-1]) == pytest.approx(found.response_s) == pytest.approx(result.outcome.response_s)
        assert min(whole) >= 0.0 and found.compute_s > 0.0 and found.link_s > 0.0
        # The broker's own account of the same task: it sees no queue, and calls orders executing.
        assert found.compute_s <= result.outcome.execute_s + 1e-9
        assert found.wait_s >= result.outcome.wait_s - 1e-9


@pytest.mark.slow
def test_a_board_follows_a_real_fleet(toy, start, images):
    """Page by page, however small: every task is whole, taken apart, and has a waterfall with lanes on its devices."""
    broker = start(toy.tree(), devices=[toy.make_device("a"), toy.make_device("b")])
    board, count = Board(), 8
    with broker:
        for future in [broker.submit("toy", images(10), 1000.0) for _ in range(count)]:
            assert future.result(PATIENCE_S).logits is not None
        while (page := broker.history(board.next, most=7)).next != board.next:
            board.take(page)
        board.look(broker.status())
    told = board.since(0)
    assert [task["state"] for task in told["left"]] == ["answered"] * count and told["open"] == []
    for task in told["left"]:
        found = board.task(task["id"])
        assert sum(found["parts"].values()) == pytest.approx(task["response_s"], abs=1e-5)
        assert {one["device"] for one in found["stretches"] if one["kind"] == "compute"} == set(task["devices"])
        assert {one["fragment"] for one in found["stretches"] if one["kind"] == "compute"} == {
            *("trunk", "inner0", "inner1", "leaf0", "leaf1", "leaf2", "leaf3")
        }
    assert sum(sum(moment["decided"].values()) for moment in told["bins"]) == count
    assert told["missed_events"] == 0


@pytest.mark.parametrize("given", ["nothing", "a mistake", "what it learned"])
def test_what_a_policy_tells_of_itself_never_fails_the_status(given, caplog):
    """Somebody's code: what it raises is in the log."""

    class Learner:
        name = "mine"

        def estimates(self, state, applications):
            if given == "a mistake":
                raise KeyError("x")
            return [PolicyEstimate(name=applications[0], unit="s", value=state)]

    loop = SimpleNamespace(
        policy=Learner() if given != "nothing" else SimpleNamespace(name="plain"),
        consulting=SimpleNamespace(planner=SimpleNamespace(states=2.0)),
        setup=SimpleNamespace(statics=SimpleNamespace(applications=("toy",))),
    )
    expected = (PolicyEstimate(name="toy", unit="s", value=2.0),) if given == "what it learned" else ()
    assert learned(loop) == expected
    assert ("policy mine does not tell" in caplog.text) == (given == "a mistake")
