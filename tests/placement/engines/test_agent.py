"""What a machine does with what the gate tells it, in this process: no device runtime is started."""

import errno
import os
import signal
import subprocess
import sys
import threading
import time
from contextlib import closing

import pytest

from splitplace.errors import ContractError, ForbiddenError, NotReadyError, UsageError
from splitplace.placement.device import joining
from splitplace.placement.device.config import DeviceConfig
from splitplace.placement.engines import agent as agent_module
from splitplace.placement.engines import membership
from splitplace.placement.engines.agent import Agent, own_address
from splitplace.placement.engines.gate import Gate
from splitplace.placement.engines.roster import Roster
from splitplace.placement.protocol.fields import BROKER
from splitplace.placement.protocol.keys import CurveAccess, new_pair

pytestmark = pytest.mark.base
PATIENCE_S = 240.0


class Launches:
    """In place of processes: what was launched and stopped."""

    def __init__(self):
        self.configs, self.stopped, self.next = [], [], []

    def launch(self, config):
        """Note it."""
        self.configs.append(config)

    def stop(self, device, timeout_s):
        """Note it."""
        self.stopped.append((device, timeout_s))

    def events(self):
        """What the test says."""
        found, self.next = self.next, []
        return found


@pytest.fixture
def gate(tmp_path):
    """Of devices a and b."""
    with closing(Gate(Roster(tmp_path / "members.json", "ab"), "127.0.0.1", tmp_path, ())) as gate:
        yield gate


def ticket(gate, device="a"):
    """A token for a device."""
    secret = gate.machines.roster.invite(device, 600.0)
    return joining.Ticket(**gate.gate.model_dump(), secret=secret).token


@pytest.fixture
def agent(gate, tmp_path):
    """A machine that has joined as a."""
    agent = Agent(tmp_path / "machine")
    agent.join(ticket(gate))
    agent._engine = Launches()
    return agent


def wanted(agent, number=7, **changes):
    """What the gate says that is to run."""
    member = agent.home.membership()
    access = CurveAccess(public_key=member.public_key, peers={BROKER: new_pair()[0]})
    config = DeviceConfig(
        name=member.device, catalog="the broker's", threads=1, access=access, incarnation=number,
        broker_endpoint="tcp://127.0.0.1:1", broker_incarnation=8,
    ).model_copy(update=changes)  # fmt: skip
    return joining.Wanted(incarnation=number, config=config.model_dump_json(), grace_s=1.5)


def test_what_only_the_machine_knows_it_adds(agent):
    """Its secret, its address, where its fragments lie: none of that came from the broker."""
    assert agent._heed(agent.home.membership(), wanted(agent))
    (config,) = agent._engine.configs
    assert config.access.secret_key == agent.home.membership().secret_key and config.access.host == "127.0.0.1"
    assert config.gate == agent.home.membership().gate
    assert config.catalog == config.kept == str(agent.folder / "fragments")


def test_the_same_again_is_nothing_and_another_ends_the_first(agent):
    """With the time that it is given."""
    member = agent.home.membership()
    agent._heed(member, wanted(agent, 7))
    assert not agent._heed(member, joining.Wanted(incarnation=7))
    agent._heed(member, wanted(agent, 8))
    assert agent._engine.stopped == [("a", 1.5)] and [c.incarnation for c in agent._engine.configs] == [7, 8]
    agent._heed(member, joining.Wanted(incarnation=None, grace_s=0.5))
    assert agent._engine.stopped[1:] == [("a", 0.5)] and agent._here().running is None


def test_what_ended_is_told_and_not_started_again(agent):
    """The broker says when, under another number."""
    member = agent.home.membership()
    agent._heed(member, wanted(agent, 7))
    agent._engine.next = [agent_module.Exited("a", "killed by signal 9")]
    assert agent._look()
    here = agent._here()
    assert (here.running, here.ended, here.reason) == (None, 7, "killed by signal 9")
    agent._heed(member, wanted(agent, 7))
    assert len(agent._engine.configs) == 1
    agent._heed(member, wanted(agent, 8))
    assert len(agent._engine.configs) == 2


def test_what_does_not_begin_is_told_as_ended(agent, monkeypatch):
    """For want of a process, a file or memory: the machine stays a device, and the broker tries again later."""
    member = agent.home.membership()
    with monkeypatch.context() as short:
        short.setattr(agent._engine, "launch", refuse)
        assert agent._heed(member, wanted(agent, 7))
    here = agent._here()
    assert (here.running, here.ended) == (None, 7) and "Resource temporarily unavailable" in here.reason
    agent._heed(member, wanted(agent, 8))
    assert agent._here().running == 8


def refuse(config):
    """As a system that gives no more processes."""
    raise BlockingIOError(errno.EAGAIN, "Resource temporarily unavailable")


def test_the_way_to_the_broker_is_found_without_loading_anything():
    """A machine without a free descriptor could not."""
    code = (
        "import sys\n"
        "from splitplace.placement.engines.agent import own_address\n"
        "before = set(sys.modules)\n"
        "assert own_address('tcp://127.0.0.1:9') == '127.0.0.1'\n"
        "print(sorted(set(sys.modules) - before))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=300, check=False)
    assert done.stdout == "[]\n", done.stderr


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"name": "b"}, "is of b, number 7, expected a, number 7"),
        ({"incarnation": 9}, "is of a, number 9, expected a, number 7"),
        ({"access": CurveAccess(public_key=new_pair()[0], peers={})}, "another key than this machine"),
    ],
)
def test_a_configuration_of_something_else_is_refused(agent, changes, said):
    """Another device's, another number's, another key's."""
    with pytest.raises(ContractError, match=said):
        agent._heed(agent.home.membership(), wanted(agent, 7, **changes))
    assert agent._engine.configs == []


def test_a_folder_remembers_its_latest_sessions(agent, monkeypatch, caplog):
    """Those before the one that begins, which says them; a disk that is full ends nothing."""
    home = agent.home
    assert home.begin(home.membership(), 100) == ()
    assert home.begin(home.membership(), 101) == (100,)
    for session in range(102, 120):
        former = home.begin(home.membership(), session)
    assert former == tuple(range(111, 119)) and len(former) == joining.MAX_FORMER
    assert home.membership().device == "a"

    def full(path, text):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(membership, "replace_file", full)
    assert home.begin(home.membership(), 120)[-1] == 119
    assert "this session is not remembered" in caplog.text


def test_what_it_says_names_the_sessions_before(agent, monkeypatch):
    """From the moment that it serves."""
    said = []

    def once(self, member, told, joined):
        said.append(self._here())

    monkeypatch.setattr(Agent, "_serve", once)
    agent.serve()
    again = Agent(agent.folder)
    again.serve()
    assert [one.former for one in said] == [(), (said[0].session,)]


def test_one_that_was_put_out_forgets_what_it_was(agent):
    """For good; one that is only of another version does not."""
    with pytest.raises(NotReadyError, match="update this machine"):
        agent._heed(agent.home.membership(), joining.Dismissed(reason="update this machine", for_good=False))
    assert agent.home.membership().device == "a"
    with pytest.raises(ForbiddenError, match="revoked: this machine is no device of that fleet now"):
        agent._heed(agent.home.membership(), joining.Dismissed(reason="revoked"))
    with pytest.raises(UsageError, match="has joined no fleet"):
        agent.home.membership()


def test_a_token_that_was_taken_though_nobody_heard_is_tried_with_the_same_key(gate, tmp_path, monkeypatch):
    """The answer was lost: the second try is the same machine, not a second one."""
    token = ticket(gate)
    first = Agent(tmp_path / "machine")
    with monkeypatch.context() as lost:
        lost.setattr(membership, "JOIN_S", 0.0)
        lost.setattr(membership, "LOOK_S", 0.0)
        with pytest.raises(NotReadyError, match="nobody who has the fleet's key answers"):
            first.join(token)
    assert Agent(tmp_path / "machine").join(token).device == "a"
    with pytest.raises(ForbiddenError, match="was used"):
        Agent(tmp_path / "other").join(token)
    assert not (tmp_path / "other" / "membership.json").exists()


def test_a_folder_is_one_process_and_one_users(agent, tmp_path):
    """A second process would be the device twice; a folder that others may enter holds a secret."""
    with agent.home.claimed(), pytest.raises(NotReadyError, match="another process is this device"):
        agent.serve()
    (tmp_path / "open").mkdir(mode=0o755)
    with pytest.raises(UsageError, match="others may enter it"):
        Agent(tmp_path / "open").serve()


def test_a_process_that_was_forked_off_is_not_the_machine(agent):
    """However much longer it lives: another may be it at once."""
    said, told = os.pipe()
    with agent.home.claimed():
        child = os.fork()
        if child == 0:
            try:
                os.write(told, b"!")
                signal.pause()
            finally:
                os._exit(1)
        assert os.read(said, 1) == b"!"
    try:
        with agent.home.claimed():
            pass
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        os.close(said)
        os.close(told)


def test_it_serves_until_it_is_told_to_stop(agent, gate):
    """It says who it is when the fleet answers, and leaves in order."""
    joined = threading.Event()
    thread = threading.Thread(target=agent.serve, kwargs={"joined": lambda device: joined.set()})
    thread.start()
    assert joined.wait(PATIENCE_S) and gate.machines.presence() == {"a": "here", "b": "absent"}
    agent.stop()
    thread.join(PATIENCE_S)
    end_s = time.monotonic() + PATIENCE_S
    while gate.machines.presence()["a"] != "absent" and time.monotonic() < end_s:
        time.sleep(0.05)
    assert gate.machines.presence() == {"a": "absent", "b": "absent"}


@pytest.mark.parametrize(("endpoint", "found"), [("tcp://127.0.0.1:9", "127.0.0.1"), ("tcp://[::1]:9", "::1")])
def test_the_address_that_leads_there(endpoint, found):
    """Of this machine; nothing is sent."""
    assert own_address(endpoint) == found


def test_one_that_is_told_to_end_while_it_joins_does(gate, tmp_path):
    """It waits no longer for a fleet that does not answer; the token may be tried again."""
    nobody = joining.Ticket(endpoint=gate.gate.endpoint, key=new_pair()[0], secret="0" * 64)
    agent = Agent(tmp_path / "machine")
    agent.stop()
    with pytest.raises(NotReadyError, match=r"told to end before .* answered"):
        agent.join(nobody.token)
    assert not agent.home.path.exists()


def test_what_it_joined_meanwhile_is_not_forgotten(agent, gate):
    """Another process joined in the same folder: the former one's key goes, not the new one's."""
    former = agent.home.membership()
    present = Agent(agent.folder).join(ticket(gate))
    with pytest.raises(ForbiddenError):
        agent._heed(former, joining.Dismissed(reason="another machine joined in its place"))
    assert agent.home.membership() == present != former
