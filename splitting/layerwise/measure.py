"""What each block costs on this machine: onnxruntime's own profile of the whole model, medians over runs."""

import json
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
from onnx import helper

from splitplace.errors import SplitPlaceError
from splitplace.inference.executor import Array, open_session
from splitplace.splitting.layerwise import recompose
from splitplace.splitting.layerwise.detached import Model, open_whole
from splitplace.splitting.layerwise.fusion import LAYOUT_SUFFIXES, Blocks, optimised
from splitplace.splitting.layerwise.lattice import Floats

WARM_UP = 3
RUNS = 15


def measured(blocks: Blocks, micro_batch: int, runs: int = RUNS, seed: int = 0) -> Floats:
    """Seconds of each block for one micro-batch on one core of this machine.

    onnxruntime runs the whole model, all fusions in place, and times every kernel; a kernel is charged to the block
    that made its node. A kernel that belongs to none (a reordering of memory) is charged to the block it precedes.

    Raises:
        SplitPlaceError: The model does not run on seeded noise.
    """
    graph = blocks.graph
    specs = [spec for name in graph.inputs if (spec := graph.values[name].spec) is not None]
    model = graph.serialised()
    feed = recompose.noise(specs, micro_batch, seed)
    owner = _owners(blocks, optimised(model, ort.GraphOptimizationLevel.ORT_ENABLE_ALL))
    per_run = [_by_block(kernels, owner, len(blocks.members)) for kernels in _profile(model, feed, runs)]
    medians: Floats = np.median(per_run, axis=0)
    return medians


def _by_block(kernels: list[tuple[str, float]], owner: Mapping[str, int], n: int) -> Floats:
    """Seconds of each of n blocks in one run."""
    spent = np.zeros(n)
    unowned = 0.0
    for name, seconds in kernels:
        unowned += seconds
        if name in owner:
            spent[owner[name]] += unowned
            unowned = 0.0
    spent[-1] += unowned  # after the last one
    return spent


def copy_s_per_byte(runs: int = 30) -> float:
    """Seconds a byte that crosses a cut costs on each side of it, on one core of this machine.

    Measured on a model of two pixel-wise poolings and nothing else: it takes its input into the blocked layout and its
    output out of it, into memory of its own, which is what a cut adds to the fragments on its two sides. The tensor is
    larger than the caches, as those are whose cost matters.
    """
    size = (8, 512, 28, 28)
    nodes = [
        helper.make_node("MaxPool", ["x"], ["y"], kernel_shape=[1, 1]),
        helper.make_node("MaxPool", ["y"], ["z"], kernel_shape=[1, 1]),
    ]
    info = [helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, size) for name in "xz"]
    model = helper.make_model(
        helper.make_graph(nodes, "copy", info[:1], info[1:]), opset_imports=[helper.make_opsetid("", 17)], ir_version=8
    )
    session = open_session(model.SerializeToString(), source="the copying probe")
    x = np.random.default_rng(0).standard_normal(size, np.float32)
    seconds = []
    for _ in range(WARM_UP + runs):
        start = time.perf_counter()
        session.run(["z"], {"x": x})
        seconds.append(time.perf_counter() - start)
    return float(np.median(seconds[WARM_UP:])) / 2 / x.nbytes


def _profile(model: Model, feed: Mapping[str, Array], runs: int) -> Iterator[list[tuple[str, float]]]:
    """For each run after warming up: every kernel's node name and seconds, in order of execution."""
    with tempfile.TemporaryDirectory() as folder:
        options = ort.SessionOptions()
        options.intra_op_num_threads = 1
        options.inter_op_num_threads = 1
        options.log_severity_level = 4
        options.enable_profiling = True
        options.profile_file_prefix = str(Path(folder) / "profile")
        try:
            session = open_whole(model, options)
            for _ in range(WARM_UP + runs):
                session.run(None, dict(feed))
        except Exception as error:
            # onnxruntime raises a dozen unrelated classes of its own here; each means that the model does not run.
            raise SplitPlaceError(
                f"measuring costs failed: {str(error).splitlines()[0]}; try analytic costs"
            ) from error
        events: list[dict[str, Any]] = json.loads(Path(session.end_profiling()).read_text(encoding="utf-8"))
    current: list[tuple[str, float]] = []
    seen = 0
    for event in sorted(events, key=lambda event: event.get("ts", 0) + event.get("dur", 0)):
        name = str(event.get("name", ""))
        if event.get("cat") == "Node" and name.endswith("_kernel_time"):
            current.append((name.removesuffix("_kernel_time"), event["dur"] * 1e-6))
        elif name == "model_run":
            seen += 1
            if seen > WARM_UP:
                yield current
            current = []


def _owners(blocks: Blocks, optimised_model: onnx.ModelProto) -> dict[str, int]:
    """The block of each node of the optimised graph, by node name; nodes of no block are left out."""
    graph = blocks.graph
    by_name = {node.name: i for i, node in enumerate(graph.nodes)}
    owner: dict[str, int] = {}
    for node in optimised_model.graph.node:
        plain = next((node.name.removesuffix(s) for s in reversed(LAYOUT_SUFFIXES) if node.name.endswith(s)), None)
        candidates = [by_name.get(node.name), graph.producer.get(plain or "")]
        candidates += [graph.producer.get(name) for name in node.output]
        found = next((i for i in candidates if i is not None), None)
        if found is not None and "Reorder" not in node.op_type:
            owner[node.name] = blocks.of_node[found]
    return owner
