"""The Ray bench's network: nodes reach each other, what is cut does not, one way or both, and nothing is left of it."""

import subprocess
import sys
from contextlib import contextmanager

import pytest

from splitplace.benchmarks import ray_links
from splitplace.benchmarks.ray_links import NodeNetwork, node_network
from splitplace.errors import NotReadyError

pytestmark = pytest.mark.slow

PORT, PATIENCE_S, CUT_S = 7000, 60.0, 1.0
ECHO = """
import socket, sys
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as inbox:
    inbox.bind((sys.argv[1], int(sys.argv[2])))
    print("up", flush=True)
    while True:
        inbox.sendto(*inbox.recvfrom(100))
"""
ASK = """
import socket, sys
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asking:
    asking.settimeout(float(sys.argv[3]))
    asking.sendto(b"?", (sys.argv[1], int(sys.argv[2])))
    try:
        print(asking.recv(100) == b"?")
    except TimeoutError:
        print(False)
"""


def python(before, code, *arguments):
    """A command."""
    return [*before, sys.executable, "-c", code, *map(str, arguments)]


@contextmanager
def echo(network, node):
    """Something on a node that answers."""
    command = python(network.within(node), ECHO, network.addresses[node], PORT)
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout.readline() == "up\n"
            yield
        finally:
            process.kill()


def answers(network, src, dst, patience_s=PATIENCE_S):
    """Whether what a node, or this machine, asks another one is answered."""
    command = python(network.within(src) if src else [], ASK, network.addresses[dst], PORT, patience_s)
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout == "True\n"


def cut_and_mended(network):
    """Answered or not: before, cut there, cut back, both ways, off from this machine, others meanwhile, and after."""
    found = [answers(network, "one", "two")]
    for pairs in ([("one", "two")], [("two", "one")], [("one", "two"), ("two", "one")]):
        with network.cut(pairs):
            found.append(answers(network, "one", "two", CUT_S))
            others = answers(network, "three", "two") and answers(network, "", "two")
    with network.cut([("two", ray_links.HERE)]):
        found += [answers(network, "", "two", CUT_S), answers(network, "three", "two")]
    return [*found, others, answers(network, "one", "two") and answers(network, "", "two")]


def test_what_is_cut_is_not_answered_until_it_is_whole():
    """Where this user may have such a network; else there is none, and why is told by whoever insists."""
    with node_network(("one", "two", "three")) as network:
        if network is None:
            with pytest.raises(NotReadyError, match="ip"):
                NodeNetwork(("one",))
            return
        with echo(network, "two"):
            assert cut_and_mended(network) == [True, False, False, False, False, True, True, True]
    left = subprocess.run([ray_links._program(), "link"], capture_output=True, text=True, check=True).stdout
    assert network._bridge not in left


def test_without_the_command_there_is_no_network(monkeypatch):
    """And no error: links are left whole then."""
    monkeypatch.setattr(ray_links.shutil, "which", lambda *_, **__: None)
    with node_network(("one", "two")) as network:
        assert network is None
