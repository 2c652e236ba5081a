"""Engines with what they need around them."""

import subprocess
import sys
import tempfile
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path

import pytest

from splitplace.benchmarks.ray_cluster import RayCluster
from splitplace.children import child_env
from splitplace.placement.engines.joined import JoinedEngine
from splitplace.placement.engines.local import LocalEngine
from splitplace.placement.engines.podman import PodmanEngine
from splitplace.placement.engines.ray import RayEngine
from splitplace.placement.engines.roster import Roster

ENGINES = ("local", "podman", "joined", "ray")

AGENT = """
import signal, sys
from pathlib import Path
from splitplace.placement.engines.agent import Agent
agent = Agent(Path(sys.argv[1]))
signal.signal(signal.SIGTERM, lambda *_: agent.stop())
if len(sys.argv) > 2:
    agent.join(sys.argv[2])
agent.serve()
"""


class Machine:
    """A machine that joins a fleet: an agent in a process of its own."""

    def __init__(self, folder: Path):
        self.folder, self.process = folder, None

    def begin(self, *token):
        """Join by a token, or come back without."""
        command = [sys.executable, "-P", "-c", AGENT, str(self.folder), *token]
        self.process = subprocess.Popen(command, env=child_env(), stderr=subprocess.PIPE, text=True)

    def end(self):
        """Leave, in order."""
        if self.process is not None:
            if self.process.poll() is None:
                self.process.terminate()
            self.said = self.process.communicate(timeout=300)[1]
            self.process = None

    def kill(self):
        """At once, as when the power goes; its device goes with it."""
        self.process.kill()
        self.process.communicate()
        self.process = None


@pytest.fixture
def machine(tmp_path):
    """Makes machines."""
    made = []

    def make(name: str) -> Machine:
        made.append(Machine(tmp_path / "machines" / name))
        return made[-1]

    yield make
    for one in made:
        one.end()


@pytest.fixture
def local_engine():
    """Of this machine."""

    @contextmanager
    def make():
        yield LocalEngine()

    return make


@pytest.fixture
def podman_engine(device_image):
    """Of this machine, in containers."""

    @contextmanager
    def make():
        yield PodmanEngine(device_image)

    return make


@pytest.fixture
def joined_engine(tmp_path, machine):
    """With two machines that have joined."""

    @contextmanager
    def make():
        roster = Roster(tmp_path / "data" / "members.json", "ab")
        engine = JoinedEngine(roster, "127.0.0.1", tmp_path, ())
        with ExitStack() as inside:
            inside.callback(engine.close)
            for name in "ab":
                one = machine(name)
                one.begin(engine.invite(name, 600.0))
                inside.callback(one.end)
            yield engine

    return make


@contextmanager
def two_nodes(own_logins=False):
    """A Ray head and the nodes `a` and `b`, whose user keeps logins where the broker's does not, if asked for."""
    with tempfile.TemporaryDirectory(prefix="sp-ray-", dir="/tmp", ignore_cleanup_errors=True) as folder:
        cluster = RayCluster(Path(folder), Path(folder) / "devices")
        if own_logins:
            cluster.environment["DOCKER_CONFIG"] = folder
        try:
            cluster.start_head()
            cluster.start_node("a")
            cluster.start_node("b")
            yield cluster
        finally:
            cluster.close()


@pytest.fixture(scope="module")
def ray_cluster():
    """A head and the nodes `a` and `b`."""
    with two_nodes() as cluster:
        yield cluster


@pytest.fixture
def ray_engine(tmp_path, monkeypatch, request):
    """Whose nodes join by themselves."""
    cluster = request.getfixturevalue("ray_cluster")

    @contextmanager
    def make():
        for name, value in cluster.environment.items():
            monkeypatch.setenv(name, value)
        RayEngine.check()
        roster = Roster(tmp_path / "data" / "members.json", "ab")
        with closing(RayEngine(roster, "127.0.0.1", tmp_path, ())) as engine:
            yield engine

    return make
