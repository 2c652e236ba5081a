"""A hop of the stream beside what it is made of: the same bytes there and back over raw TCP and over bare ZeroMQ.

The ways are taken in turns in one run, so that the machine's drift falls on all alike.
"""

import socket
import statistics
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path

import numpy as np
import zmq

from splitplace.benchmarks.echo import echo
from splitplace.children import child_env, python_code
from splitplace.errors import NotReadyError
from splitplace.inference.executor import Array
from splitplace.placement.protocol.keys import socket_folder

ThereAndBack = Callable[[Array], Array]

OURS_FAR, OURS_NEAR = "the stream, as between machines (CURVE)", "the stream, as on one machine"
PATIENCE_S = 120.0

TCP_ECHO = """
import socket, struct
listener = socket.create_server(("127.0.0.1", 0))
print(listener.getsockname()[1], flush=True)
peer, _ = listener.accept()
peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
while head := peer.recv(8, socket.MSG_WAITALL):
    data = bytearray(struct.unpack("<q", head)[0])
    view = memoryview(data)
    while view:
        view = view[peer.recv_into(view):]
    peer.sendall(head)
    peer.sendall(data)
"""
ZMQ_ECHO = """
import sys, zmq
address, public, secret = sys.argv[1:]
peer = zmq.Context().socket(zmq.PAIR)
if public:
    peer.curve_server = True
    peer.curve_publickey, peer.curve_secretkey = public.encode(), secret.encode()
peer.bind(address)
print(peer.get_string(zmq.LAST_ENDPOINT), flush=True)
while True:
    peer.send_multipart(peer.recv_multipart(copy=False), copy=False)
"""


@contextmanager
def _other(code: str, *arguments: str) -> Iterator[str]:
    """A process that echoes; gives its first line, where it listens."""
    process = subprocess.Popen(python_code(code, *arguments), env=child_env(), stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        said = process.stdout.readline().strip()
        if not said:
            raise NotReadyError(f"a hop: the other process ended with {process.wait()}")
        yield said
    finally:
        process.kill()
        process.communicate()


@contextmanager
def tcp_echo() -> Iterator[ThereAndBack]:
    """Over a TCP connection, with the length before the bytes."""
    with _other(TCP_ECHO) as port, socket.create_connection(("127.0.0.1", int(port)), PATIENCE_S) as peer:
        peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

        def there_and_back(x: Array) -> Array:
            peer.sendall(x.nbytes.to_bytes(8, "little"))
            peer.sendall(x.data)
            answer = bytearray(8 + x.nbytes)
            view = memoryview(answer)
            while view:
                view = view[peer.recv_into(view) :]
            return np.frombuffer(answer, x.dtype, offset=8).reshape(x.shape)

        yield there_and_back


@contextmanager
def zmq_echo(address: str, encrypted: bool) -> Iterator[ThereAndBack]:
    """Over one pair of ZeroMQ sockets: a header of 150 bytes and a frame."""
    its, mine = (tuple(key.decode() for key in zmq.curve_keypair()) if encrypted else ("", "") for _ in range(2))
    with _other(ZMQ_ECHO, address, *its) as endpoint, zmq.Context() as context, context.socket(zmq.PAIR) as peer:
        peer.linger, peer.rcvtimeo = 0, round(1000 * PATIENCE_S)
        if encrypted:
            peer.curve_serverkey = its[0].encode()
            peer.curve_publickey, peer.curve_secretkey = (key.encode() for key in mine)
        peer.connect(endpoint)

        def there_and_back(x: Array) -> Array:
            peer.send_multipart([bytes(150), x.data], copy=False)
            _, frame = peer.recv_multipart(copy=False)
            return np.frombuffer(frame.buffer, x.dtype).reshape(x.shape)

        yield there_and_back


@contextmanager
def ways() -> Iterator[Mapping[str, ThereAndBack]]:
    """Every way, each to a process of its own."""
    with ExitStack() as stack:
        folder = socket_folder()
        found = {
            OURS_FAR: stack.enter_context(echo(encrypted=True)),
            "bare ZeroMQ with CURVE, TCP": stack.enter_context(zmq_echo("tcp://127.0.0.1:*", encrypted=True)),
            "raw TCP": stack.enter_context(tcp_echo()),
            OURS_NEAR: stack.enter_context(echo(encrypted=False)),
        }
        if folder is not None:
            stack.callback(folder.rmdir)
            stack.callback(Path(folder, "echo").unlink, missing_ok=True)
            found["bare ZeroMQ, socket file"] = stack.enter_context(zmq_echo(f"ipc://{folder}/echo", encrypted=False))
        yield found


def hops_s(size_bytes: int, rounds: int, each: int = 10) -> dict[str, list[float]]:
    """Seconds of one hop of so many bytes, there and back halved: the median of each round, by way.

    Raises:
        NotReadyError: What came back is not what was sent, or nothing did.
    """
    x = np.random.default_rng(0).integers(0, 255, (1, size_bytes)).astype(np.uint8)
    with ways() as found:
        seconds: dict[str, list[float]] = {name: [] for name in found}
        for name, there_and_back in found.items():
            if not all(np.array_equal(there_and_back(x), x) for _ in range(5)):
                raise NotReadyError(f"{name}: other bytes came back than were sent")
        for turn in range(rounds):
            for name in list(found)[:: 1 if turn % 2 == 0 else -1]:
                seconds[name].append(statistics.median(_wall_s(found[name], x) / 2 for _ in range(each)))
    return seconds


def _wall_s(there_and_back: ThereAndBack, x: Array) -> float:
    start_s = time.perf_counter()
    there_and_back(x)
    return time.perf_counter() - start_s
