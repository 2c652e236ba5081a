"""The data folder: one fleet at a time, this user's alone, and a word for each way in which nobody answers."""

import os
import shutil
import socket
import stat
import subprocess
import sys

import pytest

from splitplace.errors import NotReadyError, UsageError
from splitplace.placement.serve.client import Client
from splitplace.placement.serve.data_folder import DataFolder
from splitplace.placement.serve.door import Door

KILLED = (
    "import os, sys; from splitplace.placement.serve.data_folder import DataFolder; folder = DataFolder(sys.argv[1]); "
    "held = folder.claimed(); held.__enter__(); import socket; s = socket.socket(socket.AF_UNIX); "
    "s.bind(str(folder.socket)); s.listen(); os.kill(os.getpid(), 9)"
)
FORKED_AND_KILLED = (
    "import os, sys; from splitplace.placement.serve.data_folder import DataFolder; folder = DataFolder(sys.argv[1]); "
    "held = folder.claimed(); held.__enter__(); "
    "os.fork() or (os.write(1, b'!'), sys.stdin.read(), os._exit(0)); os.kill(os.getpid(), 9)"
)


def mode(path):
    """Permission bits."""
    return stat.S_IMODE(path.stat().st_mode)


def test_folder_and_socket_are_this_users_alone(door, folder):
    """Modes 0700 and 0600, whatever the umask is."""
    assert mode(folder.path) == 0o700
    assert mode(folder.socket) == 0o600
    assert mode(folder.pid_file) == 0o600


def test_a_folder_that_others_may_enter_is_refused(tmp_path):
    """With what to do; its mode stays."""
    tmp_path.chmod(0o755)
    with pytest.raises(UsageError, match=r"other users may enter it \(mode 755\): chmod 700"):
        DataFolder(tmp_path).prepare()
    assert mode(tmp_path) == 0o755


def test_a_fleet_whose_folder_is_removed_is_told(folder):
    """Nobody finds it any more; before, and where the folder is only moved, nothing is said."""
    with folder.claimed():
        folder.check_claim()
        folder.path.rename(folder.path.with_name("moved"))
        folder.check_claim()
        shutil.rmtree(folder.path.with_name("moved"))
        with pytest.raises(NotReadyError, match=r"was removed while the fleet ran.* start another one"):
            folder.check_claim()


def test_a_fleet_whose_folder_is_removed_leaves_the_next_one_alone(door, folder):
    """Which has begun in a folder of the same name: its socket stays when the first one ends."""
    shutil.rmtree(folder.path)
    following = DataFolder(folder.path)
    following.prepare()
    with following.claimed():
        following.socket.touch()
        door.close()
        assert following.socket.exists()
    assert not following.socket.exists()


def test_a_second_fleet_is_refused(folder):
    """By the process that runs there; when that is over, it may."""
    with folder.claimed():
        assert folder.running() == os.getpid()
        with pytest.raises(NotReadyError, match=rf"a fleet runs in .* already \(process {os.getpid()}\)"):
            DataFolder(folder.path).check_free()
        with pytest.raises(NotReadyError, match="already"), DataFolder(folder.path).claimed():
            pass
    assert folder.running() is None
    with folder.claimed():
        pass


def test_two_fleets_in_two_folders(broker, folder, tmp_path):
    """Each client finds the one that it names."""
    other = DataFolder(tmp_path / "other")
    other.prepare()
    with (
        folder.claimed(),
        other.claimed(),
        Door(broker, [], folder, lambda: None),
        Door(broker, [], other, lambda: None) as second,
        Client(other.path) as client,
    ):
        client.status()
        assert len(second._visits) == 1


def test_where_no_fleet_ever_ran(tmp_path):
    """What to do."""
    with pytest.raises(NotReadyError, match=r"no fleet runs in .*: start one with `splitplace fleet start`, or name"):
        Client(tmp_path / "nowhere")


def test_where_one_was_killed(folder, broker):
    """Its socket and its number are left: that is said, and the next fleet takes their place."""
    done = subprocess.run([sys.executable, "-c", KILLED, str(folder.path)], timeout=300)
    assert done.returncode == -9
    assert folder.socket.exists()
    with pytest.raises(NotReadyError, match=r"\(process \d+\) was killed: start it again"):
        Client(folder.path)
    with folder.claimed(), Door(broker, [], folder, lambda: None), Client(folder.path) as client:
        assert client.pid == os.getpid()


def test_a_process_that_was_forked_off_holds_no_folder(folder):
    """One that outlives the fleet's, which was killed: another fleet may run there at once."""
    folder.prepare()
    command = [sys.executable, "-c", FORKED_AND_KILLED, str(folder.path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as fleet:
        assert fleet.stdout.read(1) == b"!"  # of the child, which lives until its standard input, a pipe, ends
        fleet.wait()
        assert folder.running() is None
        with folder.claimed():
            assert folder.running() == os.getpid()
        fleet.stdin.close()


def test_a_process_that_was_forked_off_ends_no_fleet(folder):
    """It leaves the claim's context as its program is written; socket, number and lock are the fleet's."""
    folder.prepare()
    held = folder.claimed()
    with held:
        folder.socket.touch()
        child = os.fork()
        if child == 0:
            try:
                held.__exit__(None, None, None)
            finally:
                os._exit(0)
        os.waitpid(child, 0)
        assert folder.socket.exists()
        assert folder.running() == os.getpid()
    assert folder.running() is None


def test_where_one_has_not_opened_yet(folder):
    """It is there, and nobody answers."""
    with folder.claimed(), pytest.raises(NotReadyError, match="is starting or ending: try again"):
        Client(folder.path)


def test_a_path_longer_than_sockets_have(tmp_path, broker):
    """107 bytes are no limit for a folder's name."""
    folder = DataFolder(tmp_path / ("n" * 200))
    folder.prepare()
    with folder.claimed(), Door(broker, [], folder, lambda: None), Client(folder.path) as client:
        assert client.status().policy == "p"
        with pytest.raises(OSError, match="too long"):
            socket.socket(socket.AF_UNIX).bind(str(folder.socket) + "2")


def test_a_link_in_the_pid_files_place_is_not_followed(folder, tmp_path):
    """Nothing is written where it points to."""
    (tmp_path / "victim").write_text("mine")
    folder.pid_file.symlink_to(tmp_path / "victim")
    with pytest.raises(OSError, match="symbolic links"), folder.claimed():
        pass
    assert (tmp_path / "victim").read_text() == "mine"


@pytest.mark.parametrize("name", ["broker.log", "broker.pid", "history.jsonl", "journal.sqlite"])
def test_a_pipe_in_a_files_place_is_refused_and_never_waited_for(folder, name):
    """Whoever opened it would wait without end: the folder is not taken, and who looks for a fleet finds none."""
    os.mkfifo(folder.path / name)
    with pytest.raises(UsageError, match=rf"--data .*{name}: a pipe, .* expected a file: remove it"):
        folder.prepare()
    assert folder.running() is None and "no fleet runs" in str(folder.absent())
