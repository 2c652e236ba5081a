"""Shapes that a model states of its values: left out where its operators make others.

Who edits an input, to free the batch that an exporter fixed, seldom edits what the file states of all other values.
onnxruntime and the passes here believe it: they fold the shape of a batch of 1, and answer wrongly, or nothing at all.
"""

import logging

import onnx

from splitplace.splitting.layerwise.detached import BESIDE, LARGE_BYTES
from splitplace.splitting.layerwise.external import all_graphs

_log = logging.getLogger(__name__)

PROBE = 7
"""The batch that inference is given where none is stated: a size that no file states by chance."""


def drop_stale(model: onnx.ModelProto, source: str) -> bool:
    """Leave out all that a model states of its values if a part of it is not so; changed in place.

    Args:
        model: As it was read.
        source: What to call it in the warning.

    Returns:
        Whether anything was left out.
    """
    graph = model.graph
    stated = {value.name: value.type.tensor_type for value in (*graph.value_info, *graph.output) if _states(value)}
    if not stated:
        return False
    try:
        inferred = onnx.shape_inference.infer_shapes(_bare(model), data_prop=True)
    except (onnx.shape_inference.InferenceError, onnx.checker.ValidationError):
        return False  # whatever is wrong has words of its own where the model is opened
    made = {value.name: value.type.tensor_type for value in (*inferred.graph.value_info, *inferred.graph.output)}
    stale = [name for name, tensor in stated.items() if name in made and _differ(tensor, made[name])]
    if not stale:
        return False
    _log.warning(
        "%s: it states %r as %s, which its operators make %s: stated shapes are left out",
        source,
        stale[0],
        _told(stated[stale[0]]),
        _told(made[stale[0]]),
    )
    for part in all_graphs(model):
        del part.value_info[:]
    for value in graph.output:
        if value.name in stale:
            value.type.tensor_type.ClearField("shape")
    return True


def _bare(model: onnx.ModelProto) -> onnx.ModelProto:
    """A copy that states shapes of inputs alone, and holds no large weights, of which inference reads the sizes."""
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    for tensor in copy.graph.initializer:
        if len(tensor.raw_data) >= LARGE_BYTES:
            tensor.ClearField("raw_data")
            tensor.data_location = onnx.TensorProto.EXTERNAL
            tensor.external_data.add(key="location", value=BESIDE)
    for part in all_graphs(copy):
        del part.value_info[:]
    held = {tensor.name for tensor in copy.graph.initializer}
    for value in copy.graph.input:
        tensor = value.type.tensor_type
        varies = value.type.HasField("tensor_type") and tensor.shape.dim and tensor.shape.dim[0].dim_value <= 0
        if varies and value.name not in held:
            tensor.shape.dim[0].dim_value = PROBE
    for value in copy.graph.output:
        if value.type.HasField("tensor_type"):
            value.type.tensor_type.ClearField("shape")
            value.type.tensor_type.ClearField("elem_type")
    return copy


def _states(value: onnx.ValueInfoProto) -> bool:
    return value.type.HasField("tensor_type") and (
        value.type.tensor_type.HasField("shape") or bool(value.type.tensor_type.elem_type)
    )


def _differ(stated: onnx.TypeProto.Tensor, made: onnx.TypeProto.Tensor) -> bool:
    """Whether both say something, and not the same."""
    if stated.elem_type and made.elem_type and stated.elem_type != made.elem_type:
        return True
    if not stated.HasField("shape") or not made.HasField("shape"):
        return False
    ours, theirs = stated.shape.dim, made.shape.dim
    sizes = zip(ours, theirs, strict=False)
    return len(ours) != len(theirs) or any(a.dim_value > 0 < b.dim_value != a.dim_value for a, b in sizes)


def _told(tensor: onnx.TypeProto.Tensor) -> str:
    sizes = [str(dim.dim_value or dim.dim_param or "?") for dim in tensor.shape.dim]
    return f"{onnx.TensorProto.DataType.Name(tensor.elem_type).lower()}[{', '.join(sizes)}]"
