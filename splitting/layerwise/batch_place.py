"""Where the batch is in every tensor of a model that was exported for one batch size, and in what it is reshaped to.

A row of the batch is a digit of a tensor's flat index. Transposing moves the digit's axis; a Reshape leaves the flat
index as it is, so that the stride of the digit says in which axis of the result it is: heads and batch as one axis, or
time and batch. Of a batch of 1 the digit has no extent, and where it could be at the end of one axis or at the start of
the next, it is where PyTorch puts it.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import prod

import onnx_ir as ir

from splitplace.splitting.layerwise.shapes import Shape


@dataclass(frozen=True)
class BatchPlace:
    """The batch within an axis, of which one step of it is `inner` elements: of heads by rows, so many heads."""

    axis: int
    inner: int = 1


Sizes = Mapping[str, Shape]
"""Element type and sizes of every value, at the batch that the model was exported for."""


def places(graph: ir.Graph, shapes: Sizes, batch: int) -> dict[ir.Value, BatchPlace]:
    """The place of the batch in every value that has one, as far as it can be told; inputs have it in front."""
    found = {value: BatchPlace(0) for value in graph.inputs}
    for node in graph:
        for value in node.inputs:
            if value is None or value not in found:
                continue
            rule = _RULES.get(node.op_type, _alike)
            for i, made in enumerate(node.outputs):
                if (sizes := _sizes(made, shapes)) is None or (given := _sizes(value, shapes)) is None:
                    continue
                place = rule(_Step(node, value, given, i, sizes, batch), found[value])
                if place is not None and place.axis < len(sizes) and sizes[place.axis] % (batch * place.inner) == 0:
                    found[made] = place
            break  # the first that has one: others agree, or the model means something else
    return found


def reshaped(place: BatchPlace, given: Sequence[int], made: Sequence[int], batch: int) -> BatchPlace | None:
    """Where the batch is after a Reshape; None where no axis of the result has all of it."""
    stride = place.inner * prod(given[place.axis + 1 :])
    below = [prod(made[j + 1 :]) for j in range(len(made))]
    holds = [j for j, s in enumerate(below) if s and stride % s == 0 and (s * made[j]) % (stride * batch) == 0]
    if not holds:
        return None
    own = [j for j in holds if made[j] == batch and below[j] == stride]
    ends = [j for j in holds if below[j] == stride]  # rows last in an axis, as time by rows
    starts = [j for j in holds if j not in ends]
    chosen = own or (starts if len(made) > 2 or not ends else ends) or holds
    axis = place.axis if place.axis in chosen else chosen[0]
    return BatchPlace(axis, stride // below[axis])


@dataclass(frozen=True)
class _Step:
    """One node, seen from the input that has a place to one of its outputs."""

    node: ir.Node
    value: ir.Value
    given: Sequence[int]
    output: int
    made: Sequence[int]
    batch: int


_Rule = Callable[[_Step, BatchPlace], BatchPlace | None]


def _sizes(value: ir.Value, shapes: Sizes) -> tuple[int, ...] | None:
    known = shapes.get(value.name or "")
    return known[1] if known is not None else None


def _alike(step: _Step, place: BatchPlace) -> BatchPlace | None:
    """Of what works on each element, or keeps the axis in question: sizes are aligned from the last one."""
    axis = place.axis + len(step.made) - len(step.given)
    return BatchPlace(axis, place.inner) if axis >= 0 and step.made[axis] == step.given[place.axis] else None


def _transposed(step: _Step, place: BatchPlace) -> BatchPlace | None:
    perm = step.node.attributes.get_ints("perm", tuple(reversed(range(len(step.given)))))
    return BatchPlace(list(perm).index(place.axis), place.inner)


def _reshaped(step: _Step, place: BatchPlace) -> BatchPlace | None:
    return reshaped(place, step.given, step.made, step.batch)


def _axes(step: _Step, rank: int) -> list[int] | None:
    """The axes that a node states, as attribute or as its second input; None where they are computed."""
    axes = step.node.attributes.get("axes")
    second = step.node.inputs[1] if len(step.node.inputs) > 1 else None
    if axes is not None:
        return [axis % rank for axis in axes.as_ints()]
    if second is None or second.const_value is None:
        return [] if second is None else None
    return [int(axis) % rank for axis in second.const_value.numpy().reshape(-1)]


def _without(place: BatchPlace, axes: Sequence[int]) -> BatchPlace | None:
    """After these axes have gone."""
    return None if place.axis in axes else BatchPlace(place.axis - sum(axis < place.axis for axis in axes), place.inner)


def _squeezed(step: _Step, place: BatchPlace) -> BatchPlace | None:
    axes = _axes(step, len(step.given))
    return _without(place, axes) if axes else None


def _unsqueezed(step: _Step, place: BatchPlace) -> BatchPlace | None:
    axes = _axes(step, len(step.made))
    kept = [axis for axis in range(len(step.made)) if axis not in (axes or ())]
    return BatchPlace(kept[place.axis], place.inner) if axes else None


def _reduced(step: _Step, place: BatchPlace) -> BatchPlace | None:
    if len(step.made) == len(step.given):
        return _alike(step, place)
    single = step.node.attributes.get("axis")  # of ArgMax
    axes = [single.as_int() % len(step.given)] if single is not None else _axes(step, len(step.given))
    return _without(place, axes) if axes else None


def _gathered(step: _Step, place: BatchPlace) -> BatchPlace | None:
    table = step.value is step.node.inputs[0]
    axis = step.node.attributes.get_int("axis", 0) % (len(step.given) if table else len(step.made))
    if not table:
        return BatchPlace(place.axis + axis, place.inner)
    if place.axis == axis:
        return None
    return place if place.axis < axis else BatchPlace(place.axis + len(step.made) - len(step.given), place.inner)


def _multiplied(step: _Step, place: BatchPlace) -> BatchPlace | None:
    first = step.value is step.node.inputs[0]
    contracted = len(step.given) - 1 if first or len(step.given) == 1 else len(step.given) - 2
    return _alike(step, place) if place.axis != contracted else None


def _recurrent(step: _Step, place: BatchPlace) -> BatchPlace | None:
    """Of time, batch and numbers: all states stand behind directions, the last ones without time."""
    return BatchPlace(2 if step.output == 0 else 1) if place == BatchPlace(1) else None


_REDUCTIONS = ("Max", "Min", "Mean", "Sum", "Prod", "L1", "L2", "LogSum", "LogSumExp", "SumSquare")
_RULES: dict[str, _Rule] = {
    "Transpose": _transposed,
    "Reshape": _reshaped,
    "Flatten": _reshaped,
    "Squeeze": _squeezed,
    "Unsqueeze": _unsqueezed,
    "Gather": _gathered,
    "MatMul": _multiplied,
    **dict.fromkeys(("LSTM", "GRU", "RNN"), _recurrent),
    **dict.fromkeys(("ArgMax", "ArgMin"), _reduced),
    **dict.fromkeys([f"Reduce{name}" for name in _REDUCTIONS], _reduced),
}
