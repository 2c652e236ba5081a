"""What follows from what machines say: sessions, runtimes that end, and what is told to whom; by a fake clock."""

import pytest

from splitplace.placement.device import joining
from splitplace.placement.device.config import DeviceConfig
from splitplace.placement.engines.engine import Exited, MachineJoined, MachineLeft
from splitplace.placement.engines.machines import SILENT_S, Machines
from splitplace.placement.engines.roster import Roster
from splitplace.placement.protocol.keys import CurveAccess, new_pair
from splitplace.placement.protocol.messages import PROTOCOL

pytestmark = pytest.mark.base
KEY = new_pair()[0]


class Place:
    """Machines, a clock, and one machine that has joined as `a`."""

    def __init__(self, folder):
        self.clock_s, self.woken = 100.0, 0
        roster = Roster(folder / "members.json", "ab", lambda: self.clock_s)
        self.machines = Machines(roster, self.wake, lambda: self.clock_s)
        self.hear(joining.Enrol(protocol=PROTOCOL, secret=roster.invite("a", 60.0)))

    def wake(self):
        """Counted."""
        self.woken += 1

    def hear(self, said, key=KEY, route=b"r"):
        """What the machine is told then."""
        self.machines.hear(route, key, said)
        return [told for _, told in self.machines.to_tell()]

    def here(self, session=1, **options):
        """It says how things are."""
        return self.hear(joining.Here(protocol=PROTOCOL, session=session, **options))

    def launch(self, incarnation):
        """The broker wants this to run."""
        access = CurveAccess(public_key=KEY, peers={})
        config = DeviceConfig(
            name="a", catalog="nowhere", threads=1, access=access, incarnation=incarnation,
            broker_endpoint="tcp://127.0.0.1:1", broker_incarnation=8,
        )  # fmt: skip
        self.machines.launch(config)
        return config


@pytest.fixture
def place(tmp_path):
    """As it is when one has joined."""
    return Place(tmp_path)


def test_what_is_wanted_is_told_until_it_runs(place):
    """A lost word is made up for by the next; then the configuration is told no more."""
    place.here()
    config = place.launch(7)
    for _ in range(3):
        told = place.here()[-1]
        assert DeviceConfig.parse(told.config, "") == config
    assert place.here(running=7) == [joining.Wanted(incarnation=7)]
    assert place.machines.health() == {"a": True}


def test_what_was_wanted_before_it_came_is_told_when_it_comes(place):
    """The broker need not know when that is."""
    place.launch(7)
    assert place.machines.to_tell() == []
    (told,) = place.here()
    assert told.incarnation == 7


def test_a_runtime_that_ended_is_told_of_once(place):
    """However often the machine says so; and not one that was wanted before."""
    place.here()
    place.launch(7)
    place.here(running=7)
    place.machines.events()
    for _ in range(3):
        assert place.here(ended=7, reason="killed by signal 9") == [joining.Wanted(incarnation=None)]
    assert place.machines.events() == [Exited("a", "killed by signal 9")]
    place.launch(8)
    place.here(ended=7, reason="killed by signal 9")
    assert place.machines.events() == [] and place.machines.health() == {"a": False}


def test_a_machine_that_begins_anew_left_and_joined(place):
    """What ran there runs no more, and it is not told to run that again: it would not be the same process."""
    place.here()
    place.launch(7)
    place.here(running=7)
    place.machines.events()
    place.clock_s += SILENT_S
    assert place.here(session=2) == [joining.Wanted(incarnation=None)]
    assert place.machines.events() == [MachineLeft("a", "its machine began anew"), MachineJoined("a", KEY)]


def test_two_with_one_key_do_not_take_turns(place):
    """The first one stays as long as it speaks; the other gets no answer."""
    place.here(session=1)
    place.machines.events()
    for _ in range(20):
        place.clock_s += 0.5
        assert place.here(session=1)
        assert place.here(session=2) == []
    assert place.machines.events() == []


def test_one_whose_folder_knows_the_former_session_is_heard_at_once(place):
    """The former one has ended: one process at a time holds the folder. Should it speak on, it is another's copy."""
    place.here(session=1)
    place.launch(7)
    place.here(session=1, running=7)
    place.machines.events()
    assert place.here(session=2, former=(5,)) == []
    place.here(session=3, former=(5, 1))
    assert place.machines.events() == [MachineLeft("a", "its machine began anew"), MachineJoined("a", KEY)]
    for _ in range(20):
        assert place.here(session=1, former=(5,)) == []
    assert place.machines.events() == []


def test_to_stop_one_that_is_silent_takes_no_longer_than_is_said(place):
    """Nobody answers: it is told when it speaks again."""
    place.here()
    place.launch(7)
    place.here(running=7)
    place.clock_s += SILENT_S
    place.machines.stop("a", 30.0)
    assert place.here(running=7)[-1].incarnation is None


def test_one_that_is_silent_is_not_healthy(place):
    """And is called so; when it speaks it is here again, and was never gone."""
    place.here()
    place.launch(7)
    place.here(running=7)
    place.machines.events()
    place.clock_s += SILENT_S
    assert place.machines.health() == {"a": False} and place.machines.presence() == {"a": "silent", "b": "absent"}
    place.here(running=7)
    assert place.machines.health() == {"a": True} and place.machines.events() == []


def test_one_that_is_revoked_while_it_is_away_is_told_of(place):
    """Its key is known elsewhere too; of a device that nobody was, nothing is to be told."""
    place.here()
    place.hear(joining.GoingAway())
    place.machines.events()
    place.machines.revoke("a")
    place.machines.revoke("b")
    assert place.machines.events() == [MachineLeft("a", "revoked", revoked=True)]


def test_one_whose_name_the_fleet_file_has_no_more_keeps_its_key(place):
    """The file may name it again; to a key that is enrolled nowhere it is said for good."""
    roster = Roster(place.machines.roster.path, "b", lambda: place.clock_s)
    place.machines = Machines(roster, place.wake, lambda: place.clock_s)
    (told,) = place.here()
    assert not told.for_good and "names no device a" in told.reason
    (told,) = place.hear(joining.GoingAway(), key=new_pair()[0])
    assert told.for_good
