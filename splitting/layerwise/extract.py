"""Writes a slice of the network as an ONNX model of its own."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np
import onnx
import onnx_ir as ir

from splitplace.catalog.oci import MAX_MODEL_BYTES
from splitplace.catalog.onnxfile import check_model
from splitplace.errors import InfeasibleError, IntegrityError
from splitplace.records.fragment import Fragment, TensorSpec
from splitplace.splitting.artifact import digest
from splitplace.splitting.layerwise.checker import check_form
from splitplace.splitting.layerwise.fold import constant
from splitplace.splitting.layerwise.fusion import Blocks
from splitplace.splitting.layerwise.graph import Graph
from splitplace.splitting.layerwise.names import Names
from splitplace.splitting.layerwise.normal_form import to_proto


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
        IntegrityError: The ONNX checker or the catalog refuses the fragment.
        InfeasibleError: One ONNX file cannot hold it.
    """
    graph = blocks.graph
    own = sorted(set(after) - set(before))
    nodes = sorted(i for block in own for i in blocks.members[block])
    inputs = [_spec(graph, value) for value in boundary(blocks, before)]
    outputs = [_spec(graph, value) for value in boundary(blocks, after)]
    weights = frozenset(weight for i in nodes for weight in graph.nodes[i].weights)
    if (size := graph.weight_bytes(weights)) > MAX_MODEL_BYTES:
        raise InfeasibleError(
            f"{name}: {size} bytes of weights that no cut parts, expected at most {MAX_MODEL_BYTES}, which one ONNX "
            "file holds"
        )
    part = assemble(graph, nodes, inputs, outputs, name)
    anchor(part.graph, blocks.blocked)
    model = to_proto(part)
    try:
        # Without its inference of types and shapes, which fails on operators that it has wrong itself; onnxruntime's
        # own follows when the split is verified.
        check_form(model)
    except onnx.checker.ValidationError as error:
        raise IntegrityError(f"{name}: the ONNX checker refuses it: {' '.join(str(error).split())[:300]}") from error
    data = model.SerializeToString(deterministic=True)
    check_model(data, name)  # as the catalog will
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
) -> ir.Model:
    """A model of these nodes, with the weights they use and nothing that varies between two runs."""
    weights = sorted({weight for i in nodes for weight in graph.nodes[i].weights})
    body = ir.GraphView(
        [graph.named[spec.name] for spec in inputs],
        [graph.named[spec.name] for spec in outputs],
        nodes=[graph.nodes[i].operator for i in nodes],
        initializers=[graph.named[weight] for weight in weights],
        opset_imports=graph.model.opset_imports,
        name=name,
    ).clone()
    for value, spec in zip([*body.inputs, *body.outputs], [*inputs, *outputs], strict=True):
        value.type, value.shape = ir.TensorType(ir.DataType.from_numpy(np.dtype(spec.dtype))), ir.Shape(spec.shape)
        value.metadata_props.clear()
    return ir.Model(body, ir_version=graph.model.ir_version, producer_name="splitplace")


BLOCK = 16
"""Channels in a block of onnxruntime's widest layout; a multiple of it is one of the narrower layouts' too."""

WIDEST_IDENTITY = 64
"""Channels up to which multiplying a tensor by the identity costs less than the passes over memory it saves."""

TAKES_ANY_LAYOUT = ("Conv", "MaxPool", "AveragePool", "GlobalMaxPool", "GlobalAveragePool")
"""Operators that onnxruntime runs blocked whatever comes in; all others only if every input is blocked already."""


def anchor(graph: ir.Graph, blocked: frozenset[str]) -> None:
    """Let tensors that were blocked in the whole model re-enter the blocked layout as they enter the fragment.

    A tensor arrives in plain layout. If an Add or a Concat reads it, onnxruntime runs that in plain layout too, and
    everything down the skip connections with it: additions no longer fuse into convolutions up to the next stage
    (measured 4-6 % of ResNet50-V2). A pooling of one pixel changes no value, and pulls the tensor into the layout. It
    does so for whole blocks of channels only; a few channels more or less (the 24 of MobileNetV2) take a pixel-wise
    convolution with the identity, which changes no finite value either.
    """
    names = Names(graph)
    for value in sorted(graph.inputs, key=lambda value: value.name or "", reverse=True):
        plain = value.dtype == ir.DataType.FLOAT  # of others the layout is that of a copy which onnxruntime makes
        channels = value.shape[1] if plain and value.shape is not None and len(value.shape) == 4 else None
        uses = [use for use in value.uses() if use.node.graph is graph]
        if value.name not in blocked or not isinstance(channels, int):
            continue
        if channels % BLOCK and channels > WIDEST_IDENTITY:
            continue
        if any(use.node.op_type not in TAKES_ANY_LAYOUT for use in uses):
            node = _anchor(graph, value, channels, names)
            graph.insert_before(graph[0], node)
            for use in uses:
                use.node.replace_input_with(use.idx, node.outputs[0])


def _anchor(graph: ir.Graph, value: ir.Value, channels: int, names: Names) -> ir.Node:
    """A node that makes `<name>_blocked` of the same values."""
    made, name = [ir.Value(name=names.free(f"{value.name}_blocked"))], f"{value.name}_anchor"
    kernel = [ir.AttrInt64s("kernel_shape", [1, 1])]
    if channels % BLOCK == 0:
        return ir.Node("", "MaxPool", [value], kernel, outputs=made, name=name)
    weight = np.eye(channels, dtype=np.float32)[:, :, None, None]
    identity = constant(graph, f"{value.name}_identity", weight, names)
    return ir.Node("", "Conv", [value, identity], kernel, outputs=made, name=name)


def _spec(graph: Graph, name: str) -> TensorSpec:
    spec = graph.values[name].spec
    if spec is None:
        raise IntegrityError(f"{name!r} has no leading batch dimension or a type that cannot travel between devices")
    return spec
