"""What became of one task of a fleet: by names, over runs of the fleet and over files that were full."""

import pytest

import splitplace as sp
from splitplace.errors import NotFoundError, UsageError
from splitplace.placement.broker.history import History
from splitplace.placement.history import Arrive, DeviceDown, Finish, FragmentPlaced, Start
from splitplace.placement.outcome import TaskOutcome
from tests.placement.fleet.test_history import START

AGAIN = START.model_copy(update={"created": "2026-01-01T01:00:00+00:00"})


def came(task):
    """At half a second."""
    return Arrive(at_s=0.5, task=task, application="toy", n=3, deadline_s=1.0)


def placed(task, device):
    """Its one fragment, there."""
    return FragmentPlaced(at_s=0.6, task=task, attempt=0, fragment="full", device=device)


def down(device):
    """It was killed."""
    return DeviceDown(at_s=0.7, device=device, reason="it was killed")


def left(task):
    """Without an answer."""
    outcome = TaskOutcome(id=task, application="toy", n=3, deadline_s=1.0, arrival_s=0.5, error="late")
    return Finish(at_s=1.5, outcome=outcome)


@pytest.fixture
def fleet(tmp_path):
    """Writes the history of a fleet's runs; answers its folder."""

    def write(*runs, limit_bytes=2**20):
        for run in runs:
            history = History(tmp_path / "history.jsonl", limit_bytes=limit_bytes)
            for event in run:
                history.append(event)
            history.close()
        return tmp_path

    return write


def test_a_task_has_what_is_of_it_and_the_loss_of_its_devices(fleet):
    """Not other tasks' events, nor devices that it is not on yet, nor those that are lost when it has left."""
    mine = [START, came(1), placed(1, "a"), down("a"), placed(1, "b"), left(1)]
    others = [came(2), placed(2, "b"), left(2), down("b")]
    folder = fleet([*mine[:3], *others, *mine[3:], down("b")])
    assert sp.fleet_history(folder, task=1) == tuple(mine)


def test_a_task_that_outlives_a_broker_begins_anew_in_the_next_run(fleet):
    """Each run that it was in by its start, from which times count; a run between, in which it was not, is none."""
    folder = fleet([START, came(1)], [START, came(2)], [AGAIN, placed(1, "a"), left(1)])
    assert sp.fleet_history(folder, task=1) == (START, came(1), AGAIN, placed(1, "a"), left(1))


def test_a_file_that_was_full_is_read_too(fleet):
    """The one that was put aside comes first."""
    folder = fleet([START, came(1), placed(1, "a"), left(1)], limit_bytes=600)
    assert (folder / "history.jsonl.1").is_file()
    found = sp.fleet_history(folder, task=1)
    assert [event for event in found if not isinstance(event, Start)] == [came(1), placed(1, "a"), left(1)]


def test_a_task_that_never_came(fleet, tmp_path):
    """Named, with where it was looked for; so is a number that is none, and a folder without a fleet."""
    folder = fleet([START, came(1)])
    with pytest.raises(NotFoundError, match=r"no task 7 in .*history\.jsonl: expected the number of one that came"):
        sp.fleet_history(folder, task=7)
    with pytest.raises(UsageError, match="task -1: expected a number from 0"):
        sp.fleet_history(folder, task=-1)
    with pytest.raises(NotFoundError, match="no journal"):
        sp.fleet_history(tmp_path / "nowhere", task=1)
