"""Element type and sizes of every value of a model at one batch size: by inference, or by a run."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import onnx_ir as ir
import onnxruntime as ort

from splitplace.errors import SplitPlaceError
from splitplace.inference.executor import RUNTIME_ERRORS, one_line
from splitplace.splitting.layerwise.detached import open_whole, serialised

Shape = tuple[int, tuple[int, ...]]
"""Element type (of onnx.TensorProto) and sizes."""

NO_TENSOR: Shape = (onnx.TensorProto.UNDEFINED, ())
"""Of a sequence, an optional or a map: it cannot pass between devices, whatever is in it."""

BY_NUMBERS: Shape = (onnx.TensorProto.UNDEFINED, (0,))
"""Of a tensor whose sizes depend on the numbers that are fed: nobody can state them, so it cannot pass either."""

MADE_UP = (2, 10)
"""Whole numbers below which are fed beside zeros, to see which sizes depend on them."""


class UnknownShapeError(SplitPlaceError):
    """A model that neither inference nor a run can tell the shapes of, at one batch size."""


def infer_shapes(
    model: onnx.ModelProto, inputs: tuple[str, ...], batch: int, beside: Mapping[str, ir.TensorProtocol] | None = None
) -> dict[str, Shape]:
    """Element type and sizes of every value at one batch size; by inference, and by a run where that cannot tell.

    Args:
        model: Its message.
        inputs: Those with a batch.
        batch: The size.
        beside: Weights that the message does not hold.

    Raises:
        UnknownShapeError: The model does not run at this batch size.
    """
    concrete = onnx.ModelProto()
    concrete.CopyFrom(model)
    del concrete.graph.value_info[:]
    for value in concrete.graph.input:
        if value.name in inputs:
            value.type.tensor_type.shape.dim[0].ClearField("dim_param")
            value.type.tensor_type.shape.dim[0].dim_value = batch
    for output in concrete.graph.output:
        if output.type.HasField("tensor_type"):  # to look at it would make a tensor of a sequence
            output.type.tensor_type.ClearField("shape")
    inferred = onnx.shape_inference.infer_shapes(concrete, data_prop=True)
    shapes = stated(inferred)
    made = [name for node in concrete.graph.node for name in node.output if name]
    missing = [name for name in made if name not in shapes]
    return shapes | _observed(concrete, beside or {}, inputs, shapes, missing, batch) if missing else shapes


def stated(model: onnx.ModelProto) -> dict[str, Shape]:
    """What a model states, or inference found, of values whose sizes are all known."""
    shapes: dict[str, Shape] = {}
    for value in (*model.graph.value_info, *model.graph.input, *model.graph.output):
        tensor = value.type.tensor_type
        if value.type.WhichOneof("value") not in ("tensor_type", None):
            shapes[value.name] = NO_TENSOR
        elif tensor.HasField("shape") and all(dim.HasField("dim_value") for dim in tensor.shape.dim):
            shapes[value.name] = (tensor.elem_type, tuple(dim.dim_value for dim in tensor.shape.dim))
    return shapes


def _observed(
    model: onnx.ModelProto,
    beside: Mapping[str, ir.TensorProtocol],
    inputs: tuple[str, ...],
    shapes: Mapping[str, Shape],
    missing: list[str],
    batch: int,
) -> dict[str, Shape]:
    """Shapes that inference cannot tell (control flow, custom operators), from one run on zeros."""
    outputs = {output.name for output in model.graph.output}
    model.graph.output.extend(onnx.ValueInfoProto(name=name) for name in missing if name not in outputs)
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 4
    zeros = {name: np.zeros(shapes[name][1], onnx.helper.tensor_dtype_to_np_dtype(shapes[name][0])) for name in inputs}
    try:
        session = open_whole(serialised(model, beside), options)
        results = session.run(missing, zeros)
    except Exception as error:
        # onnxruntime raises a dozen unrelated classes of its own here; each means that the shapes stay unknown.
        maker = next(node for node in model.graph.node if missing[0] in node.output)
        raise UnknownShapeError(
            f"the shape of {missing[0]!r}, which the {maker.op_type} {maker.name!r} makes, is unknown, and a "
            f"run at batch {batch} fails: {one_line(error)}"
        ) from error
    seen = {name: _shape(result) for name, result in zip(missing, results, strict=True)}
    for below in MADE_UP:
        try:
            others = session.run(missing, {name: _made_up(value, below) for name, value in zeros.items()})
        except RUNTIME_ERRORS:
            continue  # an index beyond its table: zeros alone are sure to be taken
        changed = [name for name, other in zip(missing, others, strict=True) if _shape(other) != seen[name]]
        seen.update(dict.fromkeys(changed, BY_NUMBERS))
    return seen


def _shape(result: object) -> Shape:
    if not isinstance(result, np.ndarray | np.generic):
        return NO_TENSOR
    return onnx.helper.np_dtype_to_tensor_dtype(result.dtype), tuple(result.shape)


def _made_up(zeros: npt.NDArray[Any], below: int) -> npt.NDArray[Any]:
    """Numbers that are not all alike, in place of zeros."""
    rng = np.random.default_rng(below)
    if zeros.dtype.kind in "biu":
        return rng.integers(0, below, zeros.shape).astype(zeros.dtype)
    return (below * rng.standard_normal(zeros.shape)).astype(zeros.dtype) if zeros.dtype.kind == "f" else zeros
