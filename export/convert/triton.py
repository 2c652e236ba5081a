"""A split as a Triton model repository: one model a fragment, `config.pbtxt` and `1/model.onnx`.

Triton serves the fragments; sending each its inputs and merging the sinks stays with the caller, as `split.json` says.
"""

import json
from pathlib import Path

from splitplace.errors import SplitPlaceError, UsageError
from splitplace.files import replace_folder
from splitplace.records.fragment import Fragment, TensorSpec
from splitplace.records.split_document import SPLIT_FILE, SplitDocument
from splitplace.splitting.artifact import SplitArtifact

MAX_BATCH_SIZE = 256
_TYPES = {
    "float16": "TYPE_FP16",
    "float32": "TYPE_FP32",
    "float64": "TYPE_FP64",
    "uint8": "TYPE_UINT8",
    "int8": "TYPE_INT8",
    "int16": "TYPE_INT16",
    "int32": "TYPE_INT32",
    "int64": "TYPE_INT64",
    "bool": "TYPE_BOOL",
}


def write_triton(artifact: SplitArtifact, folder: Path) -> tuple[Path, ...]:
    """Write a model repository into a new or empty folder.

    Returns:
        The models' folders, in fragment order.

    Raises:
        UsageError: The folder holds something.
        SplitPlaceError: It cannot be written.
    """
    names = {fragment.name: f"{artifact.split.reference}.{fragment.name}" for fragment in artifact.split.fragments}
    try:
        if folder.exists() and any(folder.iterdir()):
            raise UsageError(f"{folder} is not empty: give a new folder for the model repository")
        with replace_folder(folder) as fresh:
            for fragment in artifact.split.fragments:
                model = fresh / names[fragment.name]
                (model / "1").mkdir(parents=True)
                (model / "1" / "model.onnx").write_bytes(artifact.models[fragment.name])
                (model / "config.pbtxt").write_text(config(model.name, fragment), encoding="utf-8")
            document = SplitDocument(split=artifact.split)
            (fresh / SPLIT_FILE).write_text(document.model_dump_json(indent=2) + "\n", encoding="utf-8")
    except OSError as error:
        raise SplitPlaceError(f"cannot write the model repository {folder}: {error.strerror}") from error
    return tuple(folder / name for name in names.values())


def config(name: str, fragment: Fragment) -> str:
    """A fragment's `config.pbtxt` (Triton's ModelConfig in protobuf text format; dims without the batch)."""
    return "\n".join(
        [
            f"name: {_quoted(name)}",
            'platform: "onnxruntime_onnx"',
            f"max_batch_size: {MAX_BATCH_SIZE}",
            *(f"input [ {_tensor(spec)} ]" for spec in fragment.inputs),
            *(f"output [ {_tensor(spec)} ]" for spec in fragment.outputs),
            "",
        ]
    )


def _tensor(spec: TensorSpec) -> str:
    dims = ", ".join(str(size) for size in spec.shape[1:]) or "1"
    # Triton wants a dimension; one number a sample has none.
    reshape = "" if spec.shape[1:] else " reshape { shape: [ ] }"
    return f"{{ name: {_quoted(spec.name)} data_type: {_TYPES[spec.dtype]} dims: [ {dims} ]{reshape} }}"


def _quoted(text: str) -> str:
    """As text format quotes it: as JSON does, but in UTF-8: not every reader of it knows JSON's pairs of escapes."""
    return json.dumps(text, ensure_ascii=False)
