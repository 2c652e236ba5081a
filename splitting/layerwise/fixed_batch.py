"""Frees a batch that an exporter fixed: what a graph states for one batch size is made to hold for any."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from splitplace.records.fragment import BATCH
from splitplace.splitting.layerwise.detached import write
from splitplace.splitting.layerwise.fold import batch_of, constant
from splitplace.splitting.layerwise.model import to_proto
from splitplace.splitting.layerwise.names import Names
from splitplace.splitting.layerwise.shapes import Shape, UnknownShapeError, infer_shapes

RECURRENT = {"LSTM": (5, 6), "GRU": (5,), "RNN": (5,)}
"""Operators that begin with a state for each sample, and which of their inputs it is."""


def free_batch(model: ir.Model, fixed: int) -> None:
    """Make a fixed batch symbolic: Reshape targets and joined constants, the usual obstacles, are made relative.

    A target begins with the batch, or with the batch times another size (rows of all samples, one below the other). A
    constant that is joined to every sample (a class token) is stated once for each.
    Whether the model means the same at other batch sizes is for the shapes to say, and for the recomposition check.
    """
    graph = model.graph
    proto, beside = write(model, to_proto)
    try:
        shapes = infer_shapes(proto, tuple(value.name or "" for value in graph.inputs), fixed, beside)
    except UnknownShapeError:
        shapes = {}
    for value in graph.inputs:
        assert value.shape is not None
        value.shape = ir.Shape([BATCH, *value.shape[1:]])
    names = Names(graph)
    for node in list(graph):
        if node.op_type == "Concat" and node.attributes.get_int("axis", 0) != 0:
            _repeat_constants(node, fixed, names)
        elif node.op_type in RECURRENT:
            _drop_zero_states(node)
        elif node.op_type == "Resize" and node.attributes.get("axes") is None:
            _resize_relatively(node, fixed, names)
        target = node.inputs[1] if node.op_type == "Reshape" else None
        if target is not None and target.const_value is not None:
            sizes = _relative(node, target.const_value.numpy(), fixed, shapes)
            if sizes is not None:
                node.replace_input_with(1, constant(graph, f"{node.name}_target", sizes, names))


def _repeat_constants(node: ir.Node, fixed: int, names: Names) -> None:
    """Give each sample of a Concat its own copy of the constants in it, which a fixed batch had one for each of."""
    graph = node.graph
    source = next((value for value in node.inputs if value is not None and value.const_value is None), None)
    assert isinstance(graph, ir.Graph)
    for i, value in enumerate(node.inputs):
        if source is None or value is None or value.const_value is None:
            continue
        rows = value.const_value.numpy()
        if not rows.ndim or len(rows) != fixed or not np.array_equal(rows, np.broadcast_to(rows[:1], rows.shape)):
            continue
        name = f"{node.name}_{i}"
        batch, sizes = (ir.Value(name=names.free(f"{name}_{part}")) for part in ("batch", "sizes"))
        made = ir.Value(name=names.free(f"{name}_rows", short=True))  # one a sample: may pass between fragments
        rest = constant(graph, f"{name}_rest", np.array(rows.shape[1:], np.int64), names)
        row = constant(graph, f"{name}_row", rows[:1], names)
        axis = [ir.AttrInt64("axis", 0)]
        graph.insert_before(node, batch_of(graph, source, batch, names))
        graph.insert_before(node, ir.Node("", "Concat", [batch, rest], axis, outputs=[sizes], name=sizes.name))
        graph.insert_before(node, ir.Node("", "Expand", [row, sizes], outputs=[made], name=made.name))
        node.replace_input_with(i, made)


def _relative(
    node: ir.Node, target: npt.NDArray[Any], fixed: int, shapes: Mapping[str, Shape]
) -> npt.NDArray[Any] | None:
    """A Reshape's target for any batch, from its target for a fixed one; None where it holds for any already."""
    if not target.size or target[0] <= 0:
        return None
    taken = shapes.get(node.inputs[0].name or "") if node.inputs[0] is not None else None
    made = shapes.get(node.outputs[0].name or "")
    own = [i for i, size in enumerate(target) if size == fixed]
    if len(own) == 1 and own[0] and -1 not in target and taken is not None and taken[1][:1] != (fixed,):
        further_back = target.copy()
        further_back[own[0]] = -1  # as where time stands in front
        return further_back
    if made is not None and taken is not None and (target[0] != fixed or taken[1][:1] != (fixed,)):
        merged = made[1][0] % fixed == 0 and (target[0] == fixed or fixed not in made[1])
        if not merged or 0 in made[1]:
            return None
        node.attributes.pop("allowzero", None)
        return np.array([-1, *made[1][1:]], np.int64)
    if target[0] != fixed:
        return None
    relative = target.copy()
    if -1 not in target:
        relative[0] = -1
    elif 0 in target and node.attributes.get_int("allowzero", 0) == 1:
        return None  # an empty tensor
    else:
        node.attributes.pop("allowzero", None)
        relative[0] = 0  # takes the input's own size over
    return relative


def _drop_zero_states(node: ir.Node) -> None:
    """Leave out initial states that are zeros, one a sample of the fixed batch: they are zeros by default."""
    for i in RECURRENT[node.op_type]:
        value = node.inputs[i] if i < len(node.inputs) else None
        if value is not None and value.const_value is not None and not value.const_value.numpy().any():
            node.replace_input_with(i, None)


def _resize_relatively(node: ir.Node, fixed: int, names: Names) -> None:
    """Give a Resize the sizes of its result with the batch of what it resizes."""
    source, sizes = node.inputs[0], node.inputs[3] if len(node.inputs) > 3 else None
    if source is None or sizes is None or sizes.const_value is None or sizes.const_value.numpy()[0] != fixed:
        return
    graph = node.graph
    assert isinstance(graph, ir.Graph)
    batch, target = (ir.Value(name=names.free(f"{node.name}_{part}")) for part in ("batch", "sizes"))
    rest = constant(graph, f"{node.name}_rest", sizes.const_value.numpy()[1:], names)
    graph.insert_before(node, batch_of(graph, source, batch, names))
    joined = ir.Node("", "Concat", [batch, rest], [ir.AttrInt64("axis", 0)], outputs=[target], name=target.name)
    graph.insert_before(node, joined)
    node.replace_input_with(3, target)
