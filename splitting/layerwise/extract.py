"""Writes a slice of the network as an ONNX model of its own."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np
import onnx

from splitplace.errors import IntegrityError
from splitplace.records.fragment import Fragment, TensorSpec
from splitplace.splitting.artifact import digest
from splitplace.splitting.layerwise.fusion import Blocks
from splitplace.splitting.layerwise.graph import Graph


@dataclass(frozen=True)
class Piece:
    """A fragment with its ONNX file."""

    fragment: Fragment
    model: bytes


def boundary(blocks: Blocks, inside: Collection[int]) -> tuple[str, ...]:
    """The values that cross the cut after these blocks: made there (or brought by the task) and wanted behind it."""
    held = set(inside) | {-1}
    return tuple(
        tensor.name
        for tensor in blocks.tensors
        if tensor.producer in held and any(consumer not in held for consumer in tensor.consumers)
    )


def piece(
    blocks: Blocks, before: Collection[int], after: Collection[int], name: str, classes: tuple[int, ...] = ()
) -> Piece:
    """The fragment of the blocks in `after` and not in `before`.

    What crosses both cuts is carried along: an input that is also an output.

    Args:
        blocks: The network.
        before: The blocks of all fragments before this one.
        after: Those and its own.
        name: The fragment's name.
        classes: What the last fragment predicts.

    Raises:
        IntegrityError: The ONNX checker refuses the fragment.
    """
    graph = blocks.graph
    own = sorted(set(after) - set(before))
    nodes = sorted(i for block in own for i in blocks.members[block])
    inputs = [_spec(graph, value) for value in boundary(blocks, before)]
    outputs = [_spec(graph, value) for value in boundary(blocks, after)]
    weights = frozenset(weight for i in nodes for weight in graph.nodes[i].weights)
    model = assemble(graph, nodes, inputs, outputs, name)
    anchor(model, blocks.blocked)
    try:
        onnx.checker.check_model(model, full_check=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        raise IntegrityError(f"{name}: the ONNX checker refuses it: {' '.join(str(error).split())[:300]}") from error
    data = model.SerializeToString(deterministic=True)
    fragment = Fragment(
        name=name,
        inputs=tuple(inputs),
        outputs=tuple(outputs),
        classes=classes,
        params=graph.params(weights),
        flops_per_sample=sum(graph.nodes[i].flops_per_sample for i in nodes),
        weight_bytes=graph.weight_bytes(weights),
        digest=digest(data),
    )
    return Piece(fragment, data)


def assemble(
    graph: Graph, nodes: Sequence[int], inputs: Sequence[TensorSpec], outputs: Sequence[TensorSpec], name: str
) -> onnx.ModelProto:
    """A model of these nodes, with the weights they use and nothing that varies between two runs."""
    weights = sorted({weight for i in nodes for weight in graph.nodes[i].weights})
    body = onnx.helper.make_graph(
        [graph.nodes[i].proto for i in nodes],
        name,
        [_value_info(spec) for spec in inputs],
        [_value_info(spec) for spec in outputs],
        [graph.initializers[weight] for weight in weights],
    )
    model = onnx.helper.make_model(body, opset_imports=graph.model.opset_import, producer_name="splitplace")
    model.ir_version = graph.model.ir_version
    return model


BLOCK = 16
"""Channels in a block of onnxruntime's widest layout; a multiple of it is one of the narrower layouts' too."""

WIDEST_IDENTITY = 64
"""Channels up to which multiplying a tensor by the identity costs less than the passes over memory it saves."""

TAKES_ANY_LAYOUT = ("Conv", "MaxPool", "AveragePool", "GlobalMaxPool", "GlobalAveragePool")
"""Operators that onnxruntime runs blocked whatever comes in; all others only if every input is blocked already."""


def anchor(model: onnx.ModelProto, blocked: frozenset[str]) -> None:
    """Let tensors that were blocked in the whole model re-enter the blocked layout as they enter the fragment.

    A tensor arrives in plain layout. If an Add or a Concat reads it, onnxruntime runs that in plain layout too, and
    everything down the skip connections with it: additions no longer fuse into convolutions up to the next stage
    (measured 4-6 % of ResNet50-V2). A pooling of one pixel changes no value, and pulls the tensor into the layout. It
    does so for whole blocks of channels only; a few channels more or less (the 24 of MobileNetV2) take a pixel-wise
    convolution with the identity, which changes no finite value either.
    """
    inputs = {
        value.name: value.type.tensor_type.shape.dim[1].dim_value
        for value in model.graph.input
        if value.name in blocked and len(value.type.tensor_type.shape.dim) == 4
    }
    anchored = {
        name: channels
        for name, channels in sorted(inputs.items())
        if (channels % BLOCK == 0 or channels <= WIDEST_IDENTITY)
        and any(name in node.input and node.op_type not in TAKES_ANY_LAYOUT for node in model.graph.node)
    }
    for node in model.graph.node:
        for i, name in enumerate(node.input):
            if name in anchored:
                node.input[i] = f"{name}_blocked"
    body = [*(_anchor(model, name, channels) for name, channels in anchored.items()), *model.graph.node]
    del model.graph.node[:]
    model.graph.node.extend(body)


def _anchor(model: onnx.ModelProto, name: str, channels: int) -> onnx.NodeProto:
    """A node that makes `<name>_blocked` of the same values."""
    made, node = [f"{name}_blocked"], f"{name}_anchor"
    if channels % BLOCK == 0:
        return onnx.helper.make_node("MaxPool", [name], made, node, kernel_shape=[1, 1])
    identity = np.eye(channels, dtype=np.float32)[:, :, None, None]
    model.graph.initializer.append(onnx.numpy_helper.from_array(identity, f"{name}_identity"))
    return onnx.helper.make_node("Conv", [name, f"{name}_identity"], made, node, kernel_shape=[1, 1])


def _spec(graph: Graph, name: str) -> TensorSpec:
    spec = graph.values[name].spec
    if spec is None:
        raise IntegrityError(f"{name!r} has no leading batch dimension or a type that cannot travel between devices")
    return spec


def _value_info(spec: TensorSpec) -> onnx.ValueInfoProto:
    elem_type = onnx.helper.np_dtype_to_tensor_dtype(np.dtype(spec.dtype))
    return onnx.helper.make_tensor_value_info(spec.name, elem_type, list(spec.shape))
