"""A small split without torch: two linear branches over one input."""

import numpy as np
import pytest

from splitplace.records.fragment import Fragment, TensorSpec
from splitplace.records.split import INPUT, Edge, Merge, Split
from splitplace.splitting.artifact import SplitArtifact, digest


def linear(output: str, seed: int, filling: int = 0) -> bytes:
    """An ONNX file: x float32 [batch, 4] to two logits; with `filling` more weights, which nothing uses."""
    from onnx import TensorProto, helper, numpy_helper  # here: other tests of this room need no onnx

    rng = np.random.default_rng(seed)
    weight, unused = (rng.standard_normal(shape).astype(np.float32) for shape in ((4, 2), (filling,)))
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "w"], [output], name="product")],
        "linear",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 4])],
        [helper.make_tensor_value_info(output, TensorProto.FLOAT, ["batch", 2])],
        [numpy_helper.from_array(weight, "w"), *([numpy_helper.from_array(unused, "unused")] * bool(filling))],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    content: bytes = model.SerializeToString(deterministic=True)
    return content


def branches(seed: int = 0, variant: str = "2", filling: int = 0) -> SplitArtifact:
    """Two branches that predict the classes (2, 0) and (1, 3); weights by seed."""
    x = TensorSpec(name="x", dtype="float32", shape=("batch", 4))
    models = {f"leaf{i}": linear(f"logits{i}", seed + i, filling) for i in range(2)}
    fragments = tuple(
        Fragment(
            name=f"leaf{i}",
            inputs=(x,),
            outputs=(TensorSpec(name=f"logits{i}", dtype="float32", shape=("batch", 2)),),
            classes=((2, 0), (1, 3))[i],
            params=8,
            flops_per_sample=16,
            weight_bytes=32,
            digest=digest(models[f"leaf{i}"]),
        )
        for i in range(2)
    )
    edges = tuple(Edge(src=INPUT, dst=f"leaf{i}", tensor="x", bytes_per_sample=16) for i in range(2))
    merge = Merge(kind="concat", class_order=(2, 0, 1, 3))
    split = Split(
        application="toy",
        model="linear",
        strategy="semantic",
        variant=variant,
        fragments=fragments,
        edges=edges,
        merge=merge,
    )
    return SplitArtifact(split, models)


@pytest.fixture(scope="session")
def artifact() -> SplitArtifact:
    """`toy.linear.semantic-2`."""
    return branches()


@pytest.fixture(scope="session")
def make_artifact():
    """The same shape with other weights or another variant."""
    return branches
