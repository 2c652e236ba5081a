"""A hop between two processes of this machine, encrypted; what it costs is for `bench timings` to say."""

import subprocess
import sys
import time

import numpy as np
import pytest

from splitplace.benchmarks.timings import ECHO
from splitplace.placement.protocol import messages
from splitplace.placement.protocol.stream import Keys, StreamNode


@pytest.mark.slow
@pytest.mark.parametrize("size_bytes", [1, 2**18, 2**20])
def test_tensors_come_back_from_another_process_bit_for_bit(size_bytes):
    """There and back, encrypted, ten times."""
    mine, other = Keys.generate(), Keys.generate()
    process = subprocess.Popen([sys.executable, "-c", ECHO], stdin=subprocess.PIPE, text=True)
    with process, StreamNode(mine, {other.public: "echo"}) as node:
        process.stdin.write(f"{other.public} {other.secret} {node.endpoint} {mine.public}\n")
        process.stdin.flush()

        def answer():
            end = time.monotonic() + 120
            while time.monotonic() < end:
                for received in node.receive(1.0):
                    return received
            raise AssertionError("no answer")

        (peer,) = answer().message.peers
        node.connect("echo", peer.endpoint, peer.public_key)
        rng = np.random.default_rng(0)
        for _ in range(10):
            x = rng.integers(0, 255, (1, size_bytes)).astype(np.uint8)
            node.send("echo", messages.tensors(0, "f0", "f1", 0, 0.0, {"x": x}), [x])
            np.testing.assert_array_equal(answer().values["x"], x)
        node.send("echo", messages.Stop())
        assert process.wait(60) == 0
