"""A live fleet from the command line, as users have it: two terminals, devices that die, a broker that is killed."""

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace

import numpy as np
import psutil
import pytest

import splitplace as sp
from splitplace.placement import state_files, states
from splitplace.placement.broker.setup import view_at_rest
from splitplace.placement.placers.daso import Daso
from splitplace.splitting import split_folder
from splitplace.splitting.artifact import SplitArtifact
from tests.cli.brightest import FLEET, MODEL

pytestmark = pytest.mark.slow

MAIN = "from splitplace.cli import main; main()"
PATIENCE_S = 240


class Room:
    """A folder to call commands in; its fleets end with the test."""

    def __init__(self, folder):
        self.folder = folder

    def popen(self, *tokens):
        """A command under way."""
        command = [sys.executable, "-c", MAIN, *tokens]
        return subprocess.Popen(
            command, cwd=self.folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
        )

    def call(self, *tokens, code=0):
        """What a command prints: its document, or where it fails its one line."""
        process = self.popen(*tokens, "--json")
        out, err = process.communicate(timeout=PATIENCE_S)
        assert process.returncode == code, err
        if code:
            assert err.startswith("splitplace: ") and err.count("\n") == 1 and out == "", err
            return err
        return json.loads(out)

    def start(self, changes=None, code=0):
        """`fleet start`, detached."""
        return self.call(*start(changes), "--detach", code=code)


USUAL = {"--devices": "fleet.toml", "--catalog": "catalog", "--policy": "full+least-loaded"}


def start(changes=None):
    """`fleet start` with the usual options, but for some."""
    return "fleet", "start", *(token for option in (USUAL | (changes or {})).items() for token in option)


SUBMIT = ("submit", "pixels", "--input", "x.npy", "--deadline", "1000")


@pytest.fixture(scope="module")
def catalog(tmp_path_factory, brightest):
    """Of one split, profiled and evaluated by the commands for it."""
    room = Room(tmp_path_factory.mktemp("catalog"))
    split_folder.write(SplitArtifact(brightest(MODEL), {"full": MODEL}), room.folder / "split")
    np.save(room.folder / "x.npy", np.eye(4, dtype=np.uint8).reshape(4, 1, 2, 2))
    np.save(room.folder / "y.npy", np.arange(4))
    room.call("export", "split", "--catalog", "catalog")
    room.call("profile", "catalog", "--quick", "--kind", "test")
    room.call("evaluate", "catalog", "--images", "x.npy", "--labels", "y.npy")
    return room.folder


@pytest.fixture
def room(catalog, tmp_path):
    """Catalog, images and a fleet file; whatever fleet runs in it is stopped."""
    for name in ("catalog", "x.npy", "y.npy"):
        (tmp_path / name).symlink_to(catalog / name)
    (tmp_path / "fleet.toml").write_text(FLEET)
    room = Room(tmp_path)
    yield room
    for pid_file in tmp_path.glob("*/broker.pid"):
        process = room.popen("fleet", "stop", "--data", str(pid_file.parent))
        process.communicate(timeout=PATIENCE_S)


def gone(*pids):
    """Whether these processes end, soon."""
    end_s = time.monotonic() + PATIENCE_S
    while time.monotonic() < end_s and any(psutil.pid_exists(pid) for pid in pids):
        time.sleep(0.05)
    return not any(psutil.pid_exists(pid) for pid in pids)


def devices_of(status):
    """Processes of the devices that are up."""
    return [device["pid"] for device in status["devices"] if device["up"]]


def test_the_walk(room):
    """Start, look, submit, lose the device that ran it, submit again, drain, stop: answered right, and nothing left."""
    started = room.start()
    status = room.call("fleet", "status")
    assert started["pid"] == status["pid"] and started["devices"] == ["d-0", "d-1"]
    assert started["data"] == str(room.folder / "splitplace-fleet")
    first = room.call(*SUBMIT, "--labels", "y.npy", "--out", "logits.npy")
    assert first["labels"] == [0, 1, 2, 3] and first["outcome"]["p"] == 1.0 and first["outcome"]["p_source"] == "labels"
    assert np.load(room.folder / "logits.npy").shape == (4, 4)
    (name,) = first["outcome"]["devices"]  # the other has run some, too, where this one was doubted meanwhile
    (ran,) = (device for device in room.call("fleet", "status")["devices"] if device["name"] == name)
    assert ran["fragments"] == ["pixels.brightest.full/full"] and ran["micro_batches_run"] > 0
    os.kill(ran["pid"], signal.SIGKILL)
    second = room.call(*SUBMIT)
    assert second["labels"] == [0, 1, 2, 3] and second["outcome"]["p_source"] == "prior"
    status = room.call("fleet", "status")
    assert ran["pid"] not in devices_of(status)
    assert status["tasks"] == {"waiting": 0, "running": 0, "answered": 2, "failed": 0, "cancelled": 0}
    events = [event["kind"] for event in room.call("fleet", "history")["events"]]
    assert events.count("accepted") == 2 and events.count("gone") == 1
    story = room.call("fleet", "history", "--task", str(second["outcome"]["id"]))["events"]
    assert [event["event"] for event in story][:2] == ["start", "arrive"] and story[-1]["event"] == "finish"
    assert {event["split"] for event in story if event["event"] == "run"} == {"pixels.brightest.full"}
    assert room.call("fleet", "drain")["tasks"]["answered"] == 2
    assert "draining: it takes no more tasks" in room.call(*SUBMIT, code=1)
    assert room.call("fleet", "stop")["pid"] == started["pid"]
    assert gone(started["pid"], *devices_of(status))
    assert "no fleet runs in" in room.call("fleet", "status", code=1)
    assert {path.name for path in (room.folder / "splitplace-fleet").iterdir()} == {
        *("broker.pid", "broker.log", "history.jsonl", "policy", "spool"),
        *(f"journal.{kind}" for kind in ("sqlite", "lock", "mark", "ballast")),
    }


def test_images_travel_as_png_if_asked(room):
    """The answers are the same; the status says it, with the share of the time that decoding took of each device."""
    room.start({"--wire": "encoded"})
    assert room.call(*SUBMIT)["labels"] == [0, 1, 2, 3]
    status = room.call("fleet", "status")
    assert status["wire"] == "encoded"
    assert [event["encoded"] for event in room.call("fleet", "history")["events"] if event["kind"] == "accepted"] == [
        True
    ]
    shown = room.popen("fleet", "status").communicate(timeout=PATIENCE_S)[0]
    assert "images as PNG" in " ".join(shown.split())


def test_a_task_that_is_left_behind(room):
    """`submit --detach` prints a number, by which the answer can be had; a key gives the same task again."""
    room.start()
    task = room.call(*SUBMIT, "--detach")["task"]
    assert room.call("fleet", "answer", str(task))["labels"] == [0, 1, 2, 3]
    assert room.call("fleet", "cancel", str(task))["was_under_way"] is False
    again = [room.call(*SUBMIT, "--key", "mine")["outcome"]["id"] for _ in range(2)]
    assert again[0] == again[1] != task
    assert "no task 99" in room.call("fleet", "answer", "99", code=2)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_in_the_foreground(room, number):
    """It says when it is up, serves other terminals, and ends in order by Ctrl-C or SIGTERM: exit 0, nothing left."""
    fleet = room.popen(*start({"--data": "here"}))
    assert "2 devices are up" in fleet.stdout.readline()
    pids = devices_of(room.call("fleet", "status", "--data", "here"))
    assert room.call(*SUBMIT, "--data", "here")["labels"] == [0, 1, 2, 3]
    fleet.send_signal(number)
    out, err = fleet.communicate(timeout=PATIENCE_S)
    assert (fleet.returncode, out, err) == (0, "", "")
    assert gone(*pids)


def test_a_broker_that_is_killed(room):
    """Its devices end with it, what is left behind is said for what it is, and the next one goes on with its tasks."""
    pid = room.start()["pid"]
    tasks = [room.call(*SUBMIT, "--detach", "--late")["task"] for _ in range(2)]
    pids = devices_of(room.call("fleet", "status"))
    os.kill(pid, signal.SIGKILL)
    assert gone(pid, *pids)
    assert f"(process {pid}) was killed: start it again" in room.call(*SUBMIT, code=1)
    assert room.start()["pid"] != pid
    assert [room.call("fleet", "answer", str(task))["labels"] for task in tasks] == [[0, 1, 2, 3]] * 2
    assert room.call(*SUBMIT)["outcome"]["id"] > tasks[-1]  # of none that the killed one may have given
    events = [event["kind"] for event in room.call("fleet", "history")["events"]]
    assert events.count("opened") == 2 and events.count("accepted") == 3


def test_one_fleet_a_folder(room):
    """A second start is refused and harms nobody; in another folder it is a fleet of its own."""
    pid = room.start()["pid"]
    for more in ((), ("--detach",)):
        assert f"a fleet runs in {room.folder / 'splitplace-fleet'} already (process {pid})" in room.call(
            *start(), *more, code=1
        )
    other = room.start({"--data": "other"})["pid"]
    assert other != pid
    room.call("fleet", "stop", "--data", "other")
    assert room.call("fleet", "status")["pid"] == pid


def test_what_cannot_be_submitted(room):
    """Wrong application, shape, dtype, file, deadline: one line each, and the fleet goes on."""
    room.start()
    np.save(room.folder / "wide.npy", np.zeros((2, 1, 3, 3), np.uint8))
    np.save(room.folder / "nan.npy", np.full((2, 1, 2, 2), np.nan, np.float32))
    np.save(room.folder / "object.npy", np.array([{}], object), allow_pickle=True)
    (room.folder / "empty").mkdir()
    for code, said, tokens in [
        (2, "unknown application 'faces': expected one of pixels", ("faces", "--input", "x.npy")),
        (1, "expected uint8[batch, 1, 2, 2]", ("pixels", "--input", "wide.npy")),
        (1, "NaN or infinite", ("pixels", "--input", "nan.npy")),
        (1, "object.npy: not a numpy array", ("pixels", "--input", "object.npy")),
        (2, "no file nowhere.npy", ("pixels", "--input", "nowhere.npy")),
        (2, "no image file in it", ("pixels", "--input", "empty")),
        (1, "labels int64[4], expected integers [2]", ("pixels", "--input", "two.npy", "--labels", "y.npy")),
    ]:
        np.save(room.folder / "two.npy", np.zeros((2, 1, 2, 2), np.uint8))
        assert said in room.call("submit", *tokens, "--deadline", "5", code=code)
    assert "seconds above 0" in room.call("submit", "pixels", "--input", "x.npy", "--deadline", "-1", code=2)
    assert room.call(*SUBMIT)["labels"] == [0, 1, 2, 3]


@pytest.mark.parametrize(
    ("changes", "code", "said"),
    [
        ({"--policy": "nobody+random"}, 2, "unknown decider 'nobody'"),
        ({"--splits": "pixels.nobody.full"}, 2, "pixels.nobody.full"),
        ({"--devices": "nobody.toml"}, 2, "no fleet 'nobody.toml'"),
        ({"--catalog": "nowhere"}, 2, "nowhere"),
        ({"--policy": "mab+random"}, 1, "the fleet did not start: mab chooses between layer and semantic"),
        ({"--data": "open"}, 2, "other users may enter it"),
        ({"--interval": "0"}, 2, "--interval 0: expected 0.1 to 86400 seconds"),
        ({"--interval": "nan"}, 2, "expected 0.1 to 86400 seconds"),
    ],
)
def test_a_fleet_that_cannot_be(room, changes, code, said):
    """One line, whether this process finds out or the one that was started."""
    (room.folder / "open").mkdir(mode=0o755)
    (room.folder / "open").chmod(0o755)
    assert said in room.start(changes, code=code)


@pytest.mark.parametrize(
    ("state", "code", "said"),
    [
        ("nowhere", 2, "nowhere with saved states"),
        ("empty", 2, "empty holds no state of full or daso"),
        ("damaged", 1, "daso.safetensors: not safetensors"),
        ("other", 1, "the state of daso was trained for other splits"),
    ],
)
def test_a_state_that_is_not_for_it(room, state, code, said):
    """One line, and no device was started."""
    shipped = states.SHIPPED / "state.measured-50.daso.safetensors"
    for name, body in [("empty", None), ("damaged", shipped.read_bytes()[:-9]), ("other", shipped.read_bytes())]:
        (room.folder / name).mkdir()
        if body is not None:
            (room.folder / name / "daso.safetensors").write_bytes(body)
    assert said in room.start({"--policy": "full+daso", "--state": state}, code=code)
    assert not (room.folder / "splitplace-fleet").exists()


def test_a_trained_fleet(room):
    """It starts from the states that are given, and the next one goes on from where it ended, whatever is given."""
    fleet = sp.FleetSpec.from_toml(room.folder / "fleet.toml")
    view = view_at_rest(sp.demand(room.folder / "catalog"), fleet.units(), 300.0)
    kept, log = room.folder / "splitplace-fleet/policy", room.folder / "splitplace-fleet/broker.log"
    for eta, said in [(7.0, False), (8.0, True)]:
        state_files.save(room.folder, Daso(), replace(Daso().init(view), eta=eta), view, {"by": "a test"})
        room.start({"--policy": "full+daso", "--state": "."})
        assert room.call(*SUBMIT)["labels"] == [0, 1, 2, 3]
        room.call("fleet", "stop")
        assert state_files.read(kept, "daso").saved.facts["eta"] == 7.0
        assert ("daso goes on with what it had learned" in log.read_text()) == said


def test_other_devices_in_the_same_folder(room):
    """What was learned for the former ones is put aside, which the one who starts them reads in the terminal."""
    learns = {"--policy": "full+daso"}
    room.start(learns)
    room.call("fleet", "stop")
    other = FLEET.replace("up_bytes_per_s = 1e8", "up_bytes_per_s = 3e8")
    assert other != FLEET
    (room.folder / "fleet.toml").write_text(other)
    process = room.popen(*start(learns), "--detach")
    _, err = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 0, err
    assert "the state of daso was trained for other links (1e+08, here 3e+08" in err
    assert (room.folder / "splitplace-fleet/policy/daso.safetensors.before").is_file()
    assert room.call(*SUBMIT)["labels"] == [0, 1, 2, 3]


def test_a_fleet_that_decides_once_an_interval(room):
    """It says so, and answers."""
    room.start({"--interval": "0.5"})
    assert room.call(*SUBMIT)["labels"] == [0, 1, 2, 3]
    assert room.call("fleet", "status")["interval_s"] == 0.5


def test_watching_ends_with_the_fleet(room):
    """`--watch` shows the table over and over; when the fleet ends it says so and exits 0."""
    room.start()
    watching = room.popen("fleet", "status", "--watch")
    while "full+least-loaded" not in watching.stdout.readline():
        pass
    room.call("fleet", "stop")
    _, err = watching.communicate(timeout=PATIENCE_S)
    assert watching.returncode == 0
    assert "has ended" in err
