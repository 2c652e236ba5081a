"""Frees a batch that an exporter fixed: what a graph states for one batch size is made to hold for any."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from splitplace.records.fragment import BATCH
from splitplace.splitting.layerwise.batch_place import BatchPlace, places, reshaped
from splitplace.splitting.layerwise.detached import write
from splitplace.splitting.layerwise.fold import batch_of, constant
from splitplace.splitting.layerwise.names import Names
from splitplace.splitting.layerwise.normal_form import to_proto
from splitplace.splitting.layerwise.shapes import Shape, UnknownShapeError, infer_shapes

RECURRENT = {"LSTM": (5, 6), "GRU": (5,), "RNN": (5,)}
"""Operators that begin with a state for each sample, and which of their inputs it is."""

_COMPARING = ("Equal", "Greater", "GreaterOrEqual", "Less", "LessOrEqual", "And", "Or", "Xor")
BROADCAST = (*_COMPARING, *("Add", "Sub", "Mul", "Div", "Pow", "Mod", "Max", "Min", "Sum", "Mean", "PRelu", "Where"))
"""Operators that take one row of a constant for all samples."""


def free_batch(model: ir.Model, fixed: int) -> None:
    """Make a fixed batch symbolic: targets of Reshapes and constants of a row a sample are made relative.

    A target begins with the batch, or with the batch times another size (rows of all samples, one below the other), or
    has it where `batch_place` tells. A constant that is joined to every sample (a class token), or that a recurrent
    layer begins with, is stated once for each; of one that is added to every sample, one row is enough.
    Whether the model means the same at other batch sizes is for the shapes to say, and for the recomposition check.
    """
    graph = model.graph
    proto, beside = write(model, to_proto)
    try:
        shapes = infer_shapes(proto, tuple(value.name or "" for value in graph.inputs), fixed, beside)
    except UnknownShapeError:
        shapes = {}
    found = places(graph, shapes, fixed)
    for value in graph.inputs:
        assert value.shape is not None
        value.shape = ir.Shape([BATCH, *value.shape[1:]])
    names = Names(graph)
    for node in list(graph):
        if node.op_type == "Concat" and node.attributes.get_int("axis", 0) != 0:
            _repeat_constants(node, fixed, names)
        elif node.op_type in RECURRENT:
            _free_states(node, fixed, names)
        elif node.op_type in BROADCAST:
            _keep_one_row(node, found.get(node.outputs[0]), fixed, shapes, names)
        elif node.op_type == "Expand":
            _expand_relatively(node, found.get(node.outputs[0]), fixed, shapes, names)
        elif node.op_type == "Resize" and node.attributes.get("axes") is None:
            _resize_relatively(node, fixed, names)
        target = node.inputs[1] if node.op_type == "Reshape" else None
        if target is not None and target.const_value is not None:
            place = found.get(node.inputs[0]) if node.inputs[0] is not None else None
            told = _told(node, place, fixed, shapes) if place is not None else None
            stated = target.const_value.numpy()
            sizes = told if told is not None and told[0] != -1 else _relative(node, stated, fixed, shapes)
            if sizes is None and told is not None and stated[0] > 0:
                sizes = told
            if sizes is not None:
                if sizes is told:
                    node.attributes.pop("allowzero", None)  # no size of it is zero
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


def _told(node: ir.Node, place: BatchPlace, fixed: int, shapes: Mapping[str, Shape]) -> npt.NDArray[Any] | None:
    """A Reshape's target for any batch, with -1 where the batch is; None where that cannot be told."""
    taken, made = (shapes.get(value.name or "") for value in (node.inputs[0], node.outputs[0]) if value is not None)
    if taken is None or made is None or 0 in made[1] or not made[1]:
        return None
    after = reshaped(place, taken[1], made[1], fixed)
    if after is None:
        return None
    return np.array([-1 if i == after.axis else size for i, size in enumerate(made[1])], np.int64)


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


def _free_states(node: ir.Node, fixed: int, names: Names) -> None:
    """Leave out initial states that are zeros, which they are by default, and state others once a sample."""
    graph, source = node.graph, node.inputs[0]
    assert isinstance(graph, ir.Graph)
    for i in RECURRENT[node.op_type]:
        value = node.inputs[i] if i < len(node.inputs) else None
        if value is None or value.const_value is None:
            continue
        states = value.const_value.numpy()
        if not states.any():
            node.replace_input_with(i, None)
        elif (row := _one_row(states, 1, fixed)) is not None and source is not None:
            name = f"{node.name}_{i}"
            batch, sizes, made = (ir.Value(name=names.free(f"{name}_{part}")) for part in ("batch", "sizes", "states"))
            ends = [
                constant(graph, f"{name}_{part}", np.array([size], np.int64), names)
                for part, size in (("directions", row.shape[0]), ("numbers", row.shape[2]))
            ]
            axis = [ir.AttrInt64("axis", 0)]
            graph.insert_before(node, batch_of(graph, source, batch, names, axis=1))
            joined = ir.Node("", "Concat", [ends[0], batch, ends[1]], axis, outputs=[sizes], name=sizes.name)
            one = constant(graph, f"{name}_row", row, names)
            graph.insert_before(node, [joined, ir.Node("", "Expand", [one, sizes], outputs=[made], name=made.name)])
            node.replace_input_with(i, made)


def _one_row(rows: npt.NDArray[Any], axis: int, fixed: int) -> npt.NDArray[Any] | None:
    """The first of a constant's rows along an axis, if there is one a sample of the fixed batch and all are alike."""
    if not 0 <= axis < rows.ndim or rows.shape[axis] != fixed:
        return None
    first = np.ascontiguousarray(np.take(rows, [0], axis))
    return first if np.array_equal(rows, np.broadcast_to(first, rows.shape)) else None


def _keep_one_row(
    node: ir.Node, place: BatchPlace | None, fixed: int, shapes: Mapping[str, Shape], names: Names
) -> None:
    """Of constants with a row for each sample keep one, which is taken for all."""
    made, graph = shapes.get(node.outputs[0].name or ""), node.graph
    assert isinstance(graph, ir.Graph)
    if place is None or made is None or fixed == 1:
        return
    for i, value in enumerate(node.inputs):
        rows = value.const_value.numpy() if value is not None and value.const_value is not None else None
        row = None if rows is None else _one_row(rows, place.axis + rows.ndim - len(made[1]), fixed)
        if row is not None:
            node.replace_input_with(i, constant(graph, f"{node.name}_{i}_row", row, names))


def _expand_relatively(
    node: ir.Node, place: BatchPlace | None, fixed: int, shapes: Mapping[str, Shape], names: Names
) -> None:
    """Have an Expand leave the batch as it is; of a constant with a row a sample keep one, to be expanded to any."""
    value, target, graph = node.inputs[0], node.inputs[1], node.graph
    assert isinstance(graph, ir.Graph) and value is not None and target is not None
    made = shapes.get(node.outputs[0].name or "")
    if place is not None and place.inner == 1 and made is not None and target.const_value is not None:
        sizes = target.const_value.numpy().copy()
        axis = place.axis + len(sizes) - len(made[1])
        if axis >= 0 and sizes[axis] == fixed:
            sizes[axis] = 1  # takes what is there
            node.replace_input_with(1, constant(graph, f"{node.name}_target", sizes, names))
    elif value.const_value is not None and target.const_value is None and fixed > 1:
        rows = value.const_value.numpy()
        for axis in range(rows.ndim):
            row = _one_row(rows, axis, fixed)
            rows = rows if row is None else row
        if rows.size < value.const_value.size:
            node.replace_input_with(0, constant(graph, f"{node.name}_row", rows, names))


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
