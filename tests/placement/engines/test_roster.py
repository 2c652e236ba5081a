"""Who may be which device: invitations are used once, expire, can be taken back; what is known outlives a broker."""

import stat
from types import SimpleNamespace

import pytest

from splitplace.errors import IntegrityError, NotFoundError, UsageError
from splitplace.placement.engines import roster as roster_module
from splitplace.placement.engines.roster import Roster
from splitplace.placement.protocol.keys import new_pair

pytestmark = pytest.mark.base
KEY, OTHER = new_pair()[0], new_pair()[0]


class Clock:
    """Of invitations."""

    now_s = 1000.0

    def __call__(self):
        """Seconds."""
        return self.now_s


@pytest.fixture
def clock():
    """At the beginning."""
    return Clock()


@pytest.fixture
def roster(tmp_path, clock):
    """Of devices a and b."""
    return Roster(tmp_path / "data" / "members.json", "ab", clock)


def test_a_token_is_used_once(roster):
    """The second machine that says it is refused, and changes nothing."""
    secret = roster.invite("a", 60.0)
    assert roster.redeem(secret, KEY) == "a" and roster.device(KEY) == "a"
    with pytest.raises(NotFoundError, match="was used or revoked, or is too old"):
        roster.redeem(secret, OTHER)
    assert roster.device(OTHER) is None and roster.key("a") == KEY


def test_a_token_expires(roster, clock):
    """At its second."""
    secret = roster.invite("a", 60.0)
    clock.now_s += 60.0
    with pytest.raises(NotFoundError, match="too old"):
        roster.redeem(secret, KEY)


@pytest.mark.parametrize("set_by_s", [-3600.0, 3600.0])
def test_a_token_lasts_as_long_as_was_said_though_the_clock_is_set(tmp_path, monkeypatch, set_by_s):
    """Set forward it is no older, set back no younger: what passes counts."""
    passed, set_s = [5000.0], [1e9]
    clocks = SimpleNamespace(monotonic=lambda: passed[0], time=lambda: set_s[0] + passed[0])
    monkeypatch.setattr(roster_module, "time", clocks)
    roster = Roster(tmp_path / "members.json", "ab")
    in_time, too_late = roster.invite("a", 60.0), roster.invite("b", 60.0)
    set_s[0] += set_by_s
    passed[0] += 59.0
    assert roster.redeem(in_time, KEY) == "a"
    passed[0] += 1.5
    with pytest.raises(NotFoundError, match="too old"):
        roster.redeem(too_late, OTHER)


def test_a_device_is_one_machine(roster):
    """Whoever joins as it takes the place of who was it; a machine that joins as another one is the former no more."""
    roster.redeem(roster.invite("a", 60.0), KEY)
    roster.redeem(roster.invite("a", 60.0), OTHER)
    assert roster.device(KEY) is None and roster.device(OTHER) == "a"
    roster.redeem(roster.invite("b", 60.0), OTHER)
    assert roster.device(OTHER) == "b" and roster.key("a") is None


def test_who_is_revoked_cannot_come_back_by_an_old_token(roster):
    """Neither by its key, nor by a token that was open; a new one is needed, and then it is out no more."""
    roster.redeem(roster.invite("a", 60.0), KEY)
    secret = roster.invite("a", 60.0)
    assert roster.revoke("a") == KEY
    assert roster.device(KEY) is None and roster.is_out("a") and not roster.is_out("b")
    with pytest.raises(NotFoundError):
        roster.redeem(secret, KEY)
    roster.redeem(roster.invite("a", 60.0), KEY)
    assert roster.device(KEY) == "a" and not roster.is_out("a")


def test_the_next_broker_knows_the_same(roster, clock):
    """Keys, open invitations, who is out, and who the fleet itself is; not the secrets of its invitations."""
    roster.redeem(roster.invite("a", 60.0), KEY)
    roster.revoke("b")
    roster.listens(4711)
    secret = roster.invite("a", 60.0)
    assert secret not in roster.path.read_text()
    assert stat.S_IMODE(roster.path.stat().st_mode) == 0o600
    again = Roster(roster.path, "ab", clock)
    assert (again.public_key, again.secret_key, again.port) == (roster.public_key, roster.secret_key, 4711)
    assert again.device(KEY) == "a" and again.is_out("b")
    assert again.redeem(secret, OTHER) == "a"


def test_a_device_that_the_fleet_no_longer_has_is_none(roster, clock):
    """Its key opens nothing, and its token leads nowhere."""
    roster.redeem(roster.invite("a", 60.0), KEY)
    secret = roster.invite("a", 60.0)
    smaller = Roster(roster.path, "b", clock)
    assert smaller.device(KEY) is None
    with pytest.raises(NotFoundError):
        smaller.redeem(secret, OTHER)


def test_what_cannot_be_meant_is_refused(roster, monkeypatch):
    """An unknown device, an invitation for ever or for no time, too many of them."""
    for call in (lambda: roster.invite("c", 60.0), lambda: roster.revoke("c")):
        with pytest.raises(NotFoundError, match="unknown device 'c': expected one of a, b"):
            call()
    for valid_s in (0.0, -1.0, 1e9, float("nan")):
        with pytest.raises(UsageError, match="expected more than 0"):
            roster.invite("a", valid_s)
    monkeypatch.setattr(roster_module, "MAX_OPEN", 2)
    roster.invite("a", 60.0)
    roster.invite("a", 60.0)
    with pytest.raises(UsageError, match="2 invitations are open"):
        roster.invite("b", 60.0)


def test_a_damaged_file_is_refused(roster, clock):
    """It says which."""
    roster.path.write_text(roster.path.read_text().replace("public_key", "public"))
    with pytest.raises(IntegrityError, match=r"members\.json: not a roster: "):
        Roster(roster.path, "ab", clock)


def test_an_engine_replaces_its_own_invitations_alone(roster):
    """Who was given a token by somebody keeps it."""
    given, first = roster.invite("a", 60.0), roster.invite("a", 60.0, by_engine=True)
    second = roster.invite("a", 60.0, by_engine=True)
    with pytest.raises(NotFoundError):
        roster.redeem(first, KEY)
    assert roster.redeem(given, KEY) == roster.redeem(second, OTHER) == "a"


def test_who_is_awaited_was_invited_by_somebody(roster, clock):
    """Not by an engine, and until the token is used or too old."""
    roster.invite("a", 60.0, by_engine=True)
    assert not roster.is_awaited("a")
    secret = roster.invite("a", 60.0)
    assert roster.is_awaited("a") and not roster.is_awaited("b")
    roster.redeem(secret, KEY)
    assert not roster.is_awaited("a")


def test_an_engine_brings_nobody_back_who_was_put_out(roster):
    """Were it about to just then."""
    roster.revoke("a")
    with pytest.raises(UsageError, match="a was put out"):
        roster.invite("a", 60.0, by_engine=True)
    assert roster.is_out("a")
