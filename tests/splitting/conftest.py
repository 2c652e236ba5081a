"""Small ONNX models that the tests of this folder cut."""

from collections.abc import Callable, Sequence

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

Builder = Callable[..., bytes]


def model(
    nodes: Sequence[onnx.NodeProto],
    weights: dict[str, np.ndarray],
    inputs: dict[str, list[int | str]],
    outputs: dict[str, list[int | str]],
    opset: int = 20,
    elem_type: int = onnx.TensorProto.FLOAT,
    functions: Sequence[onnx.FunctionProto] = (),
    domains: Sequence[str] = (),
) -> bytes:
    """An ONNX model from its parts."""
    graph = helper.make_graph(
        list(nodes),
        "test",
        [helper.make_tensor_value_info(name, elem_type, shape) for name, shape in inputs.items()],
        [helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, shape) for name, shape in outputs.items()],
        [numpy_helper.from_array(value, name) for name, value in weights.items()],
    )
    opsets = [helper.make_opsetid("", opset), *(helper.make_opsetid(domain, 1) for domain in domains)]
    proto = helper.make_model(graph, opset_imports=opsets, functions=list(functions))
    proto.ir_version = 10
    return proto.SerializeToString()


@pytest.fixture
def make_model() -> Builder:
    """The builder above."""
    return model


def residual(channels: int = 8, depth: int = 4, size: int = 16, batch: int | str = "batch") -> bytes:
    """A residual CNN on raw images: cast, scale, `depth` blocks of Conv-BN-Relu-Conv + skip, then logits."""
    rng = np.random.default_rng(0)
    nodes = [
        helper.make_node("Cast", ["image"], ["raw"], to=onnx.TensorProto.FLOAT),
        helper.make_node("Div", ["raw", "scale"], ["x_in"]),
        helper.make_node("Conv", ["x_in", "w_in"], ["x0"], kernel_shape=[3, 3], pads=[1, 1, 1, 1]),
    ]
    weights: dict[str, np.ndarray] = {
        "scale": np.float32(255.0),
        "w_in": rng.normal(0, 0.2, (channels, 3, 3, 3)).astype(np.float32),
    }
    for i in range(depth):
        for letter in "ab":
            weights[f"w{i}{letter}"] = rng.normal(0, 0.1, (channels, channels, 3, 3)).astype(np.float32)
        for name in ("gamma", "beta", "mean", "var"):
            weights[f"{name}{i}"] = rng.uniform(0.5, 1.5, channels).astype(np.float32)
        nodes += [
            helper.make_node("Conv", [f"x{i}", f"w{i}a"], [f"c{i}"], kernel_shape=[3, 3], pads=[1, 1, 1, 1]),
            helper.make_node(
                "BatchNormalization", [f"c{i}", *(f"{n}{i}" for n in ("gamma", "beta", "mean", "var"))], [f"n{i}"]
            ),
            helper.make_node("Relu", [f"n{i}"], [f"r{i}"]),
            helper.make_node("Conv", [f"r{i}", f"w{i}b"], [f"d{i}"], kernel_shape=[3, 3], pads=[1, 1, 1, 1]),
            helper.make_node("Add", [f"d{i}", f"x{i}"], [f"s{i}"]),
            helper.make_node("Relu", [f"s{i}"], [f"x{i + 1}"]),
        ]
    weights["w_out"] = rng.normal(0, 0.3, (channels, 10)).astype(np.float32)
    nodes += [
        helper.make_node("GlobalAveragePool", [f"x{depth}"], ["pooled"]),
        helper.make_node("Flatten", ["pooled"], ["flat"]),
        helper.make_node("Gemm", ["flat", "w_out"], ["logits"]),
    ]
    inputs: dict[str, list[int | str]] = {"image": [batch, 3, size, size]}
    return model(nodes, weights, inputs, {"logits": [batch, 10]}, elem_type=onnx.TensorProto.UINT8)


@pytest.fixture
def residual_cnn() -> Builder:
    """The builder above."""
    return residual
