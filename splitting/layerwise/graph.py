"""The network as the splitter sees it: nodes, and the values between them with their bytes at any batch size."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from math import prod
from typing import cast, get_args

import onnx
import onnx_ir as ir
from onnx_ir.passes.common import RemoveUnusedNodesPass

from splitplace.errors import ContractError
from splitplace.records.fragment import BATCH, MAX_TENSOR_NAME, DType, TensorSpec
from splitplace.splitting.layerwise.detached import Model, serialised, write
from splitplace.splitting.layerwise.fixed_batch import free_batch
from splitplace.splitting.layerwise.flops import flops_of
from splitplace.splitting.layerwise.fold import localise_shapes, materialise_reshapes
from splitplace.splitting.layerwise.normal_form import OFFERED, to_proto
from splitplace.splitting.layerwise.shapes import BY_NUMBERS, Shape, UnknownShapeError, infer_shapes

PROBES = (2, 3)
"""Batch sizes at which shapes are inferred: what differs between the two is the batch, by how much is its share."""

NUMBERS = frozenset({ir.DataType[name] for name in ("FLOAT", "FLOAT16", "BFLOAT16", "DOUBLE", "INT8", "UINT8")})
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

    operator: ir.Node
    inputs: tuple[str, ...]
    weights: tuple[str, ...]
    outputs: tuple[str, ...]
    flops_per_sample: int

    @property
    def name(self) -> str:
        """The node's name, one of its own in normal form."""
        return self.operator.name or ""

    @property
    def op_type(self) -> str:
        """What it does."""
        return self.operator.op_type


@dataclass(frozen=True, eq=False)
class Graph:
    """A model in normal form with one output."""

    model: ir.Model
    inputs: tuple[str, ...]
    output: str
    nodes: tuple[Node, ...]
    values: Mapping[str, Value]
    fixed_batch: int | None = None
    """The batch size that the model stated; None where it was symbolic already."""
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

    @cached_property
    def named(self) -> Mapping[str, ir.Value]:
        """The values and initializers themselves, by name."""
        return ir.convenience.create_value_mapping(self.model.graph, include_subgraphs=False)

    def serialised(self) -> Model:
        """The model as one ONNX file, wherever one can hold it."""
        return serialised(*write(self.model, to_proto))

    def weight_bytes(self, names: frozenset[str]) -> int:
        """Bytes of these initializers."""
        return sum(self._weight(name).nbytes for name in names)

    def params(self, names: frozenset[str]) -> int:
        """Elements of these initializers that are numbers: the parameters, without shapes and indices."""
        chosen = (self._weight(name) for name in names)
        return sum(tensor.size for tensor in chosen if tensor.dtype in NUMBERS)

    def _weight(self, name: str) -> ir.TensorProtocol:
        tensor = self.named[name].const_value
        assert tensor is not None
        return tensor


def build(model: ir.Model, source: str = "model") -> Graph:
    """The graph of a model in normal form, which is changed.

    Raises:
        SplitPlaceError: A dynamic dimension besides the batch, shapes nobody can tell, or an answer that is not one a
            sample.
    """
    graph = model.graph
    assert len(graph.outputs) == 1, "the normal form keeps one output"
    graph.inputs[:] = [value for value in graph.inputs if value.uses() or value.is_graph_output()]
    if not graph.inputs:
        raise ContractError(
            f"{source}: no inputs lead to its output {graph.outputs[0].name!r}, which is the same whatever is asked: "
            f"expected at least one with a leading batch dimension{_instead(model)}"
        )
    fixed = _fixed_batch(graph.inputs, source)
    if fixed is not None:
        free_batch(model, fixed)
    inputs, output = tuple(_name(value) for value in graph.inputs), _name(graph.outputs[0])
    try:
        proto, beside = write(model, to_proto)
        shapes = [infer_shapes(proto, inputs, batch, beside) for batch in PROBES]
    except UnknownShapeError as error:
        for value in graph.inputs:
            _check_travels(value, source)  # no made-up numbers suit a text: what the run says of it is beside the point
        raise ContractError(f"{source}: {error}" if fixed is None else _bound(source, fixed, error)) from error
    materialise_reshapes(graph, shapes)
    localise_shapes(graph, shapes)
    RemoveUnusedNodesPass()(model)
    known = {_name(value) for node in graph for value in node.outputs if value.name} | set(inputs)
    values = {name: _value(name, [s.get(name) for s in shapes], source) for name in sorted(known)}
    for name in inputs:
        if values[name].spec is None:
            raise ContractError(f"{source}: input {name!r} is {_told(*(s[name] for s in shapes))}, {_EXPECTED}")
    if values[output].spec is None:
        raise ContractError(_no_answer(source, fixed, *(known[output] for known in shapes)) + _instead(model))
    return Graph(model, inputs, output, tuple(_node(node, shapes) for node in graph), values, fixed)


def _check_travels(value: ir.Value, source: str) -> None:
    """Refuse an input of a type that no task can bring."""
    kind = value.dtype or ir.DataType.UNDEFINED
    if _dtype(kind) is None and value.shape is not None:
        sizes = tuple(size if isinstance(size, int) else 0 for size in value.shape[1:])
        told = _told(*((int(kind), (batch, *sizes)) for batch in PROBES))
        raise ContractError(f"{source}: input {value.name!r} is {told}, {_EXPECTED}")


def _bound(source: str, fixed: int, why: object) -> str:
    return (
        f"{source}: the batch is fixed at {fixed} and its graph depends on it ({why}); export it with a symbolic batch "
        "dimension"
    )


def _no_answer(source: str, fixed: int | None, first: Shape, second: Shape) -> str:
    """Why what the model answers is no answer for each sample."""
    answer = _told(first, second)
    if first[0] and fixed is not None and "batch" not in answer:
        return _bound(source, fixed, f"it answers {answer}{' for any' if first[1] == second[1] else ''}")
    if first[0] and first[1] == second[1]:
        return f"{source}: the batch does not reach its output, which is {answer}; export it with a symbolic batch"
    return f"{source}: it answers {answer}, {_EXPECTED}"


def _instead(model: ir.Model) -> str:
    """Which other outputs the model was offered with, any of which may be one to cut."""
    others = [name for name in model.meta.get(OFFERED, ()) if name != model.graph.outputs[0].name]
    return f"; or cut another output: --output NAME of {', '.join(others)}" if others else ""


_EXPECTED = f"expected [batch, ...] of a type that passes between devices: {', '.join(get_args(DType))}"


def _told(first: Shape, second: Shape) -> str:
    """A value's type and sizes in words, from those at the two probe batch sizes."""
    if BY_NUMBERS in (first, second):
        return "a tensor whose sizes depend on the numbers that are fed"
    if not first[0]:
        return "a sequence or an optional value"
    sizes = ["batch" if (a, b) == PROBES else str(a) for a, b in zip(first[1], second[1], strict=False)]
    kind = ir.DataType(first[0])
    return f"{'string' if kind == ir.DataType.STRING else kind.numpy().name}[{', '.join(sizes)}]"


def _name(value: ir.Value) -> str:
    assert value.name, "every value of a model in normal form has a name"
    return value.name


def _fixed_batch(inputs: Sequence[ir.Value], source: str) -> int | None:
    """The batch size that the inputs state, None where it is symbolic; refuses other dynamic dimensions."""
    leading: set[int | None] = set()
    for value in inputs:
        if len(value.name or "") > MAX_TENSOR_NAME:
            raise ContractError(
                f"{source}: input {value.name!r:.80}: a name of {len(value.name or '')} letters, expected at most "
                f"{MAX_TENSOR_NAME}"
            )
        if not isinstance(value.type, ir.TensorType) or not value.shape:
            what = "has no shape" if value.shape is None else "is one value for all samples"
            instead = "" if value.shape is None else ": make it a constant of the model, or one a sample"
            raise ContractError(f"{source}: input {value.name!r} {what}, expected [batch, ...]{instead}")
        # Some exporters write -1 for a size that varies.
        sizes = [max(dim, 0) if isinstance(dim, int) else 0 for dim in value.shape]
        for i, size in enumerate(sizes[1:], 1):
            if not size:
                sample = ",".join(str(size or _called(value.shape[k])) for k, size in enumerate(sizes[1:], 1))
                raise ContractError(
                    f"{source}: dimension {i} of input {value.name!r} is {value.shape[i]}; expected a size: only the "
                    f"batch may vary. State those of a sample: --shape {value.name}={sample}, with numbers"
                )
        leading.add(sizes[0] or None)
    if len(leading) > 1:
        told = ", ".join(f"{value.name} {value.shape}" for value in inputs)
        raise ContractError(f"{source}: its inputs have different batch sizes ({told}), expected one batch for all")
    return leading.pop()


def _called(dim: object) -> str:
    """A size that varies, by its name."""
    return dim.value or "?" if isinstance(dim, ir.SymbolicDim) else "?"


def reads(node: ir.Node) -> tuple[ir.Value, ...]:
    """What a node reads: its inputs, then what its subgraphs capture from outside; each once."""
    return tuple(dict.fromkeys(value for value in _read(node) if value.graph is node.graph))


def _read(node: ir.Node) -> Iterator[ir.Value]:
    yield from (value for value in node.inputs if value is not None)
    for attribute in node.attributes.values():
        graphs = [attribute.as_graph()] if attribute.type == ir.AttributeType.GRAPH else []
        graphs += attribute.as_graphs() if attribute.type == ir.AttributeType.GRAPHS else []
        for graph in graphs:
            for inner in graph:
                yield from _read(inner)
            yield from graph.outputs


def _value(name: str, seen: list[Shape | None], source: str) -> Value:
    """A value from its shapes at the two probe batch sizes."""
    first, second = seen
    if first is None or second is None:
        raise ContractError(f"{source}: the shape of {name!r} is unknown; run onnx.shape_inference to see why")
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


def _node(node: ir.Node, shapes: Sequence[Mapping[str, Shape]]) -> Node:
    flops = [flops_of(node, known) for known in shapes]
    read = reads(node)
    return Node(
        operator=node,
        inputs=tuple(_name(value) for value in read if not value.is_initializer()),
        weights=tuple(_name(value) for value in read if value.is_initializer()),
        outputs=tuple(value.name for value in node.outputs if value.name),
        flops_per_sample=(flops[1] - flops[0]) // (PROBES[1] - PROBES[0]),
    )
