"""Builds `splitplace/inference/probe.onnx`, the fixed model that measures how fast a core is.

Run as `python -m splitplace.export.convert.probe_model`.
It has what mobile CNNs spend their time on: an inverted residual (pointwise, depthwise, pointwise, add) and a dense
3x3 convolution, on 28x28 maps. Weights come from a formula, so that every machine builds the same bytes.
"""

from pathlib import Path

import numpy as np
from onnx import ModelProto, NodeProto, TensorProto, checker, helper, numpy_helper

from splitplace.catalog.oci import digest

SIZE, NARROW, WIDE = 28, 24, 96


def build() -> bytes:
    """The ONNX file: input `x` float32 [1, 24, 28, 28], output `y` float32 [1, 10]."""
    nodes: list[NodeProto] = []
    weights: list[TensorProto] = []

    def conv(source: str, target: str, inside: int, outside: int, kernel: int, group: int = 1) -> None:
        weights.append(_weights(f"{target}_w", (outside, inside // group, kernel, kernel)))
        pads = [kernel // 2] * 4
        nodes.append(helper.make_node("Conv", [source, f"{target}_w"], [f"{target}_c"], group=group, pads=pads))
        nodes.append(helper.make_node("Relu", [f"{target}_c"], [target]))

    conv("x", "expanded", NARROW, WIDE, 1)
    conv("expanded", "depthwise", WIDE, WIDE, 3, group=WIDE)
    conv("depthwise", "projected", WIDE, NARROW, 1)
    nodes.append(helper.make_node("Add", ["x", "projected"], ["residual"]))
    conv("residual", "dense", NARROW, NARROW, 3)
    nodes.append(helper.make_node("GlobalAveragePool", ["dense"], ["pooled"]))
    nodes.append(helper.make_node("Flatten", ["pooled"], ["features"]))
    weights.append(_weights("head_w", (NARROW, 10)))
    nodes.append(helper.make_node("MatMul", ["features", "head_w"], ["y"]))
    graph = helper.make_graph(
        nodes,
        "probe",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, NARROW, SIZE, SIZE])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 10])],
        weights,
    )
    model: ModelProto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    checker.check_model(model, full_check=True)
    data: bytes = model.SerializeToString(deterministic=True)
    return data


def _weights(name: str, shape: tuple[int, ...]) -> TensorProto:
    count = int(np.prod(shape))
    fan_in = int(np.prod(shape[1:])) if len(shape) == 4 else shape[0]
    steps = (np.arange(count, dtype=np.int64) * 7919) % 251 - 125  # -125..125, well mixed
    return numpy_helper.from_array((steps / 125 / fan_in**0.5).astype(np.float32).reshape(shape), name)


if __name__ == "__main__":
    from splitplace.inference import probe

    path = Path(probe.__file__).with_name("probe.onnx")
    path.write_bytes(build())
    print(f"{path}: {digest(build())}")
