"""For how long a result is kept: by the fleet's clock, also under the next broker, and not a moment longer."""

import numpy as np
import pytest

from splitplace.errors import NotFoundError
from splitplace.placement.broker.effects import EndTask
from splitplace.placement.broker.rules import Rules
from splitplace.placement.broker.setup import Setup
from splitplace.placement.broker.store import Store
from splitplace.placement.outcome import TaskOutcome


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
    store.snapshot(state)
    store.commit()
    store.close()
    again = Store(tmp_path / "data", setup, retain_s=10.0)
    assert again.state(rules).now_s == 12.0
    again.forget(21.0)
    assert known(again, 0) == [0]
    again.forget(22.5)
    assert known(again, 0) == []
    again.close()
