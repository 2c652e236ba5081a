"""Sizes that an exporter left open (image height, tokens), stated: a cut is planned for one shape of a sample."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import onnx

from splitplace.errors import ContractError, UsageError, unknown
from splitplace.splitting.layerwise.detached import Detached, Model, message

EVERY_INPUT = ""
"""In place of a name: the sizes of every input that leaves some open."""


def state_sizes(model: Model, shapes: Mapping[str, Sequence[int]], source: str) -> Model:
    """The model with these sizes of its inputs, the batch left as it is.

    Inputs that call a size by the same name share it, so that one of several token inputs is enough.

    Args:
        model: An ONNX model.
        shapes: By input, or `EVERY_INPUT`, the sizes of one sample: all but the batch.
        source: What to call the model.

    Raises:
        UsageError: An input that there is not, or a model that leaves no size open.
        ContractError: Sizes of another number than the input's, or other than it states.
    """
    proto = onnx.ModelProto.FromString(message(model))
    weights = {weight.name for weight in proto.graph.initializer}
    inputs = {value.name: value for value in proto.graph.input if value.name not in weights}
    for name in shapes:
        if name not in inputs and name != EVERY_INPUT:
            raise unknown(f"input of {source}", name, list(inputs))
    varying = [name for name, value in inputs.items() if _varies(value)]
    if not varying:
        raise UsageError(f"--shape: {source} leaves no size open but the batch; leave it out")
    called: dict[str, set[int]] = {}
    for name, value in inputs.items():
        sizes = shapes.get(name, shapes.get(EVERY_INPUT) if name in varying else None)
        if sizes is not None:
            _state(value, sizes, called, source)
    for name in varying:
        for dim in inputs[name].type.tensor_type.shape.dim[1:]:
            shared = called.get(dim.dim_param, set())
            if len(shared) == 1:  # a name of two sizes, as Paddle's "?", says nothing
                (dim.dim_value,) = shared
    written: bytes = proto.SerializeToString()
    return replace(model, message=written) if isinstance(model, Detached) else written


def _varies(value: onnx.ValueInfoProto) -> bool:
    """Whether a tensor's shape is not stated, or a size in it other than the batch."""
    if value.type.WhichOneof("value") != "tensor_type":
        return False
    shape = value.type.tensor_type.shape
    return not value.type.tensor_type.HasField("shape") or any(dim.dim_value <= 0 for dim in shape.dim[1:])


def _state(value: onnx.ValueInfoProto, sizes: Sequence[int], called: dict[str, set[int]], source: str) -> None:
    """Write the sizes of one input, and note what each is called."""
    tensor = value.type.tensor_type
    if not tensor.HasField("shape"):
        tensor.shape.dim.add(dim_param="batch")
        for _ in sizes:
            tensor.shape.dim.add()
    dims = tensor.shape.dim[1:]
    fits = len(dims) == len(sizes) and all(
        dim.dim_value in (size, 0) or dim.dim_value < 0 for dim, size in zip(dims, sizes, strict=True)
    )
    if not fits:
        raise ContractError(
            f"{source}: --shape {','.join(map(str, sizes))} for input {value.name!r}, expected the sizes of a sample "
            f"as {told(dims)}"
        )
    for dim, size in zip(dims, sizes, strict=True):
        if dim.dim_param:
            called.setdefault(dim.dim_param, set()).add(size)
        dim.dim_value = size


def told(dims: Sequence[onnx.TensorShapeProto.Dimension]) -> str:
    """Sizes as they are, and those that are open by their name or a question mark: 3,height,?."""
    return ",".join(str(dim.dim_value) if dim.dim_value > 0 else dim.dim_param or "?" for dim in dims) or "none"
