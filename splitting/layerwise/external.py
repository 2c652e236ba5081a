"""Weights that lie in files beside an ONNX model (external data): brought into it, or mapped if they are too many."""

import os
from collections.abc import Iterator, Mapping
from math import ceil, prod
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import psutil

from splitplace.catalog.oci import MAX_MODEL_BYTES
from splitplace.errors import IntegrityError, SplitPlaceError
from splitplace.splitting.layerwise.detached import LARGE_BYTES, Detached, can_be_mapped
from splitplace.splitting.layerwise.other_files import KIND_BYTES, kind_of

COPIES = 4
"""How often the weights of a model that no message holds may lie in memory while it is cut and checked: the whole as
onnxruntime packs it, the fragments' files, their sessions, and one at a time as it is written."""


def load_weights(model: onnx.ModelProto, path: Path) -> bytes | Detached:
    """A model with the weights of all external tensors: in one message, or beside it where they are too many for one.

    The message is changed in place.

    A file counts as the model's if it lies in the folder of the path that was given or in that of the file this leads
    to: where models are links into a store, as in Hugging Face's cache, weights are too.

    Raises:
        IntegrityError: External data outside these folders, missing, or of a size that cannot be; a weight that no
            fragment can hold, which is found before anything is read.
        SplitPlaceError: More weights than this machine has the memory to cut.
    """
    tensors = [tensor for tensor in all_tensors(model) if tensor.data_location == onnx.TensorProto.EXTERNAL]
    places = [_place(tensor, path) for tensor in tensors]
    total = model.ByteSize() + sum(length for _, _, length in places)
    beside: set[str] = set()
    if total > MAX_MODEL_BYTES:
        sizes = {tensor.name: place[2] for tensor, place in zip(tensors, places, strict=True)}
        in_graph = {weight.name: weight for weight in model.graph.initializer if weight.name in sizes}
        beside = {name for name, weight in in_graph.items() if sizes[name] >= LARGE_BYTES and can_be_mapped(weight)}
        _check_sizes(path, total, {name: sizes[name] for name in beside})
    arrays = {}
    for tensor, (file, offset, length) in zip(tensors, places, strict=True):
        try:
            if tensor.name in beside:
                dtype = onnx.helper.tensor_dtype_to_np_dtype(tensor.data_type)
                arrays[tensor.name] = np.memmap(file, dtype, "r", offset, tuple(tensor.dims))
                continue
            with file.open("rb") as data:
                data.seek(offset)
                tensor.raw_data = data.read(length)
        except (OSError, ValueError) as error:
            raise IntegrityError(f"{path}: external data of {tensor.name!r}: {file}: {error}") from error
        del tensor.external_data[:]
        tensor.data_location = onnx.TensorProto.DEFAULT
    message: bytes = model.SerializeToString(deterministic=True)
    return Detached(message, arrays) if arrays else message


def _check_sizes(path: Path, total: int, beside: Mapping[str, int]) -> None:
    """Refuse what cannot be cut, from the sizes alone."""
    rest = total - sum(beside.values())
    if rest > MAX_MODEL_BYTES:
        raise IntegrityError(
            f"{path}: {rest} bytes besides its large weights, expected at most {MAX_MODEL_BYTES}, which one ONNX file "
            "holds"
        )
    for name, size in beside.items():
        if size > MAX_MODEL_BYTES:
            raise IntegrityError(
                f"{path}: the weight {name!r} has {size} bytes, expected at most {MAX_MODEL_BYTES}: every fragment is "
                "one ONNX file, and none holds it; convert it to smaller numbers, or part it in the model"
            )
    free = psutil.virtual_memory().available
    if COPIES * total > free:
        raise SplitPlaceError(
            f"{path}: {total} bytes of weights: cutting it takes up to {COPIES} times as much memory, and {free} bytes "
            "are free here; cut it on a larger machine"
        )


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
        raise IntegrityError(
            f"{path}: external data {location!r} of {tensor.name!r} is no file in its folder: bring the file of that "
            "name there, or save the model with its weights inside"
        )
    size = file.stat().st_size
    try:
        dtype, offset = ir.DataType(tensor.data_type), int(entries.get("offset", "0"))
        length = int(entries["length"]) if "length" in entries else min(_bytes(tensor, dtype), size - offset)
    except (TypeError, ValueError) as error:  # the former of a type whose numbers have no size, as text
        raise IntegrityError(f"{path}: external data of {tensor.name!r}: {error}") from error
    if offset < 0 or length < 0 or offset + length > size:
        with file.open("rb") as data:
            if other := kind_of(data.read(KIND_BYTES)):
                raise IntegrityError(f"{path}: external data of {tensor.name!r}: {file.name} is {other}")
        raise IntegrityError(
            f"{path}: external data of {tensor.name!r}: bytes {offset} to {offset + length} of {file.name}, which has "
            f"{size}: truncated, or not this model's"
        )
    return file, offset, length


def _bytes(tensor: onnx.TensorProto, dtype: ir.DataType) -> int:
    """What its numbers take, where nobody says how many bytes of the file are its own."""
    numbers: int = prod(tensor.dims)
    return ceil(numbers * dtype.bitwidth / 8)


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
