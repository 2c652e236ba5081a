"""The chaos bench's network: what goes through it arrives, what is cut does not until it is whole again."""

import os
import socket
import subprocess
import sys
import threading
import time

import numpy as np
import pytest

from splitplace.benchmarks.chaos_links import ASIDE, SocketLinks, network

ME = os.getpid()


@pytest.fixture
def links(tmp_path):
    """Over a folder of a fleet's."""
    (tmp_path / "splitplace-1-sockets-a").mkdir()
    links = SocketLinks(tmp_path)
    links.start()
    yield links
    links.close()


@pytest.fixture
def pair(links):
    """A connection through it: who connected, and who was connected to."""
    path = links.folder / "splitplace-1-sockets-a" / "inbox"
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(path))
    listener.listen()
    eventually(lambda: path.with_name("inbox" + ASIDE).exists() and path.exists())
    near = socket.socket(socket.AF_UNIX)
    near.connect(str(path))
    far, _ = listener.accept()
    eventually(lambda: links.connected == {(ME, ME)})
    yield near, far
    for one in (near, far, listener):
        one.close()


def eventually(holds):
    """Wait for what another thread does."""
    while not holds():
        time.sleep(0.001)


def read(connected, size):
    """So many bytes."""
    data = bytearray()
    while len(data) < size:
        data += connected.recv(size - len(data))
    return bytes(data)


def test_all_bytes_arrive_in_order_both_ways_at_once(pair):
    """More than any buffer on the way holds."""
    near, far = pair
    there, back = (np.random.default_rng(seed).bytes(20_000_000) for seed in (0, 1))
    senders = [threading.Thread(target=one.sendall, args=(data,)) for one, data in ((near, there), (far, back))]
    for sender in senders:
        sender.start()
    found: dict[str, bytes] = {}
    other = threading.Thread(target=lambda: found.update(back=read(near, len(back))))
    other.start()
    assert read(far, len(there)) == there
    other.join()
    assert found["back"] == back
    for sender in senders:
        sender.join()


def test_a_cut_hands_nothing_on_and_breaks_nothing(links, pair):
    """Neither what was sent before it was cut, if it was still on its way, nor what is sent meanwhile, is lost."""
    near, far = pair
    links.cut({(ME, ME)})
    eventually(lambda: links._cut == {(ME, ME)})
    near.sendall(b"meanwhile")
    far.settimeout(0.2)
    with pytest.raises(TimeoutError):
        far.recv(100)
    links.heal({(ME, ME)})
    far.settimeout(None)
    assert read(far, 9) == b"meanwhile"


def test_another_pair_is_not_cut(links, pair):
    """A cut is of two processes."""
    near, far = pair
    links.cut({(ME, ME + 1), (ME + 1, ME)})
    near.sendall(b"on")
    assert read(far, 2) == b"on"


def test_when_one_side_ends_so_does_the_other(links, pair):
    """As without anything between them."""
    near, far = pair
    near.close()
    assert far.recv(1) == b""
    eventually(lambda: not links.connected)


@pytest.mark.usefixtures("pair")
def test_who_connects_to_one_that_has_ended_is_refused(links):
    """It is closed, not held."""
    folder = links.folder / "splitplace-1-sockets-a"
    (folder / ("inbox" + ASIDE)).unlink()
    late = socket.socket(socket.AF_UNIX)
    late.connect(str(folder / "inbox"))
    assert late.recv(1) == b""
    late.close()


def test_processes_that_are_started_meanwhile_meet_there_and_it_leaves_nothing():
    """Their scratch folder is its own; ours is what it was."""
    before = os.environ.get("TMPDIR")
    with network() as links:
        script = "import tempfile; print(tempfile.gettempdir())"
        said = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout
        assert said.strip() == str(links.folder)
    assert not links.folder.exists() and os.environ.get("TMPDIR") == before
