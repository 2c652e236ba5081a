"""A process that sends every tensor back: what a hop between two processes of this machine costs."""

import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager

from splitplace.children import child_env, python_code
from splitplace.errors import NotReadyError
from splitplace.inference.encoded_images import as_tensor
from splitplace.inference.executor import Array
from splitplace.placement.protocol import codec, messages
from splitplace.placement.protocol.keys import Accesses
from splitplace.placement.protocol.stream import Received, StreamNode

ECHO = """
import os, sys, threading
from pydantic import TypeAdapter
from splitplace.placement.protocol import messages
from splitplace.placement.protocol.fields import Peer
from splitplace.placement.protocol.keys import Access
from splitplace.placement.protocol.stream import StreamNode
access, endpoint = TypeAdapter(Access).validate_json(sys.stdin.readline()), sys.stdin.readline().strip()
threading.Thread(target=lambda: (sys.stdin.read(), os._exit(0)), daemon=True).start()  # whoever started it is gone
with StreamNode(access) as node:
    node.connect("here", endpoint)
    me = Peer(name="echo", endpoint=node.endpoint, incarnation=node.incarnation)
    node.send("here", messages.Peers(peers=(me,)))
    while True:
        for received in node.receive(1.0):
            if isinstance(received.message, messages.Stop):
                sys.exit()
            node.send("here", received.message, list(received.values.values()))
"""
PATIENCE_S = 120


@contextmanager
def echo(encrypted: bool) -> Iterator[Callable[[Array], Array]]:
    """A function that sends an array to the other process and gives what came back of it.

    Args:
        encrypted: As between machines, or as between the processes of one.

    Raises:
        NotReadyError: No answer within `PATIENCE_S`, or the process ended otherwise than it was told to.
    """
    accesses = Accesses.of(("here", "echo"), same_machine=not encrypted)
    process = subprocess.Popen(python_code(ECHO), env=child_env(), stdin=subprocess.PIPE, text=True)
    assert process.stdin is not None
    with ExitStack() as stack:
        stack.callback(accesses.close)
        stack.enter_context(process)
        node = stack.enter_context(StreamNode(accesses.by_name["here"]))
        process.stdin.write(f"{accesses.by_name['echo'].model_dump_json()}\n{node.endpoint}\n")
        process.stdin.flush()

        def answer() -> Received:
            for _ in range(PATIENCE_S):
                for received in node.receive(1.0):
                    if isinstance(received, Received):
                        return received
            raise NotReadyError(f"a hop: no answer from the other process within {PATIENCE_S} s")

        hello = answer().message
        assert isinstance(hello, messages.Peers)
        node.connect("echo", hello.peers[0].endpoint)

        def there_and_back(x: Array) -> Array:
            node.send("echo", codec.tensors(0, "f0", "f1", 0, 0.0, {"x": x}), [x])
            return as_tensor(answer().values["x"])

        yield there_and_back
        node.send("echo", messages.Stop())
        if process.wait(60):
            raise NotReadyError(f"a hop: the other process ended with {process.returncode}")
