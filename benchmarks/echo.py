"""A process that sends every tensor back, encrypted: what a hop between two processes of this machine costs."""

import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from splitplace.children import child_env, python_code
from splitplace.errors import NotReadyError
from splitplace.inference.executor import Array
from splitplace.placement.protocol import messages
from splitplace.placement.protocol.stream import Keys, Received, StreamNode

ECHO = """
import os, sys, threading
from splitplace.placement.protocol import messages
from splitplace.placement.protocol.stream import Keys, StreamNode
public, secret, endpoint, other = sys.stdin.readline().split()
threading.Thread(target=lambda: (sys.stdin.read(), os._exit(0)), daemon=True).start()  # whoever started it is gone
with StreamNode(Keys(public, secret), {other: "here"}) as node:
    node.connect("here", endpoint, other)
    node.send("here", messages.Peers(peers=(messages.Peer(name="echo", endpoint=node.endpoint, public_key=public),)))
    while True:
        for received in node.receive(1.0):
            if isinstance(received.message, messages.Stop):
                sys.exit()
            node.send("here", received.message, list(received.values.values()))
"""
PATIENCE_S = 120


@contextmanager
def echo() -> Iterator[Callable[[Array], Array]]:
    """A function that sends an array to the other process and gives what came back of it.

    Raises:
        NotReadyError: No answer within `PATIENCE_S`, or the process ended otherwise than it was told to.
    """
    mine, other = Keys.generate(), Keys.generate()
    process = subprocess.Popen(python_code(ECHO), env=child_env(), stdin=subprocess.PIPE, text=True)
    assert process.stdin is not None
    with process, StreamNode(mine, {other.public: "echo"}) as node:
        process.stdin.write(f"{other.public} {other.secret} {node.endpoint} {mine.public}\n")
        process.stdin.flush()

        def answer() -> Received:
            for _ in range(PATIENCE_S):
                for received in node.receive(1.0):
                    if isinstance(received, Received):
                        return received
            raise NotReadyError(f"a hop: no answer from the other process within {PATIENCE_S} s")

        hello = answer().message
        assert isinstance(hello, messages.Peers)
        node.connect("echo", hello.peers[0].endpoint, other.public)

        def there_and_back(x: Array) -> Array:
            node.send("echo", messages.tensors(0, "f0", "f1", 0, 0.0, {"x": x}), [x])
            return answer().values["x"]

        yield there_and_back
        node.send("echo", messages.Stop())
        if process.wait(60):
            raise NotReadyError(f"a hop: the other process ended with {process.returncode}")
