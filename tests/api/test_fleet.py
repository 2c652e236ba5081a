"""A fleet that a program runs: served from any thread, more than once, and ended by whoever may ask for its end."""

import shutil
import signal
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

import splitplace as sp
from splitplace.api import start_fleet
from splitplace.errors import NotReadyError
from splitplace.export.catalog_writer import CatalogWriter
from splitplace.placement.serve.data_folder import DataFolder
from tests.distribution.conftest import REFERENCE, profile
from tests.kernel.conftest import branches

PATIENCE_S = 240.0


@pytest.fixture(scope="module")
def catalog(tmp_path_factory):
    """Of one split, with costs that were made up."""
    artifact = branches()
    made = CatalogWriter(tmp_path_factory.mktemp("api") / "catalog")
    made.write(artifact)
    for fragment in artifact.split.by_name:
        made.attach(REFERENCE, profile(artifact, fragment))
    return made.path


@pytest.fixture
def fleet(catalog, tmp_path):
    """Of machines, none of which has joined: it is up at once."""
    return sp.Fleet("azure10:2", catalog, policy="semantic+random", engine="joined", data=tmp_path / "fleet")


def test_a_fleet_that_was_stopped_serves_again(fleet):
    """Once it is entered again; that it was asked to end is of the time before."""
    with fleet:
        fleet.stop()
        fleet.serve()
    with fleet, ThreadPoolExecutor(1) as threads:
        serving = threads.submit(fleet.serve)
        with pytest.raises(TimeoutError):
            serving.result(1.0)
        fleet.stop()
        serving.result(PATIENCE_S)


def test_a_fleet_is_served_from_any_thread(fleet):
    """In one that is not the main one no signal can be heard; who asks for the end is."""
    with fleet, ThreadPoolExecutor(1) as threads:
        serving = threads.submit(fleet.serve)
        fleet.stop()
        assert serving.result(PATIENCE_S) is None


def test_a_fleet_whose_folder_was_removed_ends_with_a_word(fleet):
    """It would go on for ever, with its devices, and nobody could find it; the folder is not made anew."""
    with pytest.raises(NotReadyError, match="was removed while the fleet ran"), fleet:
        shutil.rmtree(fleet.folder.path)
        fleet.serve()
    assert not fleet.folder.path.exists()


@pytest.mark.parametrize("ignored", [False, True])
def test_a_terminal_that_goes_asks_for_the_end(ignored):
    """As SIGTERM does; unless that is nothing to the program, as under nohup."""
    code = f"""
import os, signal, threading
from splitplace.api.fleet import asked_to_end
signal.signal(signal.SIGHUP, signal.SIG_IGN if {ignored} else signal.SIG_DFL)  # whatever the tests run under
asked = threading.Event()
with asked_to_end(asked.set):
    os.kill(os.getpid(), signal.SIGHUP)
    assert asked.is_set() is not {ignored}
os.kill(os.getpid(), signal.SIGHUP)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=PATIENCE_S)
    assert done.returncode == (0 if ignored else -signal.SIGHUP), done.stderr


def test_whoever_starts_a_fleet_gets_no_other_one(fleet, tmp_path):
    """Of two that are started in one folder at once, the second says that a fleet runs there already."""
    (tmp_path / "fleet").mkdir(mode=0o700)
    folder = DataFolder(tmp_path / "fleet")
    said = "splitplace: a fleet runs there already"
    folder.log.write_text(said)
    with fleet:
        child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
        threading.Timer(1.0, child.stdin.close).start()  # it is asked for meanwhile, and the other one answers
        with pytest.raises(NotReadyError, match="the fleet did not start: a fleet runs there already"):
            start_fleet._when_up(folder, child)
        assert child.wait(PATIENCE_S) and fleet.status().devices
