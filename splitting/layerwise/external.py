"""Weights that lie in files beside an ONNX model (external data), brought into it."""

import os
from collections.abc import Iterator
from pathlib import Path

import onnx

from splitplace.errors import IntegrityError

MAX_MODEL_BYTES = 2**31 - 1
"""A protobuf message cannot be larger, and every fragment is one."""


def embed(model: onnx.ModelProto, path: Path) -> None:
    """Put the weights of all external tensors into the message; changed in place.

    A file counts as the model's if it lies in the folder of the path that was given or in that of the file this leads
    to: where models are links into a store, as in Hugging Face's cache, weights are too.

    Raises:
        IntegrityError: External data outside these folders, missing, or of a size that cannot be; more of it than one
            message can hold, which is found before anything is read.
    """
    tensors = [tensor for tensor in all_tensors(model) if tensor.data_location == onnx.TensorProto.EXTERNAL]
    places = [_place(tensor, path) for tensor in tensors]
    total = model.ByteSize() + sum(length for _, _, length in places)
    if total > MAX_MODEL_BYTES:
        raise IntegrityError(
            f"{path}: {total} bytes with its external data, expected at most {MAX_MODEL_BYTES}: convert it to smaller "
            "numbers, or cut it in two by hand"
        )
    for tensor, (file, offset, length) in zip(tensors, places, strict=True):
        try:
            with file.open("rb") as data:
                data.seek(offset)
                tensor.raw_data = data.read(length)
        except OSError as error:
            raise IntegrityError(f"{path}: external data of {tensor.name!r}: {file}: {error.strerror}") from error
        del tensor.external_data[:]
        tensor.data_location = onnx.TensorProto.DEFAULT


def _place(tensor: onnx.TensorProto, path: Path) -> tuple[Path, int, int]:
    """The file of an external tensor, and where in it: offset and bytes."""
    entries = {entry.key: entry.value for entry in tensor.external_data}
    location = entries.get("location", "")
    folders = [path.parent.resolve(), path.resolve().parent]
    for folder in folders:
        # Resolved first, so that neither `..` nor a symbolic link leads out of the model's folders.
        file = Path(os.path.realpath(folder / location.replace("\0", "")))  # a link to itself stays what it is
        if location and file.is_file() and any(file.is_relative_to(allowed) for allowed in folders):
            break
    else:
        raise IntegrityError(f"{path}: external data {location!r} of {tensor.name!r} is no file in its folder")
    size = file.stat().st_size
    try:
        offset = int(entries.get("offset", "0"))
        length = int(entries.get("length", str(size - offset)))
    except ValueError as error:
        raise IntegrityError(f"{path}: external data of {tensor.name!r}: {error}") from error
    if offset < 0 or length < 0 or offset + length > size:
        raise IntegrityError(
            f"{path}: external data of {tensor.name!r}: bytes {offset} to {offset + length} of {file.name}, which has "
            f"{size}: truncated, or not this model's"
        )
    return file, offset, length


def all_tensors(model: onnx.ModelProto) -> Iterator[onnx.TensorProto]:
    """Every tensor that may hold external data: initializers and attributes, of the graph, functions and subgraphs."""
    for graph in all_graphs(model):
        yield from graph.initializer
        for sparse in graph.sparse_initializer:
            yield from (sparse.values, sparse.indices)
    for node in all_nodes(model):
        for attribute in node.attribute:
            if attribute.HasField("t"):
                yield attribute.t
            yield from attribute.tensors


def all_nodes(model: onnx.ModelProto) -> Iterator[onnx.NodeProto]:
    """Every node, of the graph, functions and subgraphs."""
    for function in model.functions:
        yield from function.node
    for graph in all_graphs(model):
        yield from graph.node


def all_graphs(model: onnx.ModelProto) -> Iterator[onnx.GraphProto]:
    """The graph and all that lie in attributes of nodes."""
    graphs = [model.graph]
    nodes = [node for function in model.functions for node in function.node]
    while graphs or nodes:
        if graphs:
            graph = graphs.pop()
            nodes += graph.node
            yield graph
        else:
            for attribute in nodes.pop().attribute:
                graphs += [attribute.g] if attribute.HasField("g") else []
                graphs += attribute.graphs
