"""Fleets by the engines of one machine: its processes, and containers of it by real podman."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from splitplace.errors import NotFoundError, NotReadyError, UsageError
from splitplace.inference.cpu_share import PERIOD_US
from splitplace.inference.executor import Executor
from splitplace.placement import history as book
from splitplace.placement.engines import podman as podman_module
from splitplace.placement.engines.local import LocalEngine
from splitplace.placement.engines.podman import PodmanEngine, ask_podman

MEMORY = 400 * 2**20
PATIENCE_S = 240.0
LAUNCHER = """
import sys, time
from pathlib import Path
import tests.placement.fleet.conftest as toys
from splitplace.placement.broker.broker import Broker
from splitplace.placement.engines.local import LocalEngine
from splitplace.placement.engines.podman import PodmanEngine
graph, engine = toys.chain(), LocalEngine() if sys.argv[1] == "local" else PodmanEngine(sys.argv[2])
devices = [toys.make_device(name).model_copy(update={"memory_bytes": 400 * 2**20}) for name in "ab"]
with Broker(devices, toys.demand_of(graph), Path(sys.argv[3]), toys.policy(0), engine):
    print(engine.pid("a"), engine.pid("b"), flush=True)
    time.sleep(600)
"""


@pytest.fixture(params=["local", "podman"])
def engine(request):
    """One of each kind."""
    if request.param == "local":
        return LocalEngine()
    return PodmanEngine(request.getfixturevalue("device_image"))


@pytest.fixture
def fleet(start, toy):
    """A broker of two devices of a chain, by an engine."""

    def make(engine, graph=None, memory=MEMORY, **options):
        devices = [toy.make_device(name).model_copy(update={"memory_bytes": memory}) for name in "ab"]
        return start(graph or toy.chain(), devices=devices, engine=engine, **options)

    return make


def containers(of):
    """Those that this process has launched, ended ones too."""
    return ask_podman("ps", "--all", "--quiet", "--filter", f"name=splitplace-{of}-").stdout.split()


def left(engine, pids, alive):
    """What is left of some devices after a grace period: processes, and containers of this process."""
    end = time.monotonic() + PATIENCE_S
    is_podman = isinstance(engine, PodmanEngine)
    while True:
        found = [pid for pid in pids if alive(pid)], containers(os.getpid()) if is_podman else []
        if found == ([], []) or time.monotonic() > end:
            return found
        time.sleep(0.05)


@pytest.mark.slow
def test_a_fleet_answers_as_without_one_and_leaves_nothing(engine, fleet, toy, images, alive):
    """A tree over two devices, at shares of the machine; then they end when they are asked to."""
    graph, x = toy.tree(), images(9)
    with fleet(engine, graph, cpu_shares={"a": 0.5, "b": 0.3}) as broker:
        result = broker.submit("toy", x, deadline_s=1000.0).result(PATIENCE_S)
        pids = [engine.pid(name) for name in "ab"]
        assert engine.health() == {"a": True, "b": True} and engine.events() == []
        reports = broker.reports()
    expected = Executor(graph.split, graph.models.__getitem__).run({"x": x}, toy.micro_batch)
    np.testing.assert_array_equal(result.logits, expected)
    assert [(report.cpu_share, report.cpu_share_method) for report in reports] == [(0.5, "cgroup"), (0.3, "cgroup")]
    assert left(engine, pids, alive) == ([], [])
    assert engine.health() == {}


@pytest.mark.slow
def test_a_device_that_dies_is_followed_by_another(engine, fleet, images, alive, eventually):
    """SIGKILL to what runs in it: the fleet answers all the same, and the successor is of another process."""
    with fleet(engine) as broker:
        first = engine.pid("a")
        os.kill(first, signal.SIGKILL)
        assert broker.submit("toy", images(5), deadline_s=1000.0).result(PATIENCE_S).outcome.error is None
        eventually(lambda: [e.device for e in broker.events if isinstance(e, book.DeviceUp)][2:] == ["a"])
        assert engine.pid("a") != first
        pids = [first, *(engine.pid(name) for name in "ab")]
    assert left(engine, pids, alive) == ([], [])


@pytest.mark.slow
def test_a_launcher_that_is_killed_leaves_no_device(engine, catalog, toy, alive):
    """Nobody is there to clean up: the devices notice that their standard input ended."""
    image = getattr(engine, "image", "")
    command = [sys.executable, "-P", "-c", LAUNCHER, engine.name, image, str(catalog(toy.chain()))]
    root = str(Path(__file__).resolve().parents[3])
    env = os.environ | {"PYTHONPATH": root}
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=env, start_new_session=True)
    pids = [int(pid) for pid in process.stdout.readline().split()]
    assert len(pids) == 2 and all(alive(pid) for pid in pids)
    process.kill()
    process.communicate()
    end = time.monotonic() + PATIENCE_S
    while any(alive(pid) for pid in pids) or (image and containers(process.pid)):
        assert time.monotonic() < end
        time.sleep(0.05)


@pytest.mark.slow
def test_a_container_is_held_to_its_limits(device_image, fleet):
    """Memory and quota as stated, a root and a catalog that cannot be written, no capability, this user."""
    engine = PodmanEngine(device_image)
    with fleet(engine, cpu_shares={"a": 0.5, "b": 0.25}):
        told = {}
        for name in "ab":
            (inspected,) = json.loads(ask_podman("inspect", engine._containers[name]).stdout)
            told[name] = inspected["HostConfig"]
            assert inspected["EffectiveCaps"] in (None, [])
            (mount,) = inspected["Mounts"]
            assert (mount["Destination"], mount["RW"]) == ("/catalog", False)
            status = Path(f"/proc/{engine.pid(name)}/status").read_text()
            assert "NoNewPrivs:\t1" in status and "CapEff:\t0000000000000000" in status
    assert [(one["Memory"], one["CpuPeriod"], one["CpuQuota"]) for one in told.values()] == [
        (MEMORY, PERIOD_US, PERIOD_US // 2),
        (MEMORY, PERIOD_US, PERIOD_US // 4),
    ]
    assert all(one["ReadonlyRootfs"] and one["NetworkMode"] == "host" for one in told.values())


@pytest.mark.slow
def test_a_device_that_takes_more_memory_than_it_has_is_killed_and_told(device_image, fleet):
    """By the kernel, at what it is stated to have; less than a runtime takes is too little to start."""
    said = r"device a did not start: killed by signal 9.*, as who takes more than its 30 MiB"
    with pytest.raises(NotReadyError, match=said), fleet(PodmanEngine(device_image), memory=30 * 2**20):
        pass


def test_no_podman_is_one_line(monkeypatch, tmp_path):
    """And what to do: of the engine, and of a fleet before anything is started."""
    from splitplace import Fleet

    monkeypatch.setenv("PATH", str(tmp_path))
    for call in (PodmanEngine, lambda: Fleet("azure10:3", tmp_path, engine="podman")):
        with pytest.raises(NotReadyError, match="no podman here: install it"):
            call()


def test_an_engine_that_is_none(tmp_path):
    """An unknown name, and an image for one that runs none."""
    from splitplace import Fleet

    with pytest.raises(NotFoundError, match="unknown engine 'docker': expected one of joined, local, podman, ray"):
        Fleet("azure10:3", tmp_path, engine="docker")
    with pytest.raises(UsageError, match="--image x: the engine local runs none"):
        Fleet("azure10:3", tmp_path, image="x")


def answering(folder: Path, answer: str, code: int = 0) -> None:
    """A program `podman` that says one thing."""
    program = folder / "podman"
    program.write_text(f"#!/bin/sh\nprintf '%s' '{answer}'\nexit {code}\n")
    program.chmod(0o755)


def test_an_image_that_is_none_of_ours(monkeypatch, tmp_path):
    """One that podman has not, and one that runs something else."""
    monkeypatch.setattr(podman_module.shutil, "which", lambda name: str(tmp_path / "podman"))
    answering(tmp_path, "", code=125)
    with pytest.raises(NotFoundError, match="podman has no image 'nobody'"):
        PodmanEngine("nobody")
    for entry in ("null", '["/bin/sh"]', '["python3", "-P", "-m", "http.server"]'):
        answering(tmp_path, entry)
        with pytest.raises(NotFoundError, match="expected one that `splitplace image` made"):
            PodmanEngine("other")


def test_what_podman_says_is_told(monkeypatch, tmp_path, fleet):
    """Where it cannot start a container, its last line is why the device did not start."""
    program = tmp_path / "podman"
    entry = '["/usr/bin/python3", "-P", "-m", "splitplace.placement.standalone"]'
    program.write_text(
        f"#!/bin/sh\ncase \"$*\" in *inspect*) echo '{entry}';; *) echo 'no such runtime' >&2; exit 126;; esac\n"
    )
    program.chmod(0o755)
    monkeypatch.setattr(podman_module.shutil, "which", lambda name: str(program))
    with (
        pytest.raises(NotReadyError, match="device a did not start: exited with 126: no such runtime"),
        fleet(PodmanEngine("x")),
    ):
        pass
