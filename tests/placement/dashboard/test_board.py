"""The board: a history folded event by event, in bounded memory, and told by what has changed."""

import json

import pytest

from splitplace.placement import history as book
from splitplace.placement.dashboard import board as board_module
from splitplace.placement.dashboard import followed
from splitplace.placement.dashboard.attribution import Stretch
from splitplace.placement.dashboard.board import Board
from splitplace.records.fleet_status import PolicyEstimate


@pytest.fixture
def board():
    """An empty one."""
    return Board()


@pytest.fixture
def tick(board, page, broker):
    """Takes events in, and looks at the fleet."""
    count = 0

    def look(*events, **options):
        nonlocal count
        board.take(page(events, start=count, **options))
        count = board.next
        board.look(broker.status())
        return board.since(0)

    return look


def test_a_task_comes_runs_and_leaves(board, told, tick):
    """Waiting, on devices, answered: with its split, its devices, and where its time went."""
    arrive, decide, place, flow, run, *rest = told(7, deadline_s=1.0).whole(0.9)
    (waiting,) = tick(arrive)["open"]
    assert (waiting["state"], waiting["split"], waiting["devices"]) == ("waiting", None, [])
    (running,) = tick(decide, place, flow)["open"]
    assert (running["state"], running["split"], running["devices"]) == ("running", "toy.tiny.layer-2", ["d-0"])
    last = tick(run, *rest)
    (left,) = last["left"]
    assert last["open"] == [] and (left["id"], left["state"], left["response_s"]) == (7, "answered", 0.9)
    assert left["parts"] == pytest.approx(
        {"wait": 0.09, "queue": 0.09, "load": 0.0, "compute": 0.45, "link": 0.27, "unexplained": 0.0}, abs=1e-6
    )
    assert {one["kind"] for one in board.task(7)["stretches"]} == {"wait", "orders", "link", "queue", "compute"}


def test_violations(told, tick):
    """Late, or failed; not who took his task back."""
    events = [
        *told(0, deadline_s=0.5).whole(0.9),
        *(told(1).arrive(), told(1).finish(2.0, "its deadline of 1 s has passed")),
        *(told(2).arrive(), told(2).finish(2.0, "it was cancelled")),
        *told(3, deadline_s=0.9).whole(0.9),
    ]
    seen = tick(*events)
    assert [task["state"] for task in seen["left"]] == ["late", "failed", "cancelled", "answered"]
    sums = {
        name: sum(moment[name] for moment in seen["bins"]) for name in ("arrived", "answered", "missed", "cancelled")
    }
    assert sums == {"arrived": 4, "answered": 1, "missed": 2, "cancelled": 1}


def test_choices_are_counted_when_they_were_taken(told, tick, broker):
    """By split, in bins of two seconds; estimates and power are those of the moment that the fleet was looked at."""
    broker.estimates = (
        PolicyEstimate(name="layer", unit="reward", value=0.25, count=3),
        PolicyEstimate(name="R", unit="s", value=None),
    )
    device = broker.devices[0]
    broker.devices = (device.model_copy(update={"power_w": 2.0}), device.model_copy(update={"name": "e"}))
    broker.now_s = 5.0
    events = [told(row, arrival_s=0.5).arrive() for row in range(3)]
    events += [told(0).decide(1.0), told(1).decide(1.5), told(2).decide(4.0, "toy.tiny.semantic-2", "semantic")]
    seen = tick(*events)
    assert {moment["at_s"]: moment["decided"] for moment in seen["bins"]} == {
        0.0: {"toy.tiny.layer-2": 2},
        4.0: {"toy.tiny.semantic-2": 1},
    }
    now = seen["bins"][-1]
    assert (now["power_w"], now["estimates"]) == (2.0, [0.25, None])
    assert seen["splits"] == {"toy.tiny.layer-2": "layer", "toy.tiny.semantic-2": "semantic"}


def test_a_load_is_told_to_the_tasks_that_wait_for_it(board, told, tick):
    """To both that have the fragment's device, not to one that has begun, nor to one elsewhere."""
    for number, device in enumerate(("d-0", "d-0", "d-0", "d-1")):
        task = told(number)
        tick(task.arrive(), task.decide(0.0), task.place(0.0, "a", device))
    tick(told(2).flow(0.5), told(0).load(1.0, 2.0, "a", "d-0"))
    assert [len(board.task(number)["stretches"]) for number in (0, 1)] == [2, 2]
    assert [{one["kind"] for one in board.task(number)["stretches"]} for number in (2, 3)] == [{"orders"}, set()]
    tick(*(told(number).finish(3.0, "lost") for number in range(4)))
    assert board._loading == {}


def test_only_what_changed_is_told(board, told, tick):
    """Who was told a version hears of what left, and of the bins that changed, since."""
    tick(*told(0).whole(), *told(1).whole())
    version = board.version
    again = board.since(version)
    assert again["left"] == [] and again["bins"] == [] and again["since"] == version
    tick(*told(2, arrival_s=100.0).whole(100.5))
    assert [task["id"] for task in board.since(version)["left"]] == [2]
    assert {moment["at_s"] for moment in board.since(version)["bins"]} == {0.0, 100.0}  # the fleet's own clock says 1 s
    assert [task["id"] for task in board.since(0)["left"]] == [0, 1, 2]


def test_memory_and_messages_are_bounded(board, told, tick, monkeypatch):
    """However many tasks come and leave, and however long the run: the newest that left, the first that are open."""
    monkeypatch.setattr(board_module, "OPEN_TASKS", 300)
    for number in range(1_000):
        tick(*told(number, arrival_s=3.0 * number, deadline_s=1.0).whole(3.0 * number + 0.5))
    tick(*(told(number).arrive() for number in range(1_000, 1_400)))
    seen = board.since(0)
    assert [task["id"] for task in seen["left"]] == list(range(800, 1_000))
    assert [task["id"] for task in seen["open"]] == list(range(1_100, 1_200)) and seen["open_more"] == 200
    assert len(board._open) == 300 and len(seen["bins"]) == board_module.BINS
    assert len(board._with_events) == board_module.LEFT_TASKS
    assert len(json.dumps(seen)) < 2**20


def test_the_oldest_tasks_lose_their_waterfalls_first(board, told, tick, monkeypatch):
    """Beyond so many events over all; what was attributed stays."""
    monkeypatch.setattr(board_module, "KEPT_EVENTS", 20)
    tick(*(event for number in range(4) for event in told(number).whole()))
    left = board.since(0)["left"]
    assert [task["waterfall"] for task in left] == [False, False, True, True]
    assert all(task["parts"] for task in left)
    assert board.task(0) is None and board.task(3)["stretches"]
    assert board._left_events <= 20


def test_a_task_of_too_many_events_is_not_taken_apart(board, told, tick, monkeypatch):
    """Rather than by those that there was room for."""
    monkeypatch.setattr(followed, "TASK_EVENTS", 6)
    tick(*told(0).whole())
    (task,) = board.since(0)["left"]
    assert task["state"] == "answered" and task["parts"] is None and board.task(0) is None


def test_what_was_missed_is_said_and_nothing_is_made_of_it(board, told, tick, page, broker):
    """Events that were dropped before they were read: how many; the tasks that were open then are not taken apart."""
    arrive, *rest = told(0).whole()
    tick(arrive)
    board.take(page(rest, start=50, missed=49))
    board.look(broker.status())
    seen = board.since(0)
    assert seen["missed_events"] == 49 and seen["left"][0]["state"] == "answered" and seen["left"][0]["parts"] is None


def test_a_task_that_nobody_saw_come_is_shown_when_it_leaves(board, told, tick):
    """Whoever opens the page late sees how it ended, and not where its time went."""
    *_, end = told(5).whole()
    (task,) = tick(end)["left"]
    assert (task["id"], task["state"], task["parts"]) == (5, "answered", None) and board.task(5) is None


def test_another_run_goes_on_with_the_tasks_and_takes_none_of_them_apart(told, tick, page, board, broker):
    """The broker was started anew: what happened in between is not known."""
    arrive, decide, place, *rest = told(0).whole()
    tick(arrive, decide, place)
    start = book.Start(
        created="2026-01-01", policy="p", engine="local", precedence="strict", inputs="ring", devices=("d-0",)
    )
    board.take(page([told(0).put_back(0.2), start, *told(1).whole(), *rest], run="another"))
    board.look(broker.status())
    left = {task["id"]: task for task in board.since(0)["left"]}
    assert left[0]["parts"] is None and left[1]["parts"] is not None


def test_a_waterfall_shows_as_much_as_can_be_told_apart(told):
    """Neighbours on one lane become one stretch; lanes, kinds and their ends stay."""
    many = [Stretch("compute", row / 10_000, (row + 0.9) / 10_000, "a", "d-0", row) for row in range(10_000)]
    found = followed.condensed(many, 1 / followed.SHOWN_STRETCHES)
    assert found == [Stretch("compute", 0.0, 9_999.9 / 10_000, "a", "d-0")]
    few = many[:10]
    assert followed.condensed(few, 1.0) == few
    apart = [Stretch("link", float(row), row + 0.1, "a", "d-0") for row in range(10_000)]
    assert len(followed.condensed(apart, 0.01)) == 4 * followed.SHOWN_STRETCHES
