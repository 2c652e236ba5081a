"""Brings an ONNX model into the one form that the splitter works on.

Normal form: local functions inlined, constants as initializers, what can be folded folded (BatchNorm into Conv, Reshape
targets made literal), nothing dead, nodes in topological order with a name each, no annotations.
"""

import logging
import math
from collections import Counter
from collections.abc import Sequence

import numpy as np
import onnx
import onnx_ir as ir
from onnx_ir.passes.common import InlinePass, TopologicalSortPass

from splitplace.catalog.oci import MAX_MODEL_BYTES
from splitplace.errors import ContractError, IntegrityError, SplitPlaceError, UsageError, unknown
from splitplace.splitting.layerwise.checker import check_form
from splitplace.splitting.layerwise.detached import Detached, Model, as_inputs, attach, message, write
from splitplace.splitting.layerwise.external import all_graphs, all_nodes, all_tensors
from splitplace.splitting.layerwise.model import parse
from splitplace.splitting.layerwise.names import shortened
from splitplace.splitting.layerwise.opsets import level_functions
from splitplace.splitting.layerwise.simplify import simplify

_log = logging.getLogger(__name__)

WEIGHTS_ALONE = 4
"""The IR version from which on a weight need not be an input as well."""

OFFERED = "outputs"
"""Under which name a normal form's `meta` has the outputs that the model has, the one that is cut among them."""


def _densify(model: onnx.ModelProto, source: str) -> None:
    """Sparse weights as dense ones: the tools that fold, infer and extract know no others."""
    for graph in all_graphs(model):
        for sparse in graph.sparse_initializer:
            graph.initializer.append(_dense(sparse, sparse.values.name, source))
        del graph.sparse_initializer[:]
    for node in all_nodes(model):
        for attribute in node.attribute:
            if attribute.HasField("sparse_tensor") and node.op_type == "Constant":
                tensor = _dense(attribute.sparse_tensor, node.output[0], source)
                attribute.CopyFrom(onnx.helper.make_attribute("value", tensor))


def _dense(sparse: onnx.SparseTensorProto, name: str, source: str) -> onnx.TensorProto:
    values, shape = onnx.numpy_helper.to_array(sparse.values), tuple(sparse.dims)
    if min(shape, default=1) < 0 or math.prod(shape) * values.itemsize > MAX_MODEL_BYTES:
        raise IntegrityError(f"{source}: the sparse weight {name!r} of {list(shape)} is too large to be made dense")
    indices = onnx.numpy_helper.to_array(sparse.indices)
    flat = indices if indices.ndim == 1 else np.ravel_multi_index(tuple(indices.T), shape)
    dense = np.zeros(math.prod(shape), values.dtype)
    dense[flat] = values
    return onnx.numpy_helper.from_array(dense.reshape(shape), name)


def normalise(whole: Model, source: str = "model", output: str | None = None) -> ir.Model:
    """The normal form of a self-contained model; same bytes in, same model out.

    Args:
        whole: The ONNX file.
        source: What to call it in messages.
        output: The one output to keep, of a model that has several; by default the first.

    Raises:
        UsageError: No output of this name.
        IntegrityError: The checker refuses the model, or its functions call what another opset means otherwise.
        SplitPlaceError: A form that is not supported, as an answer that is a map.
    """
    model = parse(message(whole), source)
    beside = whole.beside if isinstance(whole, Detached) else {}
    if not _is_sorted(model.graph):
        model = _sorted(model, source)  # onnxruntime takes nodes in any order
    external = (tensor for tensor in all_tensors(model) if tensor.data_location == onnx.TensorProto.EXTERNAL)
    if any(tensor.name not in beside for tensor in external):
        raise UsageError(f"{source}: weights lie in another file; give the path of the model, not its bytes")
    _check(model, source, bool(beside))
    try:
        _densify(model, source)
        offered = [value.name for value in model.graph.output]
        _drop_maps(model.graph, output, source)
        answers = {value.name for value in model.graph.output}
        level_functions(model, source)
        graph = ir.from_proto(model)
        attach(graph, {name: ir.Tensor(array, name=name) for name, array in beside.items()})
        _choose_output(graph.graph, output, source, offered)
        InlinePass()(graph)
        simplify(graph)
        _shorten_names(graph.graph)
    except SplitPlaceError:
        raise
    except Exception as error:
        # The passes are other people's and raise what they please; each means that they cannot take this model.
        raise ContractError(f"{source}: cannot be brought into normal form: {_line(error)}") from error
    proto, left_out = write(graph)
    normal = ir.from_proto(_clean(proto))
    attach(normal, left_out)
    normal.meta[OFFERED] = tuple(name for name in offered if name in answers)
    return normal


def _check(model: onnx.ModelProto, source: str, aside: bool) -> None:
    """Hold a model against the ONNX checker, which asks more than onnxruntime: for a name, and shapes of what it takes.

    Args:
        model: As it is afterwards.
        source: What to call it.
        aside: Whether weights are not in it.

    Raises:
        IntegrityError: The checker refuses it.
    """
    model.ir_version = max(model.ir_version, WEIGHTS_ALONE)  # onnxruntime takes such of before, too
    model.graph.name = model.graph.name or "graph"
    declared = [*model.graph.input, *model.graph.output]
    untyped = [value for value in declared if value.type.WhichOneof("value") is None]
    for value in untyped:
        value.type.tensor_type.elem_type = onnx.TensorProto.FLOAT
    of_tensors = [value.type.tensor_type for value in declared if value.type.WhichOneof("value") == "tensor_type"]
    shapeless = [tensor for tensor in of_tensors if not tensor.HasField("shape")]
    for tensor in shapeless:
        tensor.shape.SetInParent()
    try:
        check_form(as_inputs(model) if aside else model)
    except onnx.checker.ValidationError as error:
        raise IntegrityError(f"{source}: the ONNX checker refuses it: {_line(error)}") from error
    finally:
        for tensor in shapeless:
            tensor.ClearField("shape")
        for value in untyped:
            value.ClearField("type")


def _is_sorted(graph: onnx.GraphProto) -> bool:
    """Whether every node of the graph itself comes after what it reads."""
    made_here = {name for node in graph.node for name in node.output}
    made: set[str] = set()
    for node in graph.node:
        if any(name in made_here and name not in made for name in node.input):
            return False
        made.update(node.output)
    return True


def _sorted(model: onnx.ModelProto, source: str) -> onnx.ModelProto:
    """The same nodes in an order that tools other than onnxruntime take; as it is where there is none."""
    made = Counter(name for node in model.graph.node for name in node.output if name)
    if (twice := made.most_common(1)[0])[1] > 1:
        raise IntegrityError(f"{source}: {twice[1]} of its nodes make {twice[0]!r}, expected one: export it again")
    for kind, values in (("weights", model.graph.initializer), ("inputs", model.graph.input)):
        if both := next((value.name for value in values if value.name in made), None):
            raise IntegrityError(
                f"{source}: one of its nodes makes {both!r}, as one of its {kind} is called: rename it"
            )
    graph = ir.from_proto(model)
    try:
        TopologicalSortPass()(graph)
    except ValueError:  # a cycle, which the checker has a word for
        return model
    ordered: onnx.ModelProto = ir.to_proto(graph)
    return ordered


def _drop_maps(graph: onnx.GraphProto, chosen: str | None, source: str) -> None:
    """Leave out the outputs that are maps, which the tools here do not know, unless one of them is to be answered."""
    maps = [value.name for value in graph.output if "map_type" in str(value.type)]
    answered = chosen if chosen is not None else graph.output[0].name
    if answered in maps:
        tensors = [value.name for value in graph.output if value.name not in maps]
        instead = f"--output NAME of {', '.join(tensors)}" if tensors else "it has no other output"
        raise ContractError(f"{source}: its output {answered!r} is a map, expected a tensor: {instead}")
    for i in reversed(range(len(graph.output))):
        if graph.output[i].name in maps:
            del graph.output[i]


def _choose_output(graph: ir.Graph, name: str | None, source: str, offered: Sequence[str]) -> None:
    """Keep one output, the first of those that were offered unless another is named; what the others need is dead."""
    names = [value.name or "" for value in graph.outputs]
    if name is None and len(offered) > 1:
        _log.warning("%s: of its outputs %s the first is cut; --output NAME for another", source, ", ".join(offered))
    if name is not None and name not in names:
        raise unknown(f"output of {source}", name, names)
    answer = graph.outputs[names.index(name) if name is not None else 0]
    if answer.is_graph_input():
        computed = [value.name or "" for value in graph.outputs if not value.is_graph_input()]
        instead = f"--output NAME of {', '.join(computed)}" if computed else "it has no other output"
        raise ContractError(f"{source}: its output {answer.name!r} is its input as it is, nothing to cut: {instead}")
    graph.outputs[:] = [answer]


def _shorten_names(graph: ir.Graph) -> None:
    """Give values that no record can name a name of their own; inputs keep theirs, by which they are fed."""
    for value in (value for node in graph for value in node.outputs):
        if value.name:
            value.name = shortened(value.name)


def _clean(model: onnx.ModelProto) -> onnx.ModelProto:
    """Drop annotations, and shapes that a rewrite may have made stale; name every node."""
    model.ir_version = max(model.ir_version, WEIGHTS_ALONE)
    del model.graph.value_info[:]
    del model.metadata_props[:]
    del model.graph.metadata_props[:]
    model.doc_string = ""
    taken = {node.name for node in model.graph.node}
    for i, node in enumerate(model.graph.node):
        if not node.name:
            node.name = f"{node.op_type}_{i}"
            while node.name in taken:
                node.name += "_"
            taken.add(node.name)
        node.doc_string = ""
        del node.metadata_props[:]
    return model


def to_proto(model: ir.Model) -> onnx.ModelProto:
    """The message of a model in normal form or of a part of one: the same for the same model, today and later.

    onnx-ir states the type of every weight a second time and leaves an empty doc_string out; either would change the
    digests of all files that are there.
    """
    proto: onnx.ModelProto = ir.to_proto(model)
    del proto.graph.value_info[:]
    for written, node in zip(proto.graph.node, model.graph, strict=True):
        if node.doc_string is not None:
            written.doc_string = node.doc_string
    return proto


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:300]
