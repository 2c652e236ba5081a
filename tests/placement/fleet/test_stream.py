"""Nodes on this machine: who may speak to whom, and what a bad peer can do."""

import os
import shutil
import socket
import stat
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
import zmq

from splitplace.errors import ContractError
from splitplace.placement.protocol import codec, inbox, messages, pieces
from splitplace.placement.protocol.fields import BROKER
from splitplace.placement.protocol.keys import CurveAccess, curve_accesses, local_accesses, socket_folder
from splitplace.placement.protocol.stream import Malformed, Received, StreamNode

LEAVE_A_FOLDER = "from splitplace.placement.protocol.keys import socket_folder; print(socket_folder())"
PING = messages.Ping(sequence=1)


def hear(node, seconds=120.0, count=1):
    """What a node receives until `count` messages came or the time is over."""
    found, end = [], time.monotonic() + seconds
    while len(found) < count and time.monotonic() < end:
        found += node.receive(0.1)
    return found


def between(names, kind, folder):
    """Access of each to all others: as between machines, or as on one."""
    return curve_accesses(names) if kind == "curve" else local_accesses(names, folder)


@pytest.fixture
def sockets():
    """A folder for socket files; pytest's own have names too long for that."""
    folder = socket_folder()
    yield folder
    shutil.rmtree(folder)


@pytest.fixture(params=["curve", "local"])
def pair(request, sockets):
    """A node called `a` that knows `b`, and b's access."""
    accesses = between(("a", "b"), request.param, sockets)
    with StreamNode(accesses["a"], max_frame_bytes=2**20) as node:
        yield node, accesses["b"]


def speak(access, to, message, values=(), raw=None):
    """Send from a short-lived node with this access, and give it time to arrive."""
    node = StreamNode(access)
    node.connect("a", to.endpoint)
    if raw is None:
        node.send("a", message, values)
    else:
        node.pipes.direct["a"].send_multipart(raw)
    return node


def test_a_known_peer_is_heard_under_its_name(pair):
    """The name belongs to the proven key, not to anything the peer says."""
    node, access = pair
    with speak(access, node, PING):
        (received,) = hear(node)
    assert isinstance(received, Received)
    assert (received.peer, received.message) == ("b", PING)


def test_who_proves_nothing_is_refused(pair):
    """A client whose key or token was not given to the node is not heard, while a known one is."""
    node, access = pair
    if isinstance(access, CurveAccess):
        other = curve_accesses(("a", "b"))["b"].model_copy(update={"peers": access.peers})
    else:
        other = access.model_copy(update={"send": {"a": "0" * 32}})
    with speak(other, node, PING), speak(access, node, messages.Ping(sequence=2)):
        heard = hear(node)
        heard += hear(node, seconds=0.7)
    assert [received.message for received in heard] == [messages.Ping(sequence=2)]


def test_one_peers_token_does_not_speak_for_another(sockets):
    """A name with the token that another name was given is nobody."""
    accesses = local_accesses(("a", "b", "c"), sockets)
    posing = accesses["b"].model_copy(update={"send": accesses["c"].send})
    with StreamNode(accesses["a"]) as node, speak(posing, node, PING):
        assert hear(node, seconds=0.7) == []


def test_a_server_without_the_right_key_hears_nothing():
    """The sender checks, too: who listens at the address must hold the secret of the expected key."""
    accesses, others = curve_accesses(("a", "b")), curve_accesses(("a", "b"))
    wrong = accesses["b"].model_copy(update={"peers": others["b"].peers})
    with StreamNode(accesses["a"]) as node, speak(wrong, node, PING):
        assert hear(node, seconds=0.7) == []


def test_socket_files_are_for_their_user_alone(monkeypatch):
    """Nobody else may enter their folder, and a dead process's is removed by whoever makes the next."""
    with tempfile.TemporaryDirectory() as parent:  # of its own: any process of this machine sweeps in the common one
        env = os.environ | {"TMPDIR": parent}
        said = subprocess.run(
            [sys.executable, "-c", LEAVE_A_FOLDER], env=env, capture_output=True, text=True, check=True
        )
        left = Path(said.stdout.strip())
        assert left.is_dir() and left.parent == Path(parent)
        monkeypatch.setattr(tempfile, "tempdir", parent)
        assert stat.S_IMODE(socket_folder().stat().st_mode) == 0o700
        assert not left.exists()


def test_a_folder_that_another_sweep_removes_first_is_no_trouble(monkeypatch):
    """Two processes that start at once both find what a dead one left."""
    with tempfile.TemporaryDirectory() as parent:
        monkeypatch.setattr(tempfile, "tempdir", parent)
        left = Path(parent, "splitplace-7-sockets-x")
        left.mkdir()

        def swept_first(pid):
            left.rmdir()
            return False

        monkeypatch.setattr("splitplace.placement.protocol.keys.psutil.pid_exists", swept_first)
        folder = socket_folder()
        assert list(Path(parent).iterdir()) == [folder]


def test_a_long_temporary_folder_takes_no_socket_files(tmp_path, monkeypatch):
    """Their paths are bounded by the system: the fleet then takes CURVE, as between machines."""
    deep = tmp_path / ("d" * 100)
    deep.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(deep))
    assert socket_folder() is None
    assert list(deep.iterdir()) == []


@pytest.mark.parametrize(
    ("kind", "endpoint"),
    [("curve", "ipc:///tmp/x"), ("local", "ipc:///tmp/elsewhere/x"), ("local", "tcp://127.0.0.1:1")],
)
def test_an_endpoint_of_another_kind_is_refused(kind, endpoint, sockets):
    """A peer says where it listens; a socket file elsewhere, or a port, proves nothing of what this access does."""
    said = f"^b listens at '{endpoint}', expected"
    with StreamNode(between(("a", "b"), kind, sockets)["a"]) as node, pytest.raises(ContractError, match=said):
        node.connect("b", endpoint)


def test_a_stranger_is_not_connected_to(pair):
    """Whoever is not among the peers has no key or token to be told."""
    node, _ = pair
    with pytest.raises(ContractError, match="'c' is none of the peers"):
        node.connect("c", node.endpoint)


def test_a_message_in_the_clear_is_refused(pair):
    """Who speaks without a mechanism has no connection."""
    node, _ = pair
    context = zmq.Context()
    socket = context.socket(zmq.PUSH)
    socket.connect(node.endpoint)
    with suppress(zmq.Again):  # it may have been refused by now: then there is nobody to send to
        socket.send_multipart(codec.encode(PING), flags=zmq.NOBLOCK)
    assert hear(node, seconds=0.7) == []
    context.destroy(linger=0)


def test_noise_of_a_known_peer_is_told_and_does_no_harm(pair):
    """A malformed message is reported with its sender; the next good one is heard."""
    node, access = pair
    with speak(access, node, None, raw=[b"noise"]) as peer:
        (bad,) = hear(node)
        assert isinstance(bad, Malformed) and bad.peer == "b" and "not a message" in bad.error
        peer.send("a", PING)
        (good,) = hear(node)
    assert good.message == PING


def test_who_connects_and_proves_nothing_is_cut_off(monkeypatch):
    """A connection takes a descriptor: it is closed after a moment, and not after the half minute of ZeroMQ's own."""
    monkeypatch.setattr(inbox, "CONNECT_S", 0.1)
    with StreamNode(curve_accesses(("a", "b"))["a"]) as node:
        host, port = node.endpoint.removeprefix("tcp://").rsplit(":", 1)
        with socket.create_connection((host, int(port)), 120.0) as stranger:
            while stranger.recv(100):
                pass


def test_an_oversized_frame_is_never_read(pair):
    """It costs the sender its connection; it may connect again."""
    node, access = pair
    with speak(access, node, PING, raw=[b"x", bytes(2**20 + 1)]):
        assert hear(node, seconds=0.7) == []
    with speak(access, node, PING):
        assert len(hear(node)) == 1


def test_an_oversized_tensor_in_pieces_is_refused():
    """Each piece is small enough to be read; what they make together is not put together."""
    accesses = curve_accesses(("a", "b"))
    with StreamNode(accesses["a"], max_frame_bytes=2**20) as node:
        big = np.zeros((1, 2**20 + 1), np.uint8)
        with speak(accesses["b"], node, codec.tensors(0, "f0", "f1", 0, 0.0, {"x": big}), [big]):
            (received,) = hear(node)
    assert received == Malformed("b", "tensor 'x': 1048577 bytes, expected at most 1048576")


def test_a_large_tensor_goes_in_pieces_between_machines_alone(pair, monkeypatch):
    """Frames of no more than a piece where they are encrypted; one frame, which nobody copies, on one machine."""
    node, access = pair
    seen, taken = list[int](), pieces.taken
    monkeypatch.setattr(pieces, "taken", lambda frames, size: seen.extend(map(len, frames)) or taken(frames, size))
    x = np.random.default_rng(0).integers(0, 256, (1, 5 * pieces.PIECE_BYTES // 2), np.uint8)
    with speak(access, node, codec.tensors(0, "f0", "f1", 0, 0.0, {"x": x}), [x]):
        (received,) = hear(node)
    np.testing.assert_array_equal(received.values["x"], x)
    whole, piece = x.nbytes, pieces.PIECE_BYTES
    assert seen == ([piece, piece, piece // 2] if access.encrypts else [whole])


def test_a_node_whose_authenticator_has_failed_can_be_closed():
    """Its thread is told nothing then: nobody would take it."""
    node = StreamNode(curve_accesses(("a", "b"))["a"])
    authenticator = node.inbox._authenticator
    authenticator.pipe.send(b"TERMINATE")
    authenticator.thread.join()
    while authenticator.pipe.poll(0, zmq.POLLOUT):  # until it is known there that nobody is at the other end
        time.sleep(0.01)
    closing = threading.Thread(target=node.close, daemon=True)
    closing.start()
    closing.join(240.0)
    assert not closing.is_alive()


def test_sending_to_nobody_does_not_block():
    """A peer that is gone has its own news; the sender goes on."""
    accesses = curve_accesses(("a", "gone"))
    with StreamNode(accesses["a"]) as node:
        node.connect("gone", "tcp://127.0.0.1:1")
        for _ in range(100):
            node.send("gone", PING)
        node.send("never-met", PING)


def heard_in_order(kind, folder, jobs_sent, then):
    """What a peer hears that listens only when all was said: (type, job, micro-batch), and that it is all of it.

    Args:
        kind: Of the accesses.
        folder: Of socket files.
        jobs_sent: The job of each tensor of 1 MiB that is sent first, one after another.
        then: Says more, given the sender.
    """
    accesses, values = between((BROKER, "a", "b"), kind, folder), {"x": np.zeros((1, 2**18), np.float32)}
    with StreamNode(accesses["a"]) as sender, StreamNode(accesses["b"]) as receiver:
        sender.connect("b", receiver.endpoint)
        receiver.connect("a", sender.endpoint)
        for micro_batch, job in enumerate(jobs_sent):
            sender.send("b", codec.tensors(job, "f0", "f1", micro_batch, 0.0, values), list(values.values()))
        then(sender)
        found, quiet, end = [], 0, time.monotonic() + 120
        while quiet < 5 and time.monotonic() < end:
            heard = [received.message for received in receiver.receive(0.05)]
            list(sender.receive(0.05))
            found += [(one.type, one.job, getattr(one, "micro_batch", None)) for one in heard]
            quiet = 0 if heard or not found else quiet + 1
        return found


@pytest.mark.parametrize("kind", ["curve", "local"])
def test_a_credit_overtakes_tensors_that_wait(kind, sockets):
    """All but those that are under way, of which nobody has heard yet whether the road holds more."""
    credit = messages.Credit(job=7, src="f1", dst="f2", count=1)
    heard = heard_in_order(kind, sockets, [1] * 6, lambda node: node.send("b", credit))
    assert heard == [("tensors", 1, 0), ("credit", 7, None), *(("tensors", 1, row) for row in range(1, 6))]


@pytest.mark.parametrize("kind", ["curve", "local"])
def test_tensors_of_a_job_that_is_taken_back_are_not_sent(kind, sockets):
    """But for what is under way; another job's are."""
    heard = heard_in_order(kind, sockets, [1, 1, 2, 1], lambda node: node.take_back(1))
    assert heard == [("tensors", 1, 0), ("tensors", 2, 2)]


def test_to_the_broker_all_goes_in_order(sockets):
    """What a device ran, and then what it says of it."""
    accesses, values = local_accesses((BROKER, "a"), sockets), {"x": np.zeros((1, 2**18), np.float32)}
    with StreamNode(accesses["a"]) as sender, StreamNode(accesses[BROKER]) as broker:
        sender.connect(BROKER, broker.endpoint)
        broker.connect("a", sender.endpoint)
        for row in range(3):
            sender.send(BROKER, codec.tensors(1, "f0", "answer", row, 0.0, values), list(values.values()))
            sender.send(BROKER, messages.Assigned(job=row, fragment="f0"))
        found, end = [], time.monotonic() + 120
        while len(found) < 6 and time.monotonic() < end:
            found += [received.message.type for received in broker.receive(0.05)]
            list(sender.receive(0.05))
        assert found == ["tensors", "assigned"] * 3
