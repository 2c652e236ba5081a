"""Whom the Ray engine sends for, by a fake clock; and what it refuses before it begins."""

import errno
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from splitplace.children import child_env
from splitplace.errors import ForbiddenError, NotReadyError, UsageError
from splitplace.placement.device.joining import Ticket
from splitplace.placement.engines import recruiter
from splitplace.placement.engines.agent import Agent
from splitplace.placement.engines.ray import (
    ABSENT_REPORTS,
    AGAIN_S,
    SILENT_REPORTS,
    Dismiss,
    Nodes,
    RayEngine,
    Recruit,
    Recruited,
    Recruiting,
    Trouble,
)
from splitplace.placement.engines.ray_check import NO_NODE, OTHER_VERSION, ray_problem
from splitplace.placement.engines.recruiter import AgentActor, Beginning, Begun, Recruiter, device_folder
from splitplace.placement.engines.roster import Roster

TOKEN = Ticket(endpoint="tcp://127.0.0.1:9", key="0" * 40, secret="0" * 64).token


class Place:
    """A fleet of a and b, what was asked of the recruiter, and a clock."""

    def __init__(self, folder):
        self.now_s, self.said, self.presence = 100.0, [], {"a": "absent", "b": "absent"}
        self.roster = Roster(folder / "members.json", "ab", lambda: self.now_s)
        self.recruiting = Recruiting(
            self.roster, lambda: self.presence, self.ticket, self.said.append, lambda: self.now_s
        )

    def ticket(self, device):
        """As the engine makes one."""
        return f"token-{device}"

    def no_room(self, device):
        """The roster cannot be written."""
        raise OSError(errno.ENOSPC, "No space left on device")

    def nodes(self, **nodes):
        """The recruiter reports; what it is asked for then."""
        self.recruiting.hear(Nodes(nodes=nodes))
        said, self.said[:] = list(self.said), []
        return [(request.device, request.node) for request in said]


@pytest.fixture
def place(tmp_path):
    """As it is before there are nodes."""
    return Place(tmp_path)


def test_an_absent_device_whose_node_is_up_is_sent_for(place):
    """With a token for it; one that is there is not, nor a node that is no device of this fleet."""
    place.presence = {"a": "absent", "b": "here"}
    place.recruiting.hear(Nodes(nodes={"a": "1", "b": "2", "c": "3"}))
    assert [(asked.device, asked.node, asked.token) for asked in place.said] == [("a", "1", "token-a")]


def test_one_is_not_sent_for_over_and_over(place):
    """An agent that runs takes some seconds to come; a node that came back under another id is another."""
    assert place.nodes(a="1") == [("a", "1")]
    place.recruiting.hear(Recruited(device="a", node="1"))
    place.now_s += AGAIN_S / 2
    assert place.nodes(a="1") == []
    assert place.nodes(a="2") == [("a", "2")]
    place.recruiting.hear(Recruited(device="a", node="2"))
    place.now_s += AGAIN_S
    assert place.nodes(a="2") == [("a", "2")]


def test_one_is_not_sent_for_again_before_it_is_told_what_became_of_it(place):
    """However long it takes: the next token would revoke the one that the agent begins with. Then it waits as ever."""
    assert place.nodes(a="1") == [("a", "1")]
    for _ in range(20):
        place.now_s += AGAIN_S
        assert place.nodes(a="1") == []
    place.recruiting.hear(Recruited(device="a", node="1", problem="no disk"))
    assert place.nodes(a="1") == []
    place.now_s += AGAIN_S
    assert place.nodes(a="1") == [("a", "1")]


def test_what_a_recruiter_did_not_answer_is_asked_of_the_next(place):
    """It ended with it."""
    assert place.nodes(a="1") == [("a", "1")]
    place.recruiting.begin_anew()
    place.now_s += AGAIN_S
    assert place.nodes(a="1") == [("a", "1")]


def test_one_that_was_put_out_is_not_sent_for(place):
    """Until somebody has invited it, and that token can bring nobody else; its node may be up as long as it likes."""
    place.roster.revoke("a")
    assert place.nodes(a="1") == []
    place.roster.invite("a", 60.0)
    assert place.nodes(a="1") == []
    place.now_s += 60.0
    assert place.nodes(a="1") == [("a", "1")]


def test_what_goes_wrong_is_told_once(place, caplog):
    """That Ray cannot be asked, until it can; and each agent that did not come."""
    for _ in range(3):
        place.recruiting.hear(Trouble(reason="no head"))
    place.recruiting.hear(Recruited(device="a", node="1", problem="no disk"))
    assert caplog.text.count("Ray cannot be asked: no head") == 1
    assert caplog.text.count("no agent on Ray's node of a: no disk") == 1
    place.nodes(a="1")
    place.recruiting.hear(Trouble(reason="no head"))
    assert caplog.text.count("Ray cannot be asked: no head") == 2


@pytest.mark.parametrize(
    ("environment", "fine"),
    [
        ({}, False),
        ({"RAY_AUTH_TOKEN": "t"}, False),
        ({"RAY_AUTH_MODE": "token"}, False),
        ({"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": "t"}, True),
        ({"RAY_AUTH_MODE": "disabled", "RAY_AUTH_TOKEN": "t"}, False),
        ({"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": "token"}, True),
        ({"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": "elsewhere"}, False),
    ],
)
def test_it_does_not_start_without_rays_token(monkeypatch, tmp_path, environment, fine):
    """It says which variables to set, and which ports to close."""
    (tmp_path / "token").write_text("t")
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, str(tmp_path / value) if name.endswith("PATH") else value)
    if fine:
        RayEngine.check()
        return
    with pytest.raises(UsageError, match=r"RAY_AUTH_MODE=token and RAY_AUTH_TOKEN .*keep ports 6379, 10001") as told:
        RayEngine.check()
    assert "\n" not in str(told.value)


def test_an_agent_begins_on_no_node_without_rays_token(monkeypatch, tmp_path):
    """It says what to set there, and joins nothing."""
    monkeypatch.setenv("SPLITPLACE_DEVICES", str(tmp_path / "devices"))
    monkeypatch.delenv("RAY_AUTH_MODE", raising=False)
    told = Beginning(device="a", fleet="f", token=TOKEN).model_dump_json().encode()
    assert "set RAY_AUTH_MODE=token there" in Begun.parse(AgentActor().begin(told), "").problem
    assert not (tmp_path / "devices").exists()


def test_rays_variables_go_to_its_process_alone(monkeypatch):
    """A device, as every other child, does not get its token."""
    monkeypatch.setenv("RAY_AUTH_TOKEN", "t")
    assert RayEngine.environment().get("RAY_AUTH_TOKEN") == "t"
    assert not [name for name in child_env() if name.startswith("RAY_")]


def test_nothing_but_the_recruiters_process_imports_ray():
    """Not the engine, and not the recruiter's module: an actor's class is taken by its name."""
    code = (
        "import sys, splitplace.placement.engines.ray, splitplace.placement.engines.recruiter, splitplace.api.fleet;"
        "print('ray' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-P", "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"


def test_another_python_is_said_in_one_sentence():
    """Which this machine has, and what Ray wants."""
    said = ray_problem(RuntimeError("Version mismatch: The cluster was started with:\n Ray: 2.60.0\n Python: 3.11.8"))
    assert "expected the same patch version of both on all machines" in said and "3.11.8" in said and "\n" not in said


def test_a_machine_that_runs_no_node_is_told_what_to_do():
    """Start one, or ask the client server."""
    said = ray_problem(RuntimeError(f"No node info found matching attributes: '' {NO_NODE}."))
    assert "start one here" in said and "RAY_ADDRESS=ray://HEAD:10001" in said and "\n" not in said


@pytest.mark.parametrize("words", [OTHER_VERSION, NO_NODE])
def test_rays_words_are_rays(words):
    """Of the version that is installed here."""
    found = find_spec("ray")
    assert found is not None and found.origin is not None
    private = Path(found.origin).parent / "_private"
    assert any(words in (private / name).read_text() for name in ("services.py", "utils.py"))


def test_what_an_agent_is_told_hides_its_token():
    """In a log, or a traceback of Ray's."""
    assert TOKEN not in repr(Beginning(device="a", fleet="f", token=TOKEN))
    assert TOKEN not in repr(Recruit(device="a", node="1", token=TOKEN))


def test_each_fleet_and_device_has_a_folder_of_its_own(monkeypatch, tmp_path):
    """Below the variable, else in the user's home."""
    monkeypatch.setenv("SPLITPLACE_DEVICES", str(tmp_path))
    folders = {device_folder(fleet, device) for fleet in ("key1", "key2") for device in "ab"}
    assert len(folders) == 4 and all(folder.is_relative_to(tmp_path) for folder in folders)
    monkeypatch.delenv("SPLITPLACE_DEVICES")
    monkeypatch.setenv("HOME", "/home/somebody")
    assert str(device_folder("key1", "a")).startswith("/home/somebody/.local/share/splitplace/devices/")


def test_a_silent_device_is_sent_for_when_it_stays_so(place):
    """After so many reports in a row, for its agent is ended by that; a word between, and they are counted anew."""
    place.presence = {"a": "silent", "b": "here"}
    for _ in range(SILENT_REPORTS - 1):
        place.now_s += 1.0
        assert place.nodes(a="1", b="2") == []
    place.presence["a"] = "here"
    place.nodes(a="1", b="2")
    place.presence["a"] = "silent"
    for _ in range(SILENT_REPORTS - 1):
        place.now_s += 1.0
        assert place.nodes(a="1", b="2") == []
    place.now_s += 1.0
    assert place.nodes(a="1", b="2") == [("a", "1")]


def test_a_silent_device_whose_node_is_another_is_sent_for_at_once(place):
    """Ray ended its agent with the former node, however soon the new one came; one that speaks from elsewhere stays."""
    place.presence = {"a": "here", "b": "here"}
    assert place.nodes(a="1", b="2") == []
    place.now_s += 1.0
    assert place.nodes(a="3", b="2") == []
    place.presence = {"a": "silent", "b": "silent"}
    place.now_s += 1.0
    assert place.nodes(a="3", b="2") == [("a", "3")]
    place.recruiting.hear(Recruited(device="a", node="3"))
    place.now_s += AGAIN_S
    assert place.nodes(a="3", b="2") == []


def test_after_a_brokers_start_those_that_it_knows_may_come_by_themselves(place):
    """For some reports, for to send ends an agent that knocks. Who never joined is sent for at once."""
    place.roster.redeem(place.roster.invite("a", 60.0), "0" * 40)
    assert place.nodes(a="1", b="2") == [("b", "2")]
    for _ in range(ABSENT_REPORTS - 2):
        place.now_s += 1.0
        assert place.nodes(a="1", b="2") == []
    place.now_s += 1.0
    assert place.nodes(a="1", b="2") == [("a", "1")]


def test_a_broker_that_paused_sends_for_nobody(place):
    """All were silent meanwhile, as nobody listened, and all reports that waited are read in one moment."""
    place.presence = {"a": "silent", "b": "silent"}
    place.nodes(a="1", b="2")
    place.now_s += 60.0
    for _ in range(60):
        assert place.nodes(a="1", b="2") == []


def test_who_cannot_be_given_a_token_is_tried_again(place, caplog):
    """A full disk ends nothing, and is told of."""
    place.recruiting._ticket = place.no_room
    assert place.nodes(a="1") == [] and "a cannot be sent for: " in caplog.text
    place.recruiting._ticket = place.ticket
    place.now_s += AGAIN_S
    assert place.nodes(a="1") == [("a", "1")]


def test_nobody_is_sent_for_while_somebody_was_given_a_token_for_it(place):
    """Whoever was invited by hand is awaited; the other devices are sent for."""
    place.roster.invite("a", 60.0)
    assert place.nodes(a="1", b="2") == [("b", "2")]
    place.recruiting.hear(Recruited(device="b", node="2"))
    place.now_s += 61.0
    assert place.nodes(a="1", b="2") == [("a", "1"), ("b", "2")]


def test_why_an_agent_ended_is_said_with_the_next(monkeypatch, tmp_path, caplog):
    """By the actor that begins there; once, and in the log of the node."""
    monkeypatch.setenv("SPLITPLACE_DEVICES", str(tmp_path))
    monkeypatch.setenv("RAY_AUTH_MODE", "token")
    ended = []
    monkeypatch.setattr(recruiter.os, "_exit", ended.append)
    monkeypatch.setattr(Agent, "join", lambda agent, token: agent.home.prepare())
    monkeypatch.setattr(Agent, "serve", refused)
    told = Beginning(device="a", fleet="f", token=TOKEN).model_dump_json().encode()
    agent = Agent(device_folder("f", "a"))
    agent.home.prepare()
    AgentActor()._serve(agent)
    assert ended == [0] and "the agent ended" in caplog.text and "revoked: no device now" in caplog.text
    monkeypatch.setattr(Agent, "serve", lambda agent: None)
    first, second = (Begun.parse(AgentActor().begin(told), "") for _ in range(2))
    assert (first, second) == (Begun(ended="revoked: no device now"), Begun())


def refused(agent):
    """The fleet has put it out."""
    raise ForbiddenError("revoked: no device now")


def test_why_one_ended_reaches_the_fleets_log(place, caplog):
    """Beside what became of the next."""
    place.recruiting.hear(Recruited(device="a", node="1", ended="revoked"))
    assert "the former agent on Ray's node of a had ended: revoked" in caplog.text


class AskedRay:
    """In place of Ray: what was asked of which actor, and what was waited for; `b`'s has ended."""

    def __init__(self):
        self.done = []

    def get_actor(self, name):
        """One of that name."""
        if name == "c":
            raise ValueError(name)
        return EndingActor(self, name)

    def wait(self, asked, num_returns, timeout):
        """For all at once."""
        self.done.append(("wait", *asked))


class EndingActor:
    """That is asked to end."""

    def __init__(self, ray, name):
        self.ray, self.name, self.end = ray, name, self

    def remote(self):
        """As Ray's actors do."""
        if self.name == "b":
            raise RuntimeError("the actor died")
        self.ray.done.append(("end", self.name))
        return self.name


def test_all_agents_are_asked_to_end_before_any_is_waited_for():
    """One whose node hangs keeps no other; one that has ended, or is not there, none either."""
    ray = AskedRay()
    Recruiter("f", ray).heed(Dismiss(devices=tuple("abcd")))
    assert ray.done == [("end", "a"), ("end", "d"), ("wait", "a", "d")]


class BusyRay:
    """In place of Ray: a node that starts no process, and is gone after so many looks."""

    def __init__(self, looks):
        self.looks, self.waited = looks, 0

    def wait(self, asked, timeout):
        """It has not answered."""
        self.waited += 1
        return [], asked

    def nodes(self):
        """Still there, or not."""
        self.looks -= 1
        return [{"Labels": {"splitplace-device": "a"}, "Alive": self.looks >= 0, "NodeID": "1"}]


def test_an_agent_is_waited_for_as_long_as_its_node_is_up():
    """One on a node that is gone would be waited for without end."""
    ray = BusyRay(3)
    with pytest.raises(NotReadyError, match="the node has gone meanwhile"):
        Recruiter("f", ray)._answer("the answer", Recruit(device="a", node="1", token=TOKEN))
    assert ray.waited == 4
