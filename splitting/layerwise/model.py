"""Reads an ONNX model, as a file or as bytes, with its weights wherever they lie; what it becomes: `normal_form.py`."""

import logging
from pathlib import Path

import onnx
from google.protobuf.message import DecodeError  # publishes no types

from splitplace.catalog.oci import MAX_MODEL_BYTES
from splitplace.errors import ContractError, IntegrityError, NotFoundError
from splitplace.splitting.layerwise.annotations import drop_stale
from splitplace.splitting.layerwise.detached import Model
from splitplace.splitting.layerwise.external import all_graphs, load_weights
from splitplace.splitting.layerwise.maps import as_scores
from splitplace.splitting.layerwise.opsets import name_default_domain
from splitplace.splitting.layerwise.other_files import kind_of

_log = logging.getLogger(__name__)

MIN_OPSET = 7
"""What onnxruntime promises to run. A model keeps its own opset: its fragments are made of the operators it came with,
and what is rewritten on the way is written in the forms of that opset (`simplify.SINCE`)."""


def read(path: Path) -> Model:
    """The model of a file, self-contained; external data only from the file's own folder.

    Raises:
        UsageError: No such file.
        IntegrityError: Not ONNX, truncated, or external data outside the folder or missing.
        SplitPlaceError: More weights than this machine has the memory to cut.
    """
    if not path.is_file():
        raise NotFoundError(f"no model file {path}")
    try:
        if path.stat().st_size > MAX_MODEL_BYTES:
            raise IntegrityError(f"{path}: {path.stat().st_size} bytes, an ONNX file has at most {MAX_MODEL_BYTES}")
        model = parse(path.read_bytes(), str(path))
    except OSError as error:
        raise IntegrityError(f"{path}: cannot be read: {error.strerror}") from error
    as_scores(model, str(path))
    drop_stale(model, str(path))
    return load_weights(model, path)


def given(data: bytes) -> bytes:
    """The same of a model that is given as bytes; these very bytes where nothing in it has to be left out.

    Raises:
        IntegrityError: Not ONNX, or truncated.
        SplitPlaceError: An opset that is not supported.
    """
    model = parse(data)
    changed = [as_scores(model, "the model"), drop_stale(model, "the model")]
    kept: bytes = model.SerializeToString(deterministic=True) if any(changed) else data
    return kept


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
        other = kind_of(data)
        what = f"not an ONNX model, but {other}" if other else f"not an ONNX model, or truncated ({len(data)} bytes)"
        raise IntegrityError(f"{source}: {what}") from error
    if model.opset_import and model.graph.output and not model.graph.node:
        raise ContractError(f"{source}: a model without operators: it answers what it is given, nothing to cut")
    if not model.graph.node or not model.opset_import:
        raise IntegrityError(f"{source}: not an ONNX model, or truncated: no graph in its {len(data)} bytes")
    name_default_domain(model)
    _clear_negative_sizes(model)
    opset = next((entry.version for entry in model.opset_import if not entry.domain), 0)
    if opset < MIN_OPSET:
        raise ContractError(
            f"{source}: opset {opset}, expected at least {MIN_OPSET}, which onnxruntime promises to run; export it "
            "again, or use onnx.version_converter"
        )
    return model


def _clear_negative_sizes(model: onnx.ModelProto) -> None:
    """Sizes that vary as no sizes: some exporters write -1 for them. Of inputs they stay, to be said as they are."""
    for graph in all_graphs(model):
        for value in (*graph.output, *graph.value_info):
            for dim in value.type.tensor_type.shape.dim if value.type.WhichOneof("value") == "tensor_type" else ():
                if dim.dim_value < 0:
                    dim.ClearField("dim_value")
