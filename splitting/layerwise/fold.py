"""Makes Reshape targets literal, and keeps other shape arithmetic beside its reader, so that none crosses a cut."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from splitplace.splitting.layerwise.names import Names
from splitplace.splitting.layerwise.shapes import Shape
from splitplace.splitting.layerwise.weights import SUBGRAPHS, of_weights

SHAPE_HAS_LIMITS = 15
"""The opset from which on Shape can give one size alone."""

MAX_SHAPE_SIZE = 64
"""Numbers in a value that may be a shape; more are data."""


def constant(graph: ir.Graph, name: str, numbers: npt.NDArray[Any], names: Names) -> ir.Value:
    """A new initializer, of this name or one like it that is free."""
    name = names.free(name)
    value = ir.Value(name=name, const_value=ir.tensor(numbers, name=name))
    graph.register_initializer(value)
    return value


def materialise_reshapes(graph: ir.Graph, shapes: Sequence[Mapping[str, Shape]]) -> None:
    """Replace each computed Reshape target by a literal one, where only one dimension of the result varies.

    Args:
        graph: Changed in place. Shape arithmetic that nothing reads any more stays for the caller to drop.
        shapes: Element type and sizes of every value, at each of two batch sizes.
    """
    names = Names(graph)
    for node in graph:
        if node.op_type != "Reshape" or node.inputs[1] is None or node.inputs[1].is_initializer():
            continue
        first, second = (known.get(node.outputs[0].name or "") for known in shapes)
        if first is None or second is None or len(first[1]) != len(second[1]) or 0 in first[1]:
            continue
        varying = [i for i, (a, b) in enumerate(zip(first[1], second[1], strict=True)) if a != b]
        if len(varying) != 1:
            continue
        target = np.array([-1 if i in varying else size for i, size in enumerate(first[1])], np.int64)
        node.replace_input_with(1, constant(graph, f"{node.name}_target", target, names))


def localise_shapes(graph: ir.Graph, shapes: Sequence[dict[str, Shape]]) -> None:
    """Give every operator that reads computed shapes arithmetic of its own, from the batch of what else it reads.

    A shape cannot pass between fragments (it has no leading batch), so one that two operators share would tie them,
    and all between them, into one block; and the tensor it was taken from would be carried to the last of them.

    Args:
        graph: Changed in place. Shape arithmetic that nothing reads any more stays for the caller to drop.
        shapes: As above; what is made here is added.
    """
    # What is made of weights alone and was not folded has no batch either.
    pure = {value for node in of_weights(graph) for value in node.outputs if len(value.uses()) > 1}
    for node in graph:
        read = [value for value in node.inputs if value is not None]
        if node.op_type == "Shape" or (read and all(value.is_initializer() or value in pure for value in read)):
            pure.update(value for value in node.outputs if _is_shape(value, shapes) and _is_plain(node))
    names = Names(graph)
    for node in list(graph):
        if not pure.issuperset(node.outputs):
            source = next((value for value in node.inputs if value is not None and _varies_first(value, shapes)), None)
            copies: dict[ir.Value, ir.Value] = {}
            for i, value in enumerate(node.inputs):
                if value in pure:
                    node.replace_input_with(i, _copy(value, node, source, copies, shapes, names))


def _is_shape(value: ir.Value, shapes: Sequence[Mapping[str, Shape]]) -> bool:
    """Integers whose number does not depend on the batch."""
    first, second = (known.get(value.name or "") for known in shapes)
    if first is None or first != second or first[0] not in (ir.DataType.INT64, ir.DataType.INT32):
        return False
    return int(np.prod(first[1])) <= MAX_SHAPE_SIZE


def _is_plain(node: ir.Node) -> bool:
    return not node.op_type.startswith("Random") and all(a.type not in SUBGRAPHS for a in node.attributes.values())


def _varies_first(value: ir.Value, shapes: Sequence[Mapping[str, Shape]]) -> bool:
    """Whether the batch, and it alone, is the first dimension."""
    first, second = (known.get(value.name or "") for known in shapes)
    return first is not None and second is not None and first[1][:1] != second[1][:1] and first[1][1:] == second[1][1:]


def _same_batch(a: ir.Value, b: ir.Value, shapes: Sequence[Mapping[str, Shape]]) -> bool:
    leading = _varies_first(a, shapes) and _varies_first(b, shapes)
    return leading and all(known[a.name or ""][1][0] == known[b.name or ""][1][0] for known in shapes)


def _copy(
    value: ir.Value,
    reader: ir.Node,
    source: ir.Value | None,
    copies: dict[ir.Value, ir.Value],
    shapes: Sequence[dict[str, Shape]],
    names: Names,
) -> ir.Value:
    """A copy of the arithmetic that makes `value`, before its one reader; what was copied already is in `copies`."""
    node, graph = value.producer(), reader.graph
    if node is None or value in copies:
        return copies.get(value, value)  # a literal, or done
    assert isinstance(graph, ir.Graph)
    made = [
        ir.Value(name=names.free(f"{output.name}_for_{reader.name}") if output.name else "") for output in node.outputs
    ]
    name = f"{node.name}_for_{reader.name}"
    taken = node.inputs[0]
    if node.op_type != "Shape":
        read = [_copy(v, reader, source, copies, shapes, names) if v is not None else None for v in node.inputs]
        copy = _like(node, read, made, name)
    elif source is None or taken is None or node.attributes or not _same_batch(source, taken, shapes):
        copy = _like(node, node.inputs, made, name)
    else:
        # The same sizes as the tensor's it was taken from, with the batch from what the reader reads anyway.
        batch = ir.Value(name=names.free(f"{made[0].name}_batch"))
        sizes = np.array(shapes[0][taken.name or ""][1][1:], np.int64)
        rest = constant(graph, f"{made[0].name}_rest", sizes, names)
        taking = batch_of(graph, source, batch, names)
        graph.insert_before(reader, taking)
        copy = ir.Node("", "Concat", [batch, rest], [ir.AttrInt64("axis", 0)], outputs=made, name=name)
        for known in shapes:
            rank = len(known[source.name or ""][1])
            for output in (made.outputs[0] for made in taking):
                known[output.name or ""] = (ir.DataType.INT64, (1 if output is batch else rank,))
    graph.insert_before(reader, copy)
    for output, copied in zip(node.outputs, made, strict=True):
        copies[output] = copied
        for known in shapes:
            if output.name:
                known[copied.name or ""] = known[output.name]
    return copies[value]


def batch_of(graph: ir.Graph, source: ir.Value, batch: ir.Value, names: Names, axis: int = 0) -> list[ir.Node]:
    """Nodes that make `batch`, one size of `source`, the first by default, as a vector of one."""
    if graph.opset_imports[""] >= SHAPE_HAS_LIMITS:
        limits = ir.convenience.convert_attributes({"end": axis + 1, "start": axis})
        return [ir.Node("", "Shape", [source], limits, outputs=[batch], name=batch.name)]
    sizes = ir.Value(name=names.free(f"{batch.name}_sizes"))
    first = constant(graph, f"{batch.name}_first", np.array([axis]), names)
    of_vector = [ir.AttrInt64("axis", 0)]
    return [
        ir.Node("", "Shape", [source], outputs=[sizes], name=sizes.name),
        ir.Node("", "Gather", [sizes, first], of_vector, outputs=[batch], name=batch.name),
    ]


def _like(node: ir.Node, read: Sequence[ir.Value | None], made: Sequence[ir.Value], name: str) -> ir.Node:
    attributes = node.attributes.values()
    return ir.Node(node.domain, node.op_type, read, attributes, outputs=made, name=name, doc_string=node.doc_string)
