"""A model that no one protobuf message can hold: its message without the large weights, and these beside it.

Cutting needs the graph whole, and of the weights little more than their sizes. The message marks them as external
data, which shape inference never reads; onnxruntime is given them by name from memory that maps the file.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import onnx
import onnx_ir as ir
import onnxruntime as ort

from splitplace.catalog.oci import MAX_MODEL_BYTES
from splitplace.inference.executor import Array

LARGE_BYTES = 2**20
"""What is smaller stays in the message: shapes, axes and scales are read where the graph is simplified."""

BESIDE = "beside"
"""The place that the message states of a weight that is not in it; nothing reads it."""

MAPPED = frozenset({"FLOAT", "FLOAT16", "DOUBLE", "INT8", "UINT8", "INT16", "INT32", "INT64"})
"""Element types that numpy has as they are."""


@dataclass(frozen=True, eq=False)
class Detached:
    """An ONNX message, and by name the weights that it does not hold."""

    message: bytes
    beside: Mapping[str, Array]

    @property
    def nbytes(self) -> int:
        """Of all."""
        return len(self.message) + sum(array.nbytes for array in self.beside.values())


Model = bytes | Detached
"""A whole model, as one message wherever one can hold it."""


def message(model: Model) -> bytes:
    """The message of a model, whole or not."""
    return model.message if isinstance(model, Detached) else model


def can_be_mapped(tensor: onnx.TensorProto) -> bool:
    """Whether numpy and onnxruntime agree on its numbers."""
    return onnx.TensorProto.DataType.Name(tensor.data_type) in MAPPED


def open_whole(model: Model, options: ort.SessionOptions) -> ort.InferenceSession:
    """An onnxruntime session of a model; raises what onnxruntime raises."""
    if isinstance(model, bytes):
        return ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    values = {name: ort.OrtValue.ortvalue_from_numpy(array) for name, array in model.beside.items()}
    options.add_external_initializers(list(values), list(values.values()))
    session = ort.InferenceSession(model.message, options, providers=["CPUExecutionProvider"])
    session.beside = values  # onnxruntime looks at them where they lie
    return session


def write(
    model: ir.Model, to_proto: Callable[[ir.Model], onnx.ModelProto] = ir.to_proto
) -> tuple[onnx.ModelProto, dict[str, ir.TensorProtocol]]:
    """The message of a model, and the large weights that it does not hold; none are left out if it can hold all."""
    weights = {name: value.const_value for name, value in model.graph.initializers.items()}
    beside = {}
    if sum(tensor.nbytes for tensor in weights.values() if tensor is not None) > MAX_MODEL_BYTES - LARGE_BYTES:
        for name, tensor in weights.items():
            if tensor is not None and tensor.nbytes >= LARGE_BYTES and tensor.dtype.name in MAPPED:
                beside[name] = tensor
                model.graph.initializers[name].const_value = ir.ExternalTensor(
                    BESIDE, 0, tensor.nbytes, tensor.dtype, shape=ir.Shape(tensor.shape.numpy()), name=name
                )
    try:
        return to_proto(model), beside
    finally:
        attach(model, beside)


def attach(model: ir.Model, weights: Mapping[str, ir.TensorProtocol]) -> None:
    """Give a model the weights that are not in its message."""
    for name, tensor in weights.items():
        if name in model.graph.initializers:
            model.graph.initializers[name].const_value = tensor


def serialised(proto: onnx.ModelProto, beside: Mapping[str, ir.TensorProtocol]) -> Model:
    """The bytes of a message, with the weights that are not in it if there are any."""
    data: bytes = proto.SerializeToString(deterministic=True)
    return Detached(data, {name: tensor.numpy() for name, tensor in beside.items()}) if beside else data


def leading_to(model: Model, output: str) -> Model:
    """The part of a model that leads to one output, and the inputs which that part reads; nothing in it is changed."""
    proto = onnx.ModelProto.FromString(message(model))
    graph = proto.graph
    maker = {name: node for node in graph.node for name in node.output if name}
    wanted: set[str] = set()
    waiting = [output]
    while waiting:
        name = waiting.pop()
        if name not in wanted:
            wanted.add(name)
            waiting += _read(maker[name]) if name in maker else ()
    for entries in (graph.input, graph.output):
        kept = [entry for entry in entries if entry.name in (wanted if entries is graph.input else {output})]
        del entries[:]
        entries.extend(kept)
    for i in reversed(range(len(graph.node))):
        if wanted.isdisjoint(graph.node[i].output):
            del graph.node[i]
    data: bytes = proto.SerializeToString()
    return Detached(data, model.beside) if isinstance(model, Detached) else data


def _read(node: onnx.NodeProto) -> list[str]:
    """The names that a node reads, in its subgraphs, too; those that are made there do no harm."""
    found = list(node.input)
    for attribute in node.attribute:
        for graph in [*([attribute.g] if attribute.HasField("g") else []), *attribute.graphs]:
            found += [value.name for value in graph.output]
            found += [name for inner in graph.node for name in _read(inner)]
    return found


def as_inputs(proto: onnx.ModelProto) -> onnx.ModelProto:
    """A copy in which weights that lie beside are inputs, for the checker, which would look for their files."""
    copy = onnx.ModelProto()
    copy.CopyFrom(proto)
    external = [tensor for tensor in copy.graph.initializer if tensor.data_location == onnx.TensorProto.EXTERNAL]
    stated = {value.name for value in copy.graph.input}
    for tensor in external:
        copy.graph.initializer.remove(tensor)
        if tensor.name not in stated:
            copy.graph.input.append(onnx.helper.make_tensor_value_info(tensor.name, tensor.data_type, tensor.dims))
    return copy
