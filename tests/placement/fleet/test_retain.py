"""For how long a result is kept: by the fleet's clock, also under the next broker, and not a moment longer."""

import shutil

import numpy as np
import pytest

from splitplace.errors import IntegrityError, NotFoundError, OverloadedError
from splitplace.placement.broker.answers import Kept
from splitplace.placement.broker.effects import EndTask
from splitplace.placement.broker.rules import Rules
from splitplace.placement.broker.setup import Setup
from splitplace.placement.broker.spool import SMALL_BYTES
from splitplace.placement.broker.store import Store
from splitplace.placement.outcome import TaskOutcome
from tests.placement.fleet.test_pace import World


@pytest.fixture
def setup(toy):
    """Of a small fleet."""
    return Setup(toy.demand_of(toy.chain()), (toy.make_device("a"),), "pipelined", 4, 1000.0)


def ended(task, size=100):
    """A task that was answered."""
    outcome = TaskOutcome(
        id=task, application="toy", n=size, arrival_s=0.0, deadline_s=1.0, split="toy.toy.layer-3", strategy="layer",
        wait_s=0.0, execute_s=0.5, transfer_s=0.0, response_s=0.5, p=1.0, p_source="prior",
    )  # fmt: skip
    return EndTask(task, "", outcome, np.zeros((size, 4), np.float32))


def known(store, *tasks):
    """Those of these tasks whose result is kept."""
    found = []
    for task in tasks:
        try:
            store.result(task)
            found.append(task)
        except NotFoundError:
            pass
    return found


def test_a_result_is_kept_for_so_long(setup, tmp_path):
    """By when its task ended; what it took is free then."""
    store = Store(tmp_path / "data", setup, retain_s=10.0)
    for task, at_s in ((0, 5.0), (1, 9.0)):
        store.keep(ended(task, 10_000), at_s)
    store.forget(15.0)
    assert known(store, 0, 1) == [0, 1] and store.spool.size_bytes > 160_000 * 2
    store.forget(15.5)
    assert known(store, 0, 1) == [1]
    store.forget(19.5)
    assert known(store, 0, 1) == [] and store.spool.size_bytes == 0
    store.close()


def test_without_a_time_it_is_kept_while_there_is_room(setup, tmp_path):
    """As long as one likes."""
    store = Store(tmp_path / "data", setup)
    store.keep(ended(0), 5.0)
    store.forget(1e9)
    assert known(store, 0) == [0]
    store.close()


def test_the_next_broker_keeps_it_as_long_again(setup, tmp_path):
    """From when the former one wrote down how things were: it knows no more of it."""
    store = Store(tmp_path / "data", setup, retain_s=10.0)
    rules = Rules(setup)
    state = store.state(rules)
    store.keep(ended(0), 5.0)
    state.now_s = 12.0
    store.snapshots.take(state)
    store.commit()
    store.close()
    again = Store(tmp_path / "data", setup, retain_s=10.0)
    assert again.state(rules).now_s == 12.0
    again.forget(21.0)
    assert known(again, 0) == [0]
    again.forget(22.5)
    assert known(again, 0) == []
    again.close()


def killed(store, folder, setup, **options):
    """The store that comes after this one, which was killed at this moment."""
    shutil.copytree(store.folder, folder)
    return Store(folder, setup, **options)


@pytest.mark.parametrize("size", [100, SMALL_BYTES])
def test_what_was_forgotten_is_so_after_a_kill(setup, tmp_path, size):
    """Though the snapshot lists it: it is no damage that its bytes are gone, in the journal or in a file."""
    store = Store(tmp_path / "data", setup, retain_s=10.0)
    state = store.state(Rules(setup))
    for task, at_s in ((0, 5.0), (1, 9.0)):
        store.keep(ended(task, size), at_s)
    store.snapshots.take(state)
    assert not store.forget(15.0) and store.forget(15.5)
    unwritten = killed(store, tmp_path / "unwritten", setup, retain_s=10.0)
    unwritten.state(Rules(setup))
    assert known(unwritten, 0, 1) == [0, 1]
    store.commit()
    again = killed(store, tmp_path / "again", setup, retain_s=10.0)
    assert again.state(Rules(setup)) == state
    assert known(again, 0, 1) == [1] and again.forget(10.5)
    for one in (store, unwritten, again):
        one.close()


def test_a_result_that_is_missing_before_its_time_is_damage(setup, tmp_path):
    """However long the next broker is to keep it."""
    store = Store(tmp_path / "data", setup, retain_s=10.0)
    state = store.state(Rules(setup))
    store.keep(ended(0, SMALL_BYTES), 5.0)
    state.now_s = 100.0
    store.snapshots.take(state)
    again = killed(store, tmp_path / "again", setup, retain_s=1.0)
    for path in again.spool.folder.iterdir():
        path.unlink()
    again.state(Rules(setup))
    with pytest.raises(IntegrityError, match="missing"):
        again.result(0)
    for one in (store, again):
        one.close()


@pytest.fixture
def world(tmp_path):
    """Makes loops on a fake clock, whose results are kept for ten seconds, in one folder; and ends them."""
    made = []

    def make(folder=tmp_path / "data"):
        made.append(World(folder=folder, retain_s=10.0))
        return made[-1]

    yield make
    for one in made:
        one.loop.consulting.planner.close()
        if one.loop.store is not None:
            one.loop.store.close()


def test_a_key_stands_for_a_result_as_long_as_that_is_kept(world, tmp_path):
    """Then it is a new task's, and stands for that one's result; which of the keys is the oldest has changed."""
    one = world()
    first = one.submit(1.0, key="mine")
    one.submit(1.0, key="other")
    again = one.submit(5.0, key="mine")
    one.until(6.0)
    assert again.task_id == first.task_id == 0 and again.result(0).outcome == first.result(0).outcome
    fresh = one.submit(20.0, key="mine")
    once_more = one.submit(21.0, key="mine")
    one.until(22.0)
    assert fresh.task_id == once_more.task_id == 2 and once_more.result(0).outcome.arrival_s == 20.0
    assert one.loop.state.keys == {"other": 1, "mine": 2} and list(one.loop.state.keys) == ["other", "mine"]
    shutil.copytree(one.loop.store.folder, tmp_path / "again")
    assert world(tmp_path / "again").submit(23.0, key="mine").task_id == 2


def test_a_key_without_a_data_folder(world):
    """The same of results that are kept in memory, the newest; a task is known in the step in which it ends, too."""
    one = world(None)
    one.loop.awaited._kept = Kept(1)
    first, again = one.submit(1.0, key="mine"), []
    while not first.done():
        again.append(one.hand_in(1.0, key="mine"))
    assert {answer.task_id for answer in again} == {0} and all(answer.done() for answer in again)
    one.submit(3.0)
    one.until(4.0)
    assert one.submit(5.0, key="mine").task_id == one.loop.state.next_task - 1 > 1


def test_an_idle_fleet_takes_what_it_forgets_off_the_disk(world):
    """Nothing else has to happen for that; whoever comes after a kill does not know it."""
    one = world()
    answer = one.submit(1.0)
    one.until(20.0)
    store = one.loop.store
    (rows,) = store.journal._database.execute("SELECT count(*) FROM payload").fetchone()
    assert answer.done() and not rows and not store.spool.waiting
    again = killed(store, store.folder.with_name("again"), store.setup)
    again.state(Rules(store.setup))
    assert known(again, 0) == []
    again.close()


def test_a_result_for_which_there_was_no_room_is_not_known_after_a_kill(world, monkeypatch):
    """As before it: it was never kept."""
    one = world()
    store = one.loop.store
    one.submit(1.0)

    def full(data):
        raise OverloadedError("no room")

    monkeypatch.setattr(store.spool, "put", full)
    one.until(2.0)
    assert known(store, 0) == [] and not one.loop.state.tasks
    again = killed(store, store.folder.with_name("again"), store.setup)
    again.state(Rules(store.setup))
    assert known(again, 0) == []
    again.close()
