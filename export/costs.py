"""What an ONNX model costs on paper: parameters, weight bytes, FLOPs per sample."""

import math
from dataclasses import dataclass

import numpy as np
import onnx
from onnx import numpy_helper, shape_inference

from splitplace.errors import SplitPlaceError

_QUANTISED = {np.dtype("int8"), np.dtype("uint8")}


@dataclass(frozen=True)
class Costs:
    """FLOPs are 2 x multiply-accumulates of Conv, Gemm and MatMul; all other operators count nothing."""

    params: int
    weight_bytes: int
    flops_per_sample: int


def costs(model: onnx.ModelProto) -> Costs:
    """Count a model's weights (initialisers that are numbers, no shapes or indices) and its work on one sample.

    Raises:
        SplitPlaceError: A Conv, Gemm or MatMul whose output shape cannot be inferred.
    """
    weights = [numpy_helper.to_array(tensor) for tensor in model.graph.initializer]
    numbers = [array for array in weights if array.dtype.kind == "f" or array.dtype in _QUANTISED]
    return Costs(
        params=sum(array.size for array in numbers),
        weight_bytes=sum(array.nbytes for array in weights),
        flops_per_sample=_flops(_with_batch_of_one(model)),
    )


def _with_batch_of_one(model: onnx.ModelProto) -> onnx.ModelProto:
    single = onnx.ModelProto()
    single.CopyFrom(model)
    for value in (*single.graph.input, *single.graph.output):
        dims = value.type.tensor_type.shape.dim
        if dims:
            dims[0].dim_value = 1
    single.graph.ClearField("value_info")
    return shape_inference.infer_shapes(single, check_type=True, strict_mode=True, data_prop=True)


def _flops(model: onnx.ModelProto) -> int:
    shapes = {tensor.name: tuple(tensor.dims) for tensor in model.graph.initializer}
    for value in (*model.graph.input, *model.graph.value_info, *model.graph.output):
        shapes[value.name] = tuple(dim.dim_value for dim in value.type.tensor_type.shape.dim)
    total = 0
    for node in model.graph.node:
        if node.op_type not in ("Conv", "Gemm", "MatMul", "ConvInteger", "MatMulInteger"):
            continue
        output, first, second = (shapes.get(name, ()) for name in (node.output[0], node.input[0], node.input[1]))
        if not all(output) or not output or not first or not second:
            raise SplitPlaceError(f"{node.op_type} {node.name}: no fixed shape but the batch, so its FLOPs are unknown")
        if node.op_type.startswith("Conv"):
            terms = math.prod(second[1:])  # input channels of one group x kernel
        else:
            transposed = any(a.name == "transA" and a.i for a in node.attribute)
            terms = first[-2] if transposed else first[-1]
        total += 2 * math.prod(output) * terms
    return total
