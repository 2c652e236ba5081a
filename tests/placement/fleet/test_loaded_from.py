"""What the broker keeps of where a device had its fragments from."""

import pytest

from splitplace.placement.broker.member import Member
from splitplace.placement.protocol import messages

DIGEST = "sha256:" + "0" * 64


@pytest.fixture
def member(toy):
    """A device."""
    return Member(toy.make_device("a"), 0, 1.0)


def loaded(source, problem=""):
    """What it says."""
    return messages.Loaded(digest=DIGEST, start_s=0.0, end_s=1.0, rss_bytes=1, source=source, problem=problem)


def test_loads_are_counted_by_where_their_files_were(member):
    """On its own disk, in the registry, at the broker."""
    for source in ("registry", "here", "here", "broker"):
        member.had(loaded(source))
    assert member.loaded == {"registry": 1, "here": 2, "broker": 1}


def test_why_not_from_the_registry_is_logged_once_and_kept_until_it_is(member, caplog):
    """What a device has already says nothing of the registry."""
    caplog.set_level("INFO")
    for source, problem in (("broker", "no route"), ("broker", "no route"), ("here", "")):
        member.had(loaded(source, problem))
        assert member.registry_problem == "no route"
    assert caplog.text.count("a has a fragment from the broker, not from the registry: no route") == 1
    member.had(loaded("registry"))
    assert member.registry_problem == "" and caplog.text.count("a has fragments from the registry again") == 1


def test_a_fleet_without_a_registry_has_no_problem_with_one(member, caplog):
    """Its fragments come from the broker, as they are to."""
    caplog.set_level("INFO")
    member.had(loaded("broker"))
    assert member.registry_problem == "" and caplog.text == ""
