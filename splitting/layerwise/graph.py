"""The network as the splitter sees it: nodes, and the values between them with their bytes at any batch size."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from math import prod
from typing import cast, get_args

import onnx

from splitplace.errors import SplitPlaceError
from splitplace.records.fragment import BATCH, DType, TensorSpec
from splitplace.splitting.layerwise.fold import localise_shapes, materialise_reshapes
from splitplace.splitting.layerwise.shapes import Shape, infer_shapes

PROBES = (2, 3)
"""Batch sizes at which shapes are inferred: what differs between the two is the batch, by how much is its share."""

NUMBERS = tuple(getattr(onnx.TensorProto, name) for name in ("FLOAT", "FLOAT16", "BFLOAT16", "DOUBLE", "INT8", "UINT8"))
"""Element types of weights; other integers are shapes and indices."""


@dataclass(frozen=True)
class Value:
    """A tensor that a node makes or the task brings.

    `spec` is None where it cannot pass between two fragments: no leading batch, or a type the wire does not carry.
    """

    name: str
    spec: TensorSpec | None
    bytes_constant: int
    bytes_per_sample: int

    def size_bytes(self, batch: int) -> int:
        """Bytes at this batch size."""
        return self.bytes_constant + self.bytes_per_sample * batch


@dataclass(frozen=True)
class Node:
    """One operator; `inputs` are values (initializers are `weights`), with what its subgraphs capture."""

    proto: onnx.NodeProto
    inputs: tuple[str, ...]
    weights: tuple[str, ...]
    outputs: tuple[str, ...]
    flops_per_sample: int


@dataclass(frozen=True, eq=False)
class Graph:
    """A model in normal form with one output."""

    model: onnx.ModelProto
    inputs: tuple[str, ...]
    output: str
    nodes: tuple[Node, ...]
    values: Mapping[str, Value]
    initializers: Mapping[str, onnx.TensorProto]
    producer: dict[str, int] = field(init=False, default_factory=dict)

    def __post_init__(self) -> None:
        self.producer.update({name: i for i, node in enumerate(self.nodes) for name in node.outputs})

    @cached_property
    def consumers(self) -> dict[str, tuple[int, ...]]:
        """The nodes that read each value, in order."""
        found: dict[str, list[int]] = {name: [] for name in self.values}
        for i, node in enumerate(self.nodes):
            for name in node.inputs:
                found[name].append(i)
        return {name: tuple(readers) for name, readers in found.items()}

    def weight_bytes(self, names: frozenset[str]) -> int:
        """Bytes of these initializers."""
        return sum(_tensor_bytes(self.initializers[name]) for name in names)

    def params(self, names: frozenset[str]) -> int:
        """Elements of these initializers that are numbers: the parameters, without shapes and indices."""
        chosen = (self.initializers[name] for name in names)
        return sum(prod(tensor.dims) for tensor in chosen if tensor.data_type in NUMBERS)


def build(model: onnx.ModelProto, source: str = "model") -> Graph:
    """The graph of a model in normal form.

    Raises:
        SplitPlaceError: More than one output, a dynamic dimension besides the batch, or shapes nobody can tell.
    """
    if len(model.graph.output) != 1:
        names = [output.name for output in model.graph.output]
        raise SplitPlaceError(f"{source}: {len(names)} outputs {names}, expected one; export it with the logits alone")
    initializers = {tensor.name: tensor for tensor in model.graph.initializer}
    inputs = tuple(value.name for value in model.graph.input if value.name not in initializers)
    fixed = _fixed_batch(model, inputs, source)
    if fixed is not None:
        _free_batch(model, inputs, fixed)
    shapes = [infer_shapes(model, inputs, batch, source) for batch in PROBES]
    materialise_reshapes(model, shapes)
    localise_shapes(model, shapes)
    initializers = {tensor.name: tensor for tensor in model.graph.initializer}
    protos = _live(model, model.graph.output[0].name)
    known = {name for node in protos for name in node.output if name} | set(inputs)
    values = {name: _value(name, [s.get(name) for s in shapes], source) for name in sorted(known)}
    if values[model.graph.output[0].name].spec is None:
        why = f"is fixed at {fixed} and its graph depends on it" if fixed else "does not reach its output"
        raise SplitPlaceError(f"{source}: the batch {why}; export it with a symbolic batch dimension")
    nodes = tuple(_node(proto, initializers, values, shapes) for proto in protos)
    return Graph(model, inputs, model.graph.output[0].name, nodes, values, initializers)


def _fixed_batch(model: onnx.ModelProto, inputs: tuple[str, ...], source: str) -> int | None:
    """The batch size that the inputs state, None where it is symbolic; refuses other dynamic dimensions."""
    leading: set[int | None] = set()
    if not inputs:
        raise SplitPlaceError(f"{source}: no inputs, expected at least one with a leading batch dimension")
    for value in model.graph.input:
        if value.name not in inputs:
            continue
        dims = value.type.tensor_type.shape.dim
        if not value.type.HasField("tensor_type") or not dims:
            raise SplitPlaceError(f"{source}: input {value.name!r} has no shape, expected [batch, ...]")
        for i, dim in enumerate(dims[1:], 1):
            if not dim.dim_value:
                raise SplitPlaceError(
                    f"{source}: dimension {i} of input {value.name!r} is {dim.dim_param or 'unknown'}; "
                    "expected a size: only the batch may vary, export with fixed image sizes"
                )
        leading.add(dims[0].dim_value or None)
    if len(leading) > 1:
        raise SplitPlaceError(f"{source}: its inputs have different batch sizes {leading}, expected one batch for all")
    return leading.pop()


def _free_batch(model: onnx.ModelProto, inputs: tuple[str, ...], fixed: int) -> None:
    """Make a fixed batch symbolic: Reshape targets that begin with it, the usual obstacle, are made relative.

    Whether the model means the same at other batch sizes is for the shapes to say, and for the recomposition check.
    """
    for value in model.graph.input:
        if value.name in inputs:
            value.type.tensor_type.shape.dim[0].dim_param = BATCH
    literal = {tensor.name: tensor for tensor in model.graph.initializer}
    for node in model.graph.node:
        if node.op_type != "Reshape" or node.input[1] not in literal:
            continue
        target = onnx.numpy_helper.to_array(literal[node.input[1]]).copy()
        if target.size and target[0] == fixed:
            target[0] = 0 if -1 in target else -1  # 0 takes the input's own size over
            name = f"{node.name}_target"
            model.graph.initializer.append(onnx.numpy_helper.from_array(target, name))
            node.input[1] = name


def _live(model: onnx.ModelProto, output: str) -> list[onnx.NodeProto]:
    """The nodes that the output needs, in the model's order."""
    wanted, kept = {output}, []
    for node in reversed(model.graph.node):
        if wanted.intersection(node.output):
            wanted.update(node_inputs(node))
            kept.append(node)
    return kept[::-1]


def node_inputs(node: onnx.NodeProto) -> tuple[str, ...]:
    """What a node reads: its inputs, then what its subgraphs capture from outside; each once."""
    names = [name for name in node.input if name]
    for graph in _subgraphs(node):
        names += _captured(graph)
    return tuple(dict.fromkeys(names))


def _subgraphs(node: onnx.NodeProto) -> Iterator[onnx.GraphProto]:
    for attribute in node.attribute:
        if attribute.type == onnx.AttributeProto.GRAPH:
            yield attribute.g
        elif attribute.type == onnx.AttributeProto.GRAPHS:
            yield from attribute.graphs


def _captured(graph: onnx.GraphProto) -> list[str]:
    own = {value.name for value in graph.input} | {tensor.name for tensor in graph.initializer}
    own |= {name for node in graph.node for name in node.output}
    used = [name for node in graph.node for name in node_inputs(node)] + [value.name for value in graph.output]
    return [name for name in used if name not in own]


def _value(name: str, seen: list[Shape | None], source: str) -> Value:
    """A value from its shapes at the two probe batch sizes."""
    first, second = seen
    if first is None or second is None:
        raise SplitPlaceError(f"{source}: the shape of {name!r} is unknown; run onnx.shape_inference to see why")
    sizes, item_bytes = [prod(shape) for _, shape in (first, second)], _item_bytes(first[0])
    slope = (sizes[1] - sizes[0]) // (PROBES[1] - PROBES[0])
    return Value(name, _spec(name, first, second), (sizes[0] - slope * PROBES[0]) * item_bytes, slope * item_bytes)


def _spec(name: str, first: Shape, second: Shape) -> TensorSpec | None:
    dtype = _dtype(first[0])
    if dtype is None or len(first[1]) != len(second[1]) or not first[1] or not all(first[1]):
        return None
    if (first[1][0], second[1][0]) != PROBES or first[1][1:] != second[1][1:]:
        return None
    return TensorSpec(name=name, dtype=dtype, shape=(BATCH, *first[1][1:]))


def _dtype(elem_type: int) -> DType | None:
    try:
        name = onnx.helper.tensor_dtype_to_np_dtype(elem_type).name
    except KeyError:
        return None
    return cast(DType, name) if name in get_args(DType) else None


def _item_bytes(elem_type: int) -> int:
    try:
        return int(onnx.helper.tensor_dtype_to_np_dtype(elem_type).itemsize)
    except KeyError:
        return 1  # sequences and strings: never between fragments, and no layer of a network worth cutting


def _tensor_bytes(tensor: onnx.TensorProto) -> int:
    return int(prod(tensor.dims)) * _item_bytes(tensor.data_type)


def _node(
    proto: onnx.NodeProto,
    initializers: Mapping[str, onnx.TensorProto],
    values: Mapping[str, Value],
    shapes: list[dict[str, Shape]],
) -> Node:
    read = node_inputs(proto)
    sizes = [{name: shape for name, (_, shape) in known.items()} for known in shapes]
    for known in sizes:
        known |= {name: tuple(initializers[name].dims) for name in read if name in initializers}
    flops = [_flops(proto, known) for known in sizes]
    return Node(
        proto=proto,
        inputs=tuple(name for name in read if name in values),
        weights=tuple(name for name in read if name in initializers),
        outputs=tuple(name for name in proto.output if name),
        flops_per_sample=(flops[1] - flops[0]) // (PROBES[1] - PROBES[0]),
    )


def _flops(node: onnx.NodeProto, shapes: Mapping[str, tuple[int, ...]]) -> int:
    """2 x multiply-accumulates of products; all other operators count nothing, as in `Fragment`s from training."""
    out = shapes.get(node.output[0], ())
    known = [shapes.get(name, ()) for name in node.input]
    if node.op_type in ("Conv", "ConvInteger", "QLinearConv"):
        weight = known[3] if node.op_type == "QLinearConv" else known[1]
        return 2 * prod(out) * prod(weight[1:])
    if node.op_type == "ConvTranspose":
        return 2 * prod(known[0]) * prod(known[1][1:])
    if node.op_type == "Gemm":
        transposed = any(attribute.name == "transA" and attribute.i for attribute in node.attribute)
        return 2 * prod(out) * known[0][0 if transposed else 1]
    if node.op_type in ("MatMul", "MatMulInteger"):
        return 2 * prod(out) * known[0][-1]
    return 0
