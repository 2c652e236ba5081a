"""Folds what is computed from weights alone, so that a cut parts the results and no fragment holds what it never reads.

A packed attention weight that a Split takes apart has no batch: left in the graph it would tie all its readers into one
block.
"""

from collections.abc import Sequence

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime as ort

from splitplace.splitting.layerwise.detached import open_whole, serialised, write
from splitplace.splitting.layerwise.shapes import stated

KEPT = ("QuantizeLinear", "DequantizeLinear", "DynamicQuantizeLinear")
"""Their results are larger than what they read, and onnxruntime looks for them around integer operators."""

CHANCE = ("Random", "Multinomial", "Bernoulli", "Dropout")

SUBGRAPHS = (ir.AttributeType.GRAPH, ir.AttributeType.GRAPHS)

PLAIN = frozenset(
    int(ir.DataType[name])
    for name in ("FLOAT", "FLOAT16", "DOUBLE", "BOOL", "INT8", "INT16", "INT32", "INT64", "UINT8")
)
"""Element types that come out of onnxruntime as they are."""

SLACK_BYTES = 64 * 1024
"""By how much folding may make a model larger."""


def of_weights(graph: ir.Graph) -> list[ir.Node]:
    """The nodes that read weights alone, or what is made of them alone; none of chance or with subgraphs."""
    made: set[ir.Value] = set()
    found = []
    for node in graph:
        read = [value for value in node.inputs if value is not None]
        if not read or not all(value.is_initializer() or value in made for value in read):
            continue
        if node.op_type.startswith(CHANCE) or any(a.type in SUBGRAPHS for a in node.attributes.values()):
            continue
        made.update(node.outputs)
        found.append(node)
    return found


def fold_weights(model: ir.Model) -> None:
    """Replace nodes that read weights alone by what they make, where that is no larger; changed in place.

    Again and again: where a size is computed by what inference does not follow (a Where), it is known when folded.
    """
    while _fold_once(model):
        pass


def _fold_once(model: ir.Model) -> bool:
    """Fold what is known to be no larger; whether there was anything."""
    graph = model.graph
    nodes = of_weights(graph)
    sizes = _sizes(model, nodes)
    folded: list[ir.Node] = []
    for node in nodes:
        made = sum(sizes.get(value, np.inf) for value in node.outputs if value.name)
        read = sum(sizes.get(value, -np.inf) for value in node.inputs if value is not None)
        if node.op_type not in KEPT and made <= read + SLACK_BYTES:
            folded.append(node)
        else:  # what reads it cannot be folded either
            for value in node.outputs:
                sizes.pop(value, None)
    ends = [value for value in _made(folded) if any(use.node not in folded for use in value.uses())]
    if not ends:
        return False
    part = _part(model, folded, ends)
    options = ort.SessionOptions()
    options.log_severity_level = 4
    session = open_whole(serialised(*part), options)
    results = session.run([value.name for value in ends], {})
    for value, result in zip(ends, results, strict=True):
        name = value.name or ""
        value.name = f"{name}_computed"
        weight = ir.Value(name=name, const_value=ir.tensor(np.asarray(result), name=name))
        graph.register_initializer(weight)
        ir.convenience.replace_all_uses_with(value, weight)
    return True


def _made(nodes: Sequence[ir.Node]) -> list[ir.Value]:
    return [value for node in nodes for value in node.outputs if value.name]


def _part(
    model: ir.Model, nodes: Sequence[ir.Node], ends: Sequence[ir.Value]
) -> tuple[onnx.ModelProto, dict[str, ir.TensorProtocol]]:
    """A model of these nodes that needs no input: its message, and the weights that it does not hold."""
    read = {value for node in nodes for value in node.inputs if value is not None and value.is_initializer()}
    part = ir.GraphView([], ends, nodes=nodes, initializers=list(read), opset_imports=model.graph.opset_imports)
    return write(ir.Model(part.clone(), ir_version=max(model.ir_version, 4)))


def _sizes(model: ir.Model, nodes: Sequence[ir.Node]) -> dict[ir.Value, float]:
    """Bytes of weights and of what these nodes make of them, as far as inference can tell."""
    known = {
        value: float(value.const_value.nbytes)
        for node in nodes
        for value in node.inputs
        if value is not None and value.const_value is not None
    }
    if nodes:
        found = stated(onnx.shape_inference.infer_shapes(_part(model, nodes, _made(nodes))[0], data_prop=True))
        for value in _made(nodes):
            elem_type, sizes = found.get(value.name or "", (0, ()))
            if elem_type in PLAIN:
                known[value] = float(np.prod(sizes) * onnx.helper.tensor_dtype_to_np_dtype(elem_type).itemsize)
    return known
