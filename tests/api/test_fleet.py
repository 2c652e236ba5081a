"""A fleet that a program runs: served from any thread, more than once, and ended by whoever may ask for its end."""

import re
import shutil
import signal
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from pydantic import ValidationError

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


@pytest.mark.parametrize(
    ("stated", "said"),
    [
        ({"micro_batch": "4"}, "--micro-batch '4': expected a whole number, 1 or more"),
        ({"micro_batch": 0}, "--micro-batch 0: expected 1 or more"),
        ({"interval_s": "1"}, "--interval '1': expected a number, 0.1 to 86400 seconds"),
        ({"retain_s": "1"}, "--retain '1': expected a number"),
        ({"precedence": "fast"}, "--precedence 'fast': expected strict or pipelined"),
        ({"inputs": "twice"}, "--inputs 'twice': expected broadcast or ring"),
        ({"wire": "jpeg"}, "--wire 'jpeg': expected raw or encoded"),
        ({"splits": "semantic"}, "'semantic': expected one of toy.linear.semantic-2"),
        ({"data": None}, "--data None: expected a file's or folder's name"),
        ({"state": 5}, "--state 5: expected a file's or folder's name"),
        ({"catalog": None}, "catalog None: expected a file's or folder's name"),
        ({"devices": None}, "devices None: expected a fleet's file or name, a FleetSpec, or a list of Device"),
        ({"devices": ["azure10"]}, "expected a fleet's file or name, a FleetSpec, or a list of Device"),
    ],
)
def test_what_a_program_states_is_refused_before_anything_starts(catalog, tmp_path, stated, said):
    """In a line, as on the command line: a text for a number, no path, a word that is none, letters for splits."""
    asked = {"devices": "azure10:2", "catalog": catalog, "policy": "semantic+random", "data": tmp_path / "x"} | stated
    with pytest.raises(sp.UsageError, match=re.escape(said)):
        sp.Fleet(asked.pop("devices"), asked.pop("catalog"), **asked)
    assert not (tmp_path / "x").exists()


@pytest.mark.parametrize(
    ("ask", "said"),
    [
        (lambda fleet, x: fleet.history("1"), "event '1': expected a number from 0"),
        (lambda fleet, x: fleet.answer("1"), "task '1': expected a number from 0"),
        (lambda fleet, x: fleet.answer(1.0), "task 1.0: expected a number from 0"),
        (lambda fleet, x: fleet.cancel(None), "task None: expected a number from 0"),
        (
            lambda fleet, x: fleet.submit("toy", x, 1.0, np.arange(4), late="no"),
            "late: Input should be a valid boolean",
        ),
        (
            lambda fleet, x: fleet.submit_at_once("toy", x, 1.0, np.arange(4), degrade=2),
            "degrade: Input should be a valid boolean",
        ),
        (lambda fleet, x: fleet.submit("toy", np.ma.masked_less(x, 1), 1.0), "images: 12 of 16 values are masked"),
        (
            lambda fleet, x: fleet.submit("toy", x, 1.0, np.ma.masked_equal(np.arange(4), 2)),
            "labels: 1 of 4 values are masked",
        ),
    ],
)
def test_what_a_running_fleet_is_asked_is_refused_in_a_line(fleet, ask, said):
    """A number that is none, a flag that is neither, values that are none: before anything is taken on."""
    with fleet, pytest.raises(sp.SplitPlaceError, match=re.escape(said)):
        ask(fleet, np.eye(4, dtype=np.float32))


def test_numbers_of_numpy_are_numbers(catalog, tmp_path):
    """Of samples and seconds; and one split by its name is one split."""
    fleet = sp.Fleet(
        "azure10:2", catalog, splits=REFERENCE, micro_batch=np.int64(4), interval_s=np.float32(2), data=tmp_path / "x"
    )
    assert [(entry.split.reference, entry.micro_batch) for entry in fleet.demand.splits] == [(REFERENCE, 4)]


def test_a_device_is_not_called_more_than_messages_take(catalog):
    """Its number among its kind counts: the fleet would have failed while its devices start."""
    device = sp.load_fleet("azure10").devices[0]
    with pytest.raises(ValidationError, match=r"130 letters, expected at most 128"):
        sp.FleetSpec(name="long", devices=(device.model_copy(update={"name": "d" * 128, "count": 2}),))


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
from splitplace.api.ending import asked_to_end
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
