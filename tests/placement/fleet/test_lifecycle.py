"""However a broker ends, no process and no cgroup of its devices stays."""

import errno
import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
import zmq

from splitplace import open_files
from splitplace.errors import OverloadedError, SplitPlaceError
from splitplace.inference.cpu_share import PREFIX
from splitplace.placement.broker.fleet import STOP_S, LiveFleet
from splitplace.placement.broker.probing import SpeedProbe
from splitplace.placement.engines.local import LocalEngine

pytestmark = pytest.mark.slow

SCRIPT = """
    import importlib.util, sys, time
    from pathlib import Path
    spec = importlib.util.spec_from_file_location("toys", {conftest!r})
    toys = importlib.util.module_from_spec(spec)
    sys.modules["toys"] = toys
    spec.loader.exec_module(toys)
    from splitplace.placement.broker.broker import Broker
    from splitplace.placement.engines.local import LocalEngine
    graph, engine = toys.chain(), LocalEngine()
    devices = [toys.make_device("a"), toys.make_device("b")]
    broker = Broker(
        devices, toys.demand_of(graph), Path({catalog!r}), toys.policy(0), engine, cpu_shares={{"a": 0.5, "b": 0.5}}
    )
    if {early}:
        launch = engine.launch
        def tell(config):
            launch(config)
            print(engine.pid(config.name), flush=True)
        engine.launch = tell
    with broker:
        for name in "ab" * (not {early}):
            print(engine.pid(name), flush=True)
        if {forks}:
            import os
            print(os.fork() or time.sleep(600), flush=True)
        time.sleep(600)
"""


@pytest.fixture
def gone(alive):
    """Which of some processes are left after a grace period."""

    def ask(pids, seconds=240.0):
        end = time.monotonic() + seconds
        while (left := [pid for pid in pids if alive(pid)]) and time.monotonic() < end:
            time.sleep(0.05)
        return left

    return ask


def groups(pids):
    """The cgroups of these device processes."""
    names = {f"{PREFIX}{pid}" for pid in pids}
    walk = os.walk("/sys/fs/cgroup")  # which passes over what vanishes meanwhile, as other tests' do
    return [Path(parent, name) for parent, folders, _ in walk for name in names.intersection(folders)]


@pytest.fixture
def program(catalog, toy):
    """Starts a program that holds a broker with two devices; gives it and the devices' pids."""
    started = []

    def run(early=False, forks=False):
        conftest = str(Path(__file__).with_name("conftest.py"))
        code = SCRIPT.format(conftest=conftest, catalog=str(catalog(toy.chain())), early=early, forks=forks)
        process = subprocess.Popen(
            [sys.executable, "-c", textwrap.dedent(code)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )
        started.append(process)
        return process, [int(process.stdout.readline()) for _ in range(2)]

    yield run
    for process in started:
        if process.poll() is None:
            process.kill()
        process.communicate()


@pytest.mark.parametrize("early", [False, True], ids=["running", "starting"])
def test_ctrl_c_leaves_nothing(program, early, gone):
    """SIGINT to the whole foreground group, as a terminal sends it."""
    process, pids = program(early)
    os.killpg(process.pid, signal.SIGINT)
    process.wait(240)
    assert gone(pids) == []
    assert groups(pids) == []


def test_a_killed_broker_leaves_no_device(program, gone, alive):
    """SIGKILL: nothing can be cleaned up by the broker, the devices notice that their standard input ended."""
    process, pids = program()
    assert len(pids) == 2 and all(alive(pid) for pid in pids)
    process.kill()
    process.wait(240)
    assert gone(pids) == []
    assert groups(pids) == []


def test_a_process_that_the_broker_forked_keeps_no_device_alive(program, gone, alive):
    """It holds the devices' standard input open; they see that they have another parent."""
    process, pids = program(forks=True)
    child = int(process.stdout.readline())
    process.kill()
    process.wait(240)
    try:
        assert gone(pids) == []
        assert alive(child)
    finally:
        os.kill(child, signal.SIGKILL)


def test_stopped_devices_are_not_waited_for_one_by_one(toy):
    """What all of them may take together is bounded; each gets what is left of it."""
    allowed, now_s = [], time.monotonic()

    class Hung(LocalEngine):
        """Devices that end only by force, after all the time that they are given."""

        def stop(self, device, timeout_s=5.0):
            """Note what it may take."""
            allowed.append(timeout_s)
            clock[0] += timeout_s

    clock = [now_s]
    woken, wake = os.pipe()
    fleet = LiveFleet([toy.make_device(name) for name in "abc"], Hung(), Path(), {}, "auto", woken)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("splitplace.placement.broker.fleet.time.monotonic", lambda: clock[0])
        fleet.close()
    os.close(woken)
    os.close(wake)
    assert allowed == [STOP_S, 0.0, 0.0]


def test_a_clean_exit_leaves_nothing(start, toy, gone):
    """Nor does an error inside the with block, which comes through."""
    broker = start(toy.chain(), devices=[toy.make_device("a")], cpu_shares={"a": 0.5})
    with pytest.raises(RuntimeError, match="mine"), broker:
        pids = [broker.engine.pid("a")]
        raise RuntimeError("mine")
    assert gone(pids, 0.0) == []
    assert groups(pids) == []


def test_a_device_killed_alone_leaves_no_cgroup(start, toy):
    """Its cgroup outlives it; the engine sweeps it."""
    with start(toy.chain(), devices=[toy.make_device("a")], cpu_shares={"a": 0.5}) as broker:
        pid = broker.engine.pid("a")
        os.kill(pid, signal.SIGKILL)
        end = time.monotonic() + 240
        while any(report.up for report in broker.reports()) and time.monotonic() < end:
            time.sleep(0.05)
    assert groups([pid]) == []


@pytest.mark.parametrize("broken", ["b", "ab"])
def test_a_device_that_cannot_start_says_why(start, toy, images, monkeypatch, gone, broken, caplog):
    """The fleet comes up with those that did; with none it does not, and the error has the devices' own words."""
    broker = start(toy.chain(), devices=[toy.make_device("a"), toy.make_device("b")])
    launch, pids = broker.engine.launch, []

    def sabotage(config):
        launch(config.model_copy(update={"cpu_share": 7.0} if config.name in broken else {}))
        pids.append(broker.engine.pid(config.name))

    monkeypatch.setattr(broker.engine, "launch", sabotage)
    if broken == "ab":
        with pytest.raises(SplitPlaceError, match=r"device b did not start: exited with 1: .*cpu_share"), broker:
            pytest.fail("it came up")
    else:
        with broker:
            assert broker.submit("toy", images(5), 1000.0).result(240).outcome.error is None
            assert [report.up for report in broker.reports()] == [True, False]
        assert "device b did not start: exited with 1" in caplog.text
    assert gone(pids) == []


def test_a_device_that_dies_before_its_probe_does_not_keep_the_others_from_beginning(
    start, toy, images, monkeypatch, caplog, eventually
):
    """It said hello and was killed: the fleet comes up without it, and has it started again."""
    broker = start(toy.chain(), devices=[toy.make_device(name) for name in "abc"])
    measure = SpeedProbe.measure

    def killed(self, members):
        os.kill(broker.engine.pid("b"), signal.SIGKILL)
        eventually(lambda: not broker.engine.health()["b"])
        return measure(self, members)

    monkeypatch.setattr(SpeedProbe, "measure", killed)
    with broker:
        assert "device b was lost before the fleet was up: killed by signal 9" in caplog.text
        assert broker.submit("toy", images(5), 1000.0).result(240).outcome.error is None
        eventually(lambda: all(report.up for report in broker.reports()))


def no_file(*_):
    """As of a process that has as many files open as it may."""
    raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))


@pytest.mark.parametrize("lacking", ["process", "connection"])
def test_a_device_that_no_file_is_left_for_is_started_again_later(start, toy, images, monkeypatch, eventually, lacking):
    """Its process or the connection to it: the broker serves on with the other, and says why the one is down."""
    with start(toy.chain(), devices=[toy.make_device(name) for name in "ab"]) as broker:
        inbox, engine = broker._running().fleet.node.inbox, broker.engine
        with monkeypatch.context() as short:
            if lacking == "process":
                short.setattr(engine, "launch", no_file)
            else:
                short.setattr(inbox, "context", SimpleNamespace(socket=lambda kind: raise_zmq()))
            os.kill(engine.pid("a"), signal.SIGKILL)
            eventually(lambda: "ulimit -n" in broker._running().state.devices[0].reason)
            assert broker.submit("toy", images(5), 1000.0).result(240).outcome.error is None
        eventually(lambda: all(report.up for report in broker.reports()))
        assert broker.submit("toy", images(5), 1000.0).result(240).outcome.error is None


def raise_zmq():
    """As ZeroMQ says it."""
    raise zmq.ZMQError(errno.EMFILE)


def test_a_fleet_that_no_files_are_left_for_does_not_begin(start, toy, monkeypatch):
    """How many it takes, how many there may be, and what to do; no process was started."""
    monkeypatch.setattr(open_files, "allow_open_files", lambda wanted: 40)
    broker = start(toy.chain(), devices=[toy.make_device(name) for name in "ab"])
    said = r"a fleet of 2 devices takes up to 70 open files, this process may have 40: .*ulimit -n"
    with pytest.raises(OverloadedError, match=said), broker:
        pytest.fail("it came up")
    assert not broker.engine.health()


def test_a_device_runs_our_code_in_an_environment_meant_for_it(start, toy, tmp_path, monkeypatch):
    """Files called queue.py and zmq.py in the current folder are not run; nothing is sent home, tokens stay here."""
    for name in ("queue", "zmq"):
        (tmp_path / f"{name}.py").write_text("raise SystemExit('the folder was run')\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SOME_TOKEN", "secret")
    with start(toy.chain(), devices=[toy.make_device("a")]) as broker:
        environment = Path(f"/proc/{broker.engine.pid('a')}/environ").read_bytes().split(b"\0")
    assert b"ORT_DISABLE_TELEMETRY=1" in environment
    assert not any(entry.startswith(b"SOME_TOKEN") for entry in environment)
