"""Reads an ONNX model and brings it into the one form that the splitter works on.

Normal form: local functions inlined, constants as initializers, what can be folded folded (BatchNorm into Conv, Reshape
targets made literal), nothing dead, nodes in topological order with a name each, no annotations.
"""

from pathlib import Path

import onnx
import onnx_ir as ir
from google.protobuf.message import DecodeError  # type: ignore[import-untyped]  # publishes no types
from onnx_ir.passes.common import InlinePass

from splitplace.errors import IntegrityError, SplitPlaceError, UsageError
from splitplace.splitting.layerwise.simplify import simplify

MIN_OPSET = 17
"""LayerNormalization exists and ReduceSum/Squeeze axes are inputs from here on: one form of each operator to handle."""

MAX_MODEL_BYTES = 2**31 - 1
"""A protobuf message cannot be larger, and every fragment is one."""


def read(path: Path) -> bytes:
    """The model of a file as one self-contained message; external data only from the file's own folder.

    Raises:
        UsageError: No such file.
        IntegrityError: Not ONNX, truncated, or external data outside the folder or missing.
    """
    if not path.is_file():
        raise UsageError(f"no model file {path}")
    if path.stat().st_size > MAX_MODEL_BYTES:
        raise IntegrityError(f"{path}: {path.stat().st_size} bytes, an ONNX file has at most {MAX_MODEL_BYTES}")
    model = parse(path.read_bytes(), str(path))
    folder = path.resolve().parent
    tensors = [t for t in _tensors(model) if t.data_location == onnx.TensorProto.EXTERNAL]
    total = 0
    for tensor in tensors:
        location = next((entry.value for entry in tensor.external_data if entry.key == "location"), "")
        data = (folder / location).resolve()
        # Resolved first, so that neither `..` nor a symbolic link leads out of the model's folder.
        if not location or not data.is_relative_to(folder) or not data.is_file():
            raise IntegrityError(f"{path}: external data {location!r} of {tensor.name!r} is no file in its folder")
        total += data.stat().st_size if location else 0
    try:
        onnx.load_external_data_for_model(model, str(folder))
        self_contained: bytes = model.SerializeToString(deterministic=True)
        return self_contained
    except (onnx.checker.ValidationError, ValueError, OSError) as error:
        raise IntegrityError(f"{path}: cannot load its external data: {_line(error)}") from error


def parse(data: bytes, source: str = "model") -> onnx.ModelProto:
    """Bytes to a model that the ONNX checker accepts in form; weights may still be external.

    Raises:
        IntegrityError: Not ONNX, or truncated.
        SplitPlaceError: An opset that is not supported.
    """
    model = onnx.ModelProto()
    try:
        model.ParseFromString(data)
    except DecodeError as error:
        raise IntegrityError(f"{source}: not an ONNX model, or truncated ({len(data)} bytes)") from error
    if not model.graph.node or not model.opset_import:
        raise IntegrityError(f"{source}: not an ONNX model, or truncated: no graph in its {len(data)} bytes")
    opset = next((entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx")), 0)
    if opset < MIN_OPSET:
        raise SplitPlaceError(
            f"{source}: opset {opset}, expected at least {MIN_OPSET}; export it again, or use onnx.version_converter"
        )
    return model


def normalise(data: bytes, source: str = "model") -> ir.Model:
    """The normal form of a self-contained model; same bytes in, same model out.

    Raises:
        IntegrityError: The checker refuses the model.
        SplitPlaceError: A form that is not supported.
    """
    model = parse(data, source)
    try:
        onnx.checker.check_model(model)
    except onnx.checker.ValidationError as error:
        raise IntegrityError(f"{source}: the ONNX checker refuses it: {_line(error)}") from error
    if any(tensor.data_location == onnx.TensorProto.EXTERNAL for tensor in _tensors(model)):
        raise UsageError(f"{source}: weights lie in another file; give the path of the model, not its bytes")
    graph = ir.from_proto(model)
    InlinePass()(graph)
    simplify(graph)
    return ir.from_proto(_clean(ir.to_proto(graph)))


def _clean(model: onnx.ModelProto) -> onnx.ModelProto:
    """Drop annotations, and shapes that a rewrite may have made stale; name every node."""
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


def _tensors(model: onnx.ModelProto) -> list[onnx.TensorProto]:
    """Every tensor that may hold external data: initializers and attributes, of the graph and its subgraphs."""
    found: list[onnx.TensorProto] = []
    graphs = [model.graph]
    nodes = [node for function in model.functions for node in function.node]
    while graphs or nodes:
        if graphs:
            graph = graphs.pop()
            found += graph.initializer
            nodes += graph.node
            continue
        for attribute in nodes.pop().attribute:
            found += [attribute.t] if attribute.HasField("t") else []
            found += attribute.tensors
            graphs += [attribute.g] if attribute.HasField("g") else []
            graphs += attribute.graphs
    return found


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:300]
