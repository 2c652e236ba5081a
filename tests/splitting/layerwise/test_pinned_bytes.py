"""What is written, to the byte: a catalog's digests must not change because the code that cuts was written anew.

The models are made by formula and onnxruntime is not asked, so that every machine has the same digests. Whoever changes
what a fragment holds on purpose writes the new ones here and says why in the changelog.
"""

import hashlib
from collections.abc import Callable, Sequence

import numpy as np
import pytest
from onnx import FunctionProto, TensorProto, helper, numpy_helper

from splitplace.splitting.layerwise import costs, cutting, fusion
from splitplace.splitting.layerwise.graph import build
from splitplace.splitting.layerwise.lattice import lattice
from splitplace.splitting.layerwise.normal_form import normalise

node = helper.make_node


def weights(**shapes: tuple[int, ...]) -> dict[str, np.ndarray]:
    """Numbers by formula: a generator's would follow the machine's mathematics."""
    steps = {name: (np.arange(np.prod(shape)) * 7919 + 31 * len(name)) % 251 - 125 for name, shape in shapes.items()}
    return {name: (steps[name] / 128).astype(np.float32).reshape(shape) for name, shape in shapes.items()}


def whole(
    nodes: Sequence, numbers: dict[str, np.ndarray], x: list, y: list, functions: Sequence[FunctionProto] = ()
) -> bytes:
    """The ONNX file of one input and one output."""
    graph = helper.make_graph(
        list(nodes),
        "pinned",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, x)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, y)],
        [numpy_helper.from_array(value, name) for name, value in numbers.items()],
    )
    opsets = [helper.make_opsetid("", 18), *(helper.make_opsetid("own", 1) for _ in functions)]
    return helper.make_model(graph, opset_imports=opsets, functions=list(functions), ir_version=9).SerializeToString()


def skips() -> bytes:
    """Convolutions with a BatchNorm each, and a skip over all of them: a tensor that fragments carry through."""
    numbers = weights(w0=(16, 3, 3, 3), wy=(16, 5))
    nodes = [node("Conv", ["x", "w0"], ["h0"], pads=[1, 1, 1, 1])]
    for i in range(3):
        numbers |= weights(**{f"v{i}": (16, 16, 1, 1), f"g{i}": (16,), f"b{i}": (16,), f"m{i}": (16,)})
        numbers[f"s{i}"] = np.linspace(0.5, 2, 16, dtype=np.float32)
        nodes += [
            node("Conv", [f"h{i}", f"v{i}"], [f"c{i}"]),
            node("BatchNormalization", [f"c{i}", f"g{i}", f"b{i}", f"m{i}", f"s{i}"], [f"n{i}"]),
            node("Relu", [f"n{i}"], [f"h{i + 1}"]),
        ]
    nodes += [
        node("Add", ["h3", "h0"], ["sum"]),
        node("GlobalAveragePool", ["sum"], ["pooled"]),
        node("Flatten", ["pooled"], ["flat"]),
        node("Dropout", ["flat"], ["kept"]),
        node("MatMul", ["kept", "wy"], ["y"]),
    ]
    return whole(nodes, numbers, ["n", 3, 8, 8], ["n", 5])


def shapes() -> bytes:
    """Sizes computed from the batch, shared by operators on both sides of a cut."""
    numbers = weights(w0=(6, 6), w1=(6, 6), w2=(6, 6))
    numbers |= {"zero": np.array(0), "axes": np.array([0]), "sizes": np.array([4, 6]), "one": np.array([1])}
    nodes = [
        node("Shape", ["x"], ["shape"]),
        node("Gather", ["shape", "zero"], ["n"]),
        node("Unsqueeze", ["n", "axes"], ["n1"]),
        node("Concat", ["n1", "sizes"], ["target"], axis=0),
        node("MatMul", ["x", "w0"], ["h0"]),
    ]
    for i in range(2):
        nodes += [
            node("Unsqueeze", [f"h{i}", "one"], [f"m{i}"]),
            node("Expand", [f"m{i}", "target"], [f"e{i}"]),
            node("ReduceMax", [f"e{i}", "one"], [f"r{i}"], keepdims=0),
            node("MatMul", [f"r{i}", f"w{i + 1}"], [f"h{i + 1}"]),
        ]
    nodes.append(node("Relu", ["h2"], ["y"]))
    return whole(nodes, numbers, ["n", 6], ["n", 6])


def branches() -> bytes:
    """An If whose branches read values from outside, weights among them."""

    def branch(name: str, *nodes: object) -> object:
        return helper.make_graph(nodes, name, [], [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", 6])])

    taken = branch("a", node("MatMul", ["h", "w1"], ["a"]))
    other = branch("b", node("Add", ["h", "x"], ["b"]))
    nodes = [
        node("MatMul", ["x", "w0"], ["h"]),
        node("ReduceMax", ["h"], ["top"], keepdims=0),
        node("Greater", ["top", "zero"], ["yes"]),
        node("If", ["yes"], ["z"], then_branch=taken, else_branch=other),
        node("MatMul", ["z", "w2"], ["y"]),
    ]
    return whole(nodes, weights(w0=(6, 6), w1=(6, 6), w2=(6, 3)) | {"zero": np.float32(0)}, ["n", 6], ["n", 3])


def functions() -> bytes:
    """Layers that are functions of the model's own, for a batch that is fixed, with a Reshape to it."""
    body = [node("MatMul", ["a", "b"], ["c"]), node("Relu", ["c"], ["d"])]
    layer = helper.make_function("own", "Layer", ["a", "b"], ["d"], body, [helper.make_opsetid("", 18)])
    nodes = [
        node("Reshape", ["x", "target"], ["flat"]),
        node("Layer", ["flat", "w0"], ["h"], domain="own"),
        node("Layer", ["h", "w1"], ["y"], domain="own"),
    ]
    numbers = weights(w0=(12, 6), w1=(6, 4)) | {"target": np.array([2, 12])}
    return whole(nodes, numbers, [2, 3, 4], [2, 4], [layer])


def digests(model: bytes) -> list[str]:
    """Of one fragment a block, with every image in the blocked layout and an activation kept with what it acts on."""
    graph = build(normalise(model))
    pairs = {
        (graph.producer[name], i)
        for i, item in enumerate(graph.nodes)
        for name in item.inputs
        if item.op_type == "Relu" and name in graph.producer
    }
    images = frozenset(name for name, value in graph.values.items() if value.spec and len(value.spec.shape) == 4)
    network = fusion.blocks(graph, pairs, images)
    places = lattice(costs.work(network, costs.analytic(network, 8), 8), limit=1)
    artifact = cutting.cut(network, places, range(places.size), "custom", "pinned")
    return [hashlib.sha256(data).hexdigest()[:8] for data in artifact.models.values()]


@pytest.mark.parametrize(
    ("build_model", "expected"),
    [
        (skips, "99bcabf2 80042756 639bd6fe 45e9ba1e 85a8e849 b96151b7 8ddda32a f011e5b9"),
        (shapes, "7d37660b 6c3ff09e 5ea3c9b8 36930d8b f95e3bed 3427c40e 7acc6764 08ea2c7a 6fb2bdc0"),
        (branches, "64280821 b5e1f425 9e08bfa6"),
        (functions, "30f3e1cc 91ba045f 3553ed2c"),
    ],
)
def test_fragments_have_the_bytes_they_always_had(build_model: Callable[[], bytes], expected: str) -> None:
    """Every fragment of four models, by the first 8 digits of its SHA-256."""
    assert digests(build_model()) == expected.split()
