"""Looks into an ONNX file without onnx: refuses what would make a runtime read other files or load foreign code.

An ONNX file is a protobuf message (onnx.proto3). This walks its wire format and keeps to the few fields that matter.
"""

from collections.abc import Iterator

from splitplace.errors import IntegrityError

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_MAX_DEPTH = 100
"""Messages in messages, as many as protobuf reads: a branch in a branch is three deeper."""

# Field numbers of onnx.proto3, by message: field -> message below it.
_CHILDREN: dict[str, dict[int, str]] = {
    "Model": {7: "Graph", 20: "Training", 25: "Function"},
    "Training": {1: "Graph", 2: "Graph"},
    "Graph": {1: "Node", 5: "Tensor", 15: "SparseTensor"},
    "Function": {7: "Node", 11: "Attribute"},
    "Node": {5: "Attribute"},
    "Attribute": {5: "Tensor", 6: "Graph", 10: "Tensor", 11: "Graph", 22: "SparseTensor", 23: "SparseTensor"},
    "SparseTensor": {1: "Tensor", 2: "Tensor"},
    "Tensor": {},
}
_NODE_DOMAIN, _NODE_OP = 7, 4
_TENSOR_EXTERNAL_DATA, _TENSOR_LOCATION = 13, 14
_DOMAINS = frozenset({"", "ai.onnx", "ai.onnx.ml", "com.microsoft"})
"""Operators that every onnxruntime has, and none that it would load."""
_OF_MACHINES = frozenset({"com.microsoft.nchwc", "com.ms.internal.nhwc"})
"""What onnxruntime puts in for the kind of processor that it runs on, on its way to a session."""
_LOADERS = frozenset({"EPContext", "PythonOp", "PythonOpGrad", "ATen", "ExternalGraph"})
"""Operators of these domains that run code or read files of somebody else's."""


def check_model(model: bytes, source: str) -> None:
    """Refuse an ONNX file that leans on anything outside itself.

    Raises:
        IntegrityError: Not ONNX; a tensor that lives in another file; an operator that is not a standard one.
    """
    try:
        graphs = _walk(memoryview(model), "Model", source, 0)
    except (IndexError, UnicodeDecodeError, RecursionError) as error:
        raise IntegrityError(f"{source}: no ONNX file: it ends or breaks in the middle of a field") from error
    if not graphs:
        raise IntegrityError(f"{source}: no ONNX file: it holds no graph")


def _walk(data: memoryview, message: str, source: str, depth: int) -> int:
    """Check a message and all below it; the number of graphs seen."""
    if depth > _MAX_DEPTH:
        raise IntegrityError(f"{source}: no ONNX file we take: nested more than {_MAX_DEPTH} deep")
    graphs = int(message == "Graph")
    domain = operator = ""
    for field, value in _fields(data):
        if message == "Tensor" and (field == _TENSOR_EXTERNAL_DATA or (field == _TENSOR_LOCATION and value != 0)):
            raise IntegrityError(f"{source}: a weight lies outside the file (external data): expected all inside")
        if isinstance(value, memoryview):
            if message == "Node" and field == _NODE_DOMAIN:
                domain = bytes(value).decode()
            elif message == "Node" and field == _NODE_OP:
                operator = bytes(value).decode()
            elif child := _CHILDREN[message].get(field):
                graphs += _walk(value, child, source, depth + 1)
    if domain not in _DOMAINS or operator in _LOADERS:
        instead = "; save what onnxruntime optimised with ORT_ENABLE_EXTENDED at most" if domain in _OF_MACHINES else ""
        raise IntegrityError(
            f"{source}: custom operator {domain}::{operator}: expected operators that every onnxruntime has{instead}"
        )
    return graphs


def _fields(data: memoryview) -> Iterator[tuple[int, int | memoryview]]:
    position = 0
    while position < len(data):
        key, position = _varint(data, position)
        field, wire = key >> 3, key & 7
        if wire == _VARINT:
            value, position = _varint(data, position)
            yield field, value
            continue
        if wire == _BYTES:
            size, position = _varint(data, position)
        elif wire in (_FIXED32, _FIXED64):
            size = 4 if wire == _FIXED32 else 8
        else:
            raise IndexError(f"wire type {wire}")
        if position + size > len(data):
            raise IndexError("field longer than its message")
        yield field, data[position : position + size]
        position += size


def _varint(data: memoryview, position: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 70, 7):
        byte = data[position]
        position += 1
        value |= (byte & 0x7F) << shift
        if not byte & 0x80:
            return value, position
    raise IndexError("varint longer than ten bytes")
