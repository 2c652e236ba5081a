"""The shared arena of a process's sessions."""

import subprocess
import sys

GROWTH = """
import sys
import numpy as np
from onnx import TensorProto, helper, numpy_helper
from splitplace.inference import memory
from splitplace.inference.executor import open_session

weights = np.ones((64, 64, 1, 1), np.float32)
nodes = [helper.make_node("Conv", [f"t{i}", "w"], [f"t{i + 1}"]) for i in range(4)]
shape = ["batch", 64, 32, 32]
graph = helper.make_graph(
    nodes, "g",
    [helper.make_tensor_value_info("t0", TensorProto.FLOAT, shape)],
    [helper.make_tensor_value_info("t4", TensorProto.FLOAT, shape)],
    [numpy_helper.from_array(weights, "w")],
)
model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9).SerializeToString()

def resident():
    return next(int(l.split()[1]) for l in open("/proc/self/status") if l.startswith("RssAnon")) / 1024

def run(session, batch):
    session.run(None, {"t0": np.ones((batch, 64, 32, 32), np.float32)})

run(open_session(model), 1)
memory.release()
before = resident()
first, second = open_session(model), open_session(model)
run(first, 64)
memory.trim()
one = resident()
run(second, 64)
memory.trim()
both = resident()
del first, second
memory.release()
print(before, one, both, resident())
"""


def test_sessions_share_what_they_run_in_and_release_gives_it_back():
    """A tensor is 16 MiB: the second session takes no more, and when both have ended the memory is the system's."""
    done = subprocess.run([sys.executable, "-c", GROWTH], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    before, one, both, after = map(float, done.stdout.split())
    assert 30 < one - before < 80
    assert both - one < 4
    assert after - before < 4
