"""What an operator computes, counted."""

from collections.abc import Mapping
from math import prod

import onnx_ir as ir

from splitplace.splitting.layerwise.shapes import Shape


def flops_of(node: ir.Node, shapes: Mapping[str, Shape]) -> int:
    """2 x multiply-accumulates of products; all other operators count nothing, as in `Fragment`s from training."""
    out = _sizes(node.outputs[0], shapes)
    known = [_sizes(value, shapes) for value in node.inputs]
    if node.op_type in ("Conv", "FusedConv", "ConvInteger", "QLinearConv"):
        weight = known[3] if node.op_type == "QLinearConv" else known[1]
        return 2 * prod(out) * prod(weight[1:])
    if node.op_type == "ConvTranspose":
        return 2 * prod(known[0]) * prod(known[1][1:])
    if node.op_type in ("Gemm", "FusedGemm"):
        return 2 * prod(out) * prod(known[0][:1] if node.attributes.get_int("transA", 0) else known[0][1:])
    if node.op_type in ("MatMul", "MatMulInteger", "FusedMatMul"):
        return 2 * prod(out) * prod(known[0][-2:-1] if node.attributes.get_int("transA", 0) else known[0][-1:])
    return 0


def _sizes(value: ir.Value | None, shapes: Mapping[str, Shape]) -> tuple[int, ...]:
    if value is None:
        return ()
    if value.const_value is not None:
        return tuple(value.const_value.shape.numpy())
    return shapes[name][1] if (name := value.name or "") in shapes else ()
