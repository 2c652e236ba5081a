"""Makes Reshape targets literal, and keeps other shape arithmetic beside its reader, so that none crosses a cut."""

from collections.abc import Mapping, Sequence

import numpy as np
import onnx
from onnx import TensorProto

from splitplace.splitting.layerwise.shapes import Shape

MAX_SHAPE_SIZE = 64
"""Numbers in a value that may be a shape; more are data."""


def materialise_reshapes(model: onnx.ModelProto, shapes: Sequence[Mapping[str, Shape]]) -> None:
    """Replace each computed Reshape target by a literal one, where only one dimension of the result varies.

    Args:
        model: Changed in place. Shape arithmetic that nothing reads any more stays for the caller to drop.
        shapes: Element type and sizes of every value, at each of two batch sizes.
    """
    literal = {tensor.name for tensor in model.graph.initializer}
    for node in model.graph.node:
        if node.op_type != "Reshape" or node.input[1] in literal:
            continue
        first, second = (known.get(node.output[0]) for known in shapes)
        if first is None or second is None or len(first[1]) != len(second[1]) or 0 in first[1]:
            continue
        varying = [i for i, (a, b) in enumerate(zip(first[1], second[1], strict=True)) if a != b]
        if len(varying) != 1:
            continue
        target = np.array([-1 if i in varying else size for i, size in enumerate(first[1])], np.int64)
        name = f"{node.name}_target"
        model.graph.initializer.append(onnx.numpy_helper.from_array(target, name))
        node.input[1] = name


def localise_shapes(model: onnx.ModelProto, shapes: Sequence[dict[str, Shape]]) -> None:
    """Give every operator that reads computed shapes arithmetic of its own, from the batch of what else it reads.

    A shape cannot pass between fragments (it has no leading batch), so one that two operators share would tie them,
    and all between them, into one block; and the tensor it was taken from would be carried to the last of them.

    Args:
        model: Changed in place. Shape arithmetic that nothing reads any more stays for the caller to drop.
        shapes: As above; what is made here is added.
    """
    makers = {name: node for node in model.graph.node for name in node.output}
    pure = {tensor.name for tensor in model.graph.initializer}
    for node in model.graph.node:
        if node.op_type == "Shape" or (node.input and all(name in pure for name in node.input if name)):
            pure.update(name for name in node.output if _is_shape(name, shapes) and _is_plain(node))
    body: list[onnx.NodeProto] = []
    for node in model.graph.node:
        if not set(node.output) <= pure:
            source = next((name for name in node.input if _varies_first(name, shapes)), None)
            for i, name in enumerate(node.input):
                if name in pure and name in makers:
                    node.input[i] = _copy(name, node.name, source, model, makers, shapes, body)
        body.append(node)
    del model.graph.node[:]
    model.graph.node.extend(body)


def _is_shape(name: str, shapes: Sequence[Mapping[str, Shape]]) -> bool:
    """Integers whose number does not depend on the batch."""
    first, second = (known.get(name) for known in shapes)
    if first is None or first != second or first[0] not in (TensorProto.INT64, TensorProto.INT32):
        return False
    return int(np.prod(first[1])) <= MAX_SHAPE_SIZE


def _is_plain(node: onnx.NodeProto) -> bool:
    subgraphs = (onnx.AttributeProto.GRAPH, onnx.AttributeProto.GRAPHS)
    return not node.op_type.startswith("Random") and all(a.type not in subgraphs for a in node.attribute)


def _varies_first(name: str, shapes: Sequence[Mapping[str, Shape]]) -> bool:
    """Whether the batch, and it alone, is the first dimension."""
    first, second = (known.get(name) for known in shapes)
    return first is not None and second is not None and first[1][:1] != second[1][:1] and first[1][1:] == second[1][1:]


def _same_batch(a: str, b: str, shapes: Sequence[Mapping[str, Shape]]) -> bool:
    leading = _varies_first(a, shapes) and _varies_first(b, shapes)
    return leading and all(known[a][1][0] == known[b][1][0] for known in shapes)


def _copy(
    name: str,
    reader: str,
    source: str | None,
    model: onnx.ModelProto,
    makers: Mapping[str, onnx.NodeProto],
    shapes: Sequence[dict[str, Shape]],
    body: list[onnx.NodeProto],
) -> str:
    """A copy of the arithmetic that makes `name`, for one reader; what it is called there."""
    node, copied = makers[name], f"{name}_for_{reader}"
    if copied in shapes[0]:
        return copied
    copy = onnx.NodeProto()
    copy.CopyFrom(node)
    copy.name = f"{node.name}_for_{reader}"
    copy.output[:] = [f"{output}_for_{reader}" if output else "" for output in node.output]
    if node.op_type != "Shape":
        copy.input[:] = [
            _copy(i, reader, source, model, makers, shapes, body) if i in makers else i for i in node.input
        ]
    elif source is not None and not node.attribute and _same_batch(source, node.input[0], shapes):
        # The same sizes as the tensor's it was taken from, with the batch from what the reader reads anyway.
        batch, rest = f"{copied}_batch", f"{copied}_rest"
        sizes = np.array(shapes[0][node.input[0]][1][1:], np.int64)
        model.graph.initializer.append(onnx.numpy_helper.from_array(sizes, rest))
        body.append(onnx.helper.make_node("Shape", [source], [batch], batch, start=0, end=1))
        copy = onnx.helper.make_node("Concat", [batch, rest], [copied], copy.name, axis=0)
        for known in shapes:
            known[batch] = (TensorProto.INT64, (1,))
    body.append(copy)
    for known in shapes:
        known.update({f"{output}_for_{reader}": known[output] for output in node.output if output})
    return copied
